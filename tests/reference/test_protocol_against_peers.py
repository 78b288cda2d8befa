"""Meta-analysis, Shapley values, importance and ordinal scores against other people's code and printed numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.explain.importance import kendall_w
from icans.evaluate.explain.shapley import by_group, shapley
from icans.evaluate.meta_analysis import group_estimates, pool, random_effects
from icans.evaluate.performance import measure

#: BCG vaccine trials (Colditz GA et al., JAMA 1994;271:698): tuberculosis cases and others, vaccinated and not.
BCG = np.array(
    [(4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
     (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232),
     (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)]
)  # fmt: skip


def bcg() -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d = BCG.T
    estimate = np.log((a / (a + b)) / (c / (c + d)))
    return estimate, 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def test_reml_gives_the_printed_numbers_of_the_bcg_trials():
    """Viechtbauer W, J Stat Softw 2010;36(3), doi 10.18637/jss.v036.i03: tau2 0.3132, mean log RR -0.7145."""
    found = random_effects(*bcg())
    assert found.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert found.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert 100 * found.i2 == pytest.approx(92.22, abs=0.01)


def test_reml_is_the_maximum_of_the_restricted_likelihood():
    from scipy.optimize import minimize_scalar

    y, v = bcg()

    def minus(tau2: float) -> float:
        w = 1 / (v + tau2)
        mean = (w * y).sum() / w.sum()
        return float(0.5 * (np.log(v + tau2).sum() + np.log(w.sum()) + (w * (y - mean) ** 2).sum()))

    best = minimize_scalar(minus, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).x
    assert random_effects(y, v).tau2 == pytest.approx(best, abs=1e-6)


def test_dersimonian_laird_and_hartung_knapp_are_those_of_statsmodels():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.stats.meta_analysis import combine_effects
    y, v = bcg()
    theirs = combine_effects(y, v, method_re="dl", use_t=True)
    found = random_effects(y, v, method="dl")
    assert found.tau2 == pytest.approx(theirs.tau2)
    assert found.estimate == pytest.approx(theirs.mean_effect_re)
    assert found.se == pytest.approx(theirs.sd_eff_w_re_hksj)
    low, high = theirs.conf_int()[3]
    assert (found.low, found.high) == pytest.approx((low, high))


def test_equal_groups_have_no_variance_between_and_two_no_prediction_interval():
    found = random_effects([0.5, 0.5, 0.5], [0.1, 0.1, 0.1])
    assert found.tau2 == 0
    assert found.se == pytest.approx(np.sqrt(0.1 / 3))
    assert np.isnan(random_effects([0.1, 0.4], [0.1, 0.1]).expect_low)
    with pytest.raises(NotEstimableError, match="2"):
        random_effects([0.5, np.nan], [0.1, 0.1])


def test_the_prediction_interval_holds_new_groups_as_often_as_it_says():
    rng = stream(1, "prediction interval")
    held = []
    for _ in range(300):
        truth = rng.normal(0.2, 0.3, 11)
        v = rng.uniform(0.01, 0.05, 10)
        found = random_effects(rng.normal(truth[:10], np.sqrt(v)), v)
        held.append(found.expect_low <= truth[10] <= found.expect_high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_pooled_performance_of_alike_groups_is_that_of_all():
    rng = stream(2, "groups")
    frames = []
    for group in range(5):
        lp = rng.normal(0, 1, 150)
        event = (rng.random(150) < 1 / (1 + np.exp(-lp))).astype(int)
        frames.append(
            pd.DataFrame(
                {"task": "t", "model": "m", "landmark_h": 72.0, "horizon_h": 168.0, "repeat": 0, "fold": group,
                 "patient_id": [f"{group}-{i}" for i in range(150)], "risk": 1 / (1 + np.exp(-lp)),
                 "time_h": np.where(event, 80.0, 168.0), "event": event}
            )
        )  # fmt: skip
    parts = [group_estimates(measure(f, n_boot=100)).assign(by="site", group=str(k)) for k, f in enumerate(frames)]
    found = pool(pd.concat(parts)).set_index("metric")
    whole = measure(pd.concat(frames), n_boot=0).performance().set_index("metric")["value"]
    for metric, room in (("auc", 0.02), ("oe", 0.06), ("slope", 0.15)):
        assert found.loc[metric, "value"] == pytest.approx(whole[metric], abs=room)
        assert found.loc[metric, "low"] < found.loc[metric, "value"] < found.loc[metric, "high"]
    assert found.loc["auc", "expect_low"] > 0.5
    assert found.loc["auc", "groups"] == 5


# ---------------------------------------------------------------- Shapley values


def model_table(n: int = 40, p: int = 5) -> pd.DataFrame:
    rng = stream(3, "shapley table")
    frame = pd.DataFrame(rng.normal(size=(n, p)), columns=[f"lab.x{k}.last" for k in range(p)])
    index = pd.MultiIndex.from_arrays([[f"p{i}" for i in range(n)], [72.0] * n], names=["patient_id", "landmark_h"])
    return frame.set_index(index)


def curved(frame: pd.DataFrame) -> np.ndarray:
    x = frame.to_numpy(dtype=float)
    eta = x[:, 0] * x[:, 1] + np.sin(x[:, 2]) - 0.5 * x[:, 3] ** 2 + 0.2 * x[:, 4]
    return 1 / (1 + np.exp(-eta))


def test_exact_values_are_the_mean_gain_over_every_order():
    """Shapley's definition, written out: all 120 orders of five features (``shap`` itself: benchmarks/judge.py)."""
    from itertools import permutations

    table = model_table()
    background, row = table.iloc[:8], table.iloc[[20]]
    own = shapley(curved, row, background, {c: [c] for c in table.columns}, scale="risk")
    total = np.zeros(5)
    for order in permutations(range(5)):
        mixed = background.to_numpy().copy()
        before = curved(pd.DataFrame(mixed)).mean()
        for k in order:
            mixed[:, k] = row.to_numpy()[0, k]
            after = curved(pd.DataFrame(mixed)).mean()
            total[k] += after - before
            before = after
    np.testing.assert_allclose(own.to_numpy()[0], total / 120, atol=1e-12)


