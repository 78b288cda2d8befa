"""The main job as a user runs it: outputs, resuming, refusals, the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import icans as ic
from icans.cli.app import app
from icans.study import main
from icans.study.config import Study, make_study
from icans.study.forecasts import steps_of
from icans.study.source import demo_study, study_for

SMALL = {
    "study": {"name": "small synthetic", "seed": 5},
    "cohort": {"demo_patients": 60},
    "forecast": {
        "landmarks_d": [3], "horizons_d": [7], "by_day_30": False, "folds": 2, "repeats": 1, "leave_out": [],
        "models": ["prevalence", "crs_rule", "cox_last"],
    },
    "evaluate": {"bootstrap": 50, "optimism": 4},
    "report": {"patients": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Study:
    return make_study(SMALL)


@pytest.fixture(scope="module")
def finished(small: Study, tmp_path_factory: pytest.TempPathFactory) -> main.RunResult:
    return main.run_study(small, output=tmp_path_factory.mktemp("study") / "results", workers=2)


def test_the_results_folder_holds_what_was_promised(finished: main.RunResult):
    names = {str(p.relative_to(finished.folder)) for p in finished.folder.rglob("*") if p.is_file()}
    tables = {f"tables/{n}.parquet" for n in ("performance", "predictions", "audit", "findings", "changes", "cells")}
    assert {"report.html", "run.json", "cohort/patients.parquet", "models/icans_any.json", *tables} <= names
    assert not [p for p in finished.folder.parent.iterdir() if p != finished.folder], "rubbish was left behind"


def test_the_run_is_documented(finished: main.RunResult, small: Study):
    run = json.loads((finished.folder / "run.json").read_text())
    assert run["study"] == small.as_dict()
    assert run["synthetic"] is True
    assert run["seed"] == 5
    assert {"python", "numpy", "icans"} <= set(run["versions"])
    assert re.fullmatch("[0-9a-f]{64}", run["outputs"]["report.html"])


def test_the_report_stands_alone_and_says_what_it_is(finished: main.RunResult):
    page = finished.report.read_text(encoding="utf-8")
    assert "RESEARCH USE ONLY" in page
    assert "SYNTHETIC DATA" in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "Leakage audit" in page


def test_optimism_is_what_apparent_performance_loses(finished: main.RunResult):
    found = pd.read_parquet(finished.folder / "tables" / "optimism.parquet")
    assert {"icans_any"} <= set(found["task"])
    auc = found[(found["task"] == "icans_any") & (found["metric"] == "auc")].iloc[0]
    assert auc["corrected"] == pytest.approx(auc["apparent"] - auc["optimism"])
    assert 0.5 < auc["apparent"] <= 1.0


def test_corrections_are_refitted_in_every_fold():
    section = make_study({**SMALL, "forecast": {**SMALL["forecast"], "corrections": ["batch", "assay"]}}).forecast
    assert [type(step).__name__ for step in steps_of(section)] == ["BatchStep", "AssayStep"]


def test_synthetic_tables_say_so(finished: main.RunResult):
    for path in (finished.folder / "tables").glob("*.parquet"):
        assert pd.read_parquet(path)["synthetic"].all(), path.name
    assert ic.read_folder(finished.folder / "cohort").synthetic


def test_no_score_without_its_audit(finished: main.RunResult):
    audit = pd.read_parquet(finished.folder / "tables" / "audit.parquet")
    forecast = pd.read_parquet(finished.folder / "tables" / "performance.parquet")
    assert set(forecast["task"]) <= set(audit["task"])
    model = audit[audit["kind"] == "model"].set_index(["task", "check"])["verdict"]
    assert model[("icans_any", "future shuffled")] == "passes"
    assert model[("icans_any", "labels shuffled")] == "passes"


def test_an_interrupted_run_goes_on_where_it_stopped_and_workers_change_nothing(
    small: Study, finished: main.RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "results"
    with monkeypatch.context() as broken:
        broken.setattr(main, "audit_tasks", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            main.run_study(small, output=target, workers=1)
    assert not target.exists()
    with monkeypatch.context() as counted:
        counted.setattr(main, "forecast_task", _never)
        result = main.run_study(small, output=target, workers=1)
    for name in ("predictions", "performance", "audit", "forecasts"):  # of two workers, and of one
        a, b = (pd.read_parquet(r.folder / "tables" / f"{name}.parquet") for r in (finished, result))
        pd.testing.assert_frame_equal(a, b)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _never(*_: object) -> None:
    raise AssertionError("a finished stage was done again")


def test_earlier_results_are_replaced_only_on_request(finished: main.RunResult, small: Study, tmp_path: Path):
    with pytest.raises(FileExistsError, match="earlier results"):
        main.run_study(small, output=finished.folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no results of this program"):
        main.run_study(small, output=tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_cohort_without_grades_still_gives_a_report(tmp_path: Path):
    cohort = ic.make("plain", {"patients": pd.DataFrame({"patient_id": ["A", "B"], "age_y": [60.0, 50.0]})})
    ic.write_folder(cohort, tmp_path / "cohort")
    result = main.run_study(study_for(str(tmp_path / "cohort")), output=tmp_path / "results", workers=1)
    assert "nothing was forecast" in result.text()
    assert "no forecasts" in result.report.read_text(encoding="utf-8")


def test_the_demo_is_a_valid_study():
    assert demo_study(240, 1).cohort.demo_patients == 240


# The command line


@pytest.fixture
def bad_cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "patients.csv").write_text("patient_id,age_y,sex\nA,-3,female\nA,50,F\n")
    (folder / "measurements.csv").write_text("patient_id,time_h,analyte,value\nC,x,ferritn,1\n")
    return folder


def test_check_lists_every_problem_and_leaves_with_code_2(bad_cohort: Path):
    result = CliRunner().invoke(app, ["check", str(bad_cohort), "--json"])
    assert result.exit_code == 2
    found = {(p["file"].rsplit("/", 1)[-1], p["column"]) for p in json.loads(result.stdout)["problems"]}
    wanted = {("patients.csv", "age_y"), ("patients.csv", "sex"), ("patients.csv", "patient_id"),
              ("measurements.csv", "time_h"), ("measurements.csv", "analyte")}  # fmt: skip
    assert wanted <= found


def test_run_refuses_bad_input_and_writes_nothing(bad_cohort: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["run", str(bad_cohort), "-o", str(tmp_path / "results"), "--quiet"])
    assert result.exit_code == 2
    assert "ferritn" in result.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments", [["run", "no-such-thing"], ["datasets", "bwh_ican"], ["check", "/nowhere/at/all"]]
)
def test_what_is_not_there_is_told_with_code_2(arguments: list[str]):
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stdout)["ok"] is False


def test_interruption_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(main, "run_study", _interrupt_with)
    assert CliRunner().invoke(app, ["demo", "-q"]).exit_code == 130


def _interrupt_with(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_grade_writes_daily_grades(tmp_path: Path):
    ic.write_folder(ic.demo_cohort(n=20, seed=2), tmp_path / "cohort")
    output = tmp_path / "grades.csv"
    arguments = ["grade", str(tmp_path / "cohort"), "-o", str(output)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    daily = pd.read_csv(output)
    assert {"ICANS", "CRS"} <= set(daily["toxicity"])
    assert (daily["source"] == "derived").all()
    assert json.loads(result.stdout)["rows"] == len(daily)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_datasets_shows_licences():
    result = CliRunner().invoke(app, ["datasets", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["bwh_icans"]["non_commercial"] is True
    assert "licence" in CliRunner().invoke(app, ["datasets", "nulisa_cart_lbcl"]).stdout
