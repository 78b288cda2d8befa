"""Whatever a daily table holds: each filled cell becomes one row, nothing is known early, nothing is lost untold."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from icans.cohort import schema
from icans.core.errors import DataError
from icans.datasets import bwh, load, nulisa

value = st.one_of(st.none(), st.floats(0, 400, allow_subnormal=False).map(lambda v: round(v, 2)))
grade = st.one_of(st.none(), st.integers(0, 8).map(lambda g: g / 2))


@st.composite
def daily_tables(draw):
    """Tables in the layout of bwh_icans with gaps, repeats, separate series and CRS in any combination.

    The column ``series`` says which rows belong together; the reader does not see it.
    """
    start = st.tuples(st.integers(1, 4), st.integers(-3, 3), st.integers(1, 5))
    stretches = draw(st.lists(start, min_size=1, max_size=5))
    # Two series of one number that follow each other directly can be told apart only when days come again.
    stretches = [s for i, s in enumerate(stretches) if i == 0 or s[0] != stretches[i - 1][0]]
    rows = []
    for series, (sid, first, length) in enumerate(stretches):
        limits = [(0, 4), (-1, 9), (-1, 9), (0, 3)]
        crs = [draw(st.one_of(st.none(), st.integers(low, high))) for low, high in limits]
        for day in range(first, first + length):
            person = {"SID": sid, "Age": 60, "Sex": draw(st.sampled_from(["F", "M", "m"])), "Diagnosis": None,
                      "Subtype": "DLBCL", "Aggressive": 1, "HospitalDay": day, "From DR": None,
                      "series": series}  # fmt: skip
            cells = {name: draw(value) for name in bwh.ANALYTES}
            once = dict(zip(bwh.CRS, crs if day == first else [None] * 4))
            rows += [{**person, **cells, **once, "meanscore": draw(grade)}] * draw(st.sampled_from([1, 1, 1, 2]))
    return pd.DataFrame(rows)


def loaded(name: str, file: str, frame: pd.DataFrame):
    """The cohort of a table written to a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        frame.drop(columns="series", errors="ignore").to_csv(Path(folder) / file, index=False)
        return load(name, folder)


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(daily_tables())
def test_each_filled_cell_of_a_day_is_one_row(frame):
    cohort = loaded("bwh_icans", "daily.csv", frame)
    filled = frame.groupby(["series", "HospitalDay"])[[*bwh.ANALYTES, "meanscore"]].count() > 0
    assert len(cohort) == frame["series"].nunique()
    assert len(cohort.measurements) == int(filled[list(bwh.ANALYTES)].sum().sum())
    icans = cohort.grades[cohort.grades["toxicity"] == "ICANS"]
    assert len(icans) == int(filled["meanscore"].sum())


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(daily_tables())
def test_keys_are_unique_and_nothing_is_known_early(frame):
    cohort = loaded("bwh_icans", "daily.csv", frame)
    for name, definition in schema.TABLES.items():
        table = cohort.table(name)
        assert not table.duplicated(list(definition.key)).any(), name
        if "time_h" in table:
            assert (table["available_h"] >= table["time_h"]).all(), name


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(daily_tables())
def test_crs_rows_never_tell_more_than_the_file(frame):
    cohort = loaded("bwh_icans", "daily.csv", frame)
    crs = cohort.grades[(cohort.grades["toxicity"] == "CRS") & ~cohort.grades["lower_bound"]]
    assert set(crs["grade"]) <= set(frame["CRS Peak Severity"].dropna())
    assert crs["patient_id"].is_unique
    at_least = cohort.grades[cohort.grades["lower_bound"]]
    assert set(at_least["grade"]) <= {1.0}


flag = st.sampled_from([None, 0, 1])
product_days = st.tuples(
    st.integers(1, 3), st.sampled_from(["Yes", "Kym", "Bre", "Tec", "KTE-C19"]), st.integers(0, 14)
)


@given(st.dictionaries(product_days, st.tuples(*[flag] * 6), min_size=1, max_size=15))
def test_every_flag_is_a_treatment_and_every_grade_a_row(rows):
    columns = ["patient", "product_code", "day", *nulisa.GRADES, *nulisa.FLAGS]
    frame = pd.DataFrame([key + flags for key, flags in rows.items()], columns=columns)
    frame["patient_id"] = "P" + frame["patient"].astype(str) + frame["product_code"]
    cohort = loaded("nulisa_cart_lbcl", "daily_toxicity.csv", frame.drop(columns="patient"))
    assert len(cohort.grades) == int(frame[list(nulisa.GRADES)].notna().sum().sum())
    assert len(cohort.treatments) == int((frame[nulisa.FLAGS] == 1).sum().sum())
    assert cohort.patients["product"].notna().all()


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(daily_tables(), st.integers(0, 10**6), st.sampled_from(["abc", "12,5", "<5", "--"]))
def test_a_cell_that_is_no_number_is_always_named(frame, place, text):
    column = list(bwh.ANALYTES)[place % len(bwh.ANALYTES)]
    row = place % len(frame)
    spoilt = frame.astype({column: object})
    spoilt.iloc[row, spoilt.columns.get_loc(column)] = text
    with pytest.raises(DataError) as caught:
        loaded("bwh_icans", "daily.csv", spoilt)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.value) == (row + 2, column, text)


@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(daily_tables(), st.sampled_from(bwh.NUMBERS))
def test_a_lost_column_is_always_named(frame, column):
    with pytest.raises(DataError) as caught:
        loaded("bwh_icans", "daily.csv", frame.drop(columns=column))
    assert [problem.column for problem in caught.value.problems] == [column]


@pytest.mark.parametrize(("days", "patients"), [
    ([0, 1, 2, 0, 1, 2], 2),  # begins again
    ([0, 1, 1, 2], 1),  # one day twice
    ([0, 2, 1, 3], 1),  # only out of order
    ([0, 1, 0, 1, 0], 3),
])  # fmt: skip
def test_days_that_begin_again_are_another_series(days, patients):
    person = {"SID": 1, "Age": 60, "Sex": "F", "Diagnosis": None, "Subtype": "FL", "Aggressive": 1, "From DR": None}
    empty = dict.fromkeys([*bwh.CRS, *bwh.ANALYTES, "meanscore"])
    frame = pd.DataFrame([{**person, **empty, "Temp": 37.0, "HospitalDay": day} for day in days])
    assert len(loaded("bwh_icans", "daily.csv", frame)) == patients


def test_numbers_stay_as_they_are_written():
    frame = pd.DataFrame([{"SID": 1, "Age": 60, "Sex": "F", "Diagnosis": None, "Subtype": "DLBCL", "Aggressive": 1,
                           "HospitalDay": 0, "From DR": None, "meanscore": 0.5, **dict.fromkeys(bwh.CRS),
                           **dict.fromkeys(bwh.ANALYTES, 37.123456789)}])  # fmt: skip
    values = loaded("bwh_icans", "daily.csv", frame).measurements["value"]
    np.testing.assert_array_equal(values, 37.123456789)