def test_values_add_up_and_sampled_ones_come_near_exact_ones(monkeypatch):
    table = model_table()
    background, rows = table.iloc[:15], table.iloc[20:22]
    groups = {"a": list(table.columns[:2]), **{c: [c] for c in table.columns[2:]}}
    exact = shapley(curved, rows, background, groups)
    lp = np.log(curved(rows) / (1 - curved(rows)))
    usual = np.log(curved(background) / (1 - curved(background))).mean()
    np.testing.assert_allclose(exact.sum(axis=1), lp - usual, atol=1e-6)
    monkeypatch.setattr("icans.evaluate.explain.shapley.EXACT_UP_TO", 1)
    sampled = shapley(curved, rows, background, groups, permutations=40)
    np.testing.assert_allclose(sampled.sum(axis=1), lp - usual, atol=1e-6)
    np.testing.assert_allclose(sampled, exact, atol=0.05)


def test_a_linear_model_has_its_closed_form_by_group_too():
    table = model_table()
    beta = np.array([0.5, -1.0, 0.2, 0.0, 2.0])

    def linear(frame: pd.DataFrame) -> np.ndarray:
        return 1 / (1 + np.exp(-(frame.to_numpy() @ beta)))

    groups = {"pair": list(table.columns[:2]), "rest": list(table.columns[2:])}
    own = shapley(linear, table.iloc[:3], table.iloc[10:30], groups)
    parts = (table.iloc[:3] - table.iloc[10:30].mean()) * beta
    np.testing.assert_allclose(own, by_group(parts, groups)[list(groups)], atol=1e-9)


def test_categories_and_missing_values_go_through():
    table = model_table(12, 2).assign(**{"static.sex": pd.Categorical(["female", "male", None] * 4)})
    table.iloc[0, 0] = np.nan

    def risk(frame: pd.DataFrame) -> np.ndarray:
        assert isinstance(frame["static.sex"].dtype, pd.CategoricalDtype)
        return 0.2 + 0.5 * (frame["static.sex"] == "male").to_numpy() + 0.1 * frame.iloc[:, 0].isna().to_numpy()

    own = shapley(risk, table.iloc[[0, 1, 2]], table.iloc[3:], {c: [c] for c in table.columns}, scale="risk")
    share = (table.iloc[3:]["static.sex"] == "male").mean()
    np.testing.assert_allclose(own["static.sex"], 0.5 * (np.array([0, 1, 0]) - share), atol=1e-12)
    np.testing.assert_allclose(own.iloc[:, 0], [0.1, 0.0, 0.0], atol=1e-12)


def test_kendalls_w_of_perfect_and_of_opposite_rankings_and_by_spearman():
    scores = np.array([[1.0, 2.0, 3.0, 4.0]] * 3)
    assert kendall_w(scores) == pytest.approx(1.0)
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]], dtype=float)) == pytest.approx(0.0)
    from scipy.stats import spearmanr

    rng = stream(4, "w")
    x = rng.normal(size=(5, 7))
    mean_rho = np.mean([spearmanr(x[i], x[j])[0] for i in range(5) for j in range(i)])
    assert kendall_w(x) == pytest.approx((mean_rho * 4 + 1) / 5)
