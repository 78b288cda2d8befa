"""Posterior of penalised logistic coefficients: coverage of known risks (synthetic), patients against rows, limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.models.logistic import LastValueLogistic, from_parts
from icans.forecast.outcomes import Horizon
from icans.forecast.ridge import expit, fit_path
from icans.forecast.shrinkage import design_effect, draw_coefficients


def sample(n: int, p: int, seed: int, strong: int):
    """Correlated columns, outcomes and the truth's coefficients: ``strong`` effects, the others a twentieth of them."""
    rng = stream(seed, "known truth", n, p, strong)
    root = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(p), np.arange(p))))
    beta = rng.normal(size=p)
    beta[strong:] *= 0.05
    beta *= 1.5 / np.linalg.norm(beta @ root)
    X = rng.normal(size=(n, p)) @ root.T
    y = (rng.uniform(size=n) < expit(-0.8 + X @ beta)).astype(float)
    return X, y, beta, rng.normal(size=(200, p)) @ root.T


def drawn_from(X, y, seed=1, kept=150, copies=1):
    n = len(y)
    cluster = np.tile(np.arange(n), copies)
    return draw_coefficients(
        np.tile(X, (copies, 1)), np.tile(y, copies), np.ones(n * copies), cluster, np.zeros(n * copies),
        seed=seed, kept=kept,
    )  # fmt: skip


def share_covered(X, y, beta, new, low_high):
    low, high = low_high
    truth = -0.8 + new @ beta
    return ((truth >= low) & (truth <= high)).mean()


@pytest.mark.parametrize(("n", "strong"), [(100, 30), (200, 30), (200, 3)])
def test_intervals_hold_the_true_risk_of_new_patients(n, strong):
    shares, widths = [], []
    for repeat in range(4):
        X, y, beta, new = sample(n, 30, repeat, strong)
        drawn = drawn_from(X, y, repeat)
        ends = np.quantile(drawn[:, :1] + drawn[:, 1:] @ new.T, [0.025, 0.975], axis=0)
        shares.append(share_covered(X, y, beta, new, ends))
        widths.append((expit(ends[1]) - expit(ends[0])).mean())
    assert 0.89 <= np.mean(shares) <= 0.995
    assert np.mean(widths) < 0.75  # no interval from nought to one


def test_percentiles_of_refits_do_not():
    """Why the posterior is there: refits with the best penalty of each, on the same cohorts."""
    shares = []
    for repeat in range(3):
        X, y, beta, new = sample(200, 30, repeat, 30)
        rng = stream(repeat, "refits")
        eta = []
        for _ in range(40):
            drawn = rng.integers(0, 200, 200)
            eta.append(fit_path(X[drawn], y[drawn], np.ones(200), (0.1,))[0].logit(new))
        shares.append(share_covered(X, y, beta, new, np.quantile(eta, [0.025, 0.975], axis=0)))
    assert np.mean(shares) < 0.85


def test_with_many_patients_it_is_the_likelihood_alone():
    X, y, _, _ = sample(4000, 4, 7, 4)
    drawn = drawn_from(X, y, kept=600)
    fit = fit_path(X, y, np.ones(len(y)), (1e-9,))[0]
    design = np.column_stack([np.ones(len(y)), X])
    p = fit.probability(X)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))))
    assert np.allclose(drawn.mean(axis=0), np.r_[fit.intercept, fit.coefficients], atol=0.25 * error.max())
    assert np.allclose(drawn.std(axis=0), error, rtol=0.15)


def test_copies_of_a_patients_rows_add_nothing():
    X, y, _, new = sample(150, 6, 3, 6)
    once, thrice = drawn_from(X, y), drawn_from(X, y, copies=3)
    sd = [(d[:, :1] + d[:, 1:] @ new.T).std(axis=0).mean() for d in (once, thrice)]
    assert sd[1] == pytest.approx(sd[0], rel=0.15)
    design = np.column_stack([np.ones(450), np.tile(X, (3, 1))])
    fit = fit_path(X, y, np.ones(150), (0.03,))[0]
    args = (design, np.tile(y, 3), np.ones(450), np.tile(np.arange(150), 3), np.tile(fit.probability(X), 3))
    assert design_effect(*args) == pytest.approx(3.0)


