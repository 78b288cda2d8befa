"""Transfer: the ladder's steps against closed forms and peers, effects of groups, learning curves."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import minimize

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.learning_curve import learning_curve
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import Rung
from icans.forecast.models.base import labels
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.ridge import expit
from icans.forecast.transfer.effects import fit_effects, integrated
from icans.forecast.transfer.group_effects import GroupEffects
from icans.forecast.transfer.learning import learning_predictions, transfer_ladder
from icans.forecast.transfer.recalibrate import Transferred, log_odds, recalibrate
from icans.forecast.transfer.update import Updated, fine_tuned
from integrate_tables import HORIZONS, QUICK, truth

EFFECTS = {"static.age_y": 0.6, "lab.crp.last": 0.9}
SOURCE = truth(400, 1, effects=EFFECTS, missing=0.0)
LOCAL = truth(150, 2, effects=EFFECTS, missing=0.0, shift=-1.0, slope=0.6)
NEW = truth(1500, 3, effects=EFFECTS, missing=0.0, shift=-1.0, slope=0.6)
RUNG = Rung("logistic", "", LastValueLogistic(**QUICK))


@pytest.fixture(scope="module")
def source():
    return RUNG.fit(SOURCE.table, SOURCE.outcome, HORIZONS, 1)


def error(model, data=NEW, k=1):
    return float(np.mean((model.predict(data.table, HORIZONS[k]) - data.risk[:, k]) ** 2))


def test_recalibration_is_the_maximum_of_the_likelihood():
    rng = stream(1, "recalibrate")
    x = rng.normal(-1, 1.2, 300)
    y = (rng.random(300) < expit(0.5 + 0.7 * x)).astype(float)
    w = rng.uniform(0.5, 2.0, 300)

    def loss(b):
        eta = b[0] + b[1] * x
        return float((w * (np.logaddexp(0, eta) - y * eta)).sum())

    found = recalibrate(x, y, w)
    theirs = minimize(loss, [0.0, 1.0], tol=1e-10).x
    assert [found.intercept, found.slope] == pytest.approx(theirs, abs=1e-4)
    shift = recalibrate(x, y, w, "intercept")
    assert np.average(expit(shift.logit(x)), weights=w) == pytest.approx(np.average(y, weights=w))
    assert shift.slope == 1.0
    assert recalibrate(x, y, w, "none").logit(x) == pytest.approx(x)
    held = recalibrate(x, y, w, slope_sd=1e-3)
    assert held.slope == pytest.approx(1.0, abs=1e-3)


def test_what_cannot_be_recalibrated_is_refused():
    with pytest.raises(NotEstimableError, match="same outcome"):
        recalibrate([0.1, 0.2], [0, 0])
    with pytest.raises(NotEstimableError, match="do not vary"):
        recalibrate([0.1, 0.1], [0, 1])
    with pytest.raises(NotEstimableError, match="separate"):
        recalibrate([-1.0, -0.5, 0.5, 1.0], [0, 0, 1, 1])
    assert recalibrate([-1.0, -0.5, 0.5, 1.0], [0, 0, 1, 1], slope_sd=0.5).slope > 1.0
    with pytest.raises(ValueError, match="method"):
        recalibrate([0.1], [1], method="both")


def test_every_step_helps_where_the_new_place_is_shifted_and_flatter(source):
    steps = {m: Transferred(source, m).fit(LOCAL.table, LOCAL.outcome, HORIZONS) for m in
             ("none", "intercept", "intercept+slope")}  # fmt: skip
    errors = [error(model) for model in steps.values()]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
    assert np.allclose(steps["none"].predict(NEW.table, HORIZONS[0]), source.predict(NEW.table, HORIZONS[0]))
    assert 0.3 < steps["intercept+slope"].found[HORIZONS[1]].slope < 0.9


@pytest.mark.parametrize("model", [LandmarkCox(penalties=(0.1,)), LastValueLogistic(**QUICK)])
def test_steps_work_for_any_rung_and_are_saved(model):
    fitted = Rung("m", "", model).fit(SOURCE.table, SOURCE.outcome, HORIZONS, 1)
    for step in (Transferred(fitted), Updated(fitted, penalties=(10.0, 0.1), inner_folds=2)):
        moved = step.fit(LOCAL.table, LOCAL.outcome, HORIZONS)
        meta, arrays = to_parts(moved)
        again = from_parts(json.loads(json.dumps(meta)), arrays)
        for horizon in HORIZONS:
            assert np.array_equal(again.predict(NEW.table, horizon), moved.predict(NEW.table, horizon))
        assert again.settings() == moved.settings()
        assert error(moved) < error(fitted)
        assert set(moved.reasons(NEW.table, HORIZONS[0]).columns) >= {"static.age_y", "lab.crp.last"}


def test_an_update_is_a_ridge_around_the_old_coefficients(source):
    """Against a direct minimisation over the coefficients themselves, with the old ones as the prior's centre."""
    horizon, penalty = HORIZONS[1], 0.3
    updated = Updated(source, penalties=(penalty,)).fit(LOCAL.table, LOCAL.outcome, [horizon])
    old = source.model
    X = old.pipeline.matrix(LOCAL.table[old.columns])
    y, w = labels(LOCAL.outcome, horizon)
    day = old.baseline.logit(LOCAL.table, horizon)
    centre, shift = old.models[horizon].coefficients, old.models[horizon].intercept

    def loss(b):
        eta = day + shift + b[0] + X @ b[1:]
        return float(
            (w * (np.logaddexp(0, eta) - y * eta)).sum() / w.sum() + 0.5 * penalty * ((b[1:] - centre) ** 2).sum()
        )

    theirs = minimize(loss, np.r_[0.0, centre], tol=1e-12).x
    mine = centre + updated.models[horizon].coefficients
    # The source's risks are made coherent over horizons, which this comparison leaves out: rows it moved are few.
    assert mine == pytest.approx(theirs[1:], abs=0.03)
    far = Updated(source, penalties=(1e6,)).fit(LOCAL.table, LOCAL.outcome, [horizon])
    near = Transferred(source, "intercept").fit(LOCAL.table, LOCAL.outcome, [horizon])
    assert np.allclose(far.predict(NEW.table, horizon), near.predict(NEW.table, horizon), atol=2e-3)


