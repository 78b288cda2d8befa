"""The evaluation protocol beyond discrimination and calibration: closed forms, hand-made cases, known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core.errors import DataError, NotEstimableError
from icans.core.random import stream
from icans.evaluate.alarms import alarm_table, lead_times
from icans.evaluate.closed_testing import closed_test
from icans.evaluate.distribution import risk_distribution
from icans.evaluate.drift import BY_DATE, BY_ORDER, drift, order_of
from icans.evaluate.instability import instability
from icans.evaluate.ordinal import compare_ordinal, ordinal_scores
from icans.evaluate.subgroups import group_labels, subgroup_table


def rows(risk, time, event, landmark=72.0, horizon=168.0, model="m", ids=None) -> pd.DataFrame:
    n = len(risk)
    return pd.DataFrame(
        {"task": "icans_any", "model": model, "landmark_h": landmark, "horizon_h": horizon, "repeat": 0, "fold": 0,
         "patient_id": [f"p{i:04d}" for i in range(n)] if ids is None else ids, "risk": risk, "time_h": time,
         "event": event}
    )  # fmt: skip


def binary(n: int, seed: int, *, twist: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks, times, events (no censoring); the truth is shift + twist x the log odds of the risk."""
    rng = stream(seed, "protocol", n)
    lp = rng.normal(-0.5, 1.2, n)
    truth = 1 / (1 + np.exp(-(shift + twist * lp)))
    event = (rng.random(n) < truth).astype(int)
    return 1 / (1 + np.exp(-lp)), np.where(event == 1, 80.0, 168.0), event


# ---------------------------------------------------------------- alarms


def by_hand() -> pd.DataFrame:
    """Five patients, landmarks 0, 24, 48 h, horizon 48 h; p0 and p1 have the event at hours 60 and 30."""
    table = []
    risks = {"p0": (0.1, 0.6, 0.9), "p1": (0.2, 0.3), "p2": (0.1, 0.8, 0.1), "p3": (0.05,) * 3, "p4": (0.1, 0.1, 0.2)}
    onset = {"p0": 60.0, "p1": 30.0}
    for patient, path in risks.items():
        for landmark, risk in zip((0.0, 24.0, 48.0), path, strict=False):
            end, event = (onset[patient], 1) if patient in onset else (120.0, 0)
            table.append(rows([risk], [end - landmark], [event], landmark, 48.0, ids=[patient]))
    return pd.concat(table, ignore_index=True)


def test_alarms_and_lead_time_by_hand():
    table = by_hand()
    # Days at risk: p0 1 + 1 + 0.5; p1 1 + 0.25; p2-p4 3 each: 12.75. Three alarms (0.9, 0.8, 0.6) are 0.235 a day.
    found = alarm_table(table, rates=(0.24,), n_boot=0).set_index("metric")["value"]
    assert found["alarms_per_day"] == pytest.approx(3 / 12.75)
    assert found["threshold"] == 0.6
    assert found["detected"] == 0.5  # p0 at hour 24, 36 h before its event; p1 never
    assert found["lead_h"] == 36.0
    assert found["in_time"] == 0.5
    assert found["false_patients"] == pytest.approx(1 / 3)  # p2 of p2, p3, p4
    assert found["right"] == pytest.approx(2 / 3)
    assert found["alarms_per_detected"] == 3.0
    leads = lead_times(table, 0.24).set_index("patient_id")["lead_h"]
    assert leads["p0"] == 36.0
    assert np.isnan(leads["p1"])


