"""A feature table as arrays gives a fitted model what the data frame gives it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from forecast_cohorts import simulated
from icans.core.errors import NotFittedError
from icans.forecast.crossval import Design
from icans.forecast.final import FinalModel, fit_final
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.stack import FittedStack, integration_rung
from icans.forecast.models.base import summed
from icans.forecast.models.boosting import FittedBoosting
from icans.forecast.models.coherent import isotonic
from icans.forecast.models.logistic import FittedLogistic
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.plain import Plain
from icans.forecast.preprocess import PrepareSpec, preprocessor

COHORT = simulated(60, seed=1)
DESIGN = Design(landmarks_h=(48.0, 96.0), horizons=(Horizon(72.0), Horizon(168.0), Horizon(720.0, True)))


def features(rows: int, seed: int, words: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    """A feature table with numbers, yes/no, categories and gaps."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_arrays([[f"p{k}" for k in range(rows)], np.repeat(48.0, rows)],
                                      names=["patient_id", "landmark_h"])  # fmt: skip
    numbers = rng.normal(size=(rows, 4))
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    table = pd.DataFrame(np.exp(numbers), index=index, columns=["lab.crp.last", "day", "static.age_y", "grade.CRS.now"])
    table["drug.x.given"] = rng.random(rows) < 0.5
    text = np.where(rng.random(rows) < 0.2, None, rng.choice(list(words), rows))
    table.insert(1, "static.site", pd.Categorical(text, categories=sorted(words)))
    table["static.word"] = pd.Series(rng.choice(list(words), rows), index=index, dtype=object)
    return table


@pytest.mark.parametrize("spec", [PrepareSpec(), PrepareSpec(indicators=True), PrepareSpec("none", None, False, False)])
def test_a_preparation_gives_the_same_numbers(spec: PrepareSpec) -> None:
    pipeline = preprocessor(spec)
    pipeline.learn(features(80, 0))
    for table in (features(30, 1), features(1, 2), features(25, 3, ("b", "z")), features(30, 1)[:0]):
        plain = Plain.of(table)
        np.testing.assert_array_equal(pipeline.matrix(plain), pipeline.matrix(table))
        # Columns of a table that another model has seen: one is missing, one comes in between, another order.
        other = table.drop(columns=["static.site", "lab.crp.last"]).assign(extra=1.0).iloc[:, ::-1]
        wanted = other.reindex(columns=table.columns)
        again = Plain.of(other).reindexed(table.columns.tolist())
        assert again.columns == table.columns.tolist()
        np.testing.assert_array_equal(pipeline.matrix(again), pipeline.matrix(wanted))


def test_columns_rows_and_presence_are_those_of_the_table() -> None:
    table = features(20, 4)
    plain = Plain.of(table)
    assert (len(plain), plain.shape, plain.columns) == (20, table.shape, table.columns.tolist())
    for names in (["static.site"], ["lab.crp.last", "static.age_y"], ["static.site", "day"], []):
        wanted = table[names].notna().to_numpy().any(axis=1)
        np.testing.assert_array_equal(plain.present([*names, "not there"]), wanted)
    mask = np.arange(20) % 3 == 0
    some = plain.rows(mask)
    assert some.index.equals(table.index[mask])
    np.testing.assert_array_equal(some.numbers(["day"]), table.loc[mask, ["day"]].to_numpy())
    assert some.coded("static.site")[0].tolist() == table["static.site"].cat.codes[mask].tolist()
    assert plain.rows(mask | True) is plain
    with pytest.raises(KeyError, match="nowhere"):
        plain[["day", "nowhere"]]


def test_words_that_are_no_numbers_are_refused_where_numbers_are_wanted() -> None:
    table = features(5, 6)
    with pytest.raises(ValueError, match="could not convert"):
        Plain.of(table).numbers(["day", "static.word"])
    spoken = table.assign(day=pd.Categorical(["1.5", None, "2", "2", "1.5"]))
    np.testing.assert_array_equal(Plain.of(spoken).numbers(["day"]).ravel(), [1.5, np.nan, 2.0, 2.0, 1.5])
    with pytest.raises(NotFittedError, match="before it was fitted"):
        preprocessor().matrix(Plain.of(table))


@pytest.fixture(scope="module")
def hybrid() -> FinalModel:
    """An integration layer over modalities, with one refit."""
    return fit_final(COHORT, TASKS["icans_any"], integration_rung(), DESIGN, refits=1)


def test_a_hybrid_says_the_same_with_arrays_and_with_data_frames(
    hybrid: FinalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = COHORT.patient_ids[:12]
    quick, _ = hybrid.forecast(COHORT, 60.0, ids)
    inputs = hybrid.inputs_of(COHORT, ids, 60.0)
    stack = hybrid.fitted.model
    assert isinstance(stack, FittedStack)
    assert {type(m.model) for m in stack.members} == {FittedBoosting, FittedLogistic}
    quick_reasons = stack.every_reasons(inputs, stack.horizons)
    for kind in (FittedBoosting, FittedLogistic):
        monkeypatch.setattr(kind, "takes_plain", False)
    monkeypatch.setattr(FittedStack, "takes_inputs", False)
    slow, _ = hybrid.forecast(COHORT, 60.0, ids)
    assert [replace(f, reasons=()) for f in quick] == [replace(f, reasons=()) for f in slow]
    for one, other in zip(quick, slow, strict=True):
        assert [r.feature for r in one.reasons] == [r.feature for r in other.reasons]
        assert [r.contribution for r in one.reasons] == pytest.approx([r.contribution for r in other.reasons])
    for horizon, found in zip(stack.horizons, quick_reasons, strict=True):
        pd.testing.assert_frame_equal(found, stack.reasons(Inputs.of(inputs.table), horizon))


def test_inputs_make_their_arrays_once(hybrid: FinalModel) -> None:
    inputs = hybrid.inputs_of(COHORT, COHORT.patient_ids[:3], 60.0)
    assert inputs.plain is inputs.plain
    assert inputs[np.ones(3, dtype=bool)] is inputs
    assert len(inputs[np.array([True, False, True])].plain) == 2


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.integers(0, 2**16))
def test_columns_of_one_name_are_added_as_pandas_adds_them(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(3, len(names)))
    parts[rng.random(parts.shape) < 0.2] = np.nan
    told, values = summed(names, parts)
    wanted = pd.DataFrame(parts, columns=names).T.groupby(level=0, sort=False).sum().T
    assert told == wanted.columns.tolist()
    np.testing.assert_allclose(values, wanted.to_numpy(), atol=1e-14)


@given(st.integers(1, 6), st.integers(0, 2**16))
def test_risks_in_order_are_those_of_isotonic_regression(size: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((5, size))
    values[0].sort()
    wanted = [isotonic_regression(row) for row in values]
    np.testing.assert_allclose(isotonic(values), wanted, atol=1e-12)
    np.testing.assert_array_equal(isotonic(values)[0], values[0])
