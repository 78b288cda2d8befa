"""``icans loop``: policies in, a labelled results folder out; bad input refused before anything is computed."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from icans.cli.loop import loop
from icans.core.errors import ModelError
from icans.intervene.loop.ward import Settings
from icans.study.loop import bench_loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("loop") / "results"
    made = bench_loop(Settings(horizon_d=5.0, step_h=12.0), ("never", "anakinra"), patients=6, output=target)
    return target, made


def test_results_folder_is_whole_and_labelled(folder):
    target, made = folder
    page = (target / "loop.html").read_text(encoding="utf-8")
    assert "SYNTHETIC DATA" in page
    assert "Nothing here is advice on treatment" in page
    assert "anakinra prophylaxis" in page
    outcomes = pd.read_parquet(target / "tables" / "outcomes.parquet")
    assert len(outcomes) == 18
    assert outcomes["synthetic"].all()
    told = json.loads((target / "run.json").read_text(encoding="utf-8"))
    assert told["synthetic"] is True
    assert {p["policy"] for p in told["policies"]} == {"never", "guideline", "anakinra prophylaxis"}
    table = pd.read_parquet(target / "tables" / "policies.parquet").set_index("policy")
    mine = outcomes[outcomes["policy"] == "never"]
    assert table.loc["never", "loss"] == pytest.approx(mine["loss"].mean())
    assert table.loc["never", "days_icans_ge2"] == pytest.approx(mine["days_icans_ge2"].mean())
    assert "on the front" in made.text()


def test_an_existing_folder_is_kept(folder):
    with pytest.raises(FileExistsError):
        bench_loop(Settings(horizon_d=5.0), ("never",), patients=2, output=folder[0])


@pytest.mark.parametrize(
    ("given", "words"), [(("magic",), "policy"), (("threshold:7",), "between 0 and 1"), (("mpc:2",), "policy")]
)
def test_unknown_policies_are_refused_at_once(given, words):
    with pytest.raises(ModelError, match=words):
        bench_loop(Settings(), given, patients=10_000)


def test_command_tells_what_is_wrong():
    import typer

    app = typer.Typer()
    app.command()(loop)
    found = CliRunner().invoke(app, ["--weight", "icu_days", "--weight", "x=y", "--json"])
    assert found.exit_code == 2
    assert len(json.loads(found.stdout)["problems"]) == 2
    found = CliRunner().invoke(app, ["--dropped", "3", "--json"])
    assert found.exit_code == 2