def test_an_alarm_long_before_the_horizon_foresees_nothing():
    early = pd.concat(
        [
            rows([0.9], [200.0], [1], 0.0, 48.0, ids=["a"]),
            rows([0.1], [100.0], [1], 100.0, 48.0, ids=["a"]),
            rows([0.1, 0.2], [30.0, 300.0], [1, 0], 0.0, 48.0, ids=["b", "c"]),
        ]
    )
    found = alarm_table(early, rates=(0.2,), n_boot=0).set_index("metric")["value"]
    assert found["detected"] == 0.0


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=12, deadline=None)
def test_alarms_never_come_more_often_than_allowed(seed, rate):
    rng = stream(seed, "alarms")
    parts = []
    for landmark in (0.0, 24.0, 72.0):
        n = 30
        parts.append(rows(rng.random(n).round(1), rng.uniform(1, 200, n), rng.integers(0, 3, n), landmark, 72.0))
    table = pd.concat(parts)
    keep = table.groupby("patient_id")["time_h"].transform("size") > 0
    found = alarm_table(table[keep], rates=(rate, 2 * rate), n_boot=0)
    wide = found.pivot(index="rate", columns="metric", values="value")
    assert (wide["alarms_per_day"] <= wide.index + 1e-9).all()
    assert wide["detected"].dropna().is_monotonic_increasing


def test_equal_risks_give_no_threshold_and_say_so():
    table = pd.concat([rows([0.3] * 30, [200.0] * 30, [0] * 30, lm, 72.0) for lm in (0.0, 24.0)])
    found = alarm_table(table, rates=(0.1,), n_boot=5)
    assert found["note"].str.contains("too many forecasts are equal").all()


# ---------------------------------------------------------------- distribution, subgroups


def test_separation_is_the_difference_of_means_without_censoring():
    risk, time, event = binary(300, 1)
    found = risk_distribution(rows(risk, time, event), n_boot=50)
    gap = risk[event == 1].mean() - risk[event == 0].mean()
    assert found["separation"].iloc[0] == pytest.approx(gap)
    ill = found.set_index("outcome").loc["event"]
    assert ill["n"] == event.sum()
    assert ill["mean"] == pytest.approx(risk[event == 1].mean())
    assert ill["q50"] in risk[event == 1]


def test_few_events_give_no_verdict_and_a_wrong_group_is_seen():
    risk, time, event = binary(900, 2)
    rng = stream(2, "groups")
    kind = rng.choice(["a", "b"], 900)
    rare = np.where(np.arange(900) < 25, "rare", "usual")
    flip = kind == "b"
    event = np.where(flip, (rng.random(900) < 0.9 * risk**2).astype(int), event)  # far fewer events in b
    time = np.where(event == 1, 80.0, 168.0)
    labels = pd.DataFrame({"kind": kind, "rare": rare}, index=[f"p{i:04d}" for i in range(900)])
    found = subgroup_table(rows(risk, time, event), labels, n_boot=100)
    verdict = found.set_index(["grouping", "level", "metric"])["verdict"]
    assert verdict["kind", "b", "oe"] == "differs"
    assert (verdict["rare", "rare"] == "uninformative").all()
    one = found[(found["level"] == "b") & (found["metric"] == "oe")].iloc[0]
    assert one["value"] == pytest.approx(event[flip].mean() / risk[flip].mean())
    assert one["difference"] == pytest.approx(one["value"] - event[~flip].mean() / risk[~flip].mean())


def test_without_a_difference_one_verdict_in_twenty_is_wrong():
    wrong = []
    for seed in range(12):
        risk, time, event = binary(300, 100 + seed)
        kind = stream(seed, "no difference").choice(["a", "b"], 300)
        labels = pd.DataFrame({"kind": kind}, index=[f"p{i:04d}" for i in range(300)])
        found = subgroup_table(rows(risk, time, event), labels, n_boot=50, seed=seed)
        wrong.append((found.loc[found["level"] == "a", "verdict"] == "differs").mean())
    assert np.mean(wrong) < 0.16  # nominal 0.05; 12 data sets with four metrics each scatter by some 0.04


def test_ages_are_banded_and_constant_columns_left_out():
    patients = pd.DataFrame(
        {
            "patient_id": list("abcd"),
            "age_y": [5.0, 64.9, 65.0, np.nan],
            "sex": ["female"] * 4,
            "site": ["x", "y", None, "x"],
        }
    )
    labels = group_labels(patients)
    assert labels["age_y"].tolist() == ["0-17 y", "40-64 y", "65 y and older", "not recorded"]
    assert "sex" not in labels
    assert labels["site"].tolist() == ["x", "y", "not recorded", "x"]


# ---------------------------------------------------------------- drift


