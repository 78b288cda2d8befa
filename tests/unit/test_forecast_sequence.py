"""Networks as models of the ladder: encoding, heads, training, reasons, plain parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.dataset import Examples, examples
from icans.forecast.incidence import incidence as aalen_johansen
from icans.forecast.inputs import History, Inputs
from icans.forecast.ladder import Rung
from icans.forecast.outcomes import TASKS, Horizon
from icans.forecast.sequence import heads, whole
from icans.forecast.sequence import train as training
from icans.forecast.sequence.encode import EncodeSpec, fit_encoding
from icans.forecast.sequence.rung import FittedSequence, SequenceModel, from_parts
from icans.forecast.sequence.train import TrainSpec
from icans.forecast.sequence.whole import FittedWhole, WholeModel
from icans.forecast.sequence.whole import from_parts as whole_from_parts

jax = pytest.importorskip("jax")
pytest.importorskip("optax")

LANDMARKS = (48.0, 120.0)
HORIZONS = (Horizon(72.0), Horizon(168.0))
COHORT = simulated(140, seed=3, signal=3.0)
DATA = examples(COHORT, TASKS["icans_any"], LANDMARKS, stream=True)
QUICK = TrainSpec(batch=64, max_updates=60, patience=3, seeds=2)
MODEL = SequenceModel("gru", hidden=6, width=6, train=QUICK)


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    before = training.COMPILER
    training.COMPILER = {"xla_backend_optimization_level": 0}
    yield
    training.COMPILER = before


@pytest.fixture(scope="module")
def fitted() -> FittedSequence:
    return MODEL.fit(DATA.inputs, DATA.outcome, HORIZONS, seed=1)


def by_hand(rows: list[tuple[str, str, float, float, float]], at_h: float) -> Inputs:
    """Inputs of one row for each patient from (patient, channel, time, available, value), sorted as a stream is."""
    patients = tuple(sorted({r[0] for r in rows}))
    channels = tuple(sorted({r[1] for r in rows}))
    rows = sorted(rows, key=lambda r: (r[0], r[2], r[1]))
    columns = list(zip(*rows))
    stream = History(
        patients, channels,
        np.array([patients.index(p) for p in columns[0]]), np.array([channels.index(c) for c in columns[1]]),
        *(np.array(columns[k], dtype=float) for k in (2, 3, 4)),
    )  # fmt: skip
    index = pd.MultiIndex.from_arrays([list(patients), [at_h] * len(patients)], names=["patient_id", "landmark_h"])
    table = pd.DataFrame({"day": at_h / 24.0, "static.age_y": np.arange(len(patients)) + 50.0}, index=index)
    return Inputs(table, np.full(len(patients), at_h), stream)


ROWS = [
    ("a", "grade.CRS", 0.0, 24.0, 1.0), ("a", "grade.CRS", 24.0, 48.0, 2.0), ("a", "lab.temperature", 5.0, 5.0, 38.0),
    ("a", "lab.temperature", 6.0, 6.0, 39.0), ("a", "lab.temperature", 60.0, 60.0, 40.0),
    ("a", "lab.temperature", 71.0, 80.0, 41.0), ("b", "lab.temperature", 30.0, 30.0, 36.0),
]  # fmt: skip


def test_steps_are_the_bins_with_events_newest_last():
    spec = EncodeSpec(bin_h=12.0)
    inputs = by_hand(ROWS, 72.0)
    encoding = fit_encoding(inputs, spec)
    batch = encoding.batch(inputs)
    assert encoding.channels == ("lab.temperature", "grade.CRS")
    assert batch.lengths.tolist() == [4, 1]  # a: hours 0, 5-6, 24, 60 (that of 71 is known at 80 only)
    assert batch.valid[1].tolist() == [0, 0, 0, 1]
    grade = batch.filled[0, :, 1]
    assert grade == pytest.approx([0.25, 0.25, 0.5, 0.5])
    assert batch.mask[0].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    before = np.array([72.0, 66.5, 48.0, 12.0])
    assert np.expm1(batch.clock[0, :, 1]) * 12.0 == pytest.approx(before, rel=1e-5)
    assert np.expm1(batch.clock[0, :, 0]) * 12.0 == pytest.approx([0.0, 5.5, 18.5, 36.0], rel=1e-5)
    gap = np.expm1(batch.gap[0]) * 12.0
    assert gap[:, 1] == pytest.approx([0.0, 5.5, 24.0, 36.0], rel=1e-5)  # since the grade before the step
    assert gap[:, 0] == pytest.approx([0.0, 5.5, 18.5, 54.5], rel=1e-5)  # since the start, then since 5.5
    assert np.expm1(batch.last_gap[0]) * 12.0 == pytest.approx([12.0, 48.0], rel=1e-5)


def test_values_are_standardised_on_training_rows_and_zero_where_never_seen():
    inputs = by_hand(ROWS, 72.0)
    encoding = fit_encoding(inputs, EncodeSpec(bin_h=12.0))
    batch = encoding.batch(inputs)
    seen = batch.filled[:, :, 0][batch.mask[:, :, 0] == 1]
    assert seen.mean() == pytest.approx(0.0, abs=1e-6)
    assert seen.std() == pytest.approx(1.0, abs=1e-5)
    assert batch.filled[0, 0, 0] == 0.0
    assert (batch.filled[1, :, 1] == 0.0).all()


def test_a_short_window_keeps_the_newest_steps_and_older_values():
    inputs = by_hand(ROWS, 72.0)
    whole, short = (fit_encoding(inputs, EncodeSpec(bin_h=12.0, max_steps=k)).batch(inputs) for k in (32, 2))
    for name in ("filled", "mask", "gap", "valid"):
        assert np.array_equal(getattr(short, name), getattr(whole, name)[:, -2:])


def test_without_missingness_masks_say_only_whether_a_channel_was_seen():
    inputs = by_hand(ROWS, 72.0)
    batch = fit_encoding(inputs, EncodeSpec(bin_h=12.0, missingness=False)).batch(inputs)
    assert batch.mask[0].tolist() == [[0, 1], [1, 1], [1, 1], [1, 1]]
    assert not batch.gap.any()
    assert not batch.last_gap.any()


def test_a_channel_left_out_is_as_if_it_had_never_been_measured():
    every = [(p, "lab.x", t, a, v) for p, c, t, a, v in ROWS]
    inputs = by_hand([*ROWS, *every], 72.0)
    encoding = fit_encoding(inputs, EncodeSpec(bin_h=12.0))
    without = encoding.batch(inputs).without(encoding.channels.index("grade.CRS"))
    expected = encoding.batch(by_hand([*(r for r in ROWS if r[1] != "grade.CRS"), *every], 72.0))
    for name, value in without.arrays().items():
        assert value == pytest.approx(expected.arrays()[name], abs=1e-5)


def test_the_future_does_not_enter():
    encoding = fit_encoding(DATA.inputs, EncodeSpec())
    stream = DATA.inputs.history
    late = stream.available_h > DATA.inputs.at_h.min()
    rows = DATA.inputs[DATA.inputs.at_h == DATA.inputs.at_h.min()]
    moved = replace(stream, value=np.where(late, 1e6, stream.value))
    before, after = (encoding.batch(replace(rows, history=s)) for s in (stream, moved))
    for name, value in before.arrays().items():
        assert np.array_equal(value, after.arrays()[name])


def test_known_bins_and_what_happened_in_them():
    edges = np.array([10.0, 20.0, 30.0])
    known, cause = heads.targets([5.0, 10.0, 25.0, 25.0, 99.0], [1, 1, 0, 2, 1], edges)
    assert known.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert cause.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_without_a_network_the_risk_is_that_of_aalen_and_johansen(monkeypatch):
    monkeypatch.setattr(heads, "POOLING", 1e-9)
    rng = np.random.default_rng(1)
    at = np.repeat([0.0, 24.0], 150)
    outcome = pd.DataFrame({"landmark_h": at, "time_h": rng.exponential(60.0, 300) + 1.0})
    outcome["event"] = rng.integers(1, 3, 300)
    outcome.loc[outcome["time_h"] > 168.0, "event"] = 0
    outcome["time_h"] = outcome["time_h"].clip(upper=168.0)
    grid = heads.Grid.fit(outcome, HORIZONS)
    chance = heads.probabilities(grid.start(at))
    for s in (0.0, 24.0):
        mine = outcome[outcome["landmark_h"] == s]
        curve = aalen_johansen(mine["time_h"], mine["event"])
        for horizon in HORIZONS:
            assert grid.risk(chance, at, horizon)[at == s] == pytest.approx(float(curve(horizon.hours)), abs=1e-6)


def test_loss_of_competing_risks_is_the_likelihood():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3, 2, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    known, cause = heads.targets([5.0, 15.0, 12.0], [2, 1, 0], np.array([10.0, 20.0]))
    found = heads.competing_loss(np, logits, known, np.eye(3)[cause], np.ones(3))
    expected = p[0, 0, 2] * (p[1, 0, 0] * p[1, 1, 1]) * p[2, 0, 0]
    assert found == pytest.approx(-np.log(expected) / 3)


def test_ordinal_head_starts_at_the_observed_shares():
    share = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    cuts = heads.ordinal_cuts(np, heads.cuts_init(5, share).astype(float))
    assert (np.diff(cuts) > 0).all()
    chance = heads.ordinal_probability(np, np.zeros(2), cuts)
    assert chance[0] == pytest.approx(share, abs=1e-5)
    assert heads.ordinal_probability(np, np.array([30.0]), cuts)[0, -1] == pytest.approx(1.0)


def test_training_beats_the_incidence_by_day_on_patients_held_out(fitted):
    told = fitted.settings()
    assert told["inner_loss"] < told["inner_loss_by_day"]
    new = examples(simulated(300, seed=8, signal=3.0), TASKS["icans_any"], LANDMARKS, stream=True)
    event = (new.outcome["event"] == 1) & (new.outcome["time_h"] <= 72.0)
    risk = fitted.predict(new.inputs, HORIZONS[0])
    rank = pd.Series(risk).rank()
    n, m = int(event.sum()), int((~event).sum())
    auc = (rank[event].sum() - n * (n + 1) / 2) / (n * m)
    assert auc > 0.62
    assert risk.mean() == pytest.approx(event.mean(), abs=0.08)


def test_the_same_seed_gives_the_same_network_whatever_the_precision_outside(fitted):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", not before)
    try:
        again = MODEL.fit(DATA.inputs, DATA.outcome, HORIZONS, seed=1)
    finally:
        jax.config.update("jax_enable_x64", before)
    assert np.array_equal(again.predict(DATA.inputs, HORIZONS[0]), fitted.predict(DATA.inputs, HORIZONS[0]))
    assert len({p["dense"]["w"].tobytes() for p in fitted.params}) == 2


def test_risks_rise_with_the_horizon_and_only_horizons_of_the_fit_are_answered(fitted):
    near, far = (fitted.predict(DATA.inputs, h) for h in HORIZONS)
    assert (far >= near).all()
    assert ((near > 0) & (far < 1)).all()
    with pytest.raises(Exception, match="not fitted for"):
        fitted.predict(DATA.inputs, 24.0)


def test_parts_give_the_same_forecasts_and_refuse_what_does_not_fit(fitted):
    import json

    meta, arrays = fitted.to_parts()
    again = from_parts(json.loads(json.dumps(meta)), arrays)
    assert np.array_equal(again.predict(DATA.inputs, HORIZONS[1]), fitted.predict(DATA.inputs, HORIZONS[1]))
    huge = meta | {"network": meta["network"] | {"width": 10**9}}
    with pytest.raises(ValueError, match="sizes of a network"):
        from_parts(huge, arrays)
    broken = {name: value[:-1] if name == "net0.cell.back" else value for name, value in arrays.items()}
    with pytest.raises(ValueError, match="parameter cell"):
        from_parts(meta, broken)


def test_reasons_are_log_odds_without_the_channel(fitted):
    few = DATA.inputs[np.arange(12)]
    reasons = fitted.reasons(few, HORIZONS[1])
    assert {"lab.crp.last", "grade.CRS.now", "day"} <= set(reasons.columns)
    k = fitted.encoding.channels.index("lab.crp")
    batch = fitted.encoding.batch(few).without(k)
    at = few.table.index.get_level_values("landmark_h").to_numpy(dtype=float)
    without = np.mean([fitted.grid.risk(fitted._hazards(p, batch, at), at, HORIZONS[1]) for p in fitted.params], axis=0)
    whole = fitted.predict(few, HORIZONS[1])
    expected = np.log(whole / (1 - whole)) - np.log(without / (1 - without))
    assert reasons["lab.crp.last"].to_numpy() == pytest.approx(expected, abs=1e-9)


def test_every_horizon_at_once_is_every_horizon_alone(fitted):
    few = DATA.inputs[np.arange(12)]
    np.testing.assert_array_equal(fitted.risks(few), np.column_stack([fitted.predict(few, h) for h in HORIZONS]))
    for found, horizon in zip(fitted.every_reasons(few, HORIZONS), HORIZONS, strict=True):
        pd.testing.assert_frame_equal(found, fitted.reasons(few, horizon))


def test_a_patient_without_any_event_gets_a_forecast(fitted):
    one = DATA.inputs[np.array([0])]
    bare = replace(one, history=replace(one.history, available_h=np.full(len(one.history), 1e9)))
    risk = fitted.predict(bare, HORIZONS[0])
    assert np.isfinite(risk).all()


def test_backward_reading_and_unknown_cells_are_refused():
    with pytest.raises(ValueError, match="not for forecasts"):
        SequenceModel("bidirectional")
    with pytest.raises(ValueError, match="no cell"):
        SequenceModel("perceptron")
    with pytest.raises(ValueError, match="smoothing"):
        WholeModel("bidirectional")


def test_too_few_events_are_named():
    outcome = DATA.outcome.assign(event=0)
    with pytest.raises(NotEstimableError, match="when to stop training"):
        MODEL.fit(DATA.inputs, outcome, HORIZONS)


def test_a_rung_of_the_cross_validation():
    model = replace(MODEL, train=replace(QUICK, max_updates=20, seeds=1))
    design = Design(landmarks_h=LANDMARKS, horizons=HORIZONS, folds=2, repeats=1, min_events=3)
    found = cross_validate(COHORT, TASKS["icans_any"], [Rung("net", "", model)], design)
    assert (found.fits["error"] == "").all()
    assert found.predictions["risk"].between(0, 1).all()
    assert set(found.predictions["patient_id"]) == set(DATA.outcome["patient_id"])


def whole_stays() -> tuple[Inputs, pd.Series]:
    """Every stay at its end, and the largest ICANS grade, which is in the stream (so it can be found)."""
    data: Examples = examples(COHORT, replace(TASKS["icans_any"], threshold=9.0), (120.0,), stream=True)
    grades = COHORT.grades[(COHORT.grades["toxicity"] == "ICANS") & (COHORT.grades["available_h"] <= 120.0)]
    top = grades.groupby("patient_id")["grade"].max()
    return data.inputs, top.reindex(data.table.index.get_level_values("patient_id"))


def test_grades_and_phenotypes_of_whole_stays():
    inputs, top = whole_stays()
    model = WholeModel(
        "bidirectional", smoothing=True, hidden=4, width=4, train=replace(QUICK, max_updates=60, seeds=1)
    )
    grade = top.to_numpy(copy=True)
    grade[3] = np.nan
    fit = model.fit_grade(inputs, grade, seed=2)
    chance = fit.predict(inputs)
    assert chance.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-6)
    assert (chance.to_numpy() >= 0).all()
    mean = chance.to_numpy() @ np.arange(5)
    assert mean[top.to_numpy() == 0].mean() + 0.5 < mean[top.to_numpy() >= 1].mean()
    again: FittedWhole = whole_from_parts(*fit.to_parts())
    assert np.array_equal(again.predict(inputs), chance)


def test_loss_of_labels_is_over_those_that_are_known():
    logits, label = np.array([[0.3, -1.0], [2.0, 0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    known = np.array([[1.0, 1.0], [1.0, 0.0]])
    chance = 1 / (1 + np.exp(-logits))
    expected = -np.mean([np.log(chance[0, 0]), np.log(1 - chance[0, 1]), np.log(1 - chance[1, 0])])
    assert heads.label_loss(np, logits, label, known) == pytest.approx(expected)


def test_labels_of_whole_stays_and_constant_ones_are_named(monkeypatch):
    """Where training does nothing, each label has the share of its known rows, up to half a row."""

    def start(learner, batch, targets, inner, spec, seed):
        params = learner.init(np.random.default_rng(0), {})
        params["out"]["w"][:] = 0.0
        return (training.Trained(params, 0, 0.0, 0.0),)

    monkeypatch.setattr(whole, "train", start)
    inputs, top = whole_stays()
    labels = pd.DataFrame({"any": (top.to_numpy() >= 1) * 1.0, "severe": (top.to_numpy() >= 3) * 1.0})
    labels.iloc[::3, 1] = np.nan
    model = WholeModel("bidirectional", smoothing=True, hidden=6, width=6, train=QUICK)
    found = model.fit_labels(inputs, labels, seed=2).predict(inputs)
    assert list(found.columns) == ["any", "severe"]
    assert found.mean().to_numpy() == pytest.approx(labels.mean().to_numpy(), abs=0.02)
    with pytest.raises(NotEstimableError, match="never"):
        model.fit_labels(inputs, labels.assign(never=0.0))
