"""``icans trial`` and ``icans emulate``: file in, folder out; refusals with lines; everything labelled."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from emulate_cases import World, draw
from icans.cli.app import app
from icans.cohort.cohort import make
from icans.cohort.folder import write_folder
from icans.core.provenance import Provenance
from icans.intervene.trial.design import read_design

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "trials").glob("*.toml"))
DESIGN = """
[trial]
name = "Looks"
question = "Does it stop early?"
simulations = 300

[[arms]]
name = "Control"
rate = 0.45

[[arms]]
name = "New <b>arm</b>"
rate = 0.25

[design]
kind = "group_sequential"
patients = 200
looks = [0.5, 1.0]

[assurance]
points = 2
"""


def _run(*words: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, list(words))
    return ran.exit_code, ran.output


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("trial")
    (folder / "design.toml").write_text(DESIGN, encoding="utf-8")
    code, out = _run("trial", str(folder / "design.toml"), "-o", str(folder / "out"), "-w", "1", "--json")
    assert code == 0, out
    return json.loads(out[out.index("{") :]), folder / "out"


def test_the_answer_holds_power_error_and_assurance(done):
    told, _ = done
    assert told["synthetic"] is True
    null, real = told["scenarios"]
    assert null["rejects_any"] < 0.1 < 0.6 < real["rejects_any"]
    assert real["patients_mean"] < 200 == real["patients_p90"]
    assert null["rejects_any"] < told["assurance"] < real["rejects_any"]


def test_the_page_is_whole_safe_and_labelled(done):
    _, folder = done
    page = (folder / "trial.html").read_text(encoding="utf-8")
    for words in ("SYNTHETIC DATA", "Synopsis", "Estimand", "Intercurrent events", "Bounds of the score", "Strain",
                  "Does it stop early?", "research only", "Under strain"):  # fmt: skip
        assert words in page, words
    assert "<b>arm</b>" not in page
    assert page.count("<svg") >= 3
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert set(run["outputs"]) >= {"trial.html", "tables/scenarios.parquet", "tables/hypotheses.parquet"}
    assert pd.read_parquet(folder / "tables" / "scenarios.parquet")["synthetic"].all()


def test_results_are_not_replaced_by_accident(done):
    _, folder = done
    code, out = _run("trial", str(folder.parent / "design.toml"), "-o", str(folder), "-w", "1")
    assert code == 2
    assert "overwrite" in out


def test_refusals_name_the_line(tmp_path):
    (tmp_path / "bad.toml").write_text(DESIGN.replace("looks = [0.5, 1.0]", "looks = [0.5, 0.9]"), encoding="utf-8")
    code, out = _run("trial", str(tmp_path / "bad.toml"), "--json")
    assert code == 2
    (problem,) = json.loads(out[out.index("{") :])["problems"]
    assert problem["row"] == 18
    assert problem["column"] == "design.looks"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_designs_and_can_be_told(path):
    design = read_design(path)
    code, out = _run("trial", str(path), "--check")
    assert code == 0, out
    assert design.arms[1].name in out
    assert "Hypotheses" in out


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort as a folder: courses of the cases, infusion three days before grade 1."""
    courses = draw(World(), 120, 7)
    rows, doses = [], []
    for i, patient in enumerate(courses.patients):
        for k in range(courses.grade.shape[1]):
            rows.append((patient, 24.0 * (k + 3), "ICANS", float(courses.grade[i, k])))
            rows.append((patient, 24.0 * (k + 3), "CRS", float(courses.covariates[i, k, 0])))
            if courses.treated[i, k]:
                doses.append((patient, 24.0 * (k + 3), "dexamethasone"))
    grades = pd.DataFrame(rows, columns=["patient_id", "time_h", "toxicity", "grade"])
    grades = grades.assign(available_h=grades["time_h"], scheme="ASTCT", source="delivered", lower_bound=False)
    given = pd.DataFrame(doses, columns=["patient_id", "time_h", "drug"]).assign(available_h=lambda t: t["time_h"])
    tables = {"patients": pd.DataFrame({"patient_id": list(courses.patients)}), "grades": grades, "treatments": given}
    folder = tmp_path_factory.mktemp("cohort") / "watched"
    write_folder(make("watched", tables, provenance=Provenance("made by a test", synthetic=True)), folder)
    return folder


def test_a_cohort_is_emulated_and_the_page_says_its_limits(watched, tmp_path):
    code, out = _run("emulate", str(watched), "-o", str(tmp_path / "out"), "--days", "6", "--resamples", "30", "--json")
    assert code == 0, out
    told = json.loads(out[out.index("{") :])
    assert told["synthetic"] is True
    assert told["flow"]["eligible"] == 120
    assert told["difference"]["low"] <= told["difference"]["value"] <= told["difference"]["high"]
    assert told["limits"]
    page = (tmp_path / "out" / "emulate.html").read_text(encoding="utf-8")
    for words in ("SYNTHETIC DATA", "What it does not say", "The target trial", "Chance to start treatment", "Balance"):
        assert words in page, words
    assert "effective" in pd.read_parquet(tmp_path / "out" / "tables" / "risks.parquet")


def test_a_cohort_without_steroids_is_refused_with_reasons(watched):
    code, out = _run("emulate", str(watched), "--drug", "ruxolitinib", "--grace", "20")
    assert code == 2
    assert "2 problems" in out
    assert "days on which the drug was given" in out