def test_an_update_learns_what_is_new_in_the_new_place(source):
    """Locally age works the other way round: no slope can mend that, an update can."""
    turned = {"static.age_y": -0.9, "lab.crp.last": 0.9}
    local, new = (truth(n, s, effects=turned, missing=0.0) for n, s in ((500, 5), (1500, 6)))
    recalibrated = Transferred(source).fit(local.table, local.outcome, HORIZONS)
    updated = Updated(source, inner_folds=3).fit(local.table, local.outcome, HORIZONS)
    assert error(updated, new) < 0.5 * error(recalibrated, new)
    few = local.where(np.isin(local.outcome["patient_id"], np.unique(local.outcome["patient_id"])[:14]))
    careful = Updated(source, inner_folds=2).fit(few.table, few.outcome, HORIZONS)
    assert np.isfinite(careful.predict(new.table, HORIZONS[1])).all()


def test_fine_tuning_asks_the_model_itself_if_it_can(source):
    @dataclass(frozen=True)
    class Trainable:
        calls: list

        def fine_tune(self, inputs, outcome, horizons, seed):
            self.calls.append((len(outcome), seed))
            return self

        def predict(self, table, horizon):
            return np.full(len(table), 0.25)

    calls = []
    rung = type(source)(source.rung, Trainable(calls))
    tuned = fine_tuned(rung, LOCAL.table, LOCAL.outcome, HORIZONS, 7)
    assert calls == [(len(LOCAL.outcome), 7)]
    assert (tuned.predict(NEW.table, HORIZONS[0]) == 0.25).all()
    assert type(fine_tuned(source, LOCAL.table, LOCAL.outcome, HORIZONS)).__name__ == "FittedUpdate"


