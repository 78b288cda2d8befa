"""The demonstration cohort was given its grades by its own rules: grading its bedside findings must not exceed them.

Its patients are examined once a day and their delivered grade is the worst of the day, and part of the ICE items is
missing; so derived grades may be lower, never higher.
"""

from __future__ import annotations

import pandas as pd
import pytest

from icans.datasets.demo import demo_cohort
from icans.harmonize.grading.agreement import agreement
from icans.harmonize.grading.cohort import grade_cohort
from icans.harmonize.grading.options import GradingOptions


@pytest.fixture(scope="module")
def graded():
    chart = GradingOptions(charted_by_exception=("seizure", "motor", "oedema", "hypotension", "hypoxia"))
    return grade_cohort(demo_cohort(n=80, seed=3), options=chart).grades


@pytest.mark.parametrize(("toxicity", "least"), [("ICANS", 0.85), ("CRS", 0.99)])
def test_derived_grades_are_the_delivered_ones_or_lower_bounds_of_them(graded, toxicity, least):
    ours = graded[(graded["toxicity"] == toxicity) & (graded["scheme"] == "ASTCT")]
    derived, delivered = (ours[ours["source"] == source] for source in ("derived", "delivered"))
    pairs = derived.merge(delivered, on=["patient_id", "time_h"], suffixes=("", "_delivered"))
    assert len(pairs) > 500
    assert (pairs["grade"] <= pairs["grade_delivered"]).all()
    exact = pairs[~pairs["lower_bound"].astype(bool)]
    assert len(exact) > 100
    assert (exact["grade"] == exact["grade_delivered"]).mean() > 0.9
    result = agreement(pairs["grade_delivered"], pairs["grade"], replicates=200)
    assert result.exact > least
    assert result.higher_second == 0


@pytest.mark.parametrize("landmark_h", [30.0, 150.0, 400.0])
def test_a_derived_grade_needs_nothing_that_is_known_later(landmark_h):
    whole = demo_cohort(n=25, seed=5)
    named = ["ICANS/ASTCT", "ICANS/CARTOX", "CRS/ASTCT", "CRS/Penn", "IEC-HS/IEC-HS2023", "T-ICAHT_early"]

    def known(cohort):
        rows = grade_cohort(cohort, named).grades.query("source == 'derived'")
        return rows[rows["available_h"] <= landmark_h].reset_index(drop=True)

    early = known(whole.available_by(landmark_h))
    pd.testing.assert_frame_equal(known(whole), early)
    assert len(early) > 20