def test_drift_is_found_where_it_is_and_not_where_it_is_not():
    risk, time, event = binary(400, 3)
    ids = np.array([f"p{i:04d}" for i in range(400)])
    rank = pd.Series(np.arange(400.0), index=ids)
    quiet = drift(ids, time, event, risk, 168.0, rank, BY_DATE, n_boot=50)
    assert quiet.summary.set_index("metric").loc["crossed_up", "value"] == 0
    assert "within its limits" in quiet.sentences[1]
    rng = stream(3, "drift")
    later = np.arange(400) >= 250
    worse = np.where(later & (rng.random(400) < 0.45), 1, event)
    moved = drift(ids, np.where(worse == 1, 80.0, 168.0), worse, risk, 168.0, rank, BY_DATE, n_boot=50)
    summary = moved.summary.set_index("metric")
    assert summary.loc["crossed_up", "value"] == 1
    assert summary.loc["trend", "low"] > 0
    first = moved.path[moved.path["up"] > moved.path["limit_up"]]["position"].iloc[0]
    assert first > 250 / 400
    assert moved.windows["oe"].iloc[-1] > moved.windows["oe"].iloc[0]


def test_cusum_is_the_recursion_of_steiner():
    risk, time, event = binary(100, 5)
    ids = np.array([f"p{i:04d}" for i in range(100)])
    found = drift(ids, time, event, risk, 168.0, pd.Series(np.arange(100.0), index=ids), BY_ORDER, n_boot=20)
    up, total = [], 0.0
    for y, p in zip(event, risk, strict=True):
        step = np.log(2.0 / (1 - p + 2 * p)) if y else np.log(1.0 / (1 - p + 2 * p))
        total = max(0.0, total + step)
        up.append(total)
    np.testing.assert_allclose(found.path["up"], up, atol=1e-12)
    assert "no dates" in found.sentences[0]


def test_the_order_is_that_of_dates_only_where_most_have_one():
    patients = pd.DataFrame({"patient_id": list("abc"), "infusion_date": ["2023-05-01", "2022-01-01", "2024-01-01"]})
    rank, basis = order_of(patients)
    assert basis == BY_DATE
    assert rank.sort_values().index.tolist() == ["b", "a", "c"]
    rank, basis = order_of(patients.assign(infusion_date=[None, None, "2024-01-01"]))
    assert basis == BY_ORDER
    assert rank.index.tolist() == ["a", "b", "c"]
    with pytest.raises(NotEstimableError, match="20"):
        drift(["a"], [1.0], [1], [0.5], 168.0, rank, basis)


# ---------------------------------------------------------------- instability


def test_instability_by_hand():
    base = np.array([0.1, 0.3])
    drawn = np.tile([[0.1, 0.3], [0.2, 0.1]], (10, 1))
    found = instability(["a", "b"], base, drawn, thresholds=(0.2,))
    np.testing.assert_allclose(found.patients["mape"], [0.05, 0.1])
    np.testing.assert_allclose(found.patients["flips_0.20"], [0.5, 0.5])
    assert found.summary.set_index("metric").loc["mape", "value"] == pytest.approx(0.075)
    with pytest.raises(NotEstimableError, match="20"):
        instability(["a", "b"], base, drawn[:5])


def test_a_model_that_never_changes_is_stable_and_curves_are_its_own():
    risk, time, event = binary(150, 7)
    found = instability(np.arange(150), risk, np.tile(risk, (20, 1)), time=time, event=event, horizon=168.0)
    assert found.summary.set_index("metric").loc[["mape", "width", "flips_0.20"], "value"].eq(0).all()
    by = {k: part["observed"].to_numpy() for k, part in found.curves.groupby("refit")}
    np.testing.assert_allclose(by[0], by[20])


# ---------------------------------------------------------------- closed testing


@pytest.mark.parametrize(
    ("twist", "shift", "choice"), [(1.0, 0.0, "none"), (1.0, 1.0, "intercept"), (0.4, 0.3, "intercept and slope")]
)
def test_the_update_that_the_truth_asks_for_is_chosen(twist, shift, choice):
    risk, time, event = binary(1500, 11, twist=twist, shift=shift)
    found = closed_test(time, event, risk, 168.0)
    assert found.choice == choice
    mended = found.apply(risk)
    assert abs(mended.mean() - event.mean()) < (0.03 if choice == "none" else 1e-6)


