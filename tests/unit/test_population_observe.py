"""Grades of latent courses: cuts, times, stray events; quantities of small populations that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from icans.population.observe import Scheme, first_crossing, grade, last_crossing, median
from icans.population.quantities import View, area, evaluate
from icans.population.readings import readings

DAYS = np.arange(0.0, 30.0, 0.25)
CUTS = Scheme((1.0, 2.0, 3.0, 4.0, 5.0))


def tent(top, begin, peak, end):
    """A course that rises from 0 at ``begin`` to ``top`` at ``peak`` and falls to 0 at ``end``."""
    return np.interp(DAYS, [begin, peak, end], [0.0, top, 0.0])


def view(crs, nt, **more):
    n = len(crs)
    zero = np.zeros(n)
    stray = {"any": zero + 0.999, "mild": zero, "onset": zero, "duration": zero}
    fields = {
        "times": DAYS, "series": {"crs_severity": np.array(crs), "encephalopathy": np.array(nt), **more},
        "covariates": pd.DataFrame({"target": ["CD19"] * n}), "weights": np.full(n, 1.0 / n),
        "readings": readings({f"{t}.astct.{g}": float(g) for t in ("crs", "nt") for g in range(1, 6)}),
        "noise": {"crs": zero, "nt": zero}, "stray": stray, "uniform": {"seizure": zero},
        "treated": zero + 3.0, "steroid": np.zeros(n, bool),
    }  # fmt: skip
    return View(**fields)


class TestGrade:
    def test_grade_onset_peak_and_end_of_a_tent(self):
        seen = grade(DAYS, tent(3.5, 2.0, 9.0, 16.0)[None], CUTS, np.zeros(1))
        assert seen.grade[0] == 3
        assert seen.onset[0] == pytest.approx(4.0, abs=0.02)  # a seventh of the way a day
        assert seen.peak[0] == pytest.approx(8.0, abs=0.05)  # grade 3 is reached at 3.0 of 3.5
        assert seen.end[0] == pytest.approx(14.0, abs=0.02)
        assert seen.duration_days[0] in (10.0, 11.0)

    def test_no_event_has_no_times(self):
        seen = grade(DAYS, np.zeros((2, len(DAYS))), CUTS, np.zeros(2))
        assert (seen.grade == 0).all()
        assert np.isnan(seen.onset).all()

    def test_a_stray_event_is_mild_and_of_its_own_time(self):
        broad = Scheme(CUTS.cuts, stray=0.5)
        stray = {"any": np.array([0.1, 0.9]), "mild": np.zeros(2), "onset": np.zeros(2), "duration": np.zeros(2)}
        seen = grade(DAYS, np.zeros((2, len(DAYS))), broad, np.zeros(2), stray)
        assert list(seen.grade) == [1, 0]
        assert seen.onset[0] == broad.stray_onset_d

    @given(st.floats(0.0, 6.0), st.floats(0.1, 3.0))
    def test_grades_rise_with_severity(self, top, more):
        low, high = (grade(DAYS, tent(t, 1.0, 5.0, 9.0)[None], CUTS, np.zeros(1)).grade[0] for t in (top, top + more))
        assert low <= high

    @given(st.floats(0.5, 5.0))
    def test_crossings_enclose_the_time_above(self, level):
        course = tent(5.5, 2.0, 8.0, 20.0)[None]
        first, last = first_crossing(DAYS, course, level)[0], last_crossing(DAYS, course, level)[0]
        assert first == pytest.approx(2.0 + 6.0 * level / 5.5, abs=1e-6)
        assert last == pytest.approx(20.0 - 12.0 * level / 5.5, abs=1e-6)


class TestQuantities:
    def test_incidences_and_conditions(self):
        crs = [tent(t, 1, 3, 8) for t in (0.0, 1.5, 2.5, 3.5)]
        nt = [tent(t, 4, 6, 9) for t in (0.0, 0.0, 1.2, 3.2)]
        seen = view(crs, nt)
        assert evaluate(seen, "inc crs>=1") == pytest.approx(75)
        assert evaluate(seen, "inc crs==2") == pytest.approx(25)
        assert evaluate(seen, "inc nt>=3 | crs>=3") == pytest.approx(100)
        assert evaluate(seen, "inc nt>=1 | crs<=2") == pytest.approx(100 / 3)
        assert evaluate(seen, "either") == pytest.approx(75)
        assert np.isnan(evaluate(seen, "inc nt>=1 | crs>=5"))

    def test_times(self):
        seen = view([tent(2, 1, 3, 7)] * 3, [tent(2, 4, 6, 10)] * 3)
        assert evaluate(seen, "onset crs") == 2
        assert evaluate(seen, "onset nt") == 5
        assert evaluate(seen, "lag crs to nt") == 3
        assert evaluate(seen, "duration nt") in (4, 5)
        assert evaluate(seen, "resolved nt 10") == 100
        assert evaluate(seen, "free 1") == 100
        assert evaluate(seen, "first by 3") == 100

    def test_markers_at_treatment(self):
        level = np.array([10.0 + DAYS, 20.0 + DAYS])
        seen = view([tent(2, 1, 3, 7)] * 2, [tent(0, 1, 2, 3)] * 2, ANG2=level)
        assert evaluate(seen, "marker ANG2 baseline") == pytest.approx(15.0, abs=5.0)
        assert evaluate(seen, "marker ANG2 onset") - evaluate(seen, "marker ANG2 baseline") == pytest.approx(3.0)
        assert evaluate(seen, "marker ANG2 after treatment") - evaluate(seen, "marker ANG2 onset") == pytest.approx(1.5)

    @given(st.integers(0, 1000))
    def test_area_agrees_with_scikit_learn(self, seed):
        random = np.random.default_rng(seed)
        value, w = np.round(random.standard_normal(60), 1), random.random(60)
        hit = np.append(random.random(58) < 0.4, [True, False])
        assert area(value, hit, w) == pytest.approx(roc_auc_score(hit, value, sample_weight=w))

    def test_median_of_equal_weights_is_the_median(self):
        values = np.array([3.0, np.nan, 1.0, 2.0])
        assert median(values, np.ones(4)) == 2.0

    def test_unknown_quantity(self):
        with pytest.raises(KeyError):
            evaluate(view([tent(1, 1, 2, 3)], [tent(1, 1, 2, 3)]), "inc something")
