"""Numbers and times as people read them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.report import format as fmt


def test_estimate_reads_as_agreed():
    assert fmt.estimate(0.7401, 0.66, 0.8149) == "0.74 (0.66 to 0.81)"
    assert fmt.estimate(-0.02, -0.1, 0.06) == "−0.02 (−0.10 to 0.06)"
    assert fmt.estimate(0.5) == "0.50"
    assert fmt.estimate(np.nan, 0.1, 0.2) == fmt.NOTHING


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT, float("nan")])
def test_what_is_absent_is_a_dash(nothing):
    shown = [
        fmt.number(nothing),
        fmt.significant(nothing),
        fmt.percent(nothing),
        fmt.days(nothing),
        fmt.landmark(nothing),
    ]
    assert shown == [fmt.NOTHING] * 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (37.24, "37.2"),
        (1234.6, "1,235"),
        (0.01234, "0.0123"),
        (0, "0"),
        (-5.5, "−5.50"),
        (999.6, "1,000"),
        (2.0, "2.00"),
    ],
)
def test_significant_digits(value, shown):
    assert fmt.significant(value) == shown


def test_compact_drops_only_zeros_behind_the_point():
    assert [fmt.compact(v) for v in (59.0, 64.5, 100.0, 1000.0, 0.10)] == ["59", "64.5", "100", "1,000", "0.1"]


def test_no_negative_zero():
    assert fmt.number(-0.001) == "0.00"


def test_times_are_days():
    assert fmt.landmark(72.0) == "day 3"
    assert fmt.landmark(84.0) == "day 3.5"
    assert fmt.horizon(24.0) == "1 day"
    assert fmt.horizon(168.0) == "7 days"
    assert fmt.days(-24.0) == "−1"


def test_units_as_people_write_them():
    assert fmt.unit("Cel") == "°C"
    assert fmt.unit("10*9/L") == "10⁹/L"
    assert fmt.unit("10*3/uL") == "10³/µL"
    assert fmt.unit("mm[Hg]") == "mmHg"
    assert fmt.unit("mg/L{FEU}") == "mg/L FEU"
    assert fmt.unit(None) == fmt.unit("?") == "unit not declared"


def test_words_in_a_row():
    assert fmt.joined(["a"]) == "a"
    assert fmt.joined(["a", "b", "c"]) == "a, b and c"
    assert fmt.joined([]) == ""
    assert fmt.plural(1, "patient") == "1 patient"
    assert fmt.plural(1200, "patient") == "1,200 patients"


@given(st.floats(min_value=1e-5, max_value=1e9))
def test_significant_is_near_the_value(value):
    shown = float(fmt.significant(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.006, abs=1e-6)
