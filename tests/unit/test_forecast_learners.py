"""Forest, explainable boosting, network: against the libraries that grow them, against derivatives, their limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from forecast_parts import same, travelled
from icans.core.errors import DataError, NotEstimableError
from icans.core.random import stream
from icans.forecast.dataset import examples
from icans.forecast.models import explainable, network
from icans.forecast.models.base import labels
from icans.forecast.models.explainable import ExplainableBoosting
from icans.forecast.models.forest import RandomForest
from icans.forecast.models.network import NeuralNetwork
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.models.shrink import Shrink, fit_shrink
from icans.forecast.models.trees import Trees
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.ridge import expit

HORIZONS = (Horizon(72.0), Horizon(168.0), Horizon(24.0 * 12, until=True))
DATA = examples(simulated(120, seed=2), TASKS["icans_any"], (48.0, 72.0, 120.0))
MODELS = {
    "forest": RandomForest(trees=30),
    "explainable": ExplainableBoosting(rounds=40, bags=3),
    "network": NeuralNetwork(members=3, steps=60),
}


@pytest.fixture(scope="module")
def fitted():
    return {name: model.fit(DATA.table, DATA.outcome, HORIZONS, seed=4) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_risks_rise_with_the_horizon_repeat_themselves_and_fit_the_incidence(fitted, name):
    one = fitted[name]
    again = MODELS[name].fit(DATA.table, DATA.outcome, HORIZONS, seed=4)
    other = MODELS[name].fit(DATA.table, DATA.outcome, HORIZONS, seed=5)
    short, long, end = (one.predict(DATA.table, h) for h in HORIZONS)
    assert ((short >= 0) & (end <= 1)).all()
    assert (long >= short).all()
    np.testing.assert_array_equal(long, again.predict(DATA.table, HORIZONS[1]))
    assert not np.array_equal(long, other.predict(DATA.table, HORIZONS[1]))
    y, weight = labels(DATA.outcome, HORIZONS[1])
    assert np.average(y, weights=weight) == pytest.approx(long.mean(), abs=0.06)
    assert one.predict(DATA.table.iloc[:0], HORIZONS[0]).shape == (0,)


@pytest.mark.parametrize("name", MODELS)
def test_taken_apart_and_put_together_it_is_the_same(fitted, name):
    same(fitted[name], from_parts(*travelled(to_parts(fitted[name]))), HORIZONS, DATA.table)


@pytest.mark.parametrize("name", MODELS)
def test_it_finds_a_strong_marker_and_ranks_unseen_patients(name):
    train = examples(simulated(160, seed=8, signal=2.0), TASKS["icans_any"], (120.0,))
    test = examples(simulated(300, seed=9, signal=2.0), TASKS["icans_any"], (120.0,))
    y, weight = labels(test.outcome, HORIZONS[1])
    risk = MODELS[name].fit(train.table, train.outcome, HORIZONS).predict(test.table, HORIZONS[1])
    case, control = risk[(y == 1) & (weight > 0)], risk[(y == 0) & (weight > 0)]
    assert np.mean(case[:, None] > control[None, :]) > 0.65


@pytest.mark.parametrize("name", MODELS)
def test_too_few_patients_with_the_event_are_refused(name):
    outcome = DATA.outcome.assign(event=0)
    with pytest.raises(NotEstimableError, match="event"):
        MODELS[name].fit(DATA.table, outcome, HORIZONS)
    few = DATA.outcome["patient_id"].isin(DATA.outcome["patient_id"].unique()[:12]).to_numpy()
    with pytest.raises(NotEstimableError, match="needs 10 of each"):
        MODELS[name].fit(DATA.table[few], DATA.outcome[few].reset_index(drop=True), HORIZONS)


@pytest.mark.parametrize("name", MODELS)
def test_rows_without_values_a_new_category_and_another_day_still_get_a_risk(fitted, name):
    odd = DATA.table.iloc[:3].copy()
    numbers = [c for c in odd.columns if odd[c].dtype.kind == "f"]
    odd[numbers] = np.nan
    odd["static.product"] = pd.Categorical(["new-cel"] * 3)
    odd.index = pd.MultiIndex.from_arrays([list("abc"), [-48.0, 60.0, 1000.0]], names=DATA.table.index.names)
    risk = fitted[name].predict(odd, HORIZONS[1])
    assert ((risk > 0) & (risk < 1)).all()
    assert np.isfinite(fitted[name].reasons(odd, HORIZONS[1]).to_numpy()).all()


@pytest.mark.parametrize("name", MODELS)
def test_nothing_to_learn_gives_next_to_the_incidence_by_day(name):
    """With labels dealt anew to the patients, risks keep close to the incidence of their day."""
    ids = DATA.outcome["patient_id"].unique()
    dealt = dict(zip(ids, stream(3, "deal").permutation(ids), strict=True))
    wanted = DATA.outcome.set_index(["patient_id", "landmark_h"])
    keys = list(zip(DATA.outcome["patient_id"].map(dealt), DATA.outcome["landmark_h"], strict=True))
    mine = [key in wanted.index for key in keys]
    moved = DATA.outcome[mine].reset_index(drop=True)
    found = wanted.loc[[key for key, there in zip(keys, mine, strict=True) if there]]
    moved[["time_h", "event"]] = found[["time_h", "event"]].to_numpy()
    table = DATA.table[mine]
    risk = MODELS[name].fit(table, moved.astype({"event": int}), HORIZONS, seed=1).predict(table, HORIZONS[1])
    base = Prevalence().fit(table, moved, HORIZONS).predict(table, HORIZONS[1])
    assert np.sqrt(np.mean((risk - base) ** 2)) < 0.12


def test_trees_as_arrays_predict_what_scikit_learn_predicts():
    from sklearn.tree import DecisionTreeRegressor

    rng = stream(1, "trees")
    X, y = rng.normal(size=(200, 6)), rng.normal(size=(200, 3))
    y[:, 0] += X[:, 2]
    grown = [DecisionTreeRegressor(min_samples_leaf=5, random_state=k, max_features=2).fit(X, y) for k in range(7)]
    trees = Trees.of(grown)
    new = rng.normal(size=(90, 6))
    np.testing.assert_allclose(trees.predict(new), np.mean([t.predict(new) for t in grown], axis=0), atol=1e-13)
    for k, tree in enumerate(grown):
        np.testing.assert_array_equal(trees.leaves(new)[k] - trees.root[k], tree.apply(new))
    root = trees.value[trees.root].mean(axis=0)
    for output in range(3):
        parts = trees.parts(new, output)
        np.testing.assert_allclose(parts.sum(axis=1) + root[output], trees.predict(new)[:, output], atol=1e-12)
    assert np.abs(trees.parts(new, 0)).mean(axis=0).argmax() == 2


def test_trees_that_would_loop_are_refused(fitted):
    meta, arrays = to_parts(fitted["forest"])
    bad = arrays | {"trees/left": np.zeros_like(arrays["trees/left"])}
    with pytest.raises(DataError, match="not a forest"):
        from_parts(meta, bad)


def test_curves_are_those_of_the_machine():
    machine = explainable._machine()
    rng = stream(2, "curves")
    X = rng.normal(size=(300, 4)).round(1)
    offset = rng.normal(size=300)
    y = (rng.random(300) < expit(offset + X[:, 1])).astype(int)
    one = machine(feature_types=["continuous"] * 4, interactions=0, outer_bags=2, max_rounds=60, n_jobs=1)
    one.fit(X, y, init_score=offset)
    curves = explainable._curves(one, 4)
    new = rng.normal(size=(200, 4)).round(1)
    np.testing.assert_allclose(curves.intercept + curves.parts(new).sum(axis=1), one.decision_function(new), atol=1e-12)


def test_explainable_reasons_add_up_and_a_curve_can_be_read(fitted):
    one, horizon = fitted["explainable"], HORIZONS[1:2]
    alone = MODELS["explainable"].fit(DATA.table, DATA.outcome, horizon, seed=4)
    risk = alone.predict(DATA.table, horizon[0])
    logit = np.log(risk / (1 - risk)) - alone.baseline.logit(DATA.table, horizon[0])
    rest = logit - alone.reasons(DATA.table, horizon[0]).sum(axis=1).to_numpy()
    np.testing.assert_allclose(rest, alone.models[horizon[0]].intercept, atol=1e-8)
    curve = one.curve(one.names[0], HORIZONS[0])
    assert np.isneginf(curve["start"].iloc[0])
    assert np.isposinf(curve["end"].iloc[-1])
    np.testing.assert_array_equal(curve["end"][:-1], curve["start"][1:])


def test_the_gradient_of_the_network_is_that_of_its_loss():
    rng = stream(5, "gradient")
    n, p, h, k = 30, 4, 3, 2
    data = [rng.normal(size=(n, p)), rng.normal(size=(n, k)), (rng.random((n, k)) < 0.4) * 1.0, rng.random((n, k))]
    weights = [rng.normal(size=s) for s in ((p, h), (h,), (h, k), (k,))]
    decay = 0.3

    def total(w):
        return network._loss(w, data) + decay / 2 * ((w[0] ** 2).sum() + (w[2] ** 2).sum())

    for place, slope in enumerate(network._gradient(weights, data, decay)):
        for index in np.ndindex(slope.shape):
            up, down = ([w.copy() for w in weights] for _ in range(2))
            up[place][index] += 1e-6
            down[place][index] -= 1e-6
            assert slope[index] == pytest.approx((total(up) - total(down)) / 2e-6, abs=1e-7)


def test_network_reasons_add_up_to_the_difference_from_the_average_patient():
    one = MODELS["network"].fit(DATA.table, DATA.outcome, HORIZONS[1:2], seed=4)
    risk = one.predict(DATA.table, HORIZONS[1])
    logit = np.log(risk / (1 - risk)) - one.baseline.logit(DATA.table, HORIZONS[1])
    rest = logit - one.reasons(DATA.table, HORIZONS[1]).sum(axis=1).to_numpy()
    np.testing.assert_allclose(rest, rest[0], atol=1e-8)
    assert np.ptp(logit) > 0.1


def test_recalibration_finds_intercept_and_slope_and_never_turns_risks_round():
    rng = stream(6, "shrink")
    base, x = rng.normal(size=4000) - 1, rng.normal(size=4000)
    y = (rng.random(4000) < expit(base + 0.3 + 0.5 * x)).astype(float)
    found = fit_shrink([base], [x], [y], [np.ones(4000)])
    assert found.intercept == pytest.approx(0.3, abs=0.1)
    assert found.slope == pytest.approx(0.5, abs=0.1)
    assert fit_shrink([base], [-3 * x], [y], [np.ones(4000)]).slope == 0.0
    assert fit_shrink([base], [x], [np.zeros(4000)], [np.ones(4000)]) == Shrink()
