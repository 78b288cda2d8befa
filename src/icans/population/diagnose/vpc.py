"""Visual predictive checks: percentiles of observations over time against those of simulations of the same design.

Prediction correction (Bergstrand, Hooker, Wallin & Karlsson 2011, AAPS J 13:143, doi 10.1208/s12248-011-9255-z) takes
out what doses and covariates explain within a bin. Values beyond a limit count as beyond it in observations and
simulations alike: a percentile that falls among them is not shown, and their share is checked on its own. Grades are
checked as the share of subjects at or above each grade, events as Kaplan-Meier curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import Bound, bind, means, phi_of, psi_of
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.records import LEFT, RIGHT, Records
from icans.population.nlme.rows import EVENT, NODE
from icans.population.nlme.simulating import Simulated, simulate_observations

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PERCENTILES = (5.0, 50.0, 95.0)


@dataclass(frozen=True)
class Vpc:
    """A check of one observable.

    ``table``: a row per bin and statistic: ``bin, time_h, n, statistic`` (``"p5"``, ..., ``"below limit"``,
    ``"grade >= 1"``, ``"event-free"``), ``observed, low, middle, high`` (quantiles of the same statistic in the
    simulations, 2.5, 50 and 97.5 % by default). ``points``: the observations as corrected.
    """

    observable: str
    kind: str
    corrected: bool
    replicates: int
    table: pd.DataFrame
    points: pd.DataFrame

    @property
    def inside(self) -> float:
        """Share of observed statistics within the simulations' band (of those that are known)."""
        t = self.table.dropna(subset=["observed", "low", "high"])
        return float(((t["observed"] >= t["low"]) & (t["observed"] <= t["high"])).mean()) if len(t) else np.nan


def bin_edges(time_h: Array, bins: int | Sequence[float]) -> Array:
    """Edges of bins: those given, or ``bins`` of about equal numbers of observations, between distinct times."""
    if not isinstance(bins, int):
        return np.asarray(sorted(bins), dtype=float)
    distinct = np.unique(time_h)
    if len(distinct) <= bins:
        inner = (distinct[1:] + distinct[:-1]) / 2.0
    else:
        cuts = np.quantile(time_h, np.linspace(0, 1, bins + 1)[1:-1])
        place = np.unique(np.clip(np.searchsorted(distinct, cuts), 1, len(distinct) - 1))
        inner = (distinct[place] + distinct[place - 1]) / 2.0
    return np.concatenate([[-np.inf], inner, [np.inf]])


def vpc(
    fit: Fit, records: Records, seed: int, *, observables: Sequence[str] | None = None, bins: int | Sequence[float] = 8,
    replicates: int = 300, corrected: bool = True, interval: float = 0.95,
) -> dict[str, Vpc]:  # fmt: skip
    """Visual predictive checks of observables (all if None), from one set of simulations.

    Raises
    ------
    ModelError
        An unknown observable, or records that cannot be bound.
    """
    bound = bind(fit.model, records)
    names = [o.name for o in bound.model.observed]
    unknown = [n for n in observables or () if n not in names]
    if unknown:
        remedy = f"Observables are: {', '.join(names)}."
        raise ModelError([Problem("vpc", None, None, n, "an observable of the model", remedy) for n in unknown])
    drawn = simulate_observations(bound, fit.population, seed, replicates)
    zero = np.zeros((len(bound), bound.size))
    phi = phi_of(bound, means(bound, fit.population), zero)
    pred = bound.solver.values(psi_of(bound, phi), np.arange(len(bound)))
    out = {}
    for k, what in enumerate(bound.model.observed):
        if (observables is None or what.name in observables) and (bound.rows.observed == k).any():
            if isinstance(what, Observation) or what.kind == "count":
                positive = isinstance(what, Observation) and what.error in LOGARITHMIC
                out[what.name] = _continuous(bound, k, drawn, pred, bins, corrected, interval, positive)
            elif what.kind == "ordinal":
                out[what.name] = _ordinal(bound, k, what, drawn, bins, interval)
            else:
                out[what.name] = _survival(bound, k, drawn, interval)
    return out


LOGARITHMIC = ("proportional", "lognormal", "logstudent")


def _band(values: Array, interval: float) -> Array:
    """Low, middle, high over the first axis; NaN where fewer than half of the replicates have a value."""
    tail = 50.0 * (1.0 - interval)
    enough = np.isfinite(values).mean(axis=0) >= 0.5
    out = np.full((3, *values.shape[1:]), np.nan)
    if enough.any():
        out[:, enough] = np.nanpercentile(values[:, enough], [tail, 50.0, 100.0 - tail], axis=0)
    return out


def _percentiles(y: Array) -> Array:
    """Percentiles over the last axis with beyond-limit values as infinities; NaN where they fall on one."""
    ordered = np.sort(y, axis=-1)
    n = y.shape[-1]
    out = []
    for q in PERCENTILES:
        at = q / 100.0 * (n - 1)
        low, high = ordered[..., int(np.floor(at))], ordered[..., int(np.ceil(at))]
        with np.errstate(invalid="ignore"):
            out.append(np.where(np.isfinite(low) & np.isfinite(high), low + (at - np.floor(at)) * (high - low), np.nan))
    return np.stack(out, axis=-1)


