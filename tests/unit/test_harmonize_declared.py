"""A laboratory that declares no unit, beside laboratories that do: the declared rows are the measure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, make
from icans.core.random import stream
from icans.datasets.demo import demo_cohort
from icans.harmonize.pipeline import harmonize


def two_laboratories(factor: float, *, decimals: int = 2, patients: int = 30, seed: int = 0) -> Cohort:
    """CRP of two groups of patients, one declared in mg/L; the other's numbers are ``factor`` times as large."""
    rng = stream(seed, "laboratories")
    frames = []
    for batch, scale, unit in (("one", 1.0, "mg/L"), ("two", factor, np.nan)):
        level = rng.normal(np.log(30.0), 0.7, patients)
        for k in range(patients):
            value = (
                np.minimum(np.exp(level[k] + np.cumsum(rng.normal(0, 0.4, 8))), 150.0) * scale
            )  # possible thrice over
            frames.append(
                pd.DataFrame(
                    {
                        "patient_id": f"{batch}-{k}", "time_h": 24.0 * np.arange(8), "analyte": "crp",
                        "value": np.round(value, decimals), "unit": unit, "batch": batch,
                    }
                )
            )  # fmt: skip
    rows = pd.concat(frames, ignore_index=True)
    return make("two", {"patients": rows[["patient_id"]].drop_duplicates(), "measurements": rows})


def found(cohort: Cohort) -> pd.DataFrame:
    findings = harmonize(cohort).findings
    return findings[findings["kind"] == "unit.detected"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 2])
def test_mg_per_dl_without_a_unit_is_found_and_declared_rows_stay(seed: int, decimals: int):
    cohort = two_laboratories(0.1, decimals=decimals, seed=seed)
    mended = harmonize(cohort)
    one = found(cohort).iloc[0]
    assert (one["batch"], one["factor"]) == ("two", 10.0)
    assert one["confidence"] > 0.9
    before, after = cohort.measurements, mended.cohort.measurements
    declared = (before["batch"] == "one").to_numpy()
    np.testing.assert_array_equal(after["value"][declared], before["value"][declared])
    np.testing.assert_allclose(after["value"][~declared], 10 * before["value"][~declared], rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sicker", [1.0, 0.5, 2.0, 3.0])
def test_sicker_patients_are_not_another_unit(sicker: float, seed: int):
    assert found(two_laboratories(sicker, seed=seed)).empty


def test_the_synthetic_site_that_declares_nothing_is_found():
    mended = found(demo_cohort(n=120, seed=3)).set_index("analyte")
    assert mended.loc["crp", "factor"] == 10.0
    assert mended.loc["temperature", "proposal"].startswith("read as [degF]")
