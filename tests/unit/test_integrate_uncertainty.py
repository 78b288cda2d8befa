"""The uncertainty statement: brackets against a peer, sources that add, and intervals that hold the true risk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from icans.core.random import stream
from icans.forecast.envelope import Note, unseen_sd
from icans.forecast.inputs import Inputs
from icans.forecast.integrate.members import log_odds
from icans.forecast.integrate.uncertainty import VennAbers, drawn, sentence, statement
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.ridge import expit
from integrate_tables import HORIZONS, QUICK, truth


def test_brackets_are_those_of_two_isotonic_fits():
    rng = stream(1, "venn")
    p = rng.random(80)
    y = (rng.random(80) < p**2).astype(float)
    w = rng.uniform(0.5, 2.0, 80)
    ask = np.array([0.02, 0.4, 0.77, p[3]])
    low, high, used = VennAbers.fit(p, y, w).bracket(ask)
    assert (used == "(all)").all()
    for k, value in enumerate(ask):
        for outcome, mine in ((0.0, low[k]), (1.0, high[k])):
            # The peer joins equal risks into one, so that the new patient shares a value with those of its own risk.
            theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            theirs.fit(np.r_[p, value], np.r_[y, outcome], sample_weight=np.r_[w, w.mean()])
            shared = theirs.predict([value])[0]
            same = value not in p
            assert mine == pytest.approx(shared, abs=1e-9) if same else abs(mine - shared) < 0.2
    assert (low <= high).all()


def test_a_group_is_bracketed_by_itself_when_it_is_large_enough():
    p = np.tile(np.linspace(0.05, 0.95, 60), 3)
    group = np.repeat(["a", "b", "c"], 60)
    y = np.where(group == "a", 1.0, (p > 0.5).astype(float))
    keep = (group != "c") | (np.arange(180) % 6 == 0)
    venn = VennAbers.fit(p[keep], y[keep], group=group[keep].tolist())
    low, high, used = venn.bracket([0.3, 0.3, 0.3, 0.3], ["a", "b", "c", "unknown"])
    assert used.tolist() == ["a", "b", "(all)", "(all)"]
    assert low[0] > 0.6
    assert high[1] < 0.2
    empty = VennAbers.fit([], [])
    assert [v[0] for v in empty.bracket([0.3])[:2]] == [0.0, 1.0]


def test_one_end_of_the_bracket_is_calibrated():
    """The end that belongs to the outcome has the outcome's mean, whatever the forecasts are worth (Vovk, Petej)."""
    rng = stream(2, "calibrated")
    picked, outcome = [], []
    for _ in range(150):
        x = rng.normal(size=41)
        y = (rng.random(41) < 1 / (1 + np.exp(-2 * x + 1))).astype(float)
        wrong = 1 / (1 + np.exp(-0.3 * x))
        low, high, _ = VennAbers.fit(wrong[:40], y[:40]).bracket(wrong[40:])
        picked.append(high[0] if y[40] else low[0])
        outcome.append(y[40])
    error = np.std(np.array(outcome) - picked) / np.sqrt(150)
    assert abs(np.mean(outcome) - np.mean(picked)) < 3 * error


def test_sources_add_as_variances_and_the_largest_is_named():
    risk = np.array([0.2, 0.2])
    wobble = [1 / (1 + np.exp(-(np.log(0.25) + d))) * np.ones(2) for d in (-0.3, 0.3)]
    note = (Note("group", "product", "new", 1.0), Note("range", "x", "far", 0.1), Note("range", "y", "far", 0.3))
    found = statement(risk, refits=wobble, states=wobble, notes=[(), note])
    one = 0.6 / np.sqrt(2)
    assert found["sd_sample"].tolist() == pytest.approx([one, one])
    assert found["sd_novelty"].tolist() == pytest.approx([0.0, np.hypot(1.0, 0.3)])
    reach = 1.959963984540054 * np.sqrt(2 * one**2 + 1.0 + 0.09)
    assert found["high"].iloc[1] == pytest.approx(1 / (1 + np.exp(-(np.log(0.25) + reach))))
    assert found["largest"].tolist() == ["sample", "novelty"]
    assert "new to the model" in sentence(found.iloc[1])
    bare = statement(risk).iloc[0]
    assert bare["low"] == pytest.approx(0.2)
    assert bare["largest"] == "none"
    hull = statement(risk, refits=wobble, bracket=([0.01, 0.19], [0.9, 0.21]))
    assert hull["low"].iloc[0] == 0.01
    assert hull["largest"].tolist() == ["calibration", "sample"]


def test_the_latent_state_is_drawn_around_its_mean():
    index = pd.MultiIndex.from_tuples([("a", 24.0), ("b", 24.0)], names=["patient_id", "landmark_h"])
    table = pd.DataFrame({"day": 1.0, "mech.x": [1.0, 2.0], "mech.x.sd": [0.5, np.nan], "mech.y": 3.0}, index=index)
    draws = [d.table for d in drawn(Inputs.of(table), 400, seed=1)]
    first = np.array([d["mech.x"].iloc[0] for d in draws])
    assert first.mean() == pytest.approx(1.0, abs=0.1)
    assert first.std() == pytest.approx(0.5, abs=0.06)
    assert {d["mech.x"].iloc[1] for d in draws} == {2.0}
    assert all((d[["day", "mech.y", "mech.x.sd"]].fillna(-1) == table[["day", "mech.y", "mech.x.sd"]].fillna(-1)).all(
        axis=None) for d in draws[:3])  # fmt: skip


EFFECTS = {"static.age_y": 0.6, "lab.crp.last": 0.8}


def test_intervals_of_patients_with_a_new_product_hold_their_true_risk():
    """Levels of new products as in the published incidences: with the rule nine in ten or more, without fewer."""
    model = LastValueLogistic(**QUICK)
    data = truth(900, 61, effects=EFFECTS, missing=0.0)
    fitted = model.fit(data.table, data.outcome, HORIZONS, 1)
    wobble = [fitted.predict, model.fit(*_half(data, 0)).predict, model.fit(*_half(data, 1)).predict]
    rule, naive = [], []
    for k in range(40):
        shift = stream(k, "new product").normal(0, unseen_sd("product"))
        new = truth(40, 700 + k, effects=EFFECTS, missing=0.0, landmarks=(24.0,))
        target = expit(log_odds(new.risk[:, 1]) + shift)
        risk = fitted.predict(new.table, HORIZONS[1])
        refits = [one(new.table, HORIZONS[1]) for one in wobble]
        note = (Note("group", "product", "new", unseen_sd("product")),)
        for into, notes in ((rule, [note] * len(risk)), (naive, None)):
            frame = statement(risk, refits=refits, notes=notes)
            into.append(np.mean((target >= frame["low"]) & (target <= frame["high"])))
    assert np.mean(rule) > 0.9
    assert np.mean(naive) < np.mean(rule) - 0.1


def _half(data, k):
    rows = data.outcome["patient_id"].str[-1].astype(int).to_numpy() % 2 == k
    part = data.where(rows)
    return part.table, part.outcome, HORIZONS, 1
