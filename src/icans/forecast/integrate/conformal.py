"""Statements with a coverage that holds whatever the model is worth: onset bounds, outcome sets, risk brackets.

All are *split* conformal: calibrated on patients that the model was not fitted to (out-of-fold predictions serve as
well, at a slightly weaker guarantee), and *Mondrian*: each group (product, site) is calibrated on its own patients, so
that the coverage holds in every group and not only on average. Patients who are censored count through the others by
inverse probability of censoring, estimated in each cell.

A cell with n calibration patients can promise 1 - alpha only when n >= 1 / alpha - 1 (19 for 95 %). Smaller cells are
refused (the statement is the one that is always true) or, on request, take the pooled calibration, which covers on
average over groups only; each answer says which.

One patient must enter a calibration once: calibrate at one landmark.

References: Vovk V, Gammerman A, Shafer G, Algorithmic Learning in a Random World, 2005 (split, Mondrian); Candes E,
Lei L, Ren Z, J R Stat Soc B 2023;85:24, doi 10.1093/jrsssb/qkac004 (lower bounds for censored times); Gui Y et al.,
Biometrika 2024;111:459 (adaptive cut-offs); Vovk V, Petej I, UAI 2014 (Venn-Abers brackets). Citations from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from icans.forecast.incidence import censoring
from icans.forecast.outcomes import CENSORED, EVENT

Floats = NDArray[np.float64]
Small = Literal["refuse", "pool"]

#: Name of the calibration over all groups.
POOLED = "(all)"


def smallest_cell(alpha: float) -> int:
    """Calibration patients without which a cell cannot promise coverage 1 - alpha."""
    _check_alpha(alpha)
    return int(np.ceil(1.0 / alpha - 1.0 - 1e-9))


@dataclass(frozen=True)
class OnsetBound:
    """A lower bound for the time of onset that holds for a share 1 - alpha of patients.

    With F(t | x) the forecast incidence by t, the bound is the first time at which F reaches ``level``; the level is
    calibrated so that, in the calibration patients, a share alpha at most has the event before it. Patients who never
    have the event (a competing event included) are never before it.

    Attributes
    ----------
    alpha, windows
        Miscoverage; hours at which F is given, rising, shape (k,).
    level
        Calibrated level of each cell, by group (and :data:`POOLED`); 0: the cell can promise nothing.
    size
        Calibration patients of each cell.
    small
        What a small or unknown cell takes: nothing, or the pooled level.
    """

    alpha: float
    windows: Floats
    level: dict[str, float]
    size: dict[str, int]
    small: Small = "refuse"

    @classmethod
    def fit(
        cls,
        risks: ArrayLike,
        windows: Sequence[float],
        time_h: ArrayLike,
        event: ArrayLike,
        *,
        alpha: float = 0.1,
        group: ArrayLike | None = None,
        small: Small = "refuse",
    ) -> OnsetBound:
        """Calibrate.

        Parameters
        ----------
        risks
            Forecast incidence within each window, shape (n, k), not falling along the windows.
        windows
            Hours from the landmark, rising, shape (k,).
        time_h, event
            Hours from the landmark, and code (0 censored, 1 event, 2 competing), shape (n,).
        alpha
            Share of patients who may have the event before their bound.
        group
            Label of each patient; None: one cell.
        small
            ``"refuse"``: a cell that is too small has the bound 0; ``"pool"``: it takes the pooled level.
        """
        _check_alpha(alpha)
        grid = _rising(windows)
        f, t, code = _curves(risks, grid), np.asarray(time_h, dtype=float), np.asarray(event)
        labels = _labels(group, len(t))
        level, size = {}, {}
        for name in [POOLED, *np.unique(labels[labels != POOLED]).tolist()]:
            mine = np.ones(len(t), dtype=bool) if name == POOLED else labels == name
            level[str(name)] = _onset_level(f[mine], grid, t[mine], code[mine], alpha)
            size[str(name)] = int(mine.sum())
        return cls(alpha, grid, level, size, small)

    def lower(self, risks: ArrayLike, group: ArrayLike | None = None) -> pd.DataFrame:
        """Bounds for new patients.

        Returns
        -------
        DataFrame
            ``hours`` (from the landmark; the last window where the risk never reaches the level), ``source``
            (``own``: the group's calibration, ``pooled``, ``none``: no promise), ``n`` calibration patients.
        """
        f = _curves(risks, self.windows)
        labels = _labels(group, len(f))
        rows = [self._cell(str(name)) for name in labels]
        hours = [_reach(f[i], self.windows, level) for i, (level, _, _) in enumerate(rows)]
        return pd.DataFrame({"hours": hours, "source": [s for _, s, _ in rows], "n": [n for _, _, n in rows]})

    def _cell(self, name: str) -> tuple[float, str, int]:
        own = self.level.get(name, 0.0)
        if own > 0:
            return own, "pooled" if name == POOLED else "own", self.size[name]
        if self.small == "pool" and self.level[POOLED] > 0:
            return self.level[POOLED], "pooled", self.size[POOLED]
        return 0.0, "none", self.size.get(name, 0)


def onset_coverage(
    hours: ArrayLike,
    time_h: ArrayLike,
    event: ArrayLike,
    group: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> pd.DataFrame:
    """How often onset was not before its bound, by group, with exact binomial intervals.

    Patients censored before their bound are not known; they count through the others (weights 1 / G), and the interval
    takes the effective number (sum w)^2 / sum w^2.
    """
    bound, t, code = (np.asarray(v, dtype=float) for v in (hours, time_h, event))
    covered = ~((code == EVENT) & (t < bound))
    known = ~((code == CENSORED) & (t < bound))
    labels = _labels(group, len(t))
    weight = np.zeros(len(t))
    for name in np.unique(labels):
        mine = labels == name
        left = censoring(t[mine], code[mine]).just_before(np.minimum(t[mine], bound[mine]))
        weight[mine] = np.where(known[mine], 1.0 / np.maximum(left, 0.05), 0.0)
    return coverage_by_group(covered, labels, weight, level=level)


@dataclass(frozen=True)
class OutcomeSets:
    """Sets of outcomes (event, no event) within one horizon that hold the true one for a share 1 - alpha of each class.

    ``either`` says that the model cannot tell; it is no failure but the honest answer. For decisions a calibrated risk
    tells more; a set tells for whom the model may rule in or out at a stated rate of error.

    Attributes
    ----------
    alpha
        Miscoverage within each class.
    scores, weights
        For each cell ``(group, status)``: strangeness (one minus the forecast probability of the true outcome) of its
        calibration patients, sorted, and their censoring weights.
    small
        As in :class:`OnsetBound`.
    """

    alpha: float
    scores: dict[tuple[str, int], Floats]
    weights: dict[tuple[str, int], Floats]
    small: Small = "refuse"

    @classmethod
    def fit(
        cls,
        risk: ArrayLike,
        status: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        alpha: float = 0.1,
        group: ArrayLike | None = None,
        small: Small = "refuse",
    ) -> OutcomeSets:
        """Calibrate on patients with known status (``weight`` 0: not known), e.g. of :func:`models.base.labels`."""
        _check_alpha(alpha)
        p, y = np.asarray(risk, dtype=float), np.asarray(status, dtype=float)
        w = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=float)
        labels = _labels(group, len(p))
        scores, weights = {}, {}
        for name in [POOLED, *np.unique(labels[labels != POOLED]).tolist()]:
            cell = (np.ones(len(p), dtype=bool) if name == POOLED else labels == name) & (w > 0)
            for outcome in (0, 1):
                mine = cell & (y == outcome)
                strange = p[mine] if outcome == 0 else 1.0 - p[mine]
                order = np.argsort(strange, kind="stable")
                scores[str(name), outcome] = strange[order]
                weights[str(name), outcome] = w[mine][order]
        return cls(alpha, scores, weights, small)

    def sets(self, risk: ArrayLike, group: ArrayLike | None = None) -> pd.DataFrame:
        """For new patients: ``set`` (``yes``, ``no``, ``either``, ``neither``) and ``source`` as in OnsetBound."""
        p = np.asarray(risk, dtype=float)
        labels = _labels(group, len(p))
        words, sources = [], []
        for value, name in zip(p.tolist(), labels.tolist(), strict=True):
            inside, used = [], []
            for outcome, strange in ((0, value), (1, 1.0 - value)):
                kept, source = self._keeps(str(name), outcome, strange)
                inside.append(kept)
                used.append(source)
            words.append({(1, 1): "either", (1, 0): "no", (0, 1): "yes", (0, 0): "neither"}[inside[0], inside[1]])
            sources.append("none" if "none" in used else ("own" if used == ["own", "own"] else "pooled"))
        return pd.DataFrame({"set": words, "source": sources})

    def _keeps(self, name: str, outcome: int, strange: float) -> tuple[int, str]:
        known = self.scores.get((name, outcome), np.empty(0))
        source = "pooled" if name == POOLED else "own"
        if len(known) < smallest_cell(self.alpha) and self.small == "pool":
            name, source = POOLED, "pooled"
            known = self.scores[POOLED, outcome]
        if len(known) < smallest_cell(self.alpha):
            return 1, "none"
        w = self.weights[name, outcome]
        more = w[known >= strange].sum() + w.max()
        return int(more / (w.sum() + w.max()) > self.alpha), source


def set_coverage(
    sets: Sequence[str], status: ArrayLike, weight: ArrayLike | None = None, group: ArrayLike | None = None
) -> pd.DataFrame:
    """Share of patients whose outcome is in their set, by group and class, with exact binomial intervals."""
    y = np.asarray(status, dtype=int)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    words = np.asarray(sets, dtype=object)
    held = (words == "either") | ((words == "yes") & (y == 1)) | ((words == "no") & (y == 0))
    labels = _labels(group, len(y))
    frames = [
        coverage_by_group(held[y == k], labels[y == k], w[y == k]).assign(status=k) for k in (0, 1) if (y == k).any()
    ]
    return pd.concat(frames, ignore_index=True)


def coverage_by_group(
    covered: ArrayLike, group: ArrayLike | None = None, weight: ArrayLike | None = None, *, level: float = 0.95
) -> pd.DataFrame:
    """Share covered in each group with its exact (Clopper-Pearson) interval.

    Returns
    -------
    DataFrame
        group, n (patients with weight), effective (their effective number), covered (share), low, high.
    """
    held = np.asarray(covered, dtype=float)
    w = np.ones(len(held)) if weight is None else np.asarray(weight, dtype=float)
    labels = _labels(group, len(held))
    rows = []
    for name in np.unique(labels).tolist():
        mine = (labels == name) & (w > 0)
        n = int(mine.sum())
        share, size = np.nan, 0.0
        if n:
            share = float(np.average(held[mine], weights=w[mine]))
            size = float(w[mine].sum() ** 2 / (w[mine] ** 2).sum())
        low, high = exact_interval(share * size, size, level) if n else (0.0, 1.0)
        rows.append({"group": name, "n": n, "effective": size, "covered": share, "low": low, "high": high})
    return pd.DataFrame(rows)


def exact_interval(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval (Biometrika 1934;26:404) of a proportion; counts need not be whole."""
    from scipy.stats import beta  # a second of imports, which a stored model does not need

    tail = (1.0 - level) / 2.0
    low = 0.0 if successes <= 0 else float(beta.ppf(tail, successes, n - successes + 1.0))
    high = 1.0 if successes >= n else float(beta.ppf(1.0 - tail, successes + 1.0, n - successes))
    return low, high


def _onset_level(f: Floats, windows: Floats, t: Floats, code: Floats, alpha: float) -> float:
    """The largest level whose estimated miscoverage, with one more patient of the largest weight, is alpha at most."""
    happened = (code == EVENT) & (t <= windows[-1])
    n = len(t)
    if not happened.any():
        return 1.0 if (n + 1) * alpha >= 1.0 else 0.0
    left = censoring(t, code).just_before(t[happened])
    weight = 1.0 / np.maximum(left, 1e-3)
    own = np.array([_at(f[i], windows, t[i]) for i in np.flatnonzero(happened)])
    order = np.argsort(own, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(weight[order])])
    allowed = np.flatnonzero((before + weight.max()) / (n + 1) <= alpha)
    if not len(allowed):
        return 0.0
    last = int(allowed[-1])
    return float(own[order][last]) if last < len(own) else 1.0