def _continuous(
    bound: Bound, k: int, drawn: Simulated, pred: Array, bins: int | Sequence[float], corrected: bool, interval: float,
    positive: bool,
) -> Vpc:  # fmt: skip
    rows = bound.rows
    i, r = np.nonzero((rows.observed == k) & (rows.source >= 0))
    time, role = rows.time_h[i, r], rows.role[i, r]
    y = np.where(role == LEFT, -np.inf, np.where(role == RIGHT, np.inf, rows.value[i, r]))
    sims = drawn.values[:, i, r].copy()
    floor, ceiling = _limit(rows.value[i, r], role, LEFT), _limit(rows.value[i, r], role, RIGHT)
    sims = np.where(sims < floor, -np.inf, np.where(sims > ceiling, np.inf, sims))
    edges = bin_edges(time, bins)
    which = np.digitize(time, edges) - 1
    p = pred[i, r]
    table, points = [], []
    for one in np.unique(which):
        at = which == one
        centre = float(np.median(time[at]))
        shown, simulated = y[at], sims[:, at]
        if corrected:
            middle = float(np.median(p[at]))
            with np.errstate(invalid="ignore", divide="ignore"):
                if positive:
                    shown, simulated = shown * (middle / p[at]), simulated * (middle / p[at])
                else:
                    shown, simulated = shown + (middle - p[at]), simulated + (middle - p[at])
        good = np.isfinite(simulated).any(axis=1)
        stats, own = _percentiles(simulated[good]), _percentiles(shown)
        band = _band(stats, interval)
        table += [(int(one), centre, int(at.sum()), f"p{q:g}", own[j], *band[:, j]) for j, q in enumerate(PERCENTILES)]
        for word, end in (("below limit", -np.inf), ("above limit", np.inf)):
            if (y == end).any():
                share = (simulated == end).mean(axis=1)
                tail = _band(share, interval)
                table.append((int(one), centre, int(at.sum()), word, float((shown == end).mean()), *tail))
        points.append(pd.DataFrame({"time_h": time[at], "value": shown, "bin": int(one)}))
    return Vpc(bound.model.observed[k].name, "continuous", corrected, len(sims), _table(table), pd.concat(points))


def _limit(value: Array, role: Ints, which: int) -> float:
    own = value[role == which]
    return float(np.median(own)) if len(own) else (-np.inf if which == LEFT else np.inf)


def _table(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    columns = ["bin", "time_h", "n", "statistic", "observed", "low", "middle", "high"]
    return pd.DataFrame(rows, columns=columns)


def _ordinal(
    bound: Bound, k: int, what: Outcome, drawn: Simulated, bins: int | Sequence[float], interval: float
) -> Vpc:
    rows = bound.rows
    i, r = np.nonzero((rows.observed == k) & (rows.source >= 0))
    time, y, sims = rows.time_h[i, r], rows.value[i, r], drawn.values[:, i, r]
    which = np.digitize(time, bin_edges(time, bins)) - 1
    table: list[tuple[object, ...]] = []
    for one in np.unique(which):
        at = which == one
        for grade in range(1, len(what.cuts) + 1):
            band = _band((sims[:, at] >= grade).mean(axis=1), interval)
            share = float((y[at] >= grade).mean())
            table.append((int(one), float(np.median(time[at])), int(at.sum()), f"grade >= {grade}", share, *band))
    points = pd.DataFrame({"time_h": time, "value": y, "bin": which})
    return Vpc(what.name, "ordinal", False, len(sims), _table(table), points)


def _survival(bound: Bound, k: int, drawn: Simulated, interval: float) -> Vpc:
    """Event-free share over time; simulated events are censored where the subject's observation ended."""
    rows, name = bound.rows, bound.model.observed[k].name
    end = np.nanmax(np.where(rows.observed == k, rows.time_h, np.nan), axis=1)
    node = (rows.observed == k) & (rows.role == NODE)
    last = np.array([rows.time_h[i][node[i]].max() if node[i].any() else np.nan for i in range(len(bound))])
    own = (rows.observed == k) & (rows.role == EVENT)
    event = own.any(axis=1)
    observed = np.where(event, end, last)
    seen = np.isfinite(last)
    grid = np.linspace(0.0, float(np.nanmax(observed[seen])), 25)
    times = drawn.events[name][:, seen]
    sims = np.stack([_kaplan_meier(np.where(np.isfinite(t), t, observed[seen]), np.isfinite(t), grid) for t in times])
    band = _band(sims, interval)
    curve = _kaplan_meier(observed[seen], event[seen], grid)
    table = [(j, t, int(seen.sum()), "event-free", curve[j], *band[:, j]) for j, t in enumerate(grid)]
    points = pd.DataFrame({"time_h": observed[seen], "value": event[seen].astype(float), "bin": 0})
    return Vpc(name, "event", False, len(sims), _table(table), points)


def _kaplan_meier(time: Array, event: npt.NDArray[np.bool_], grid: Array) -> Array:
    order = np.argsort(time, kind="stable")
    t, e = time[order], event[order]
    at_risk = len(t) - np.arange(len(t))
    survival = np.cumprod(1.0 - e / at_risk)
    place = np.searchsorted(t, grid, side="right") - 1
    return np.where(place < 0, 1.0, survival[np.maximum(place, 0)])
