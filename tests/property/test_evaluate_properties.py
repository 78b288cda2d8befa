"""What must hold for any outcome, forecast and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from icans.evaluate import brier, calibration, censoring, discrimination, net_benefit
from icans.evaluate.bootstrap import patient_counts


@st.composite
def studies(
    draw: st.DrawFn, low: int = 4, high: int = 40
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Times on a coarse grid (ties), event codes, risks, frequency weights, horizon within follow-up."""
    n = draw(st.integers(low, high))
    whole = st.lists(st.integers(0, 12), min_size=n, max_size=n)
    time = np.array(draw(whole), dtype=float) / 2
    event = np.array(draw(st.lists(st.sampled_from([0, 1, 2]), min_size=n, max_size=n)))
    risk = np.array(draw(st.lists(st.integers(0, 10), min_size=n, max_size=n))) / 10
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=float)
    horizon = draw(st.integers(1, 12)) / 2
    assume(weights.sum() > 0)
    return time, event, risk, weights, horizon


@given(studies())
def test_weighted_incidence_is_aalen_johansen_and_weights_add_up(study) -> None:
    time, event, _, weights, horizon = study
    status = censoring.horizon_status(time, event, horizon, weights)
    assume(np.isfinite(status.total).all())
    assert status.total.sum() == pytest.approx(weights.sum())
    assert status.incidence == pytest.approx(censoring.aalen_johansen(time, event, weights).at(horizon)[0])


@given(studies())
def test_incidences_and_event_free_share_add_up_to_one(study) -> None:
    time, event, _, weights, _ = study
    grid = np.arange(0, 7, 0.5)
    total = censoring.kaplan_meier(time, event, weights).at(grid)
    for cause in (1, 2):
        total = total + censoring.aalen_johansen(time, event, weights, cause).at(grid)
    np.testing.assert_allclose(total, 1.0)


@given(studies())
def test_weights_equal_copies_and_batches_equal_single_calls(study) -> None:
    time, event, risk, weights, horizon = study
    copies = np.repeat(np.arange(len(time)), weights.astype(int))
    t, e, r = time[copies], event[copies], risk[copies]
    batch = np.stack([np.ones(len(time)), weights])
    for metric in (
        discrimination.cumulative_dynamic_auc, discrimination.uno_c, brier.ipcw_brier, brier.ipcw_scaled_brier,
        discrimination.harrell_c,
    ):  # fmt: skip
        weighted = metric(time, event, risk, horizon, weights)
        np.testing.assert_allclose(weighted, metric(t, e, r, horizon), atol=1e-9)
        np.testing.assert_allclose(metric(time, event, risk, horizon, batch)[1], weighted, atol=1e-9)
    status = censoring.horizon_status(time, event, horizon, batch)
    assume(np.isfinite(status.total).all())
    one = calibration.calibration(time, event, risk, horizon, weights)
    both = calibration.calibration(time, event, risk, horizon, batch)
    for name in ("oe", "difference", "intercept", "slope"):
        np.testing.assert_allclose(getattr(both, name)[1], getattr(one, name), atol=1e-5)


@given(studies())
def test_a_rising_transform_of_risk_leaves_ranks(study) -> None:
    time, event, risk, weights, horizon = study
    for metric in (discrimination.cumulative_dynamic_auc, discrimination.harrell_c, discrimination.uno_c):
        before = metric(time, event, risk, horizon, weights)
        np.testing.assert_allclose(metric(time, event, 0.1 + risk**3 / 2, horizon, weights), before, atol=1e-12)
        np.testing.assert_allclose(metric(time, event, 1 - risk, horizon, weights), 1 - before, atol=1e-9)


@given(studies())
def test_order_of_patients_does_not_matter(study) -> None:
    time, event, risk, weights, horizon = study
    back = slice(None, None, -1)
    for metric in (discrimination.cumulative_dynamic_auc, brier.ipcw_brier, discrimination.uno_c):
        one = metric(time, event, risk, horizon, weights)
        np.testing.assert_allclose(one, metric(time[back], event[back], risk[back], horizon, weights[back]), atol=1e-9)


@given(studies())
def test_brier_is_least_for_the_observed_incidence_among_constants(study) -> None:
    time, event, _, weights, horizon = study
    status = censoring.horizon_status(time, event, horizon, weights)
    assume(np.isfinite(status.total).all())
    best = brier.brier_of_status(np.full(len(time), float(status.incidence)), status)[0]
    for constant in (0.0, 0.3, 0.9):
        assert brier.brier_of_status(np.full(len(time), constant), status)[0] >= best - 1e-12


@given(studies())
def test_net_benefit_lies_between_its_bounds(study) -> None:
    time, event, risk, weights, horizon = study
    status = censoring.horizon_status(time, event, horizon, weights)
    assume(np.isfinite(status.total).all())
    benefit = net_benefit.net_benefit(time, event, risk, horizon, [0.05, 0.3], weights)
    assert (benefit <= status.incidence + 1e-9).all()
    perfect = net_benefit.net_benefit_of_status((status.case > 0).astype(float), status, [0.3])
    assert perfect[0] == pytest.approx(float(status.incidence))
    np.testing.assert_allclose(
        net_benefit.net_benefit(time, event, np.ones(len(time)), horizon, [0.3], weights),
        net_benefit.treat_all(np.asarray(status.incidence), [0.3]),
    )


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), st.integers(0, 5))
def test_resampling_draws_patients_not_rows(ids: list[str], seed: int) -> None:
    counts = patient_counts(ids, 20, seed, "k")
    table = np.array(ids)
    for patient in np.unique(table):
        rows = counts[:, table == patient]
        assert (rows == rows[:, :1]).all()
    first = np.unique(table, return_index=True)[1]
    assert (counts[:, first].sum(axis=1) == len(first)).all()
    shuffled = np.argsort(table, kind="stable")
    np.testing.assert_array_equal(patient_counts(table[shuffled], 20, seed, "k"), counts[:, shuffled])