def test_effects_of_groups_cover_labels_that_were_never_seen():
    """Six products, five of them in training; the true log odds of the sixth lie within its interval at 95 %."""
    seen, unseen = [], []
    for repeat in range(25):
        rng = stream(repeat, "effects")
        u, v = rng.normal(0, 0.7, 6), rng.normal(0, 0.2, 6)
        g, x = rng.integers(0, 5, 250), rng.normal(-1, 1, 250)
        y = (rng.random(250) < expit(0.2 + x + u[g] + v[g] * (x + 1))).astype(float)[:, None]
        effects = fit_effects(x[:, None], y, np.ones((250, 1)), [[f"s{k}" for k in g]], np.arange(250))
        new = rng.normal(-1, 1, 50)
        for label, k, into in (("s5", 5, unseen), ("s0", 0, seen)):
            mean, sd = effects.logit(new, effects.code(0, [label] * 50)[:, None], 0)
            into.append(np.mean(np.abs(0.2 + new + u[k] + v[k] * (new + 1) - mean) < 1.96 * sd))
    assert 0.90 < np.mean(unseen) < 0.995
    assert 0.91 < np.mean(seen) < 0.995


def test_two_products_cannot_show_that_products_do_not_differ():
    rng = stream(9, "two")
    x = rng.normal(-1, 1, 200)
    y = (rng.random(200) < expit(x)).astype(float)[:, None]
    effects = fit_effects(x[:, None], y, np.ones((200, 1)), [["a", "b"] * 100], np.arange(200))
    assert effects.tau[0] > 0.2
    mean, sd = effects.logit(np.array([-1.0]), np.array([[-1]]), 0)
    _, known = effects.logit(np.array([-1.0]), np.array([[0]]), 0)
    assert sd[0] > 1.3 * known[0]
    assert 0.2 < integrated(mean, sd)[0] < 0.4


def test_group_effects_as_a_rung():
    product = stream(4, "product").choice(["axi-cel", "tisa-cel", "liso-cel"], 240)
    shift = np.select([product == "axi-cel", product == "tisa-cel"], [0.8, -0.8], 0.0)
    data = truth(240, 11, effects=EFFECTS, missing=0.0, shift=shift, product=product)
    model = GroupEffects(RUNG, folds=3).fit(data.table, data.outcome, HORIZONS, 1)
    table = {row["label"]: row["intercept"] for row in model.effects.table()}
    assert table["axi-cel"] > 0.25 > -0.25 > table["tisa-cel"]
    known, unknown = (NEW.table.assign(**{"static.product": p}) for p in ("axi-cel", "brand new"))
    low, high = model.interval(known, HORIZONS[1])
    wide_low, wide_high = model.interval(unknown, HORIZONS[1])
    assert (wide_high - wide_low > high - low).all()
    assert np.allclose(model.predict(unknown, HORIZONS[1]), model.predict(NEW.table, HORIZONS[1]))
    meta, arrays = to_parts(model)
    again = from_parts(json.loads(json.dumps(meta)), arrays)
    assert np.array_equal(again.predict(known, HORIZONS[1]), model.predict(known, HORIZONS[1]))
    assert model.group_sd() == {"product": model.effects.tau[0]}
    assert "static.product" in model.reasons(known, HORIZONS[1])
    with pytest.raises(NotEstimableError, match="no column"):
        GroupEffects(RUNG, ("static.site",)).fit(data.table, data.outcome, HORIZONS)


def test_learning_curves_compare_steps_on_the_same_patients(source):
    local = truth(260, 12, effects=EFFECTS, missing=0.0, shift=-1.0, landmarks=(24.0,))
    steps = {k: v for k, v in transfer_ladder(source).items() if k in ("none", "intercept", "slope")}
    predictions, failures = learning_predictions(
        steps, Inputs.of(local.table), local.outcome, HORIZONS[1:], sizes=(25, 100, 999), repeats=12, seed=1
    )
    assert set(predictions["n_local"]) == {25, 100}
    keys = ["n_local", "repeat", "patient_id", "landmark_h", "horizon_h"]
    assert (predictions.groupby(keys)["model"].nunique() == 3).all()
    curve = learning_curve(predictions).set_index(["model", "n_local", "metric"])
    assert curve.loc[("none", 25, "oe"), "value"].item() < 0.8
    assert curve.loc[("intercept", 100, "oe"), "value"].item() == pytest.approx(1.0, abs=0.15)
    assert curve.loc[("intercept", 100, "brier"), "difference_high"].item() < 0.01
    assert len(failures) == 0
    with pytest.raises(NotEstimableError, match="test set"):
        learning_predictions(steps, local.table.iloc[:20], local.outcome.iloc[:20], HORIZONS)


def test_log_odds_are_finite_at_the_ends():
    assert np.isfinite(log_odds([0.0, 1.0])).all()
