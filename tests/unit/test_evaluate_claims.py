"""Claims of a gain, predictive distributions, and the external set that is opened once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecast_cohorts import simulated
from icans.core.errors import DataError
from icans.core.random import stream
from icans.evaluate.claims import claims
from icans.evaluate.locked import lock, open_once, read_log
from icans.evaluate.performance import measure
from icans.evaluate.predictive import clopper_pearson, coverage, log_score, pit


def predictions() -> pd.DataFrame:
    rng = stream(1, "claims")
    n = 250
    lp = rng.normal(size=n)
    event = (rng.random(n) < 1 / (1 + np.exp(-lp))).astype(int)
    noise = rng.normal(size=(3, n))
    models = {"cox_last": lp + 2 * noise[0], "prevalence": 0.01 * noise[1], "hybrid": lp, "copy": lp + 2.05 * noise[0]}
    base = {
        "task": "t", "landmark_h": 72.0, "horizon_h": 168.0, "repeat": 0, "fold": np.arange(n) % 5, "event": event,
        "patient_id": [f"p{i}" for i in range(n)], "time_h": np.where(event, 80.0, 168.0),
    }  # fmt: skip
    return pd.concat([pd.DataFrame(base | {"model": m, "risk": 1 / (1 + np.exp(-x))}) for m, x in models.items()])


def test_a_claim_is_held_against_the_best_rival():
    measured = measure(predictions(), n_boot=150)
    found = claims(measured, ["hybrid", "copy"]).set_index("model")
    assert found["best_rival"].tolist() == ["cox_last", "cox_last"]
    assert found.loc["hybrid", "claim"] == "gain"
    assert found.loc["copy", "claim"] == "no difference shown"
    assert found.loc["hybrid", "difference"] == pytest.approx(
        found.loc["hybrid", "value"] - found.loc["hybrid", "rival_value"]
    )
    worse = claims(measured, ["prevalence"], rivals=["hybrid"]).iloc[0]
    assert worse["claim"] == "loss"
    assert claims(measured, ["hybrid"], rivals=["nobody"])["claim"].tolist() == ["no rival"]
    assert claims(measured, ["hybrid"], metric="brier")["claim"].tolist() == ["gain"]
    with pytest.raises(ValueError, match="no better"):
        claims(measured, ["hybrid"], metric="observed")


def test_right_forecasts_have_a_uniform_transform_censored_or_not():
    rng = stream(2, "pit")
    n = 600
    centre = rng.normal(size=n)
    draws = centre[:, None] + rng.normal(size=(n, 400))
    y = centre + rng.normal(size=n)
    limit = np.full(n, -0.5)
    below = y < limit
    found = pit(draws, np.maximum(y, limit), below=below)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    bold = pit(centre[:, None] + 0.4 * rng.normal(size=(n, 400)), y)
    assert stats.kstest(bold, "uniform").pvalue < 1e-6


def test_coverage_by_group_with_exact_intervals():
    rng = stream(3, "coverage")
    n = 400
    draws = rng.normal(size=(n, 500)) * np.where(np.arange(n) < 200, 1.0, 0.3)[:, None]
    groups = np.where(np.arange(n) < 200, "right", "bold")
    groups[:5] = "few"
    found = coverage(draws, rng.normal(size=n), groups=groups, levels=(0.8,)).set_index("group")
    assert found.index[0] == "all"
    assert found.loc["right", "verdict"] == "as stated"
    assert found.loc["bold", "verdict"] == "too narrow"
    assert found.loc["few", "verdict"] == "uninformative"
    k, m = int(found.loc["bold", "covered"]), int(found.loc["bold", "n"])
    exact = stats.binomtest(k, m).proportion_ci(method="exact")
    assert (found.loc["bold", "low"], found.loc["bold", "high"]) == pytest.approx((exact.low, exact.high))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_log_score_takes_the_probability_of_what_is_below_the_limit():
    found = log_score([0.0, 0.0], [1.0, 1.0], [0.3, -1.0], below=np.array([False, True]))
    np.testing.assert_allclose(found, [stats.norm.logpdf(0.3), stats.norm.logcdf(-1.0)])
    with pytest.raises(ValueError, match="positive"):
        log_score([0.0], [0.0], [0.0])


def test_the_external_set_is_opened_once_for_a_model(tmp_path: Path):
    log, cohort, now = tmp_path / "external.jsonl", simulated(20, seed=9), datetime(2024, 5, 1, tzinfo=UTC)
    with pytest.raises(DataError, match="Lock it before"):
        open_once(log, cohort, "m1")
    first = lock(log, cohort, "the second hospital", now=now)
    assert lock(log, cohort).digest == first.digest  # locking again changes nothing
    assert open_once(log, cohort, "m1", now=now).content["look"] == 1
    assert open_once(log, cohort, "m2", now=now).content["look"] == 2
    with pytest.raises(DataError, match="One look"):
        open_once(log, cohort, "m1")
    changed = cohort.with_table("patients", cohort.patients.assign(age_y=cohort.patients["age_y"] + 1))
    with pytest.raises(DataError, match="changed since"):
        open_once(log, changed, "m3")
    with pytest.raises(DataError, match="log of its own"):
        lock(log, changed)
    assert [line.content["what"] for line in read_log(log)] == ["lock", "open", "open"]


def test_a_log_that_was_edited_is_refused(tmp_path: Path):
    log, cohort = tmp_path / "external.jsonl", simulated(20, seed=9)
    lock(log, cohort)
    open_once(log, cohort, "m1")
    open_once(log, cohort, "m2")
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(DataError, match="row 2"):
        open_once(log, cohort, "m1")
    edited = json.loads(lines[0]) | {"note": "other"}
    log.write_text("\n".join([json.dumps(edited, sort_keys=True), *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="row 2"):
        read_log(log)
