"""The hybrid of mechanism and network: the reduced system against the patient model, and the rung that learns."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.dataset import examples
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.sequence import hybrid
from icans.forecast.sequence.engine import NUMPY, jax_engine, single_precision
from icans.forecast.sequence.heads import probabilities
from icans.forecast.sequence.hybrid import FittedHybrid, HybridModel, from_parts
from icans.forecast.sequence.hybrid_net import OBSERVED
from icans.forecast.sequence.reduced import (
    DAYS,
    KEPT,
    STEP_H,
    VARIED,
    reduced,
    run,
    solved_courses,
    stored_courses,
)
from icans.forecast.sequence.rungs import sequence_rungs
from icans.forecast.sequence.train import Trained, TrainSpec
from icans.forecast.sequence.tree import layout_of, ravel, unravel
from icans.mechanism.part import part_of
from icans.mechanism.patient import patient_model

HORIZONS = (Horizon(72.0), Horizon(168.0))
DATA = examples(simulated(90, seed=5, signal=3.0), TASKS["icans_any"], (72.0,), stream=True)
QUICK = TrainSpec(batch=64, max_updates=30, check_every=10, patience=3, seeds=1)


MODEL = HybridModel(hidden=5, width=5, train=QUICK, share=0.5)


def untrained(learner, batch, targets, inner, spec, seed) -> tuple[Trained, ...]:
    """In place of training (its compiler takes ten seconds): parameters a little away from the start."""
    tree = learner.init(stream(seed, "init"), {})
    moved = ravel(tree) + 0.2 * stream(seed, "move").normal(size=ravel(tree).size).astype(np.float32)
    params = unravel(moved, layout_of(tree))
    loss = float(learner.loss(NUMPY, params, batch.arrays() | targets, None))
    KEPT_ARRAYS.update(batch.arrays() | targets)
    return (Trained(params, 0, loss, loss),)


KEPT_ARRAYS: dict[str, np.ndarray] = {}


@pytest.fixture(scope="module")
def fitted() -> FittedHybrid:
    before = hybrid.train
    hybrid.train = untrained
    try:
        return MODEL.fit(DATA.inputs, DATA.outcome, HORIZONS, seed=1)
    finally:
        hybrid.train = before


def test_the_typical_patient_has_the_course_of_the_whole_model():
    system = reduced()
    none = np.zeros((1, len(system.sd)), dtype=np.float32)
    error = [np.abs(np.log(run(NUMPY, system, none, substeps=k)[:, 0] / system.typical)).max() for k in (2, 4)]
    assert error[0] / error[1] == pytest.approx(2.0, abs=0.4)  # first order
    assert error[1] < 0.07


def test_random_effects_are_those_of_the_patient_model():
    """An individual with other parameters: the whole model of that patient, up to what its drivers would do."""
    from icans.mechanism.doses import Dose
    from icans.mechanism.part import part_of
    from icans.mechanism.patient import patient_model
    from icans.mechanism.reference import solve

    system = reduced()
    times = np.arange(0.0, DAYS * 24.0 + 1.0, STEP_H)
    chosen = {"crp_base": 1.0, "crp_rise": -1.0, "ferritin_base": 0.5}  # nothing else depends on these
    effects = np.zeros((1, len(system.sd)), dtype=np.float32)
    model = part_of(patient_model(), KEPT)
    values = {}
    for name, size in chosen.items():
        k = 2 + VARIED.index(name)
        effects[0, k] = size
        values[name] = model.parameters[name].value * float(np.exp(size * system.sd[k]))
    whole = solve(model, values, [Dose(0.0, "car_t", 1.5e8, "cells")], times, outputs=["CRP", "FERRITIN"], rtol=1e-6)
    ours = run(NUMPY, system, effects, substeps=4)[:, 0]
    for name in ("CRP", "FERRITIN"):
        assert np.abs(np.log(ours[:, KEPT.index(name)] / whole[name])).max() < 0.07


def test_more_cells_and_a_faster_clock():
    system = reduced()
    effects = np.zeros((3, len(system.sd)), dtype=np.float32)
    effects[1, 0], effects[2, 1] = 1.0, 1.0
    made = run(NUMPY, system, effects)
    typical, loaded, fast = (made[:, k, KEPT.index("IL6")] for k in range(3))
    assert loaded.max() > 1.5 * typical.max()
    assert fast.argmax() < typical.argmax()


def test_courses_stay_positive_and_finite_whatever_the_effects():
    system = reduced()
    effects = 3.0 * stream(1, "effects").choice([-1.0, 1.0], (40, len(system.sd))).astype(np.float32)
    made = run(NUMPY, system, effects)
    assert np.isfinite(made).all()
    assert (made > 0).all()
    assert made[:, :, KEPT.index("BAR_cortex")].max() <= 1.0 + 1e-5


def test_factors_of_the_gains_act_on_the_gains_alone():
    system = reduced()
    none = np.zeros((1, len(system.sd)), dtype=np.float32)
    plain = run(NUMPY, system, none)
    assert np.array_equal(run(NUMPY, system, none, lambda seen: np.ones((1, len(KEPT)), np.float32)), plain)
    double = run(NUMPY, system, none, lambda seen: np.full((1, len(KEPT)), 2.0, np.float32))
    first = [(x[1, 0] - x[0, 0])[KEPT.index("CRP")] for x in (plain, double)]
    assert first[1] > 0 > first[0] - first[1]  # CRP rests where gain and loss are equal; twice the gain raises it


def test_jax_computes_the_same_loss_as_numpy(fitted):
    jax = pytest.importorskip("jax")
    engine = jax_engine()
    with single_precision():
        loss = jax.jit(
            lambda p, batch: fitted.network.loss(engine, p, batch, None),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        assert float(loss(fitted.params[0], KEPT_ARRAYS)) == pytest.approx(fitted.told["inner_loss"], rel=1e-4)


def test_the_loss_is_outcome_misfit_and_penalty(fitted):
    net, params = fitted.network, fitted.params[0]
    rows = {name: value[:4] for name, value in KEPT_ARRAYS.items()}
    eta = net.effects(NUMPY, params, rows)
    logs = net.courses(NUMPY, params, eta)
    misfit = np.zeros(4)
    for i in range(4):
        for t, k in zip(*np.nonzero(rows["seen_mask"][i])):
            state = KEPT.index(OBSERVED[net.measured[k]])
            hours = rows["seen_at"][i, t] * STEP_H
            expected = np.interp(hours, STEP_H * np.arange(logs.shape[1]), logs[i, :, state]) + params["offset"][k]
            z = (rows["seen"][i, t, k] - expected) / np.exp(params["noise"][k])
            misfit[i] += np.sqrt(1 + z * z) - 1 + params["noise"][k]
    assert net.misfit(NUMPY, params, rows, logs) == pytest.approx(misfit, rel=1e-3, abs=1e-3)
    chance = probabilities(net.logits(NUMPY, params, rows))
    likelihood = [(np.log((p * c).sum(axis=1)) * k).sum() for p, c, k in zip(chance, rows["cause"], rows["known"])]
    whole = -np.mean(likelihood) + net.share * np.mean(misfit + 0.5 * (eta**2).sum(axis=1))
    assert float(net.loss(NUMPY, params, rows, None)) == pytest.approx(whole, rel=1e-4)


def test_measured_values_stand_at_their_times(fitted):
    row = 3
    patient = DATA.table.index[row][0]
    frame = DATA.inputs.history.frame()
    mine = frame[(frame["patient_id"] == patient) & (frame["channel"] == "lab.crp") & (frame["available_h"] <= 72.0)]
    k = fitted.network.measured.index("lab.crp")
    seen = KEPT_ARRAYS["seen_mask"][row, :, k] > 0
    assert np.exp(KEPT_ARRAYS["seen"][row, seen, k]) == pytest.approx(mine["value"].to_numpy(), rel=1e-4)
    # A step has one time; it is at most a bin away from that of a value in it.
    assert np.abs(KEPT_ARRAYS["seen_at"][row, seen] * STEP_H - mine["time_h"].to_numpy()).max() < 12.0


def test_risks_and_courses(fitted):
    risk = fitted.predict(DATA.inputs, HORIZONS[1])
    assert ((risk > 0) & (risk < 1)).all()
    assert (risk >= fitted.predict(DATA.inputs, HORIZONS[0])).all()
    assert fitted.network.measured == ("lab.crp", "lab.ferritin")
    few = DATA.inputs[np.arange(3)]
    courses = fitted.courses(few)
    assert len(courses) == 3 * (round(DAYS * 24 / STEP_H) + 1)
    effects = fitted.effects(few)
    assert tuple(effects.columns) == ("load", "speed", *VARIED)
    start = courses.xs(0.0, level="time_h")["CRP"].to_numpy()
    k = VARIED.index("crp_base")
    expected = reduced().typical[0, KEPT.index("CRP")] * np.exp(reduced().sd[2 + k] * effects["crp_base"].to_numpy())
    assert start == pytest.approx(expected, rel=1e-4)


def test_parts_name_the_equations(fitted):
    meta, arrays = fitted.to_parts()
    again = from_parts(json.loads(json.dumps(meta)), arrays)
    few = DATA.inputs[np.arange(6)]
    assert np.array_equal(again.predict(few, HORIZONS[0]), fitted.predict(few, HORIZONS[0]))
    with pytest.raises(ValueError, match="other equations"):
        from_parts(meta | {"equations": "x"}, arrays)


def test_reasons_have_a_column_for_each_channel(fitted):
    reasons = fitted.reasons(DATA.inputs[np.arange(4)], HORIZONS[1])
    assert {"lab.crp.last", "lab.ferritin.last"} <= set(reasons.columns)
    assert np.isfinite(reasons.to_numpy()).all()


def test_every_horizon_is_answered_by_one_run_of_the_equations(fitted, monkeypatch):
    few = DATA.inputs[np.arange(4)]
    each = [fitted.predict(few, h) for h in HORIZONS]
    reasons = [fitted.reasons(few, h) for h in HORIZONS]
    runs: list[int] = []
    logits = type(fitted.network).logits
    monkeypatch.setattr(type(fitted.network), "logits", lambda *a: runs.append(1) or logits(*a))
    np.testing.assert_array_equal(fitted.risks(few), np.column_stack(each))
    assert len(runs) == len(fitted.params)
    for found, alone in zip(fitted.every_reasons(few, HORIZONS), reasons, strict=True):
        pd.testing.assert_frame_equal(found, alone)
    assert len(runs) == 3 * len(fitted.params)  # the rows as they are, and all their changed copies


def test_stored_courses_are_those_of_the_equations():
    whole = part_of(patient_model(), KEPT)
    drivers = reduced().drivers
    stored = stored_courses(whole.key, drivers)
    assert stored is not None, "renew them: python -m icans.forecast.sequence.reduced"
    for found, wanted in zip(stored, solved_courses(whole, drivers), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-8)
    assert stored_courses("another", drivers) is None
    assert stored_courses(whole.key, drivers[::-1]) is None


def test_a_cohort_without_the_analytes_of_the_mechanism_is_refused():
    bare = DATA.inputs.only(("static", "grade"))
    with pytest.raises(NotEstimableError, match="il_6"):
        HybridModel(train=QUICK).fit(bare, DATA.outcome, HORIZONS)


def test_rungs_by_name():
    rungs = {rung.name: rung for rung in sequence_rungs()}
    assert set(rungs) >= {"net_gru", "net_grud", "net_tcn", "net_cde", "net_experts", "net_ude", "net_mechanism"}
    assert all(rung.uses_history for rung in rungs.values())
    assert not any(rung.model.encode.missingness for rung in rungs.values())
    assert rungs["net_grud"].groups is not None
    assert rungs["net_experts"].groups is None
    assert sequence_rungs(["net_tcn"], missingness=True)[0].model.encode.missingness
    assert replace(rungs["net_ude"].model, corrected=False) == rungs["net_mechanism"].model
    with pytest.raises(KeyError, match="net_x"):
        sequence_rungs(["net_x"])
