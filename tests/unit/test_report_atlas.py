"""The atlas, by hand and against a slow reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import make
from icans.report.atlas import ALL, WINDOWS, Window, atlas, unclear_units
from icans.report.outcomes import worst_grade
from report_cohorts import synthetic_cohort


def tiny(values, unit="pg/mL", analyte="il_6", **columns):
    """A made-up cohort: ``values`` maps (patient, day) to a value."""
    patients = sorted({p for p, _ in values})
    labs = pd.DataFrame(
        [(p, 24.0 * d, analyte, v, unit) for (p, d), v in values.items()],
        columns=["patient_id", "time_h", "analyte", "value", "unit"],
    ).assign(**columns)
    return make("tiny", {"patients": pd.DataFrame({"patient_id": patients}), "measurements": labs})


def cell(table, window, stratum=ALL):
    mine = table[(table["window"] == window) & (table["stratum"] == stratum)]
    assert len(mine) == 1
    return mine.iloc[0]


def test_median_of_patients_and_log2_change_by_hand():
    base = {(f"p{i}", -1): v for i, v in enumerate([8, 9, 10, 11, 12])}
    later = {(f"p{i}", 5): v for i, v in enumerate([30, 35, 40, 45, 50])}
    table = atlas(tiny({**base, **later}))
    assert cell(table, "Baseline (to day 0)")["median"] == 10
    late = cell(table, "Days 4–6")
    assert (late["n"], late["median"], late["q1"], late["q3"]) == (5, 40, 35, 45)
    assert late["change"] == pytest.approx(2.0)
    assert cell(table, "Baseline (to day 0)")["change"] == 0.0


def test_a_patient_counts_once_in_a_window():
    values = {("a", 1): 1.0, ("a", 2): 3.0, ("a", 3): 5.0, **{(p, 1): 10.0 for p in "bcde"}}
    found = cell(atlas(tiny(values)), "Days 1–3")
    assert (found["n"], found["n_values"], found["median"]) == (5, 7, 10.0)


def test_few_patients_are_counted_but_never_summarised():
    found = cell(atlas(tiny({(p, 1): 10.0 for p in "abcd"})), "Days 1–3")
    assert found["n"] == 4
    assert not found["shown"]
    assert np.isnan([found["median"], found["q1"], found["change"]]).all()
    assert cell(atlas(tiny({(p, 1): 10.0 for p in "abcd"}), min_n=4), "Days 1–3")["median"] == 10.0


def test_temperature_changes_in_baseline_sds_not_in_ratios():
    base = {(f"p{i}", -1): v for i, v in enumerate([36.6, 36.8, 37.0, 37.2, 37.4])}
    later = {(f"p{i}", 5): 38.0 for i in range(5)}
    late = cell(atlas(tiny({**base, **later}, unit="Cel", analyte="temperature")), "Days 4–6")
    assert late["scale"] == "sd"
    assert late["change"] == pytest.approx((38.0 - 37.0) / (0.4 / 1.349))


def test_a_median_among_values_below_the_limit_is_only_a_bound():
    values = {(f"p{i}", 1): v for i, v in enumerate([1.0, 1.0, 1.0, 8.0, 9.0])}
    cohort = tiny(values)
    labs = cohort.measurements.copy()
    low = labs["value"] == 1.0
    labs["censor"] = labs["censor"].where(~low, "left")
    labs["limit"] = labs["limit"].where(~low, 2.5)
    found = cell(atlas(cohort.with_table("measurements", labs)), "Days 1–3")
    assert found["is_bound"]
    assert (found["median"], found["n_at_limit"]) == (2.5, 3)


def test_several_units_are_told_and_not_summarised():
    values = {(f"p{i}", 1): 10.0 for i in range(6)}
    cohort = tiny(values)
    labs = cohort.measurements.copy()
    labs["unit"] = ["pg/mL"] * 3 + ["ng/mL"] * 3
    table = atlas(cohort.with_table("measurements", labs))
    assert not table["shown"].any()
    assert unclear_units(table) == (["Interleukin 6"], [])
    labs["unit"] = None
    assert unclear_units(atlas(cohort.with_table("measurements", labs))) == ([], ["Interleukin 6"])


def test_windows_may_not_overlap():
    windows = (Window("a", 0, 24), Window("b", 12, 48))
    with pytest.raises(ValueError, match="overlaps"):
        atlas(synthetic_cohort(10), windows=windows)


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="severity"):
        atlas(synthetic_cohort(10), by="weather")


@pytest.mark.parametrize("by", [None, "icans", "severity"])
def test_every_number_against_a_slow_reference(by):
    cohort = synthetic_cohort(30)
    table = atlas(cohort, by=by)
    worst = worst_grade(cohort, "ICANS")
    members = {
        ALL: worst.index, "ICANS": worst.index[worst >= 1], "No ICANS": worst.index[worst < 1],
        "ICANS grade ≥ 3": worst.index[worst >= 3], "ICANS grade 1–2": worst.index[(worst >= 1) & (worst < 3)],
    }  # fmt: skip
    windows = {w.name: w for w in WINDOWS}
    for row in table.itertuples():
        labs = cohort.measurements
        labs = labs.assign(value=labs["limit"].where(labs["censor"] == "left", labs["value"]))
        window = windows[row.window]
        mine = labs[
            (labs["analyte"] == row.analyte) & (labs["time_h"] >= window.start_h) & (labs["time_h"] < window.end_h)
            & labs["value"].notna() & labs["patient_id"].isin(members[row.stratum])
        ]  # fmt: skip
        each = [float(np.median(part["value"])) for _, part in mine.groupby("patient_id")]
        assert row.n == len(each)
        assert row.n_values == len(mine)
        if len(each) >= 5:
            assert row.median == pytest.approx(np.median(each))
            assert (row.q1, row.q3) == pytest.approx(tuple(np.quantile(each, [0.25, 0.75])))
        else:
            assert not row.shown
    assert table["stratum"].nunique() == (1 if by is None else 3)


def test_sources_come_in_the_order_of_the_review():
    sources = list(dict.fromkeys(atlas(synthetic_cohort(30))["source"]))
    assert sources == ["Plasma, serum, blood", "CSF", "Vital signs and bedside"]


def test_no_measurements_no_rows():
    bare = make("bare", {"patients": pd.DataFrame({"patient_id": ["a"]})})
    assert atlas(bare).empty
