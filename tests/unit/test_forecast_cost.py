"""A forecast from a stored model loads only what it needs, and the short cuts give what the long ways give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from icans.cohort.cohort import Cohort
from icans.cohort.folder import write_folder
from icans.cohort.table_checks import _keeps_contract, contract
from icans.cohort.vocabulary import analytes, known_units
from icans.core import units
from icans.core.errors import UnitError
from icans.datasets.demo import demo_cohort
from icans.forecast.catalogue import recipe
from icans.forecast.crossval import Design
from icans.forecast.final import fit_final
from icans.forecast.mechanistic import library as members
from icans.forecast.mechanistic import likelihood, normal
from icans.forecast.mechanistic.kernels import add_terms
from icans.forecast.mechanistic.likelihood import add_few
from icans.forecast.mechanistic.normal import FEW, ndtr
from icans.forecast.model_file import write_model
from icans.forecast.outcomes import TASKS, Horizon
from icans.harmonize.pipeline import harmonize
from icans.study.applying import forecast_cohort

#: What a forecast has no use for; each takes from a tenth of a second to two.
HEAVY = ("jax", "sklearn", "lightgbm", "lifelines", "numba", "pint", "ucumvert", "pandera", "matplotlib", "jinja2",
         "sympy", "scipy", "urllib.request")  # fmt: skip


@pytest.fixture(scope="module")
def delivered() -> Cohort:
    """Synthetic patients."""
    return demo_cohort(n=60, seed=11)


def test_a_forecast_from_a_stored_hybrid_loads_only_what_it_needs(
    delivered: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe("boosting_both")
    design = Design(landmarks_h=(72.0,), horizons=(Horizon(168.0),))
    model = fit_final(
        harmonize(delivered).cohort, TASKS["icans_any"], made.rung, design, blocks=made.blocks, refits=0
    )  # fmt: skip
    write_model(model, tmp_path / "m.icans")
    write_folder(delivered.subset(delivered.patient_ids[:1]), tmp_path / "one")
    code = (
        "import json, sys; from icans.study.applying import forecast_cohort;"
        "found = forecast_cohort(sys.argv[1], sys.argv[2], at_d=1);"
        "print(json.dumps([[f.risk for f in found.forecasts], sorted(sys.modules)]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.icans"), str(tmp_path / "one")],
        check=True, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    risks, loaded = json.loads(told.stdout)
    assert len(risks) == 1
    assert 0.0 < risks[0] < 1.0
    assert sorted(set(HEAVY) & set(loaded)) == []
    # The long ways (compiled loop, scipy) give the same number.
    monkeypatch.setattr(likelihood, "FEW", -1)
    monkeypatch.setattr(normal, "FEW", -1)
    (here,) = forecast_cohort(tmp_path / "m.icans", str(tmp_path / "one"), at_d=1).forecasts
    assert risks[0] == pytest.approx(here.risk, abs=1e-6)


def test_stored_conversions_are_those_of_the_libraries() -> None:
    codes, stored = units._known()
    assert len(stored) > 500
    for source, target, mass in list(stored)[::25]:
        assert stored[source, target, mass] == units.measured_affine(source, target, mass)
    assert all(units.measured_ucum(code) for code in sorted(codes)[::4])


def test_every_unit_that_the_vocabulary_names_is_stored() -> None:
    codes, stored = units._known()
    for entry in analytes().values():
        for unit in (entry.unit, *entry.also):
            assert units.ucum(unit) in codes
    wanted = [row for row in known_units.pairs() if row not in stored]
    for source, target, mass in wanted[::200]:
        with pytest.raises(UnitError):
            units.measured_affine(source, target, mass)


def test_a_unit_without_dimension_and_a_molar_mass_are_told_and_do_not_crash() -> None:
    with pytest.raises(UnitError, match="no conversion from '%' to 'mg/dL'"):
        units.convert([1.0], "%", "mg/dL", molar_mass_g_mol=113.12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_distribution_is_scipys_for_few_values_and_for_many(dtype: type) -> None:
    for count in (2_001, FEW + 1):
        z = np.r_[np.linspace(-12.0, 12.0, count - 2), -np.inf, np.inf].astype(dtype)
        found = ndtr(z)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, special.ndtr(z), rtol=1e-6 if dtype == np.float32 else 1e-13)
    assert ndtr(np.zeros((2, 0), dtype=dtype)).shape == (2, 0)


def test_few_values_add_what_the_compiled_loop_adds() -> None:
    rng = np.random.default_rng(3)
    series = rng.normal(size=(61, 200)).astype(np.float32)
    row = np.sort(rng.integers(0, 4, 50))
    low, part, value = rng.integers(0, 60, 50), rng.random(50), rng.normal(size=50) * 3.0
    few, many = np.zeros((5, 200), dtype=np.float32), np.zeros((5, 200), dtype=np.float32)
    add_few(few, series, low, part, value, row, 0.4)
    add_terms(many, series, low, part, value, row, 0.4)
    np.testing.assert_allclose(few, many, rtol=2e-6, atol=2e-5)
    assert (many[:4] != 0.0).all()


def test_the_key_of_a_library_is_kept_and_is_that_of_the_equations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "_folder", lambda: tmp_path)
    key = members.computed_key(members.Recipe())
    members.recipe_key.cache_clear()
    assert members.recipe_key(members.Recipe()) == key
    (file,) = tmp_path.glob("*.key")
    assert file.read_text() == key
    monkeypatch.setattr(members, "computed_key", lambda _: pytest.fail("the kept key was not used"))
    members.recipe_key.cache_clear()
    assert members.recipe_key(members.Recipe()) == key
    monkeypatch.setattr(members, "code_state", lambda: "other code")  # and other code asks again
    monkeypatch.setattr(members, "computed_key", lambda _: "other key")
    members.recipe_key.cache_clear()
    assert members.recipe_key(members.Recipe()) == "other key"
    members.recipe_key.cache_clear()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("measurements", "censor", "sometimes"), ("measurements", "patient_id", None), ("measurements", "analyte", ""),
     ("measurements", "time_h", 1e9), ("measurements", "time_h", np.nan), ("measurements", "value", np.nan),
     ("patients", "age_y", -1.0), ("grades", "grade", 9.0), ("measurements", "value", 5.0)],
)  # fmt: skip
def test_the_quick_look_at_a_table_agrees_with_its_contract(
    delivered: Cohort, table: str, column: str, value: object
) -> None:
    frame = delivered.table(table).copy()
    assert _keeps_contract(frame, table)
    frame.loc[frame.index[3], column] = value
    assert _keeps_contract(frame, table) == _pandera_accepts(frame, table)


def _pandera_accepts(frame: pd.DataFrame, table: str) -> bool:
    import pandera.errors

    try:
        contract(table).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors:
        return False
    return True
