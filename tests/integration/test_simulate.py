"""From a scenario to a results folder: command, API, what is written, and that it is the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from icans.cli.app import app
from icans.core.errors import ModelError
from icans.study.simulate import run_scenario, simulate_scenario
from icans.study.simulate_config import make_scenario
from icans.study.simulate_setup import make_patients, scenario_model

#: One set of drugs in all tests, so that one kernel serves them.
DAYS = {"days": 12, "every_h": 12, "seed": 3}
ARMS = [
    {"name": "Alone"},
    {"name": "Tocilizumab", "regimens": ["tocilizumab_day_2"]},
]


def scenario(n: int = 12, **patients: object):
    return make_scenario({"simulation": DAYS, "patients": {"n": n, "care": "none", **patients}, "arms": ARMS})


@pytest.fixture(scope="module")
def done():
    return run_scenario(scenario())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("simulate") / "out"
    options = ["-n", "6", "--care", "none", "--regimen", "none", "--regimen", "tocilizumab_day_2", "--days", "12"]
    result = CliRunner().invoke(app, ["simulate", *options, "--seed", "3", "-o", str(target), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["ok"]
    assert told["synthetic"]
    assert told["sentences"][0].startswith("SYNTHETIC: 6 virtual patients, axi-cel in LBCL")
    return target


def test_the_folder_holds_page_tables_and_run(folder):
    run = json.loads((folder / "run.json").read_text())
    assert run["synthetic"] is True
    assert run["seed"] == 3
    assert {"icans", "numpy", "sympy", "llvmlite"} <= set(run["versions"])
    assert set(run["outputs"]) == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"run.json"}
    assert "SYNTHETIC DATA" in (folder / "simulate.html").read_text()
    names = {p.stem for p in (folder / "tables").glob("*.parquet")}
    assert {"trajectories", "outcomes", "incidence", "differences", "bands", "patients", "treatment"} <= names
    for path in (folder / "tables").glob("*.parquet"):
        table = pd.read_parquet(path)
        assert table["synthetic"].all(), path.name


def test_trajectories_are_tidy_and_complete(folder):
    table = pd.read_parquet(folder / "tables" / "trajectories.parquet")
    assert table["value"].notna().all()
    assert not table.duplicated(["arm", "patient", "time_h", "quantity"]).any()
    assert table.groupby(["arm", "patient", "quantity"], observed=True).size().nunique() == 1
    units = table.drop_duplicates("quantity").set_index("quantity")["unit"]
    assert units["IL6"] == "pg/mL"


def test_earlier_results_are_not_replaced_unasked(folder):
    before = (folder / "run.json").read_bytes()
    result = CliRunner().invoke(app, ["simulate", "-o", str(folder)])
    assert result.exit_code == 2
    assert (folder / "run.json").read_bytes() == before


def test_bad_input_is_told_whole_with_exit_code_2_and_nothing_is_written(tmp_path):
    options = [
        "--product",
        "axicel",
        "--dose",
        "tocilizumab -8 mg day 2",
        "--dose",
        "x 1 mg day 1",
        "--set",
        "car_rho=99",
    ]
    result = CliRunner().invoke(app, ["simulate", *options, "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["problems"]
    assert len(problems) == 4
    assert all(p["expected"] and p["remedy"] for p in problems)
    assert not (tmp_path / "out").exists()


def test_the_list_names_what_a_scenario_may_name():
    told = json.loads(CliRunner().invoke(app, ["simulate", "--list", "--json"]).stdout)
    assert "axi-cel" in told["products"]
    assert "LBCL" in told["diseases"]
    assert "hypothetical" in told["drugs"]["s1p_modulator"].lower()
    assert "tocilizumab_day_2" in told["regimens"]


def test_the_same_scenario_gives_the_same_bits_for_any_number_of_threads(done):
    again = run_scenario(scenario(), threads=1)
    for a, b in zip(done.runs, again.runs, strict=True):
        for name in a.series:
            np.testing.assert_array_equal(a.series[name], b.series[name])
    pd.testing.assert_frame_equal(done.outcomes, again.outcomes)


def test_a_patient_is_the_same_whatever_their_number(done):
    fewer = run_scenario(scenario(4))
    np.testing.assert_array_equal(fewer.patients.parameters, done.patients.parameters[:4])
    np.testing.assert_array_equal(fewer.runs[1].series["IL6"], done.runs[1].series["IL6"][:4])


def test_batches_do_not_change_a_bit(done, monkeypatch):
    from icans.study import simulate_arm

    monkeypatch.setattr(simulate_arm, "BATCH", 5)
    again = run_scenario(scenario())
    for a, b in zip(done.runs, again.runs, strict=True):
        np.testing.assert_array_equal(a.series["encephalopathy"], b.series["encephalopathy"])
    pd.testing.assert_frame_equal(done.outcomes, again.outcomes)


def test_courses_that_would_not_fit_are_refused():
    wanted = make_scenario({"simulation": {"days": 400, "every_h": 0.25}, "patients": {"n": 5000, "care": "none"}})
    with pytest.raises(ModelError, match="every_h"):
        run_scenario(wanted)


def test_arms_are_paired_and_tocilizumab_shows_its_paradox(done):
    alone, treated = done.runs
    before = alone.times_h <= 48
    np.testing.assert_allclose(treated.series["IL6"][:, before], alone.series["IL6"][:, before], rtol=1e-3)
    after = alone.times_h >= 96
    assert np.median(treated.series["IL6"][:, after]) > np.median(alone.series["IL6"][:, after])
    assert np.median(treated.series["CRP"][:, after].max(axis=1)) < np.median(alone.series["CRP"][:, after].max(axis=1))


def test_what_is_told_agrees_with_what_was_simulated(done):
    table = done.outcomes
    assert set(table["arm"]) == {"Alone", "Tocilizumab"}
    for row in done.incidence.itertuples():
        toxicity, least = ("icans" if "ICANS" in row.label else "crs"), (3 if "3+" in row.label else 1)
        one = table[table["arm"] == row.arm]
        assert row.value == pytest.approx((one[f"{toxicity}_grade"] >= least).mean())
        assert row.low <= row.value <= row.high
    crp = done.bands[(done.bands["quantity"] == "CRP") & (done.bands["arm"] == "Alone")]
    np.testing.assert_allclose(crp["q50"], np.median(done.runs[0].series["CRP"], axis=0))
    shares = done.worst.groupby(["arm", "toxicity"])["share"].sum()
    np.testing.assert_allclose(shares, 1.0)
    heads = done.heads.sort_values("time_h").groupby(["arm", "head"])["value"]
    assert all((np.diff(v) >= -1e-12).all() and v.between(0, 1).all() for _, v in heads)


def test_the_typical_patient_has_the_typical_values():
    wanted = scenario(1, product="axi-cel", calibrated=False)
    model = scenario_model(wanted)
    one = make_patients(wanted, model)
    typical = model.parameters.values_array()
    same = np.isclose(one.parameters[0], typical)
    moved = {name for name, ok in zip(model.parameters.names, same, strict=True) if not ok}
    assert same.mean() > 0.9, moved  # what differs is set by covariates (weight, burden ...)


def test_patients_can_be_like_those_of_a_trial():
    wanted = scenario(20, trial="ZUMA-1")
    made = make_patients(wanted, scenario_model(wanted))
    assert len(set(made.ids)) == 20
    assert made.ids.max() > 20


def test_fixed_covariates_and_parameters_hold_in_all(done):
    wanted = scenario(5, covariates={"age_y": 70, "hypertension": True}, parameters={"il6_base": 6.0})
    model = scenario_model(wanted)
    made = make_patients(wanted, model)
    assert (made.covariates["age_y"] == 70).all()
    assert made.covariates["hypertension"].all()
    assert (made.parameters[:, model.parameters.place("il6_base")] == 6.0).all()


def test_quantities_and_parameters_that_the_model_lacks_are_refused_before_anything_is_integrated(tmp_path):
    raw = {
        "simulation": DAYS,
        "patients": {"care": "none", "parameters": {"anak_ka": 0.4}},
        "output": {"quantities": ["IL66"]},
    }
    with pytest.raises(ModelError) as caught:
        simulate_scenario(make_scenario(raw), output=tmp_path / "out")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "out").exists()