def _at(f: Floats, windows: Floats, t: float) -> float:
    """The forecast incidence by t, straight between windows, 0 at the landmark."""
    return float(np.interp(t, np.concatenate([[0.0], windows]), np.concatenate([[0.0], f])))


def _reach(f: Floats, windows: Floats, level: float) -> float:
    """The first time at which the incidence reaches the level; the last window when it never does."""
    if level <= 0:
        return 0.0
    x, y = np.concatenate([[0.0], windows]), np.concatenate([[0.0], f])
    above = np.flatnonzero(y >= level)
    if not len(above):
        return float(windows[-1])
    k = int(above[0])
    return float(x[k - 1] + (level - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1]))


def _curves(risks: ArrayLike, windows: Floats) -> Floats:
    f = np.asarray(risks, dtype=float)
    if f.ndim != 2 or f.shape[1] != len(windows):
        raise ValueError(f"risks must have shape (n, {len(windows)}); got {f.shape}")
    return np.maximum.accumulate(f, axis=1)


def _rising(windows: Sequence[float]) -> Floats:
    grid = np.asarray(windows, dtype=float)
    if grid.ndim != 1 or not len(grid) or grid[0] <= 0 or np.any(np.diff(grid) <= 0):
        raise ValueError(f"windows must be positive and rise; got {grid.tolist()}")
    return grid


def _labels(group: ArrayLike | None, n: int) -> NDArray[np.object_]:
    if group is None:
        return np.full(n, POOLED, dtype=object)
    found = np.asarray(group, dtype=object)
    if found.shape != (n,):
        raise ValueError(f"group must have shape ({n},); got {found.shape}")
    return np.array([POOLED if pd.isna(v) else str(v) for v in found], dtype=object)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1; got {alpha}")
