"""States: paths by hand, Aalen-Johansen against brute force, peers and known truth, Cox models of every move."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from forecast_parts import travelled
from icans.cohort.cohort import make
from icans.core.errors import DataError, NotEstimableError
from icans.core.random import stream
from icans.forecast.incidence import incidence
from icans.forecast.models.parts import from_parts, to_parts
from icans.forecast.multistate import counts, increments, occupation, transition_matrix
from icans.forecast.multistate_cox import MultiState, from_landmark, markov_check
from icans.forecast.multistate_refits import intervals, refits
from icans.forecast.preprocess import PrepareSpec
from icans.forecast.states import SPELL_COLUMNS, Spells, spells

PLAIN = {"columns": list, "prepare": PrepareSpec(transform="none", winsor=None)}


def graded(rows, deaths=()):
    frame = pd.DataFrame(rows, columns=["patient_id", "day", "toxicity", "grade"])
    frame = frame.assign(time_h=24.0 * frame["day"], available_h=24.0 * (frame["day"] + 1), scheme="ASTCT")
    events = pd.DataFrame(deaths, columns=["patient_id", "time_h"]).assign(event="death")
    patients = pd.DataFrame({"patient_id": sorted(frame["patient_id"].unique())})
    return make("graded", {"patients": patients, "grades": frame.drop(columns="day"), "events": events})


def test_paths_of_four_patients():
    rows = [("a", d, "CRS", g) for d, g in enumerate([0, 1, 2, 1, 0, 0])]
    rows += [("a", d, "ICANS", g) for d, g in enumerate([0, 0, 1, 2, 0, 0])]
    rows += [("b", d, "CRS", g) for d, g in enumerate([0, 1, 1])]
    rows += [("c", 0, "CRS", 0), ("c", 8, "CRS", 1)]
    rows += [("d", d, "ICANS", g) for d, g in enumerate([0, 1, 0, 1])]
    found = spells(graded(rows, [("b", 100.0), ("d", 900.0)]))
    assert found.names == ("well", "CRS", "ICANS", "recovered", "death")
    name = [*found.names, "unseen"]
    paths = {
        p: [(name[s], a, b, name[n]) for s, a, b, n in part[SPELL_COLUMNS[1:]].itertuples(index=False)]
        for p, part in found.table.groupby("patient_id")
    }
    assert paths["a"] == [
        ("well", 0, 48, "CRS"), ("CRS", 48, 72, "ICANS"), ("ICANS", 72, 120, "recovered"),
        ("recovered", 120, 144, "unseen"),
    ]  # fmt: skip
    assert paths["b"] == [("well", 0, 48, "CRS"), ("CRS", 48, 100, "death")]
    assert paths["c"] == [("well", 0, 24, "unseen")]  # seen again on day 8, for no time at all
    assert paths["d"][1:3] == [("ICANS", 48, 72, "recovered"), ("recovered", 72, 96, "ICANS")]
    assert found.transitions().loc["CRS", "ICANS"] == 1
    with pytest.raises(DataError, match="grades of one of"):
        spells(graded([("a", 0, "TIAN", 1)]))
    with pytest.raises(NotEstimableError, match="no state"):
        found.number("IEC-HS")


def made(n=400, seed=1, ratio=(0.0, 0.0, 0.0), days=True):
    """Illness and death: well -> ill (0.010 / h), well -> dead (0.002), ill -> dead (0.006), with effects of x."""
    rng = stream(seed, "illness-death")
    x = rng.normal(size=n)
    rates = np.array([0.010, 0.002, 0.006]) * np.exp(x[:, None] * np.array(ratio))
    stop = rng.exponential(400.0, n)
    rows = []
    for i in range(n):
        to_ill, to_dead, later = rng.exponential(1.0 / rates[i])
        first, kind = min((to_ill, 1), (to_dead, 2))
        events = [(0, first, kind)] if kind == 2 else [(0, first, 1), (1, first + later, 2)]
        since = 0.0
        for state, when, after in events:
            when = np.ceil(when / 24) * 24 + (24.0 if when <= since else 0.0) if days else when
            end = np.ceil(stop[i] / 24) * 24 if days else stop[i]
            if when > end:
                if end > since:
                    rows.append((f"p{i:05d}", state, since, end, -1))
                break
            if when > since:
                rows.append((f"p{i:05d}", state, since, when, after))
            since = when
    table = pd.DataFrame({"x": x}, index=pd.Index([f"p{i:05d}" for i in range(n)], name="patient_id"))
    return Spells(("well", "ill", "dead"), pd.DataFrame(rows, columns=SPELL_COLUMNS)), table


def test_matrices_agree_with_brute_force_under_delayed_entry():
    found, _ = made(60)
    late = found.table.copy()
    late["start_h"] = np.where(
        late["state"] == 0, np.minimum(24.0 * (late.index % 3), late["stop_h"] - 24), late["start_h"]
    )
    found = Spells(found.names, late)
    product = np.eye(3)
    for u in sorted(set(late.loc[late["next"] >= 0, "stop_h"])):
        step = np.eye(3)
        for j in range(3):
            risk = late[(late["state"] == j) & (late["start_h"] < u) & (u <= late["stop_h"])]
            for k in range(3):
                moved = ((risk["stop_h"] == u) & (risk["next"] == k)).sum()
                if moved:
                    step[j, k] += moved / len(risk)
                    step[j, j] -= moved / len(risk)
        product = product @ step
    np.testing.assert_allclose(transition_matrix(found, 0.0, 1e6), product, atol=1e-12)


def test_two_states_are_kaplan_meier_with_greenwoods_errors():
    from lifelines import KaplanMeierFitter

    rng = stream(2, "km")
    time, stop = np.ceil(rng.exponential(8, 200)) * 24, np.ceil(rng.exponential(12, 200)) * 24
    died = time <= stop
    rows = pd.DataFrame(
        {"patient_id": [f"p{i}" for i in range(200)], "state": 0, "start_h": 0.0, "stop_h": np.minimum(time, stop)}
    ).assign(next=np.where(died, 1, -1))
    found = occupation(Spells(("alive", "dead"), rows), intervals="greenwood")
    peer = KaplanMeierFitter().fit(np.minimum(time, stop), died)
    at = found.at[1:15]
    np.testing.assert_allclose(found.probability[1:15, 0], peer.predict(at), atol=1e-12)
    greenwood = np.sqrt([_greenwood_sum(np.minimum(time, stop), died, u) for u in at]) * found.probability[1:15, 0]
    p = found.probability[1:15, 0]
    width = (np.log(found.high / (1 - found.high)) - np.log(found.low / (1 - found.low)))[1:15, 0] * p * (1 - p)
    np.testing.assert_allclose(width / 2 / 1.959964, greenwood, rtol=1e-5)


def _greenwood_sum(time, died, until):
    total = 0.0
    for u in sorted(set(time[died & (time <= until)])):
        d, n = ((time == u) & died).sum(), (time >= u).sum()
        total += d / (n * (n - d))
    return total


def test_competing_states_are_the_aalen_johansen_incidence():
    rng = stream(3, "competing")
    time, code = np.ceil(rng.exponential(8, 150)) * 24, rng.choice([0, 1, 2], 150)
    rows = pd.DataFrame({"patient_id": [f"p{i}" for i in range(150)], "state": 0, "start_h": 0.0, "stop_h": time})
    found = occupation(Spells(("free", "one", "two"), rows.assign(next=np.where(code > 0, code, -1))), intervals="none")
    for cause in (1, 2):
        np.testing.assert_allclose(found.probability[:, cause], incidence(time, code, cause)(found.at), atol=1e-12)


def truth(t):
    """Closed form of the illness-death process without effects."""
    well = np.exp(-0.012 * t)
    ill = 0.010 / (0.012 - 0.006) * (np.exp(-0.006 * t) - np.exp(-0.012 * t))
    return np.array([well, ill, 1 - well - ill])


def test_known_hazards_give_the_known_occupation_and_mean_times():
    found, _ = made(5000, days=False)
    path = occupation(found, intervals="none")
    np.testing.assert_allclose(path.probability.sum(axis=1), 1.0, atol=1e-12)
    for t in (48.0, 120.0, 300.0):
        np.testing.assert_allclose(path.when(t)["probability"], truth(t), atol=0.02)
    np.testing.assert_allclose(path.mean_time(200.0)["well"], (1 - np.exp(-0.012 * 200)) / 0.012, rtol=0.02)
    later = occupation(found, 100.0, state="ill", intervals="none").when(200.0)["probability"]
    np.testing.assert_allclose(later, [0, np.exp(-0.6), 1 - np.exp(-0.6)], atol=0.04)
    markov = occupation(found, 100.0, state="ill", landmark=False, intervals="none").when(200.0)["probability"]
    np.testing.assert_allclose(markov, [0, np.exp(-0.6), 1 - np.exp(-0.6)], atol=0.03)


def test_intervals_cover_and_the_two_kinds_agree():
    inside = []
    for seed in range(15):
        found, _ = made(150, seed=10 + seed, days=False)
        both = [occupation(found, intervals=kind, n_boot=40, seed=seed) for kind in ("bootstrap", "greenwood")]
        for path in both:
            row = path.when(100.0)
            inside.append(((row["low"] <= truth(100.0)) & (truth(100.0) <= row["high"])).to_numpy())
    assert 0.85 < np.mean(inside) <= 1.0
    width = [path.when(100.0)["high"] - path.when(100.0)["low"] for path in both]
    np.testing.assert_allclose(width[0], width[1], rtol=0.35)
    again = occupation(found, n_boot=40, seed=seed)
    np.testing.assert_array_equal(again.low, both[0].low)


def test_too_few_patients_are_refused():
    found, _ = made(60)
    with pytest.raises(NotEstimableError, match="fewer than 10"):
        occupation(found.of([f"p{i:05d}" for i in range(9)]))
    with pytest.raises(NotEstimableError, match="no state"):
        occupation(found, state="cured")
    with pytest.raises(ValueError, match="before the start"):
        occupation(found, 24.0, intervals="none").when(0.0)


def test_without_effects_the_models_of_moves_give_the_aalen_johansen_matrix():
    found, table = made(200)
    fitted = MultiState(penalties=(1e9,), **PLAIN).fit(table, found)
    for state in ("well", "ill"):
        p = fitted.predict(table.iloc[:2], state, 48.0, [48.0, 96.0, 240.0])
        assert p[0, 0, found.number(state)] == 1.0
        np.testing.assert_allclose(p[0, 1], transition_matrix(found, 48.0, 96.0).loc[state], atol=1e-6)
        np.testing.assert_allclose(p[1, 2], transition_matrix(found, 48.0, 240.0).loc[state], atol=1e-6)


def test_effects_under_delayed_entry_agree_with_lifelines():
    from lifelines import CoxPHFitter

    found, table = made(150, ratio=(0.8, 0.0, 0.5), days=False)
    fitted = MultiState(penalties=(1e-9,), **PLAIN).fit(table, found)
    spread = table["x"].std(ddof=0)
    for state in (0, 1):
        mine = found.table[found.table["state"] == state]
        rows = mine.assign(x=mine["patient_id"].map(table["x"]).to_numpy(), died=mine["next"] == 2 - (state == 0))
        peer = CoxPHFitter().fit(rows[["x", "start_h", "stop_h", "died"]], "stop_h", "died", entry_col="start_h")
        ours = fitted.moves[state, 2 - (state == 0)].coefficients[0] / spread
        assert ours == pytest.approx(peer.params_["x"], abs=1e-4)


def test_known_effects_give_the_known_probabilities():
    found, table = made(1200, seed=4, ratio=(0.8, 0.0, 0.5))
    fitted = MultiState(penalties=(1.0, 0.1, 0.01), inner_folds=2, **PLAIN).fit(table, found, seed=1)
    assert fitted.penalty < 1.0
    effects = fitted.effects().set_index(["from", "to"])["ratio"]
    assert np.log(effects["well", "ill"]) == pytest.approx(0.8, abs=0.12)
    assert np.log(effects["ill", "dead"]) == pytest.approx(0.5, abs=0.2)
    p = fitted.predict(table, "well", 0.0, [120.0])[:, 0]
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    expected = np.exp(-(0.010 * np.exp(0.8 * table["x"]) + 0.002) * 120.0)
    assert np.sqrt(np.mean((p[:, 0] - expected) ** 2)) < 0.05
    again = from_parts(*travelled(to_parts(fitted)))
    np.testing.assert_array_equal(again.predict(table, "well", 0.0, [120.0])[:, 0], p)
    assert again.settings() == fitted.settings()


def test_models_of_moves_from_a_cohort_of_grades():
    from icans.forecast.features import FeatureSpec, feature_table

    cohort = simulated(120, seed=5)
    found = spells(cohort)
    table = feature_table(cohort, [48.0], FeatureSpec(scores=(), statistics=(), windows_d=()))
    fitted = MultiState(penalties=(1.0, 0.3), inner_folds=2).fit(table, found)
    p = fitted.predict(table, "well", 48.0, [120.0, 240.0])
    np.testing.assert_allclose(p.sum(axis=2), 1.0, atol=1e-9)
    assert (np.diff(p[:, :, found.number("death")], axis=1) >= 0).all()
    assert (from_landmark(found, pd.Series(48.0, index=cohort.patient_ids)).table["start_h"] >= 48.0).all()
    with pytest.raises(NotEstimableError, match="more than one row"):
        MultiState().fit(pd.concat([table, table]), found)
    with pytest.raises(NotEstimableError, match="no state"):
        fitted.predict(table, "IEC-HS", 48.0, [96.0])
    with pytest.raises(ValueError, match="rise"):
        fitted.predict(table, "well", 48.0, [24.0])


def test_the_markov_check_is_quiet_when_it_should_be_and_finds_waiting():
    found, _ = made(800, seed=6, days=False)
    quiet = markov_check(Spells(found.names, found.table.assign(start_h=found.table["start_h"].round(3))))
    assert quiet["from"].tolist() == ["ill"]
    assert quiet["p"].iloc[0] > 0.01
    table = found.table.copy()
    ill = (table["state"] == 1) & (table["next"] == 2)
    wait = stream(7, "wait").normal(96.0, 12.0, ill.sum())
    table.loc[ill, "stop_h"] = table.loc[ill, "start_h"] + np.maximum(wait, 24.0)
    loud = markov_check(Spells(found.names, table))
    assert loud["p"].iloc[0] < 1e-6
    assert loud["ratio_per_day"].iloc[0] > 1.05


def test_rows_at_risk_are_counted_after_entry_and_up_to_leaving():
    table = pd.DataFrame(
        [("a", 0, 0.0, 10.0, 1), ("b", 0, 10.0, 20.0, 1), ("c", 0, 5.0, 10.0, -1)], columns=SPELL_COLUMNS
    )
    at, moves, at_risk = counts(Spells(("x", "y"), table))
    np.testing.assert_array_equal(at, [10, 20])
    np.testing.assert_array_equal(at_risk[:, 0], [2, 1])
    np.testing.assert_array_equal(increments(moves, at_risk)[:, 0, 1], [0.5, 1.0])


def test_intervals_of_one_patients_probabilities_hold_the_truth_and_repeat_themselves():
    found, table = made(160, seed=8, ratio=(0.8, 0.0, 0.5))
    model = MultiState(penalties=(0.1,), **PLAIN)
    fits = refits(model, table, found, n_boot=8, seed=1)
    new = pd.DataFrame({"x": [-1.0, 0.0, 1.0]}, index=pd.Index(list("abc"), name="patient_id"))
    low, high = intervals(fits, new, "well", 0.0, [120.0])
    expected = np.exp(-(0.010 * np.exp(0.8 * new["x"].to_numpy()) + 0.002) * 120.0)
    assert ((low[:, 0, 0] - 0.06 < expected) & (expected < high[:, 0, 0] + 0.06)).all()
    assert ((high - low)[:, 0, 0] > 0.03).all()
    again = refits(model, table, found, n_boot=2, seed=1)
    for one, other in zip(fits, again, strict=False):
        np.testing.assert_array_equal(*(fit.predict(new, "well", 0.0, [120.0]) for fit in (one, other)))
    empty = Spells(found.names, found.table[found.table["next"] < 0].reset_index(drop=True))
    with pytest.raises(NotEstimableError, match="no intervals"):
        refits(model, table, empty, n_boot=4)
