"""Scenario files and flags: what is refused, all at once, and that a scenario can be written and read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from icans.core.errors import ConfigError
from icans.study.simulate_config import make_scenario, read_scenario
from icans.study.simulate_flags import scenario_of
from icans.study.simulate_page import as_toml

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("simulate_*.toml"))
NOTHING = {"simulation": {}, "patients": {}}


def refused(raw: dict) -> dict[str, tuple[str | None, str, str]]:
    """Place -> (value, expected, remedy) of every problem."""
    with pytest.raises(ConfigError) as caught:
        make_scenario(raw)
    return {str(p.column): (p.value, p.expected, p.remedy) for p in caught.value.problems}


def dose(**changes: object) -> dict:
    entry = {"drug": "tocilizumab", "amount": 8, "unit": "mg/kg", "day": 2} | changes
    return {"arms": [{"name": "a", "doses": [{k: v for k, v in entry.items() if v is not None}]}]}


def test_defaults_are_one_typical_patient_given_the_product_alone():
    made = make_scenario({})
    assert made.patients.n == 1
    assert made.patients.is_typical
    assert [arm.name for arm in made.arms] == ["Product alone"]


@pytest.mark.parametrize(
    ("changes", "place", "expected", "remedy"),
    [
        ({"amount": -8}, "amount", "at least 0", "cannot be negative"),
        ({"amount": float("nan")}, "amount", "finite", "never guessed"),
        ({"amount": "8"}, "amount", "a number", "without quotes"),
        ({"unit": None}, "unit", "a value", "no unit is guessed"),
        ({"unit": "mL"}, "unit", "converts to mg", "mg/kg"),
        ({"unit": "flurb"}, "unit", "converts to mg", "mg/kg"),
        ({"drug": "tocilizumap"}, "drug", "name of a drug", "tocilizumab"),
        ({"route": "po"}, "route", "iv", "Choose"),
        ({"day": None}, "time_h", "exactly one", "days or in hours"),
        ({"time_h": 48}, "time_h", "exactly one", "days or in hours"),
        ({"count": 3}, "count", "every_h", "hours between"),
        ({"every_h": 0, "count": 2}, "every_h", "above 0", "between two doses"),
        ({"duration_h": -1}, "duration_h", "at least 0", "bolus"),
        ({"rout": "iv"}, "rout", "known setting", "'route'"),
    ],
)
def test_a_dose_that_cannot_be(changes, place, expected, remedy):
    _, what, how = refused(dose(**changes))[f"arms.1.doses.1.{place}"]
    assert expected in what
    assert remedy in how


def test_every_problem_of_a_file_is_told_at_once():
    found = refused(
        {
            "simulation": {"days": -3, "every_h": float("nan"), "sede": 2},
            "patients": {
                "product": "axicel", "disease": "LBLC", "n": 0, "care": "moder", "trial": "ZUMA1",
                "covariates": {"age_y": 600, "wieght_kg": 70, "ldh": float("nan"), "hypertension": 3},
                "parameters": {"car_rho": 99.0, "il6_base": float("nan"), "il6_bas": 1.0},
            },
            **dose(amount=-1, unit=None, drug="x"),
        }
    )  # fmt: skip
    assert set(found) == {
        "simulation.days", "simulation.every_h", "simulation.sede", "patients.product", "patients.disease",
        "patients.n", "patients.care", "patients.trial", "patients.covariates.age_y", "patients.covariates.wieght_kg",
        "patients.covariates.ldh", "patients.covariates.hypertension", "patients.parameters.car_rho",
        "patients.parameters.il6_base", "patients.parameters.il6_bas", "arms.1.doses.1.amount", "arms.1.doses.1.unit",
        "arms.1.doses.1.drug",
    }  # fmt: skip
    value, expected, _ = found["patients.parameters.car_rho"]
    assert value == "99.0"
    assert expected.startswith("a number from ")
    assert "'weight_kg'" in found["patients.covariates.wieght_kg"][2]


@pytest.mark.parametrize(
    ("arms", "word"),
    [
        ([{"name": "a"}, {"name": "a"}], "names of their own"),
        ([{"name": str(k)} for k in range(8)], "at most 7"),
        ([], "names of their own"),
    ],
)
def test_arms_that_cannot_be_compared(arms, word):
    assert word in refused({"arms": arms})["arms"][1]


def test_a_trigger_needs_one_threshold():
    rule = {"quantity": "TEMP", "doses": [{"drug": "anakinra", "amount": 1, "unit": "mg", "time_h": 0}]}
    assert "arms.1.triggers.1.below" in refused({"arms": [{"name": "a", "triggers": [rule]}]})
    assert "arms.1.triggers.1.below" in refused(
        {"arms": [{"name": "a", "triggers": [rule | {"above": 1, "below": 2}]}]}
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_scenarios_and_survive_being_written_again(path, tmp_path):
    made = read_scenario(path)
    copy = tmp_path / "copy.toml"
    copy.write_text(as_toml(made), encoding="utf-8")
    assert read_scenario(copy) == made


def test_a_file_that_is_not_there_and_one_that_is_no_toml(tmp_path):
    with pytest.raises(ConfigError, match="readable"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="valid TOML"):
        read_scenario(tmp_path / "bad.toml")


def test_flags_make_arms_doses_and_overrides():
    made = scenario_of(
        None,
        simulation={"days": 14.0, "seed": None},
        patients={"n": 5, "product": "tisa-cel"},
        regimens=("none", "tocilizumab_day_2+levetiracetam_prophylaxis"),
        doses=("dexamethasone 10 mg day 1 over 1 h every 6 h x 4 po",),
        covariates=("age_y=70", "hypertension=true"),
        parameters=("il6_base=6",),
    )
    assert [len(arm.regimens) for arm in made.arms] == [0, 2]
    first = made.arms[1].doses[0]
    assert (first.drug, first.amount, first.unit, first.start_h) == ("dexamethasone", 10, "mg", 24)
    assert (first.duration_h, first.every_h, first.count, first.route) == (1, 6, 4, "po")
    assert made.patients.covariates == {"age_y": 70, "hypertension": True}
    assert made.patients.parameters == {"il6_base": 6.0}
    assert made.simulation.seed == make_scenario({}).simulation.seed


def test_flags_change_parts_of_a_file_but_not_its_arms():
    made = scenario_of(EXAMPLES[0], simulation={"days": 7.0}, patients={"n": 3})
    assert made.simulation.days == 7
    assert len(made.arms) == len(read_scenario(EXAMPLES[0]).arms)
    with pytest.raises(ConfigError, match="at once"):
        scenario_of(EXAMPLES[0], **NOTHING, regimens=("none",))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tocilizumab 8 day 2", "no unit is guessed"),
        ("tocilizumab 8 mg/kg", "a dose as"),
        ("tocilizumab -8 mg day 2", "cannot be negative"),
        ("tocilizumab nan mg day 2", "never guessed"),
    ],
)
def test_doses_of_flags_that_cannot_be(text, word):
    with pytest.raises(ConfigError, match=word):
        scenario_of(None, **NOTHING, doses=(text,))
