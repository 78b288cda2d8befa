"""Intervals: their coverage, pairing, degenerate resamples, and the optimism correction."""

from __future__ import annotations

import numpy as np
import pytest

from icans.core.errors import NotEstimableError
from icans.core.execute import Processes
from icans.core.random import stream
from icans.evaluate import bootstrap as boot
from icans.evaluate.discrimination import auroc


def mean_of(values: np.ndarray):
    return lambda w: (w @ values) / w.sum(axis=-1)


def test_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    values = stream(1, "mean").normal(2, 1, 300)
    found = boot.bootstrap(mean_of(values), np.arange(300), n_boot=2000, seed=3)["value"]
    error = values.std() / np.sqrt(300)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    assert (found.n_boot, found.degenerate) == (2000, 0)
    assert "2.0" in str(found)


def test_coverage_of_patient_intervals_and_what_row_intervals_miss() -> None:
    """40 patients with 6 alike rows each: 95 % intervals over patients cover, intervals over rows do not."""
    truth, covered, naive = 0.0, 0, 0
    for k in range(150):
        rng = stream(k, "coverage")
        rows = np.repeat(rng.normal(truth, 1, 40), 6) + rng.normal(0, 0.3, 240)
        patients = np.repeat(np.arange(40), 6)
        a = boot.bootstrap(mean_of(rows), patients, n_boot=200, seed=k)["value"]
        b = boot.bootstrap(mean_of(rows), np.arange(240), n_boot=200, seed=k)["value"]
        covered += a.low <= truth <= a.high
        naive += b.low <= truth <= b.high
    assert 0.88 <= covered / 150 <= 0.99
    assert naive / 150 < 0.75


def test_coverage_of_auc_intervals() -> None:
    """Binormal scores one SD apart: the true AUC is 0.760."""
    covered = 0
    for k in range(150):
        rng = stream(k, "auc coverage")
        y = np.repeat([0, 1], 50)
        score = rng.normal(y.astype(float))
        found = boot.bootstrap(lambda w, y=y, s=score: auroc(y, s, w), np.arange(100), n_boot=200, seed=k)["value"]
        covered += found.low <= 0.7602 <= found.high
    assert 0.88 <= covered / 150 <= 0.99


def test_degenerate_resamples_are_counted() -> None:
    y, score = np.r_[1, np.zeros(9)], np.arange(10.0)
    found = boot.bootstrap(lambda w: auroc(y, score, w), np.arange(10), n_boot=400, seed=1)["value"]
    assert found.degenerate == pytest.approx(400 * 0.9**10, abs=40)
    assert np.isfinite(found.low)
    never = boot.bootstrap(lambda w: auroc(np.zeros(10), score, w), np.arange(10), n_boot=50)
    assert never["value"].degenerate == 50
    assert np.isnan(never["value"].low)
    assert boot.share_degenerate(never) == 1.0
    with pytest.raises(NotEstimableError):
        boot.patient_counts([], 5, 1)


def test_paired_differences_are_tighter_than_unpaired() -> None:
    rng = stream(2, "paired")
    y = np.repeat([0, 1], 60)
    good = rng.normal(y.astype(float))
    close = good + rng.normal(0, 0.05, 120)

    def of(score: np.ndarray):
        return lambda w: auroc(y, score, w)

    difference = boot.paired_difference(of(good), of(close), np.arange(120), n_boot=300, seed=1)["value"]
    alone = boot.bootstrap(of(good), np.arange(120), n_boot=300, seed=1)["value"]
    assert difference.low <= 0 <= difference.high
    assert difference.high - difference.low < 0.3 * (alone.high - alone.low)
    same = boot.paired_difference(of(good), of(good), np.arange(120), n_boot=50)["value"]
    assert (same.low, same.high) == (0.0, 0.0)


class Mean:
    """A picklable statistic."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(self, w: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": (w @ self.values) / w.sum(axis=-1)}


def test_result_does_not_depend_on_executor_chunks_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(30.0)
    ids = np.array([f"p{i}" for i in range(30)])
    one = boot.bootstrap(Mean(values), ids, n_boot=40, seed=5)
    monkeypatch.setattr(boot, "CHUNK_CELLS", 200)
    assert boot.bootstrap(Mean(values), ids, n_boot=40, seed=5) == one
    assert boot.bootstrap(Mean(values), ids, n_boot=40, seed=5, executor=Processes(2)) == one
    back = boot.bootstrap(Mean(values[::-1]), ids[::-1], n_boot=40, seed=5)
    assert back["mean"].low == pytest.approx(one["mean"].low)


def selecting_fit(x: np.ndarray, y: np.ndarray):
    """Takes the five columns that look best on the training rows: pure optimism when nothing is there."""

    def fit(rows: np.ndarray):
        gap = x[rows][y[rows] == 1].mean(axis=0) - x[rows][y[rows] == 0].mean(axis=0)
        best = np.argsort(-np.abs(gap))[:5]
        return lambda new: x[new][:, best] @ np.sign(gap[best])

    return fit


def test_optimism_of_least_squares_is_the_known_one() -> None:
    """The mean squared error of a linear model with p coefficients is too small by about 2 p sigma^2 / n."""
    rng = stream(4, "ols")
    x = np.c_[np.ones(200), rng.normal(size=(200, 9))]
    y = x @ np.r_[1.0, np.full(9, 0.3)] + rng.normal(size=200)

    def fit(rows: np.ndarray):
        beta = np.linalg.lstsq(x[rows], y[rows], rcond=None)[0]
        return lambda new: x[new] @ beta

    def metrics(rows: np.ndarray, guess: np.ndarray) -> dict[str, float]:
        return {"mse": float(np.mean((y[rows] - guess) ** 2))}

    row = boot.optimism_corrected(fit, metrics, np.arange(200), n_boot=300, seed=1).table.iloc[0]
    assert -row["optimism"] == pytest.approx(2 * 10 / 200 * row["apparent"] / (1 - 10 / 200), rel=0.2)
    assert row["corrected"] > row["apparent"]


def test_optimism_of_selection_is_found_and_most_of_it_removed() -> None:
    x, y = stream(3, "optimism").normal(size=(100, 60)), np.arange(100) % 2

    def metrics(rows: np.ndarray, score: np.ndarray) -> dict[str, float]:
        return {"auc": float(auroc(y[rows], score))}

    found = boot.optimism_corrected(selecting_fit(x, y), metrics, np.arange(100), n_boot=100, seed=1)
    row = found.table.set_index("metric").loc["auc"]
    assert row["apparent"] > 0.72
    assert 0.4 < row["corrected"] < 0.65
    assert row["corrected"] == pytest.approx(row["apparent"] - row["optimism"])
    assert row["low"] < row["corrected"] < row["high"]
    assert found.failures == ()


def test_optimism_reports_fits_that_fail_and_keeps_patients_together() -> None:
    y = np.r_[1, np.zeros(19)]
    patients = np.repeat(np.arange(10), 2)
    seen: list[np.ndarray] = []

    def fit(rows: np.ndarray):
        seen.append(rows)
        if not y[rows].any():
            raise NotEstimableError("no event in the training data")
        return lambda new: np.zeros(len(new))

    found = boot.optimism_corrected(fit, lambda rows, p: {"mean": float(p.mean())}, patients, n_boot=30, seed=2)
    assert found.failures == ("no event in the training data",)
    assert 0 < found.table["degenerate"].iloc[0] < 30
    assert all(np.array_equal(np.sort(rows) // 2, np.repeat(np.sort(rows[::2] // 2), 2)) for rows in seen)
