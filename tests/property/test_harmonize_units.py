"""Units found from numbers: analytes that are merely wide are left alone, mixtures are found, limits likewise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.cohort import vocabulary
from icans.harmonize.candidates import readings
from icans.harmonize.censoring import find_limits, piles
from icans.harmonize.regimes import judge

#: Analyte, mean and SD between patients of the logarithm, SD within a patient.
WIDE = [
    ("ferritin", 7.0, 1.4, 0.8), ("il_6", 3.0, 1.5, 1.5), ("wbc", 1.0, 0.8, 1.0), ("crp", 3.0, 1.2, 1.0),
    ("procalcitonin", -1.3, 1.0, 0.7), ("ldh", 5.6, 0.5, 0.4), ("ifn_g", 5.0, 2.0, 2.0), ("tnf", 2.0, 0.7, 0.5),
]  # fmt: skip
ROUNDING = ["0.1", "1", "sig3", "sig2", "none", "0.01"]


def simulate(seed: int, name: str, centre: float, between: float, within: float, rounding: str, patients: int = 40):
    """One analyte in one unit: patients' levels, an autoregressive course, rounding as laboratories round."""
    rng = np.random.default_rng(seed)
    count = rng.integers(5, 16, patients)
    owner = np.repeat(np.arange(patients), count)
    course = np.empty(count.sum())
    for k in range(len(course)):
        fresh = k == 0 or owner[k] != owner[k - 1]
        course[k] = rng.normal(0, within) if fresh else 0.7 * course[k - 1] + 0.71 * rng.normal(0, within)
    value = np.exp(rng.normal(centre, between, patients)[owner] + course)
    value = round_as(value, rounding)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{k:03d}" for k in owner],
            "time_h": np.concatenate([24.0 * np.arange(c) for c in count]),
            "analyte": name, "value": value, "batch": None, "unit": None, "censor": "none", "limit": np.nan,
        }
    )  # fmt: skip
    known = vocabulary.analyte(name)
    return table[(table["value"] >= known.low) & (table["value"] <= known.high)].reset_index(drop=True)


