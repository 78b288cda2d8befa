"""Regimens and therapies: resolution for a patient, words, the mark of what is hypothetical, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.mechanism.doses import check
from icans.mechanism.drug_covariates import correlations, effects, factors
from icans.mechanism.parameters import STATUSES, read_parameters
from icans.mechanism.patient import WHOLE, patient_model
from icans.mechanism.regimens import Regimen, parse, read_regimens, regimen, regimens
from icans.mechanism.therapies import therapies, therapy

HYPOTHETICAL = {"mmp_inhibitor", "s1p_modulator", "switchable_car", "tie2_agonist"}


def test_every_named_therapy_is_there() -> None:
    assert set(therapies()) == HYPOTHETICAL | {
        "anakinra", "dasatinib", "defibrotide", "dexamethasone", "emapalumab", "itacitinib", "lenzilumab",
        "levetiracetam", "methylprednisolone", "rimiducid", "ruxolitinib", "siltuximab", "tocilizumab",
    }  # fmt: skip


def test_hypothetical_therapies_say_so() -> None:
    for name, known in therapies().items():
        assert known.hypothetical == (name in HYPOTHETICAL)
        assert ("(hypothetical)" in known.title) == known.hypothetical
    assert therapy("anakinra").routes == ("iv", "sc")
    with pytest.raises(ModelError, match="dexamethasone"):
        therapy("dexametasone")


def test_assumed_numbers_belong_to_hypothetical_therapies_alone() -> None:
    for row in read_parameters().rows:
        if row.module.startswith("drug_") and row.status == "assumed":
            assert row.module.removeprefix("drug_") in HYPOTHETICAL, row.name


def test_every_therapy_has_a_regimen() -> None:
    assert {drug for r in regimens().values() for drug in r.drugs} == set(therapies())


def test_hypothetical_regimens_say_so_in_every_rendering() -> None:
    for known in regimens().values():
        marked = any(d in HYPOTHETICAL for d in known.drugs)
        if marked:
            assert known.hypothetical, known.name
        assert ("(hypothetical)" in known.title) == known.hypothetical
        assert ("hypothetical" in known.describe()) == known.hypothetical
        assert known.source
        assert known.status in STATUSES
    assert regimen("dasatinib_days_3_7").hypothetical  # a real drug, never given so


@pytest.mark.parametrize("name", sorted(regimens()))
def test_doses_fit_the_model(name: str) -> None:
    known = regimen(name)
    model = patient_model(known.drugs, regions=WHOLE)
    check(model, known.given(75.0))
    for rule in known.rules:
        check(model, [d.resolve(75.0, 1.9) for d in rule.give])


def test_weight_and_most() -> None:
    (light,), (heavy,) = regimen("tocilizumab_day_2").given(60.0), regimen("tocilizumab_day_2").given(130.0)
    assert (light.amount, light.unit, light.time_h, light.duration_h) == (480.0, "mg", 48.0, 1.0)
    assert heavy.amount == 800.0
    surface = parse(
        "x", {"source": "", "doses": [{"time_h": 0, "drug": "dexamethasone", "amount": 5, "unit": "mg/m2"}]}
    )
    assert surface.given(70.0, 2.0)[0].amount == 10.0


def test_anakinra_days_0_to_7() -> None:
    (dose,) = regimen("anakinra_days_0_7").given()
    assert (dose.route, dose.every_h, dose.count) == ("sc", 12, 16)
    assert dose.times()[-1] == 7.5 * 24


def test_words() -> None:
    text = regimen("standard_care").describe()
    assert "upon CRS of grade 2 or more: Tocilizumab 8 mg/kg (at most 800 mg) IV over 1 h" in text
    assert "Dexamethasone 10 mg IV, every 6 h" in text
    assert regimen("none").describe() == "No therapy\n- nothing"
    assert "FERRITIN at or above 10000" in regimen("emapalumab_upon_ferritin").describe()


def test_everything_wrong_is_told_at_once() -> None:
    dose = {"time_h": 0, "drug": "anakinra", "amount": 1, "unit": "g"}
    entry = {
        "label": 3, "status": "certain", "colour": "red",
        "doses": [
            {"time_h": 0, "drug": "tocilizumabb", "amount": -1, "unit": "mg"},
            {"time_h": 0, "drug": "tocilizumab", "amount": 1, "unit": "mL", "route": "po", "count": 2},
            {"drug": "dexamethasone", "amount": float("nan"), "unit": "mg"},
        ],
        "rules": [
            {"crs": 7, "give": []},
            {"quantity": "CRP", "give": [{"time_h": -1, "drug": "dexamethasone", "amount": 1, "unit": "mg"}]},
            {"crs": 2, "icans": 2, "most_times": 2, "give": [dose]},
        ],
    }  # fmt: skip
    with pytest.raises(ModelError) as told:
        parse("mine", entry)
    assert len(told.value.problems) >= 17
    text = str(told.value)
    for part in (
        "'mine, label'", "'mine, status'", "colour", "source", "'mine, dose 1, drug'", "'mine, dose 1, amount'",
        "'tocilizumab'", "'mine, dose 2, unit'",
        "'mine, dose 2, route'", "'mine, dose 2, every_h'", "'mine, dose 3, time_h'", "'mine, dose 3, amount'",
        "'mine, rule 1, crs'", "'mine, rule 1, give'", "'mine, rule 2, above'", "'mine, rule 2, dose 1, time_h'",
        "'mine, rule 3'", "'mine, rule 3, lockout_h'",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    "entry", [3, {"source": "", "doses": 3}, {"source": "", "doses": "daily"}, {"source": "", "rules": {}}]
)
def test_tables_of_another_shape(entry: object) -> None:
    with pytest.raises(ModelError, match="expected a"):
        parse("mine", entry)  # type: ignore[arg-type]


def test_files_of_regimens(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[pause]\nlabel = "Pause"\nsource = "us"\nstatus = "assumed"\n'
        "[[pause.rules]]\nicans = 2\n"
        'give = [{ time_h = 0, drug = "dasatinib", amount = 100, unit = "mg", route = "po" }]\n',
        encoding="utf-8",
    )
    found = read_regimens(file)["pause"]
    assert isinstance(found, Regimen)
    assert found.drugs == ("dasatinib",)
    file.write_text("[a]\nx = ", encoding="utf-8")
    with pytest.raises(ModelError, match="TOML"):
        read_regimens(file)
    with pytest.raises(ModelError, match="tocilizumab_day_2"):
        regimen("tocilizumab_day2")


@pytest.mark.parametrize(("weight", "surface"), [(0.0, 1.8), (float("nan"), 1.8), (70.0, -1.0)])
def test_impossible_sizes(weight: float, surface: float) -> None:
    with pytest.raises(ModelError, match="expected a number above 0"):
        regimen("tocilizumab_day_2").given(weight, surface)


def test_covariate_effects_name_parameters_that_exist() -> None:
    table = read_parameters()
    for effect in effects():
        assert effect.parameter in table
        assert effect.status in STATUSES
        assert effect.form in ("power", "flag")
        assert effect.of(effect.reference if effect.form == "power" else False) == 1.0


def test_covariate_factors() -> None:
    found = factors({"weight_kg": 140.0, "female": True})
    assert found["anak_clf"] == pytest.approx(2**0.47)
    assert found["toci_cl"] == pytest.approx(0.84)
    assert factors({"female": False})["toci_cl"] == 1.0
    with pytest.raises(ModelError, match="weight_kg"):
        factors({"weight": 80.0})
    with pytest.raises(ModelError, match="above 0"):
        factors({"albumin": -3.0})


def test_correlations_make_regular_matrices() -> None:
    """Every drug's random effects have a positive definite covariance, of parameters that vary."""
    table, pairs = read_parameters(), correlations()
    for prefix in {a.split("_")[0] for a, _ in pairs}:
        names = sorted({n for pair in pairs for n in pair if n.startswith(prefix)})
        assert all(table[n].iiv > 0 for n in names)
        matrix = np.eye(len(names))
        for (a, b), value in pairs.items():
            if a in names:
                matrix[names.index(a), names.index(b)] = matrix[names.index(b), names.index(a)] = value
        assert np.linalg.eigvalsh(matrix).min() > 0.005
