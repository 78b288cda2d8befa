"""The integration layer: who is heard, how loudly, and that a forecast can be taken apart."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import NotEstimableError
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.members import Member, experts, out_of_fold
from icans.forecast.integrate.modalities import MODALITIES, Modality, availability, owner
from icans.forecast.integrate.stack import Stack, integration_rung, stack_rung
from icans.forecast.integrate.weights import Combiner, Level, fit_combiner
from icans.forecast.ladder import Rung
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.models.prevalence import Prevalence
from integrate_tables import HORIZONS, QUICK, quick_stack, truth

DATA = truth(260, 5)
NEW = truth(300, 4)


@pytest.fixture(scope="module")
def fitted():
    return quick_stack(DATA.table).fit(DATA.table, DATA.outcome, HORIZONS, 1)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("lab.il_6.last", "plasma"), ("lab.il_6@csf.last", "csf"), ("lab.ang_2.max_3d", "plasma"),
        ("lab.crp.last", "clinical"), ("static.age_y", "clinical"), ("drug.steroid.given", "clinical"),
        ("eeg.delta", "eeg"), ("mech.barrier.p", "mechanistic"), ("score.EASIX", None), ("day", None),
        ("lab.not_in_the_vocabulary.last", "clinical"),
    ],
)  # fmt: skip
def test_columns_have_an_owner(column, name):
    assert owner(column) == name


def test_a_modality_is_there_when_any_value_is_and_counts_are_no_value():
    frame = pd.DataFrame(
        {"lab.il_6.last": [1.0, np.nan, np.nan], "lab.il_6.count_all": [1.0, 0.0, 0.0], "eeg.a": [np.nan, np.nan, 2.0]}
    )
    found = availability(frame)
    assert found["plasma"].tolist() == [True, False, False]
    assert found["eeg"].tolist() == [False, False, True]
    assert not found["mri"].any()


def test_another_table_of_modalities_may_be_given():
    table = (Modality("all_labs", "", ("lab",)), Modality("rest", "", ("static", "eeg", "mech")))
    names = [m.name for m in experts(DATA.table, table)]
    assert names == ["all_labs", "all_labs.trees", "rest", "rest.trees"]
    with pytest.raises(ValueError, match="names of their own"):
        Stack(table=(table[0], table[0]))
    with pytest.raises(ValueError, match="positive"):
        Modality("x", "", weight=0.0)


def test_the_parts_of_a_forecast_add_up_to_its_log_odds(fitted):
    for horizon in HORIZONS:
        parts = fitted.contributions(NEW.table, horizon)
        risk = fitted.predict(NEW.table, horizon)
        assert np.allclose(parts.sum(axis=1), np.log(risk / (1 - risk)), atol=1e-9)
        assert (parts["eeg"][NEW.table["eeg.delta"].isna()] == 0).all()


def test_without_any_modality_the_forecast_is_the_incidence_of_the_day(fitted):
    bare = NEW.table[["day"]]
    day = Prevalence().fit(DATA.table, DATA.outcome, HORIZONS)
    for horizon in HORIZONS:
        assert np.allclose(fitted.predict(bare, horizon), day.predict(bare, horizon))


def test_risks_do_not_fall_as_the_horizon_grows(fitted):
    risk = fitted.risks(Inputs.of(NEW.table))
    assert (np.diff(risk, axis=1) >= -1e-12).all()


def test_independent_modalities_add_up_and_beat_the_best_expert(fitted):
    """With independent traits the sum of what the experts say is right; a plain mean would be far too timid."""
    assert fitted.combiner.addition > 0.3
    target = NEW.risk[:, 1]
    error = {"stack": np.mean((fitted.predict(NEW.table, HORIZONS[1]) - target) ** 2)}
    for member in quick_stack(DATA.table).members:
        alone = Stack(members=(member,), folds=3, spreads=(0.0,)).fit(DATA.table, DATA.outcome, HORIZONS, 1)
        error[member.name] = np.mean((alone.predict(NEW.table, HORIZONS[1]) - target) ** 2)
    assert error["stack"] < 0.9 * min(v for k, v in error.items() if k != "stack"), error


def test_what_is_missing_is_told_with_what_it_would_move(fitted):
    moved = fitted.missing(NEW.table, HORIZONS[1])
    absent = NEW.table["eeg.delta"].isna()
    assert (moved["eeg"][absent] > 0.1).all()
    assert (moved["eeg"][~absent] == 0).all()
    assert (moved["clinical"] == 0).all()


def test_weights_that_are_known_are_found():
    """Two voices of known worth: one carries the signal, the other noise."""
    rng = np.random.default_rng(1)
    n = 1000
    good, noise = rng.normal(size=(2, n, 1))
    y = (rng.random((n, 1)) < 1 / (1 + np.exp(1.0 - 1.2 * good))).astype(float)
    level = Level(np.full((n, 1), -1.0), np.stack([good, noise], axis=1), y, np.ones((n, 1)), np.arange(n))
    found = fit_combiner(level, np.ones(2), np.arange(n) % 5, rule="best")
    weights = found.weights(np.ones((1, 2), dtype=bool))[0]
    assert weights[0] > 0.85
    assert found.strength(weights[None])[0] * weights[0] == pytest.approx(1.2, abs=0.2)
    few = fit_combiner(Level(*(getattr(level, k)[:12] for k in ("day", "deviation", "status", "weight", "patient"))),
                       np.array([3.0, 1.0]))  # fmt: skip
    assert few.weights(np.ones((1, 2), dtype=bool))[0] == pytest.approx([0.75, 0.25])
    assert few.strength(np.array([[0.75, 0.25]]))[0] == 1.0


def test_the_gradient_of_the_objective_is_that_of_differences():
    from icans.forecast.integrate.weights import _Objective

    rng = np.random.default_rng(2)
    deviation = rng.normal(size=(40, 3, 2))
    deviation[rng.random((40, 3)) < 0.4] = np.nan
    level = Level(rng.normal(size=(40, 2)) - 1, deviation, (rng.random((40, 2)) < 0.3).astype(float),
                  rng.random((40, 2)) + 0.5, np.arange(40) // 2)  # fmt: skip
    objective = _Objective.of(level, np.log([0.5, 0.3, 0.2]), 1.0)
    x = np.array([-0.3, -1.5, -1.0, 0.2, 0.6, 0.1, -0.2])
    gradient = objective(x)[1]
    for k in range(len(x)):
        step = np.zeros(len(x))
        step[k] = 1e-6
        numeric = (objective(x + step)[0] - objective(x - step)[0]) / 2e-6
        assert gradient[k] == pytest.approx(numeric, abs=1e-5)


def test_a_stack_of_rungs_is_as_good_as_the_better_one():
    inner = LastValueLogistic(**QUICK)
    rungs = (Rung("prevalence", "", Prevalence()), Rung("logistic", "", inner), Rung("labs", "", inner, ("lab",)))
    fitted = stack_rung(rungs).fit(DATA.table, DATA.outcome, HORIZONS, 2)
    shares = fitted.settings()
    assert shares["weight, logistic"] >= shares["weight, prevalence"]
    alone = rungs[1].fit(DATA.table, DATA.outcome, HORIZONS, 2)
    gap = fitted.predict(NEW.table, HORIZONS[1]) - NEW.risk[:, 1]
    rival = alone.predict(NEW.table, HORIZONS[1]) - NEW.risk[:, 1]
    assert np.mean(gap**2) < 1.1 * np.mean(rival**2)


def test_members_do_not_see_the_patients_they_are_asked_about():
    """Labels of the held-out fold are turned round: what the members say of that fold does not change."""
    members = quick_stack(DATA.table).members
    inputs = Inputs.of(DATA.table)
    before = out_of_fold(members, inputs, DATA.outcome, HORIZONS, folds=3, seed=1)
    mine = before.fold == 0
    # Time and code of the event are swapped between patients of the fold of like outcome rank, so that the deal of
    # folds (balanced by outcome) is the same.
    changed = DATA.outcome.copy()
    changed.loc[mine, "time_h"] = changed.loc[mine, "time_h"].to_numpy() / 7.0 + 1.0
    after = out_of_fold(members, inputs, changed, HORIZONS, folds=3, seed=1)
    assert (after.fold == before.fold).all()
    assert np.array_equal(before.deviation[mine], after.deviation[mine], equal_nan=True)
    assert not np.array_equal(before.deviation[~mine], after.deviation[~mine], equal_nan=True)


def test_a_member_that_cannot_be_fitted_is_left_out_and_told():
    empty = DATA.table.assign(**{"mri.volume": np.nan})
    fitted = quick_stack(empty).fit(empty, DATA.outcome, HORIZONS, 1)
    assert "mri" not in [m.name for m in fitted.members]
    assert any(note.startswith("mri: no training row") for note in fitted.notes)
    with pytest.raises(NotEstimableError, match="no member"):
        Stack(members=(Member(Rung("mri", "", LastValueLogistic(**QUICK)), "mri"),)).fit(empty, DATA.outcome, HORIZONS)


def test_a_stack_taken_apart_and_put_together_forecasts_the_same(fitted):
    meta, arrays = to_parts(fitted)
    again = from_parts(json.loads(json.dumps(meta)), arrays)
    for horizon in HORIZONS:
        assert np.array_equal(again.predict(NEW.table, horizon), fitted.predict(NEW.table, horizon))
        pd.testing.assert_frame_equal(again.contributions(NEW.table, horizon), fitted.contributions(NEW.table, horizon))
    assert again.notes == fitted.notes
    assert again.settings() == fitted.settings()


def test_reasons_name_features_of_every_modality(fitted):
    reasons = fitted.reasons(NEW.table, HORIZONS[1])
    assert set(reasons.columns) >= {"static.age_y", "lab.il_6.last", "eeg.delta", "mech.barrier.p"}
    both = NEW.table["eeg.delta"].notna()
    risk_rise = np.corrcoef(reasons["eeg.delta"][both], NEW.table["eeg.delta"][both])[0, 1]
    assert risk_rise > 0.95


def test_a_rung_of_the_ladder():
    rung = integration_rung()
    assert not rung.uses_history
    small = DATA.outcome["patient_id"] < "p00040"
    model = rung.fit(DATA.table[small.to_numpy()], DATA.outcome[small].reset_index(drop=True), HORIZONS[:1], 1)
    assert model.parameters > 4
    assert [m.name for m in MODALITIES] == ["csf", "eeg", "mri", "omics", "mechanistic", "plasma", "clinical"]


def test_weights_of_rows_without_anyone_are_zero():
    combiner = Combiner(np.zeros(2), 0.0, 0.5, np.zeros(1), 1.0)
    weights = combiner.weights(np.array([[False, False], [True, False], [True, True]]))
    assert weights.tolist() == [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    assert combiner.strength(weights) == pytest.approx([1.0, 1.0, 2**0.5])
