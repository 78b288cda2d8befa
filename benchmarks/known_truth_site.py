"""Correction of a forecast at a new site (synthetic): the site part of ``known_truth.py``.

Trained on two sites, judged on the CD28 patients of the third, whose cytokine assay reads twice as high. A correction
is learned from 100 local patients and judged on the other local ones; every disjoint hundred in turn is the local one,
so that the figures are means over hundreds and not the luck of one. Corrections of the log odds: none; intercept and
slope; a closed test (Vergouwe Y et al., Stat Med 2017;36:4529, doi 10.1002/sim.7179) that leaves the forecast as it is
unless local data speak against it, and then takes an intercept unless they ask for a slope. Its tests are Wald tests
with the variance over patients, as a patient has up to three rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import chi2
from virtual_cohorts import World
from virtual_forecasts import Bench

from icans.forecast.blocks import with_blocks
from icans.forecast.dataset import Examples
from icans.forecast.ladder import Rung
from icans.forecast.ridge import expit, log_odds

LOCAL, LEVEL = 100, 0.05
CYTOKINES = ("il_6", "ifn_g", "il_10", "il_15", "mcp_1", "ang_2")
#: What the figures of the last run say; to be read again after a new one.
FOUND = """Found: the forecasts need no correction at this site, and one by intercept and slope from 100 patients does
more harm than good: its slope has a standard error of some 0.2, and one of the six hundreds had, by chance, a seven-day
incidence of 63 instead of 52 %. An earlier run took that hundred for all its samples and gave slopes of 1.4 to 2.4. The
closed test halves the harm in the level and is nearer one in the slope, and does not undo the luck of a bad hundred."""
WAYS = ("none", "intercept and slope", "closed test")


def shifted(cohort):
    """The cohort with cytokines that read twice as high."""
    frame = cohort.measurements
    factor = np.where(frame["analyte"].isin(CYTOKINES), 2.0, 1.0)
    return cohort.with_table(
        "measurements", frame.assign(value=frame["value"] * factor, limit=frame["limit"] * factor)
    )  # fmt: skip


def forecasts(base: World, cohort, task, rungs: tuple[Rung, ...], count: int, k: int, seed: int) -> pd.DataFrame:
    """Forecasts of every CD28 patient of the third site by a sample of ``count`` patients of the others."""
    people = cohort.patients.set_index("patient_id")
    there = people["site"] == "Site C"
    away = people.index[there & (people["costimulation"] == "CD28")].tolist()
    home = people.index[~there].tolist()[k * count : (k + 1) * count]
    train, _, block = Bench.of(base, cohort, task).split(home, away[:3])
    moved = shifted(cohort.subset(away))
    other = Bench.of(base, moved, task)
    data = other.data
    table = with_blocks(data.table, data.inputs.at_h, moved, [block])
    test = Examples(replace(data.inputs, table=table), data.outcome)
    return other.forecasts(train, test, rungs, seed)


def judged(frame: pd.DataFrame, line: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[dict]:
    """Slope and bias against the true risk after each correction, for each model, horizon and local hundred."""
    rows = []
    for (model, horizon), part in frame.groupby(["model", "horizon_h"], sort=False):
        ids = part["patient_id"].unique()
        for g in range(len(ids) // LOCAL):
            local = part["patient_id"].isin(set(ids[g * LOCAL : (g + 1) * LOCAL]))
            rest, x = part[~local], log_odds(part.loc[~local, "risk"])
            for way, (a, b) in corrections(part[local]).items():
                risk = expit(a + b * x)
                rows.append({"model": model, "horizon_h": horizon, "hundred": g, "which": way,
                             "slope": float(line(risk, rest["truth"].to_numpy())[1]),
                             "bias": float(risk.mean() / rest["truth"].mean() - 1)})  # fmt: skip
    return rows


def corrections(local: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Intercept and slope of each way of correction."""
    known = local[local["y"].notna()]
    y, x, w = known["y"].to_numpy(), log_odds(known["risk"]), known["weight"].to_numpy()
    patient = np.unique(known["patient_id"].to_numpy(), return_inverse=True)[1]
    both, spread = _fit(np.column_stack([np.ones(len(x)), x]), np.zeros(len(x)), y, w, patient)
    alone, _ = _fit(np.ones((len(x), 1)), x, y, w, patient)
    gap = both - np.array([0.0, 1.0])
    full = (float(both[0]), float(both[1]))
    chosen = full
    if chi2.sf(gap @ np.linalg.solve(spread, gap), 2) >= LEVEL:
        chosen = (0.0, 1.0)
    elif chi2.sf(gap[1] ** 2 / spread[1, 1], 1) >= LEVEL:
        chosen = (float(alone[0]), 1.0)
    return dict(zip(WAYS, ((0.0, 1.0), full, chosen), strict=True))


def _fit(X, offset, y, w, patient) -> tuple[np.ndarray, np.ndarray]:
    """Logistic coefficients and their variance over patients."""
    beta = np.zeros(X.shape[1])
    for _ in range(25):
        p = expit(offset + X @ beta)
        information = X.T @ (X * (w * p * (1 - p))[:, None])
        beta = beta + np.linalg.solve(information, X.T @ (w * (y - p)))
    score = np.zeros((patient.max() + 1, X.shape[1]))
    np.add.at(score, patient, (w * (y - expit(offset + X @ beta)))[:, None] * X)
    inverse = np.linalg.inv(information)
    return beta, inverse @ score.T @ score @ inverse


def lines(rows: list[dict]) -> list[str]:
    """The part of the page."""
    if not rows:
        return []
    table = pd.DataFrame(rows)
    text = ["", "## A new site", "", (__doc__ or "").split("\n\n", 1)[1].strip(), "",
            "Mean over samples, horizons and local hundreds (range in brackets); distance: mean of |slope - 1|; bias: "
            "mean, and mean of its size.", "",
            "| n | samples | model | correction | slope | distance | bias | size of bias |",
            "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for (n, model, way), part in table.groupby(["n", "model", "which"], sort=False):
        slope = part["slope"]
        text.append(
            f"| {n} | {part['sample'].nunique()} | {model} | {way} | {slope.mean():.2f} ({slope.min():.2f}-"
            f"{slope.max():.2f}) | {(slope - 1).abs().mean():.2f} | {part['bias'].mean():+.0%} | "
            f"{part['bias'].abs().mean():.0%} |"
        )
    return [*text, "", FOUND]
