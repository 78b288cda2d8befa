"""Log-likelihood profiles: one number of the packed vector is held, all others are fitted again.

Confidence limits are where the objective has risen by the chi-square quantile (3.84 for 95 %), found by secant steps on
the signed root of the rise, which is nearly a straight line (Bates and Watts 1988, Nonlinear Regression Analysis, ch.
6). A side on which the objective never rises so far has no limit: the data do not bound the parameter there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from icans.core.errors import ModelError, Problem
from icans.core.execute import Executor, Serial
from icans.population.fit.ascend import Point, descend, inverse_of
from icans.population.fit.focei import Objective, objective_of
from icans.population.fit.focei_objective import Evaluation
from icans.population.fit.result import Fit
from icans.population.nlme.population import Packing
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

#: Points looked at on a side at most, and how far from the estimate (packed units) a limit is looked for.
MOST, FARTHEST = 14, 8.0
#: Precision of the rise at a limit.
CLOSE = 0.01


@dataclass(frozen=True)
class Profiles:
    """``limits``: ``name, estimate, low, high, low_found, high_found, scale``; ``course``: ``name, value, rise``.

    Values are natural where a number of the packed vector is one quantity (typical values, effects, SDs outside
    blocks, errors); ``scale`` is ``"packed"`` where it is not (Cholesky factors of blocks, gaps of cuts, log odds).
    ``better``: the vector of a lower objective than the fit's, if one was met (the fit was not at its minimum).
    """

    fit: Fit
    limits: pd.DataFrame
    course: pd.DataFrame
    better: Array | None = None

    @property
    def messages(self) -> tuple[str, ...]:
        """What the profiles say, with what to do."""
        out = []
        for row in self.limits.itertuples():
            sides = [s for s, found in (("below", row.low_found), ("above", row.high_found)) if not found]
            if sides:
                out.append(f"{row.name} has no limit {' and '.join(sides)}: these data do not bound it. Fix it, give a "
                           "prior, or sample where it matters.")  # fmt: skip
        if self.better is not None:
            out.append("A lower objective was found on the way: fit again from there (better).")
        return tuple(out)


def profiles(
    fit: Fit, records: Records, names: Sequence[str] | None = None, *, level: float = 0.95,
    executor: Executor | None = None,
) -> Profiles:  # fmt: skip
    """Profiles of numbers of the packed vector (all of them if ``names`` is None) of a first-order fit.

    Raises
    ------
    ModelError
        Names that the packed vector does not have.
    """
    method = fit.likelihood if fit.likelihood in ("focei", "laplace", "foce", "fo") else "focei"
    objective = objective_of(fit.model, records, method=method, population=fit.population)
    own = objective.pack.names
    wanted = tuple(names) if names is not None else own
    unknown = [n for n in wanted if n not in own]
    if unknown:
        raise ModelError([Problem("profiles", None, "names", n, "a free parameter", f"They are: {', '.join(own)}.")
                          for n in unknown])  # fmt: skip
    top = objective.point(fit.vector)
    scores = objective.subject_gradients(top)
    metric = 0.5 * scores.T @ scores if fit.covariance is None else 2.0 * np.linalg.inv(fit.covariance)
    crit = float(np.sqrt(stats.chi2.ppf(level, 1)))
    work = OneParameter(objective, top, np.asarray(metric, dtype=np.float64), crit)
    done = (executor or Serial()).map(work, [own.index(n) for n in wanted], "profiles")
    return _gathered(fit, objective.pack, wanted, done)


@dataclass
class Side:
    """One side of one profile: values, signed roots of rises, the limit (None: not found), the best point met."""

    values: list[float]
    roots: list[float]
    limit: float | None
    best: Point[Evaluation] | None


@dataclass(frozen=True)
class OneParameter:
    """Profiles one place of the vector; picklable."""

    objective: Objective
    top: Point[Evaluation]
    metric: Array
    crit: float

    def __call__(self, place: int) -> tuple[Side, Side]:
        """The sides below and above."""
        return self._side(place, -1.0), self._side(place, 1.0)

    def _side(self, place: int, sign: float) -> Side:
        x0 = float(self.top.x[place])
        sd = float(np.sqrt(max(2.0 * inverse_of(self.metric)[place, place], 1e-12)))
        out = Side([], [], None, None)
        near, away, root = self.top, 0.0, 0.0
        step = self.crit * min(sd, 1.0)
        low, high = (0.0, 0.0), None
        for _ in range(MOST):
            away = min(step, FARTHEST)
            got = self._held(near, place, x0 + sign * away)
            if got is None:
                step, high = 0.5 * (low[0] + away), high
                if step - low[0] < 1e-3 * away:
                    break
                continue
            rise = got.value - self.top.value
            root = float(np.sign(rise) * np.sqrt(abs(rise)))
            out.values.append(x0 + sign * away)
            out.roots.append(root)
            if rise < -CLOSE and (out.best is None or got.value < out.best.value):
                out.best = got
            if abs(root - self.crit) < CLOSE:
                out.limit = x0 + sign * away
                break
            if root < self.crit:
                low, near = (away, root), got
                if away >= FARTHEST:
                    break
            else:
                high = (away, root)
            step = _next(low, high, self.crit)
        return out

    def _held(self, near: Point[Evaluation], place: int, value: float) -> Point[Evaluation] | None:
        """The minimum over all others with one place held; None where there is no likelihood."""
        free = np.arange(len(near.x)) != place

        def lift(point: Point[Evaluation]) -> Point[Evaluation]:
            return Point(point.x[free], point.value, point.gradient[free], point.extra)

        def look(v: Array, before: Point[Evaluation] | None) -> Point[Evaluation]:
            x = np.insert(v, place, value)
            return lift(self.objective.point(x, Point(x, 0.0, x, (before or near).extra)))

        inverse = inverse_of(self.metric[np.ix_(free, free)])
        # Along the ridge: what the quadratic model expects of the others.
        shift = -inverse @ self.metric[np.ix_(free, ~free)][:, 0] * (value - near.x[place])
        begin = look(near.x[free] + np.clip(shift, -0.5, 0.5), near)
        if not np.isfinite(begin.value):
            begin = look(near.x[free], near)
        if not np.isfinite(begin.value):
            return None
        done = descend(look, begin, self.metric[np.ix_(free, free)], tolerance=1e-3, iterations=60)
        x = np.insert(done.point.x, place, value)
        return Point(x, done.point.value, np.insert(done.point.gradient, place, 0.0), done.point.extra)


def _next(low: tuple[float, float], high: tuple[float, float] | None, crit: float) -> float:
    """Where the root should cross: along the chord, or farther out while nothing lies above."""
    if high is None:
        slope = low[1] / low[0] if low[0] > 0.0 and low[1] > 0.0 else 0.0
        return float(np.clip(crit / slope if slope > 0.0 else 3.0 * low[0], 1.05 * low[0], 3.0 * low[0]))
    part = (crit - low[1]) / max(high[1] - low[1], 1e-12)
    return low[0] + float(np.clip(part, 0.05, 0.95)) * (high[0] - low[0])


def natural_place(pack: Packing, place: int, value: float) -> tuple[float, str]:
    """A number of the packed vector on its natural scale, and which scale that is."""
    first = len(pack.typical)
    if place < first:
        scale = pack.model.parameters[int(pack.typical[place])].scale
        return float(scale.back(value)), "natural"
    if place < first + len(pack.effects):
        return value, "natural"
    at = first + len(pack.effects)
    for block in (*pack.omega, *pack.gamma):
        size = len(block) * (len(block) + 1) // 2
        if place < at + size:
            return (float(np.exp(value)), "natural") if place == at else (value, "packed")
        at += size
    if place < at + len(pack.errors):
        e = pack.layout[int(pack.errors[place - at])]
        if e.positive:
            return float(np.exp(value)), "natural"
        return value, "packed" if e.field == "cut" and e.place > 0 else "natural"
    return value, "natural" if place < at + len(pack.errors) + len(pack.shifts) else "packed"


def _gathered(fit: Fit, pack: Packing, wanted: Sequence[str], done: Sequence[tuple[Side, Side]]) -> Profiles:
    limits, course = [], []
    best: Point[Evaluation] | None = None
    for name, (below, above) in zip(wanted, done, strict=True):
        place = pack.names.index(name)
        estimate, scale = natural_place(pack, place, float(fit.vector[place]))
        ends = [np.nan if s.limit is None else natural_place(pack, place, s.limit)[0] for s in (below, above)]
        limits.append((name, estimate, *ends, below.limit is not None, above.limit is not None, scale))
        course.append((name, estimate, 0.0))
        for side in (below, above):
            for value, root in zip(side.values, side.roots, strict=True):
                course.append((name, natural_place(pack, place, value)[0], float(np.sign(root) * root**2)))
            if side.best is not None and (best is None or side.best.value < best.value):
                best = side.best
    columns = ["name", "estimate", "low", "high", "low_found", "high_found", "scale"]
    frame = pd.DataFrame(course, columns=["name", "value", "rise"])
    frame = frame.sort_values(["name", "value"], kind="stable").reset_index(drop=True)
    return Profiles(fit, pd.DataFrame(limits, columns=columns), frame, None if best is None else best.x)