def test_a_right_forecast_is_left_alone_in_nineteen_of_twenty():
    kept = [closed_test(t, e, r, 168.0).choice == "none" for r, t, e in (binary(200, 500 + k) for k in range(150))]
    assert np.mean(kept) == pytest.approx(0.95, abs=0.05)


def test_a_refit_is_offered_only_with_a_design_and_separated_data_are_refused():
    risk, time, event = binary(400, 13)
    x = stream(13, "design").normal(size=(400, 2)) + 2 * event[:, None]
    assert closed_test(time, event, risk, 168.0, design=x).choice == "refit"
    with pytest.raises(NotEstimableError):
        closed_test(time, event, risk, 168.0, design=event * 1.0)


# ---------------------------------------------------------------- ordinal


def ordinal(n: int = 200, seed: int = 1) -> pd.DataFrame:
    rng = stream(seed, "ordinal")
    p = rng.dirichlet([3, 2, 1, 1], n)
    y = np.array([rng.choice(4, p=q) for q in p])
    base = {
        "task": "worst",
        "landmark_h": 72.0,
        "horizon_h": 168.0,
        "patient_id": [f"p{i}" for i in range(n)],
        "observed": y,
    }
    good = pd.DataFrame(base | {"model": "good"} | {f"p{k}": p[:, k] for k in range(4)})
    flat = np.bincount(y, minlength=4) / n
    return pd.concat([good, good.assign(model="flat", **{f"p{k}": flat[k] for k in range(4)})], ignore_index=True)


def test_ordinal_scores_against_plain_loops():
    table = ordinal()
    found = ordinal_scores(table, n_boot=40).set_index(["model", "metric"])
    good = table[table["model"] == "good"]
    p, y = good[["p0", "p1", "p2", "p3"]].to_numpy(), good["observed"].to_numpy()
    rps = np.mean([np.mean([(p[i, : c + 1].sum() - (y[i] <= c)) ** 2 for c in range(3)]) for i in range(len(y))])
    assert found.loc[("good", "rps"), "value"] == pytest.approx(rps)
    assert found.loc[("flat", "rps_skill"), "value"] == pytest.approx(0.0, abs=1e-12)
    score = p @ np.arange(4)
    pairs = [(score[i] - score[j]) * (y[i] - y[j]) for i in range(len(y)) for j in range(i) if y[i] != y[j]]
    assert found.loc[("good", "dxy"), "value"] == pytest.approx(np.mean(np.sign(pairs)))
    assert found.loc[("good", "oe_ge1"), "value"] == pytest.approx((y >= 1).mean() / p[:, 1:].sum(axis=1).mean())
    assert found.loc[("good", "oe_ge1"), "events"] == (y >= 1).sum()
    assert found.loc[("good", "rps"), "low"] < rps < found.loc[("good", "rps"), "high"]


def test_the_better_ordinal_forecast_is_seen_to_be_better():
    found = compare_ordinal(ordinal(), "flat", n_boot=100).set_index("metric")
    assert found.loc["rps", "better"] == "yes"
    assert found.loc["rps", "difference"] < 0
    with pytest.raises(KeyError, match="nobody"):
        compare_ordinal(ordinal(), "nobody", n_boot=10)


def test_a_rare_grade_is_not_judged_and_bad_tables_are_told_row_by_row():
    table = ordinal(60)
    few = ordinal_scores(table, n_boot=0)
    rare = few[(few["metric"] == "slope_ge3") & (few["model"] == "good")].iloc[0]
    assert np.isnan(rare["value"])
    assert "uninformative" in rare["note"]
    bad = table.assign(
        p0=table["p0"].where(table.index != 3, 0.99), observed=table["observed"].where(table.index != 5, 9)
    )
    with pytest.raises(DataError) as caught:
        ordinal_scores(bad)
    assert {p.row for p in caught.value.problems} >= {4, 6}
