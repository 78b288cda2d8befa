"""Discrete-time competing hazards and onset times: against peers, derivatives, closed forms and known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from forecast_parts import same, travelled
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.dataset import examples
from icans.forecast.hazard_likelihood import Observed, _derivatives, hazards, log_likelihood, maximise
from icans.forecast.incidence import incidence
from icans.forecast.lifetable import Grid
from icans.forecast.models.discrete import DiscreteHazards
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.onset_time import OnsetTimes, coverage, population_median
from icans.forecast.outcomes import COMPETING, EVENT, TASKS, Horizon
from icans.forecast.preprocess import PrepareSpec

HORIZONS = (Horizon(72.0), Horizon(168.0))
DATA = examples(simulated(150, seed=2), TASKS["icans_any"], (48.0, 72.0, 120.0))
PLAIN = {"columns": list, "prepare": PrepareSpec(transform="none", winsor=None)}


def random_rows(seed=1, n=40, bins=5, functions=2, columns=3, kinds=2):
    rng = stream(seed, "hazards")
    stop, kind = rng.integers(0, bins, n), rng.integers(0, kinds + 1, n)
    event = np.zeros((n, bins, kinds))
    event[np.flatnonzero(kind < kinds), stop[kind < kinds], kind[kind < kinds]] = 1.0
    at_risk = (np.arange(bins) <= stop[:, None]) * 1.0
    x, t = rng.normal(size=(n, columns)), rng.normal(size=(n, bins, functions))
    return Observed(x, t, at_risk, event, rng.normal(size=(n, bins, kinds)) - 1, rng.random(n) + 0.1)


def test_derivatives_are_those_of_the_likelihood():
    seen = random_rows()
    beta = stream(2, "beta").normal(size=(2, 2, 3)) * 0.3
    gradient, information = _derivatives(seen, seen.predictor(beta))
    steps = np.eye(beta.size) * 1e-5

    def value(flat):
        return log_likelihood(seen, seen.predictor(flat.reshape(beta.shape)))

    def slope(flat):
        return _derivatives(seen, seen.predictor(flat.reshape(beta.shape)))[0]

    flat = beta.ravel()
    np.testing.assert_allclose([(value(flat + e) - value(flat - e)) / 2e-5 for e in steps], gradient, atol=1e-6)
    np.testing.assert_allclose([(slope(flat + e) - slope(flat - e)) / 2e-5 for e in steps], -information, atol=1e-6)


def test_hazards_of_a_bin_agree_with_the_multinomial_logit_of_statsmodels():
    from statsmodels.discrete.discrete_model import MNLogit

    rng = stream(3, "rows")
    n, bins = 250, 4
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    t = np.ones((n, bins, 1))
    truth = np.array([[[-1.5, 0.8, 0.0]], [[-2.0, -0.5, 0.7]]])
    chance = hazards(np.einsum("ip,kmp->ikm", x, truth)[:, :, 0])
    at_risk, event = np.zeros((n, bins)), np.zeros((n, bins, 2))
    for i in range(n):
        for b in range(bins):
            at_risk[i, b] = 1.0
            kind = rng.choice(3, p=[1 - chance[i].sum(), *chance[i]])
            if kind:
                event[i, b, kind - 1] = 1.0
                break
    seen = Observed(x, t, at_risk, event, np.zeros((n, bins, 2)), np.ones(n))
    ours = maximise(seen, np.full((2, 1, 3), 1e-9))[:, 0]
    row, bin_ = np.nonzero(at_risk)
    status = (event[row, bin_] * [1, 2]).sum(axis=1)
    peer = MNLogit(status, x[row]).fit(disp=0, method="newton", maxiter=50)
    np.testing.assert_allclose(ours, peer.params.T, atol=1e-5)
    assert log_likelihood(seen, seen.predictor(ours[:, None])) == pytest.approx(peer.llf, abs=1e-6)


def test_without_effects_it_is_the_aalen_johansen_incidence_of_each_landmark():
    model = DiscreteHazards(penalties=(1e9,), baseline_rows=0.0).fit(DATA.table, DATA.outcome, HORIZONS)
    for landmark in (48.0, 72.0, 120.0):
        rows = (DATA.outcome["landmark_h"] == landmark).to_numpy()
        for code in (EVENT, COMPETING):
            curve = incidence(DATA.outcome["time_h"][rows], DATA.outcome["event"][rows], code)
            found = model.incidence(DATA.table[rows], 168.0, code)
            np.testing.assert_allclose(found, float(curve(168.0)), atol=1e-6)


def test_expected_events_are_the_observed_ones_in_every_landmark():
    model = DiscreteHazards(penalties=(0.1,), baseline_rows=0.0).fit(DATA.table, DATA.outcome, HORIZONS)
    seen = model.stack.observed(model.stack.matrix(DATA.table), DATA.table, DATA.outcome)
    expected = seen.at_risk[..., None] * hazards(seen.predictor(model.beta))
    for landmark in (48.0, 72.0, 120.0):
        rows = (DATA.outcome["landmark_h"] == landmark).to_numpy()
        np.testing.assert_allclose(expected[rows].sum(axis=0), seen.event[rows].sum(axis=0), atol=0.05)


def test_rows_that_draw_a_landmark_to_all_leave_the_mean_where_it_is():
    """Even many of them: the mean risk stays near the incidence, effects or not."""
    for rows in (2.0, 50.0):
        fitted = DiscreteHazards(penalties=(0.1,), baseline_rows=rows).fit(DATA.table, DATA.outcome, HORIZONS)
        curves = [
            incidence(part["time_h"], part["event"])(168.0) * len(part)
            for _, part in DATA.outcome.groupby("landmark_h")
        ]
        expected = float(np.sum(curves)) / len(DATA.outcome)
        assert fitted.predict(DATA.table, 168.0).mean() == pytest.approx(expected, abs=0.03)


def test_risks_are_coherent_over_horizons_and_causes_and_repeat_themselves():
    model = DiscreteHazards(penalties=(1.0, 0.1), inner_folds=2)
    fitted = model.fit(DATA.table, DATA.outcome, HORIZONS, seed=3)
    own, free = fitted.curves(DATA.table)
    assert (np.diff(own, axis=2) >= 0).all()
    np.testing.assert_allclose(own.sum(axis=1) + free, 1.0, atol=1e-12)
    risks = [fitted.predict(DATA.table, h) for h in (24.0, 72.0, 100.0, 168.0)]
    assert (np.diff(risks, axis=0) >= 0).all()
    again = model.fit(DATA.table, DATA.outcome, HORIZONS, seed=3)
    np.testing.assert_array_equal(fitted.predict(DATA.table, 72.0), again.predict(DATA.table, 72.0))
    same(fitted, from_parts(*travelled(to_parts(fitted))), HORIZONS, DATA.table)
    np.testing.assert_allclose(fitted.onset(DATA.table).chance, fitted.predict(DATA.table, 168.0), atol=1e-12)
    assert fitted.incidence(DATA.table, 72.0, code=7).sum() == 0


def truth(n=3000, seed=4):
    """Three kinds of event in discrete days with known effects (the first fades with the time ahead)."""
    rng = stream(seed, "truth")
    x = rng.normal(size=(n, 2))
    day = np.arange(10)
    eta = np.stack(
        [
            -2.5 + (1.2 - 0.12 * day)[None, :] * x[:, :1],
            np.full((n, 10), -3.2) - 0.8 * x[:, 1:],
            np.full((n, 10), -4.0),
        ],
        axis=2,
    )
    chance = hazards(eta)
    time, event = np.full(n, 240.0), np.zeros(n, dtype=int)
    for b in day:
        open_ = event == 0
        open_ &= time == 240.0
        u = rng.random(n)
        total = np.cumsum(chance[:, b], axis=1)
        kind = (u[:, None] < total).argmax(axis=1) + 1
        hit = open_ & (u < total[:, -1])
        event[hit], time[hit] = kind[hit], 24.0 * (b + 1)
        leaves = open_ & ~hit & (rng.random(n) < 0.05)
        time[leaves & (event == 0)] = 24.0 * (b + 1)
    ids = [f"p{i:05d}" for i in range(n)]
    index = pd.MultiIndex.from_arrays([ids, np.zeros(n)], names=["patient_id", "landmark_h"])
    outcome = pd.DataFrame({"patient_id": ids, "landmark_h": 0.0, "time_h": time, "event": event})
    free = np.cumprod(1 - chance.sum(axis=2), axis=1)
    before = np.column_stack([np.ones(n), free[:, :-1]])
    return pd.DataFrame(x, index=index, columns=["a", "b"]), outcome, np.cumsum(before * chance[:, :, 0], axis=1)


@pytest.fixture(scope="module")
def known():
    table, outcome, risk = truth()
    model = DiscreteHazards(penalties=(1e-4,), **PLAIN)
    return table, outcome, risk, model.fit(table, outcome, (Horizon(240.0),))


def test_known_effects_of_three_kinds_of_event_are_found(known):
    table, _, risk, fitted = known
    assert fitted.stack.codes == [1, 2, 3]
    centre, spread = fitted.stack.scale[0]
    day = 24.0 * np.arange(10) + 12.0
    effect = fitted.beta[0, 0, 0] + fitted.beta[0, 1, 0] * (day - centre) / spread
    np.testing.assert_allclose(effect / table["a"].std(), 1.2 - 0.12 * np.arange(10), atol=0.25)
    assert fitted.beta[1, 0, 1] == pytest.approx(-0.8, abs=0.15)
    assert np.abs(fitted.beta[2]).max() < 0.35
    for b in (2, 9):
        np.testing.assert_allclose(fitted.predict(table, 24.0 * (b + 1)), risk[:, b], atol=0.07)
        assert np.sqrt(np.mean((fitted.predict(table, 24.0 * (b + 1)) - risk[:, b]) ** 2)) < 0.02


def test_a_kind_of_event_that_few_had_has_no_effects_of_features():
    outcome = DATA.outcome.copy()
    rare = outcome["patient_id"].isin(outcome["patient_id"].unique()[:4])
    outcome.loc[rare, "event"] = 3
    fitted = DiscreteHazards(penalties=(0.01,)).fit(DATA.table, outcome, HORIZONS)
    place = fitted.stack.codes.index(3)
    assert not fitted.stack.open[place]
    assert np.abs(fitted.beta[place]).max() < 1e-6
    assert fitted.incidence(DATA.table, 168.0, 3).max() > 0


def test_no_event_or_one_patient_with_it_is_refused():
    with pytest.raises(NotEstimableError, match="no event"):
        DiscreteHazards().fit(DATA.table, DATA.outcome.assign(event=2), HORIZONS)
    mine = (DATA.outcome["patient_id"] == DATA.outcome.loc[DATA.outcome["event"] == 1, "patient_id"].iloc[0]) * 1
    with pytest.raises(NotEstimableError, match="too few"):
        DiscreteHazards().fit(DATA.table, DATA.outcome.assign(event=mine), HORIZONS)


def test_bins_count_censored_rows_by_the_part_that_was_seen():
    outcome = pd.DataFrame({"patient_id": list("abc"), "landmark_h": 0.0, "time_h": [30.0, 48.0, 24.0]})
    outcome["event"] = [0, 1, 0]
    seen, event = Grid(np.array([0.0, 24.0, 48.0])).exposure(outcome, [1])
    np.testing.assert_allclose(seen, [[1, 0.25], [1, 1], [1, 0]])
    np.testing.assert_array_equal(event[:, :, 0], [[0, 0], [0, 1], [0, 0]])


def test_grid_of_many_times_has_bins_of_equal_shares():
    rng = stream(1, "grid")
    outcome = pd.DataFrame({"landmark_h": 0.0, "time_h": rng.exponential(100, 500), "event": 1})
    grid = Grid.of(outcome, (Horizon(168.0),), most=20)
    assert grid.bins <= 22
    assert grid.edges[-1] == 168.0
    counts = np.histogram(outcome["time_h"], grid.edges)[0]
    assert counts.max() < 3 * max(np.median(counts), 1)


def exponential_times(rates, edges):
    """Closed form: constant hazards of the event and of a rival (half as large)."""
    own, rival = np.asarray(rates), np.asarray(rates) / 2
    free = np.exp(-(own + rival)[:, None] * edges)
    index = pd.MultiIndex.from_arrays([[f"p{i}" for i in range(len(own))], np.zeros(len(own))])
    return OnsetTimes(edges, own[:, None] / (own + rival)[:, None] * (1 - free), free, index)


def test_quantiles_and_means_of_exponential_times():
    edges = np.linspace(0, 400, 4001)
    rates = np.array([0.02, 0.004])
    times = exponential_times(rates, edges)
    total = 1.5 * rates
    expected = -np.log(1 - 0.5 / (2 / 3)) / total
    expected[expected > 400] = np.nan
    np.testing.assert_allclose(times.quantile(0.5), expected, rtol=1e-4)
    np.testing.assert_allclose(times.restricted_mean(240.0), (1 - np.exp(-240 * total)) / total, rtol=1e-4)
    given = -np.log(1 - 0.5 * (1 - np.exp(-total * 400))) / total
    np.testing.assert_allclose(times.quantile(0.5, given_onset=True), given, rtol=1e-4)
    with pytest.raises(ValueError, match="last edge"):
        times.restricted_mean(401.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        times.quantile(1.0)
    assert list(times.table().columns[:2]) == ["chance", "median_h"]


def test_intervals_cover_what_they_say_under_censoring():
    rng = stream(9, "cover")
    rates = rng.uniform(0.004, 0.03, 4000)
    edges = np.linspace(0, 300, 601)
    own, rival, leave = (rng.exponential(1 / r) for r in (rates, rates / 2, np.full(4000, 0.004)))
    time = np.minimum(np.minimum(own, rival), np.minimum(leave, 300.0))
    event = np.where(time == own, 1, np.where(time == rival, 2, 0))
    outcome = pd.DataFrame({"landmark_h": 0.0, "time_h": time, "event": event})
    found = coverage(exponential_times(rates, edges), outcome, 0.8)
    assert found["coverage"] == pytest.approx(0.8, abs=0.03)
    assert found["below"] == pytest.approx(0.1, abs=0.02)
    assert coverage(exponential_times(rates, edges), outcome.assign(event=0))["onsets"] == 0
    assert population_median(outcome) < population_median(outcome.assign(time_h=time * 2))
    assert np.isnan(population_median(outcome.assign(event=0)))


def test_coverage_of_a_fitted_model_on_new_patients(known):
    *_, fitted = known
    table, outcome, _ = truth(2000, seed=5)
    found = coverage(fitted.onset(table), outcome, 0.8)
    assert found["onsets"] > 400
    assert 0.78 < found["coverage"] < 0.97  # whole days: an interval holds whole bins, so that it covers more
