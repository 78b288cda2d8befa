"""Any subset of modalities gives a probability; weights are shares; the order of patients is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core.random import stream
from icans.evaluate.discrimination import cumulative_dynamic_auc
from icans.forecast.inputs import Inputs
from integrate_tables import HORIZONS, Truth, quick_stack, truth

DATA = truth(110, 8)
NEW = truth(25, 9, missing=0.2)
COLUMNS = [c for c in NEW.table.columns if c != "day"]


@pytest.fixture(scope="module")
def fitted():
    return quick_stack(DATA.table).fit(DATA.table, DATA.outcome, HORIZONS, 1)


@given(st.sets(st.sampled_from(COLUMNS)), st.booleans(), st.sampled_from([1.0, 1e6, -1e6]))
@settings(max_examples=25)
def test_any_subset_of_modalities_gives_a_probability(fitted, taken, drop, factor):
    """Columns that are gone, empty, or hold values no patient has."""
    table = NEW.table.drop(columns=list(taken)) if drop else NEW.table.assign(**dict.fromkeys(taken, np.nan))
    table = table.assign(**{c: table[c] * factor for c in table.columns if c != "day"})
    risk = fitted.risks(Inputs.of(table))
    assert np.isfinite(risk).all()
    assert ((risk > 0) & (risk < 1)).all()
    weights = fitted.weights(table)
    present = np.column_stack([m.present(table) for m in fitted.members])
    assert (weights.to_numpy()[~present] == 0).all()
    total = weights.sum(axis=1)
    assert np.allclose(total[present.any(axis=1)], 1.0)
    assert (total[~present.any(axis=1)] == 0).all()


@given(st.integers(0, 10_000))
@settings(max_examples=2)
def test_the_order_of_rows_does_nothing(fitted, seed):
    order = stream(seed, "order").permutation(len(DATA.table))
    again = quick_stack(DATA.table).fit(DATA.table.iloc[order], DATA.outcome.iloc[order], HORIZONS, 1)
    assert np.allclose(again.risks(Inputs.of(NEW.table)), fitted.risks(Inputs.of(NEW.table)), atol=1e-6)


@given(st.sampled_from(["eeg.delta", "lab.il_6.last"]), st.integers(0, len(NEW.table) - 1))
@settings(max_examples=10)
def test_a_forecast_rises_with_what_its_experts_say(fitted, column, row):
    """Weights are never negative: where an expert's own risk rises, the forecast does not fall."""
    if np.isnan(NEW.table[column].iloc[row]):
        return
    one = NEW.table.iloc[[row] * 5].assign(**{column: np.linspace(0.2, 3.0, 5)})
    inputs = Inputs.of(one)
    member = next(m for m in fitted.members if column in m.columns)
    said = np.argsort(member.deviation(inputs, HORIZONS)[:, 1], kind="stable")
    assert (np.diff(fitted.risks(inputs)[said, 1]) >= -1e-12).all()


def test_labels_that_mean_nothing_are_not_learned():
    """Features handed to other patients: risks of new patients order them as chance does."""
    found = []
    for seed in range(3):
        data = truth(120, 20 + seed)
        ids = np.unique(data.outcome["patient_id"])
        shuffled = _shuffled(data, dict(zip(ids, stream(seed, "labels").permutation(ids), strict=True)))
        model = quick_stack(shuffled.table).fit(shuffled.table, shuffled.outcome, HORIZONS[1:], seed)
        new = truth(400, 40 + seed, landmarks=(24.0,))
        rows = new.outcome
        found.append(
            float(cumulative_dynamic_auc(rows["time_h"], rows["event"], model.predict(new.table, HORIZONS[1]), 120.0))
        )
    error = np.std(found, ddof=1) / 3**0.5
    assert abs(np.mean(found) - 0.5) < 4.3 * error + 0.01, found


def _shuffled(data: Truth, names: dict[str, str]) -> Truth:
    """Features handed to other patients, at landmarks where both are at risk."""
    outcome = data.outcome
    wanted = list(zip(outcome["patient_id"].map(names), outcome["landmark_h"], strict=True))
    known = [key in data.table.index for key in wanted]
    features = data.table.loc[[key for key, ok in zip(wanted, known, strict=True) if ok]]
    mine = outcome[known].reset_index(drop=True)
    features.index = data.table.index[known]
    return Truth(features, mine, data.risk[known])
