"""Visual predictive checks: percentiles of observations over time against those of simulations of the same design.

Prediction correction (Bergstrand, Hooker, Wallin & Karlsson 2011, AAPS J 13:143, doi 10.1208/s12248-011-9255-z) takes
out what doses and covariates explain within a bin. Values beyond a limit count as beyond it in observations and
simulations alike: a percentile that falls among them is not shown, and their share is checked on its own. Grades are
checked as the share of subjects at or above each grade, events as Kaplan-Meier curves. A share of statistics within
their bands means something only beside what a right model gives: the same share of simulated cohorts is told.

Where the sicker are sampled more often, percentiles of values are those of the sicker, but simulated effects know
nothing of it. ``patients_equal`` weighs every subject once per bin, in observations and simulations alike (inverse
intensity weights: Lin, Scharfstein & Rosenheck 2004, J R Stat Soc B 66:791, doi 10.1111/j.1467-9868.2004.b5543.x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.survival import kaplan_meier
from icans.population.fit.result import Fit
from icans.population.nlme.likelihood import Bound, bind, means, phi_of, psi_of
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.records import LEFT, RIGHT, Records
from icans.population.nlme.rows import EVENT, NODE
from icans.population.nlme.simulating import Simulated, simulate_observations

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PERCENTILES = (5.0, 50.0, 95.0)
#: Number of bins, or their edges.
Bins = int | Sequence[float]


@dataclass(frozen=True)
class Vpc:
    """A check of one observable.

    ``table``: a row per bin and statistic: ``bin, time_h, n, statistic`` (``"p5"``, ..., ``"below limit"``,
    ``"grade >= 1"``, ``"event-free"``), ``observed, low, middle, high`` (quantiles of the same statistic in the
    simulations, 2.5, 50 and 97.5 % by default). ``points``: the observations as corrected. ``usual``: 5, 50 and 95 %
    of the share inside over the simulated cohorts themselves: what a right model gives.
    """

    observable: str
    kind: str
    corrected: bool
    replicates: int
    table: pd.DataFrame
    points: pd.DataFrame
    usual: tuple[float, float, float] = (np.nan, np.nan, np.nan)

    @property
    def inside(self) -> float:
        """Share of observed statistics within the simulations' band (of those that are known)."""
        t = self.table.dropna(subset=["observed", "low", "high"])
        return float(((t["observed"] >= t["low"]) & (t["observed"] <= t["high"])).mean()) if len(t) else np.nan