def round_as(value: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "none":
        return value
    if rounding.startswith("sig"):
        return np.array([float(f"{x:.{rounding[-1]}g}") for x in value])
    step = float(rounding)
    return np.round(np.round(value / step) * step, 6)


def found(table: pd.DataFrame) -> bool:
    return any((judged.state > 0).any() for judged in judge(table))


def test_one_unit_gives_no_finding_in_at_least_99_percent_of_simulations():
    false = [
        (seed, name)
        for seed in range(96)
        for name, *shape in [WIDE[seed % len(WIDE)]]
        if found(simulate(seed, name, *shape, ROUNDING[(seed // len(WIDE)) % len(ROUNDING)]))
    ]
    assert len(false) == 0, false


def test_two_habits_of_rounding_are_not_two_units():
    for seed in range(12):
        table = simulate(seed, "crp", 3.0, 1.2, 1.0, "0.1")
        whole = table["patient_id"] < "p020"
        table["value"] = np.where(whole, np.round(table["value"]), table["value"])
        assert not found(table[table["value"] > 0].reset_index(drop=True))


def test_limits_are_not_found_in_rounded_data():
    wrong = 0
    for seed in range(96):
        name, *shape = WIDE[seed % len(WIDE)]
        table = simulate(seed, name, *shape, ROUNDING[(seed // len(WIDE)) % len(ROUNDING)])
        value = table["value"].to_numpy()
        owner = pd.factorize(table["patient_id"])[0]
        wrong += sum(bool(piles(value[value > 0], side, owner[value > 0])) for side in ("left", "right"))
    assert wrong <= 1


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_fahrenheit_patients_are_found(seed: int, share: float):
    rng = np.random.default_rng(seed)
    patients, days = 30, 10
    level = rng.normal(37.2, 0.4, patients)[:, None] + rng.gamma(1.0, 0.4, (patients, days))
    celsius = np.clip(level, 35.0, 42.0)
    warm = rng.random(patients) < share
    stored = np.where(warm[:, None], np.round(celsius * 9 / 5 + 32, 1), np.round(celsius, 1))
    table = table_of("temperature", stored)
    judged = judge(table)
    if not warm.any():
        assert not judged
        return
    truth = np.repeat(warm, days)[judged[0].index]
    assert ((judged[0].state == 1) == truth).all()
    assert judged[0].readings[1].label == "[degF]"


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000))
def test_tenfold_patients_are_found_through_values_that_cannot_be_and_decimals(seed: int):
    rng = np.random.default_rng(seed)
    patients, days = 40, 12
    crp = np.exp(rng.normal(3.5, 1.0, patients)[:, None] + 0.35 * rng.normal(size=(patients, days)).cumsum(axis=1))
    # Reflected at the assay's ends: a patient who stays at a ceiling of 300 tells nothing by decimals.
    crp = np.where(crp > 300.0, 300.0 * 300.0 / crp, crp)
    crp = np.round(np.clip(crp, 0.3, 300.0), 1)
    tenfold = np.arange(patients) < 20
    table = table_of("crp", np.where(tenfold[:, None], np.round(10 * crp), crp))
    judged = judge(table)
    if table.loc[table["value"] > 1050, "patient_id"].nunique() < 5:
        return
    truth = np.repeat(tenfold, days)[judged[0].index]
    right = (judged[0].state == 1) == truth
    assert right.mean() > 0.95
    sure = judged[0].confidence > 0.9
    assert (right[sure]).mean() > 0.99


@pytest.mark.parametrize(
    ("name", "label", "factor", "centre", "spread"),
    [
        ("haemoglobin", "g/L", 10.0, 10.0, 1.5), ("albumin", "g/L", 10.0, 3.5, 0.4),
        ("creatinine", "umol/L", 88.4, 1.0, 0.3), ("platelets", "/uL", 1000.0, 180.0, 60.0),
        ("fibrinogen", "g/L", 0.01, 350.0, 80.0), ("glucose", "mmol/L", 0.0555, 120.0, 30.0),
    ],
)  # fmt: skip
def test_a_second_unit_is_found_and_named(name: str, label: str, factor: float, centre: float, spread: float):
    rng = np.random.default_rng(5)
    value = np.maximum(rng.normal(centre, spread, (30, 1)) + 0.2 * spread * rng.normal(size=(30, 8)), 0.3 * centre)
    other = np.arange(30) < 10
    digits = 3 if factor < 1 else 1
    table = table_of(name, np.where(other[:, None], np.round(value * factor, digits), np.round(value, 2)))
    judged = judge(table)[0]
    truth = np.repeat(other, 8)
    named = np.array([r.label for r in judged.readings] + ["junk"])[judged.state]
    assert (named[truth] == label).mean() > 0.98
    assert (judged.state[~truth] == 0).all()


def test_a_single_shifted_decimal_point_is_a_row_of_its_own():
    rng = np.random.default_rng(3)
    stored = np.round(rng.normal(37.0, 0.4, (20, 12)), 1)
    stored[4, 6] = 371.0
    judged = judge(table_of("temperature", stored))[0]
    assert judged.state.astype(bool).sum() == 1
    k = int(np.flatnonzero(judged.state)[0])
    assert judged.readings[judged.state[k]].canonical(np.array([371.0]))[0] == pytest.approx(37.1)


def test_batches_that_differ_by_a_unit_within_the_possible_range_are_told_but_not_sure():
    """CRP in mg/dL among mg/L: nothing impossible, but batch, factor and grid agree.

    It could also be that the other batch is stored tenfold, so the confidence must not be high.
    """
    rng = np.random.default_rng(8)
    crp = np.exp(rng.normal(3.0, 0.8, (80, 1)) + 0.3 * rng.normal(size=(80, 8)))
    small = np.arange(80) < 40
    table = table_of("crp", np.where(small[:, None], np.round(crp / 10, 2), np.round(crp, 1)))
    table["batch"] = np.where(np.repeat(small, 8), "A", "B")
    judged = judge(table)[0]
    named = np.array([r.label for r in judged.readings] + ["junk"])[judged.state]
    truth = np.repeat(small, 8)[judged.index]
    assert (named[truth] == "mg/dL").all()
    assert (judged.state[~truth] == 0).all()
    assert (judged.confidence[truth] > 0.5).all()
    assert (judged.confidence[truth] < 0.9).all()


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), floor=st.floats(0.1, 0.4), top=st.floats(0.7, 0.95))
def test_true_limits_are_found_and_marked(seed: int, floor: float, top: float):
    rng = np.random.default_rng(seed)
    value = np.round(np.exp(rng.normal(4.0, 1.0, 600)), 1)
    low, high = np.round(np.quantile(value, [floor, top]), 1)
    table = table_of("il_6", np.clip(value, low, high).reshape(60, 10))
    limits = find_limits(table)
    assert {f.split()[-1] for f in limits.findings["proposal"]} == {f"{low:g}", f"{high:g}"}
    left = limits.table["censor"].to_numpy() == "left"
    assert (limits.table.loc[left, "value"] == low).all()
    assert (limits.table.loc[left, "limit"] == low).all()


@given(st.sampled_from(sorted(vocabulary.analytes())))
def test_readings_are_distinct_and_begin_with_the_identity(name: str):
    every = readings(vocabulary.analyte(name))
    assert every[0].slope == 1.0
    assert every[0].offset == 0.0
    assert len({(round(np.log10(r.slope), 3), round(r.offset, 3)) for r in every}) == len(every)


def table_of(name: str, stored: np.ndarray) -> pd.DataFrame:
    """Patients in rows, days in columns."""
    patients, days = stored.shape
    return pd.DataFrame(
        {
            "patient_id": np.repeat([f"p{k:03d}" for k in range(patients)], days),
            "time_h": np.tile(24.0 * np.arange(days), patients),
            "analyte": name, "value": stored.ravel(), "batch": None, "unit": None, "censor": "none", "limit": np.nan,
        }
    )  # fmt: skip