def test_separated_outcomes_have_finite_draws_and_the_seed_decides():
    X = np.linspace(-2, 2, 30)[:, None]
    drawn = drawn_from(X, (X[:, 0] > 0).astype(float))
    assert np.isfinite(drawn).all()
    assert 0 < drawn[:, 1].mean() < 10
    assert (drawn == drawn_from(X, (X[:, 0] > 0).astype(float))).all()


def test_rows_of_weight_nought_do_not_count_and_one_outcome_is_refused():
    X, y, _, _ = sample(80, 3, 5, 3)
    weight = np.r_[np.ones(60), np.zeros(20)]
    some = draw_coefficients(X, np.where(weight > 0, y, 1 - y), weight, np.arange(80), np.zeros(80), seed=1, kept=20)
    assert (some == draw_coefficients(X[:60], y[:60], np.ones(60), np.arange(60), np.zeros(60), seed=1, kept=20)).all()
    with pytest.raises(NotEstimableError, match="same outcome"):
        drawn_from(X, np.zeros(80))


def stacked(n, seed):
    """One landmark of ``n`` synthetic patients with known coefficients, as a feature table and its outcome."""
    X, y, beta, _ = sample(n, 3, seed, 3)
    index = pd.MultiIndex.from_product([[f"p{k:03d}" for k in range(n)], [24.0]], names=["patient_id", "landmark_h"])
    table = pd.DataFrame(X, index=index, columns=["lab.crp.last", "lab.il_6.last", "static.age_y"])
    time = np.where(y == 1, 24.0 + 120.0 * stream(1, "time").uniform(size=n), 400.0)
    outcome = pd.DataFrame({"patient_id": index.get_level_values(0), "landmark_h": 24.0, "time_h": time,
                            "event": y.astype(int)})  # fmt: skip
    return table, outcome, expit(-0.8 + X @ beta)


def test_the_average_over_the_posterior_is_a_forecast_of_its_own():
    table, outcome, truth = stacked(150, 2)
    horizons = [Horizon(72.0), Horizon(168.0)]
    model = LastValueLogistic(average=True).fit(table, outcome, horizons, 3)
    risk, (low, high) = model.risks(table), model.bounds(table)
    assert ((low <= risk) & (risk <= high)).all()
    X = model.pipeline.matrix(table[model.columns])
    drawn = model.posterior[horizons[1]]
    eta = model.baseline.logit(table, horizons[1]) + drawn[:, :1] + drawn[:, 1:] @ X.T
    assert np.allclose(risk[:, 1], expit(eta).mean(axis=0))
    assert np.corrcoef(risk[:, 1], truth)[0, 1] > 0.9
    assert model.with_posterior(table, outcome, 3) is model
    assert (from_parts(*model.to_parts()).risks(table) == risk).all()


def test_bounds_of_a_model_grow_with_the_horizon_and_survive_its_file():
    table, outcome, _ = stacked(120, 9)
    horizons = [Horizon(72.0), Horizon(168.0)]
    plain = LastValueLogistic().fit(table, outcome, horizons)
    assert plain.bounds(table) is None
    model = plain.with_posterior(table, outcome, 4)
    low, high = model.bounds(table)
    assert (low <= high).all()
    assert (np.diff(low, axis=1) >= 0).all()
    assert (np.diff(high, axis=1) >= 0).all()
    again = from_parts(*model.to_parts())
    assert (again.bounds(table) == model.bounds(table)).all()
    wide = model.bounds(table, 0.5)
    assert (wide[1] - wide[0]).mean() < (high - low).mean()