def bin_edges(time_h: Array, bins: Bins) -> Array:
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
    fit: Fit, records: Records, seed: int, *, observables: Sequence[str] | None = None,
    bins: Bins | Mapping[str, Bins] = 8, replicates: int = 300, corrected: bool = True, interval: float = 0.95,
    patients_equal: bool = False,
) -> dict[str, Vpc]:  # fmt: skip
    """Visual predictive checks of observables (all if None), from one set of simulations.

    Parameters
    ----------
    bins
        Number of bins with about as many values, or their edges (visits: edges between them); by observable if a
        mapping (those left out have 8).
    patients_equal
        Measured values: every subject weighs the same in a bin, however many values it has there.

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
            own = bins.get(what.name, 8) if isinstance(bins, Mapping) else bins
            if isinstance(what, Observation) or what.kind == "count":
                positive = isinstance(what, Observation) and what.error in LOGARITHMIC
                out[what.name] = _continuous(bound, k, drawn, pred, own, corrected, interval, positive, patients_equal)
            elif what.kind == "ordinal":
                out[what.name] = _ordinal(bound, k, what, drawn, own, interval)
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


def _percentiles(y: Array, weight: Array) -> Array:
    """Weighted percentiles over the last axis with beyond-limit values as infinities; NaN where they fall on one.

    Between values as numpy does by default, places by the middles of weights: the same where all weigh the same.
    """
    order = np.argsort(y, axis=-1)
    ordered, w = np.take_along_axis(y, order, axis=-1), weight[order]
    middle = np.cumsum(w, axis=-1) - 0.5 * w
    place = (middle - middle[..., :1]) / np.maximum(middle[..., -1:] - middle[..., :1], 1e-300)
    out = []
    for q in PERCENTILES:
        after = np.clip((place < q / 100.0).sum(axis=-1, keepdims=True), min(1, y.shape[-1] - 1), y.shape[-1] - 1)
        ends = [np.take_along_axis(x, at, axis=-1)[..., 0] for x in (ordered, place)
                for at in (np.maximum(after - 1, 0), after)]  # fmt: skip
        low, high, before, behind = ends
        part = np.clip((q / 100.0 - before) / np.maximum(behind - before, 1e-300), 0.0, 1.0)
        # Exactly on a value, its neighbour beyond the limit does not matter.
        low, high = np.where(part > 1.0 - 1e-9, high, low), np.where(part < 1e-9, low, high)
        with np.errstate(invalid="ignore"):
            out.append(np.where(np.isfinite(low) & np.isfinite(high), low + part * (high - low), np.nan))
    return np.stack(out, axis=-1)


def _continuous(
    bound: Bound, k: int, drawn: Simulated, pred: Array, bins: Bins, corrected: bool, interval: float, positive: bool,
    patients_equal: bool,
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
    table, points, within = [], [], []
    for one in np.unique(which):
        at = which == one
        centre, n = float(np.median(time[at])), int(at.sum())
        weight = 1.0 / np.bincount(i[at])[i[at]] if patients_equal else np.ones(n)
        shown, simulated = y[at], sims[:, at]
        if corrected:
            middle = float(np.median(p[at]))
            with np.errstate(invalid="ignore", divide="ignore"):
                if positive:
                    shown, simulated = shown * (middle / p[at]), simulated * (middle / p[at])
                else:
                    shown, simulated = shown + (middle - p[at]), simulated + (middle - p[at])
        good = np.isfinite(simulated).any(axis=1)
        own, stats = _percentiles(shown, weight), _percentiles(simulated[good], weight).T
        found = [(f"p{q:g}", own[j], stats[j]) for j, q in enumerate(PERCENTILES)]
        share = weight / weight.sum()
        for word, end in (("below limit", -np.inf), ("above limit", np.inf)):
            if (y == end).any():
                found.append((word, float((shown == end) @ share), (simulated == end) @ share))
        for word, observed, drawn_ones in found:
            band = _band(drawn_ones[:, None], interval)[:, 0]
            table.append((int(one), centre, n, word, observed, *band))
            if np.isfinite(observed) and len(drawn_ones) == len(sims):
                inside = (drawn_ones >= band[0]) & (drawn_ones <= band[2])
                within.append(np.where(np.isfinite(drawn_ones), inside, np.nan))
        points.append(pd.DataFrame({"time_h": time[at], "value": shown, "bin": int(one)}))
    name = bound.model.observed[k].name
    return Vpc(name, "continuous", corrected, len(sims), _table(table), pd.concat(points), _usual(within))


def _usual(within: list[Array]) -> tuple[float, float, float]:
    """Quantiles of the share inside over replicates, from which were inside, (statistics, R)."""
    known = [w for w in within if np.isfinite(w).any()]
    if not known:
        return (np.nan, np.nan, np.nan)
    low, middle, high = np.nanquantile(np.nanmean(np.stack(known), axis=0), [0.05, 0.5, 0.95])
    return float(low), float(middle), float(high)


def _limit(value: Array, role: Ints, which: int) -> float:
    own = value[role == which]
    return float(np.median(own)) if len(own) else (-np.inf if which == LEFT else np.inf)


def _table(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    columns = ["bin", "time_h", "n", "statistic", "observed", "low", "middle", "high"]
    return pd.DataFrame(rows, columns=columns)


def _ordinal(bound: Bound, k: int, what: Outcome, drawn: Simulated, bins: Bins, interval: float) -> Vpc:
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
    sims = np.stack([
        kaplan_meier(np.where(np.isfinite(t), t, observed[seen]), np.isfinite(t)).at(grid) for t in times
    ])  # fmt: skip
    band = _band(sims, interval)
    curve = kaplan_meier(observed[seen], event[seen]).at(grid)
    table = [(j, t, int(seen.sum()), "event-free", curve[j], *band[:, j]) for j, t in enumerate(grid)]
    points = pd.DataFrame({"time_h": observed[seen], "value": event[seen].astype(float), "bin": 0})
    return Vpc(name, "event", False, len(sims), _table(table), points)
