"""From a prediction table to tables of performance, comparisons and curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import DataError
from icans.core.execute import Processes
from icans.core.random import stream
from icans.evaluate import curves, discrimination
from icans.evaluate.performance import METRICS, compare, measure, performance
from icans.evaluate.tables import check_predictions, groups


def forecasts(n: int = 120, repeats: int = 2, seed: int = 1) -> pd.DataFrame:
    """A good, a noisy and an exaggerated model of one task at two landmarks; competing events and censoring."""
    frames = []
    for landmark in (24.0, 72.0):
        rng = stream(seed, "forecasts", landmark)
        lp = rng.normal(-1, 1.2, n)
        event, other, censor = (rng.exponential(h, n) for h in (100 / np.exp(lp), 600, 300))
        time = np.minimum(np.minimum(event, other), censor)
        code = np.select([time == event, time == other], [1, 2], 0)
        truth = 1 - np.exp(-72 * np.exp(lp) / 100)
        for repeat in range(repeats):
            noise = rng.normal(size=n)
            models = {"good": truth, "noisy": np.clip(truth + 0.3 * noise, 0.001, 0.999), "bold": truth**0.4}
            for model, risk in models.items():
                frames.append(
                    pd.DataFrame(
                        {
                            "task": "icans_any",
                            "model": model,
                            "landmark_h": landmark,
                            "horizon_h": 72.0,
                            "repeat": repeat,
                            "fold": np.arange(n) % 5,
                            "patient_id": [f"P{i}" for i in range(n)],
                            "risk": risk,
                            "time_h": time,
                            "event": code,
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return forecasts()


def test_one_row_for_each_metric_with_its_interval(table: pd.DataFrame) -> None:
    found = performance(table, n_boot=60, seed=3)
    assert set(METRICS) <= set(found["metric"])
    assert len(found) == 6 * (len(METRICS) + 4)
    inside = found[found["metric"].isin(["auc", "brier", "c_uno", "slope", "observed", "net_benefit_0.20"])]
    assert (inside["low"] <= inside["value"]).all()
    assert (inside["value"] <= inside["high"]).all()
    assert (found["n"] == 120).all()
    assert (found["repeats"] == 2).all()
    one = found[(found["model"] == "good") & (found["landmark_h"] == 24)].set_index("metric")
    rows = table[(table["model"] == "good") & (table["landmark_h"] == 24) & (table["repeat"] == 0)]
    auc = discrimination.cumulative_dynamic_auc(rows["time_h"], rows["event"], rows["risk"], 72.0)
    assert one.loc["auc", "value"] == pytest.approx(float(auc))
    assert one["events"].iloc[0] == ((rows["event"] == 1) & (rows["time_h"] <= 72)).sum()


def test_bold_forecasts_are_seen_to_be_bold(table: pd.DataFrame) -> None:
    wide = performance(table, n_boot=0).pivot(index=["model", "landmark_h"], columns="metric", values="value")
    good, bold = wide.loc["good"], wide.loc["bold"]
    np.testing.assert_allclose(bold["auc"], good["auc"])
    assert (bold["oe"] < 0.8).all()
    assert (bold["ici"] > good["ici"]).all()
    assert (bold["brier"] > good["brier"]).all()


def test_result_does_not_depend_on_row_order_or_executor(table: pd.DataFrame) -> None:
    one = performance(table, n_boot=20, seed=3)
    keys = ["task", "model", "landmark_h", "horizon_h", "metric"]
    mixed = performance(table.sample(frac=1, random_state=1), n_boot=20, seed=3)
    pd.testing.assert_frame_equal(
        one.sort_values(keys, ignore_index=True), mixed.sort_values(keys, ignore_index=True), rtol=1e-9
    )
    pd.testing.assert_frame_equal(one, performance(table, n_boot=20, seed=3, executor=Processes(2)))
    assert not performance(table, n_boot=20, seed=4)["low"].equals(one["low"])


def test_comparison_is_paired_and_signed(table: pd.DataFrame) -> None:
    measured = measure(table, n_boot=100, seed=3)
    found = measured.compare("noisy")
    auc = found[(found["metric"] == "auc") & (found["model"] == "good")]
    assert (auc["difference"] > 0).all()
    assert (auc["better"] == "yes").all()
    worse = compare(measured, "good")
    brier = worse[(worse["metric"] == "brier") & (worse["model"] == "bold")]
    assert (brier["difference"] > 0).all()
    assert (brier["better"] == "no").all()
    assert set(found.loc[found["metric"] == "oe", "better"]) == {"unclear"}
    alone = measured.performance()
    width = alone.loc[(alone["metric"] == "auc") & (alone["model"] == "good"), ["low", "high"]].diff(axis=1)["high"]
    same = worse[(worse["metric"] == "auc") & (worse["model"] == "bold")]
    assert (same["high"] - same["low"]).max() < 1e-9 < width.min()
    with pytest.raises(KeyError, match="no model 'best'"):
        measured.compare("best")
    with pytest.raises(TypeError, match="settled"):
        compare(measured, "good", n_boot=5)


def test_comparison_uses_the_patients_that_both_forecast(table: pd.DataFrame) -> None:
    lost = table["patient_id"].isin([f"P{i}" for i in range(30)]) & (table["model"] == "good")
    found = compare(table[~lost], "noisy", n_boot=30, seed=3)
    assert set(found.loc[found["model"] == "good", "n"]) == {90}
    assert set(found.loc[found["model"] == "bold", "n"]) == {120}
    kept = table[~table["patient_id"].isin([f"P{i}" for i in range(30)])]
    expected = compare(kept, "noisy", n_boot=30, seed=3)
    mine, theirs = (f[f["model"] == "good"].reset_index(drop=True) for f in (found, expected))
    pd.testing.assert_frame_equal(mine, theirs)


def test_few_and_no_events_are_said(table: pd.DataFrame) -> None:
    few = table[table["patient_id"].isin([f"P{i}" for i in range(25)])]
    assert performance(few, n_boot=10)["note"].str.contains("uninformative").all()
    none = table.assign(event=0, time_h=100.0)
    found = performance(none, n_boot=10).set_index("metric")
    assert found["note"].str.contains("no event").all()
    assert found.loc["auc", "value"].isna().all()
    assert (found.loc["auc", "degenerate"] == 10).all()
    assert (found.loc["observed", "value"] == 0).all()
    assert curves.calibration_curves(none).empty


def test_every_problem_of_a_table_is_listed_at_once(table: pd.DataFrame) -> None:
    bad = table.copy()
    bad.loc[0, "risk"] = 1.2
    bad.loc[1, "event"] = 7
    bad.loc[2, "time_h"] = np.nan
    bad.loc[3, "patient_id"] = None
    with pytest.raises(DataError) as caught:
        check_predictions(bad)
    found = {(p.row, p.column) for p in caught.value.problems}
    assert found == {(1, "risk"), (2, "event"), (3, "time_h"), (4, "patient_id")}
    with pytest.raises(DataError, match="'horizon_h'"):
        check_predictions(table.drop(columns=["horizon_h", "risk"]))
    with pytest.raises(DataError, match="each patient once"):
        check_predictions(pd.concat([table, table.head(1)]))
    changed = table.copy()
    changed.loc[0, "event"] = 2 if changed.loc[0, "event"] != 2 else 1
    with pytest.raises(DataError, match="one outcome"):
        check_predictions(changed)


def test_a_table_without_repeats_and_folds_is_one_repeat(table: pd.DataFrame) -> None:
    one = table[table["repeat"] == 0].drop(columns=["repeat", "fold"])
    group = next(iter(groups(check_predictions(one))))
    assert len(group.repeats) == 1
    assert set(group.repeats[0].fold) == {0}


def test_curves_have_bands_around_them(table: pd.DataFrame) -> None:
    calibration = curves.calibration_curves(table, n_boot=60)
    assert calibration.groupby(["model", "landmark_h"]).size().eq(curves.POINTS).all()
    inside = calibration.dropna()
    assert (inside["low"] <= inside["high"]).all()
    assert ((inside["observed"] >= inside["low"]) & (inside["observed"] <= inside["high"])).mean() > 0.9
    decision = curves.decision_curves(table, n_boot=60)
    assert set(decision["strategy"]) == {"model", "all", "none"}
    roc = curves.roc_curves(table, n_boot=60)
    assert (roc.groupby(["model", "landmark_h"])["sensitivity"].diff().dropna() >= -1e-12).all()
    assert (roc.loc[roc["false_positive"] == 1, "sensitivity"] == 1).all()
    grouped = curves.calibration_groups(table)
    assert (grouped.groupby(["model", "landmark_h"])["n"].sum() == 120).all()


def test_area_under_the_roc_curve_is_the_auc(table: pd.DataFrame) -> None:
    one = table[(table["model"] == "good") & (table["repeat"] == 0) & (table["landmark_h"] == 24)]
    roc = curves.roc_curves(one, n_boot=0)
    auc = performance(one, n_boot=0).set_index("metric").loc["auc", "value"]
    assert np.trapezoid(roc["sensitivity"], roc["false_positive"]) == pytest.approx(auc, abs=0.01)
