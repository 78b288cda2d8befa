"""Pieces of the calibration: rows as residuals and moments, cuts from stored courses, weights of studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icans.population.quantities import View, evaluate
from icans.population.quantities import _condition as condition
from icans.population.quantities import _holds as holds
from icans.population.targets import Target
from icans.population.tilt import Moment

Array = npt.NDArray[np.float64]

#: Smallest half widths: what no calibration should chase below.
LEAST = {"percent": 3.0, "day": 1.0, "auc": 0.05}
#: How sharply a median counts: width (days or ln) of the step that stands for "at most the published median".
STEP_DAYS, STEP_LN = 0.7, 0.15
#: A residual beyond this many half widths pulls no harder.
MOST = 3.0


def half_width(target: Target) -> float:
    """Half of the bounds, at least :data:`LEAST`."""
    return max(0.5 * (target.upper - target.lower), LEAST.get(target.unit, 1e-9))


def residual(view: View, target: Target) -> float:
    """Distance of the simulated value from the published one in half widths, bent beyond :data:`MOST`."""
    value = evaluate(view, target.quantity, target.scheme)
    if not np.isfinite(value):
        return MOST
    miss = (value - target.value) / half_width(target)
    if target.rule in ("range", "iqr"):  # bounds of patients, not of the median: pull toward the value all the same
        miss = (value - target.value) / max(0.25 * target.value, 1.0)
    return float(MOST * np.tanh(miss / MOST))


def moment(view: View, target: Target) -> Moment | None:
    """A row as a weighted mean that should have a value; None where it cannot be written so."""
    text, _, given = (part.strip() for part in target.quantity.partition("|"))
    words = text.split()
    among = condition(view, given, target.scheme)
    if words[0] == "inc":
        word = {"eeg": "slowing", "csf": "protein"}.get(words[1], words[1])
        hit = holds(view, word, target.scheme).astype(float)
        return Moment(hit, among, target.value / 100.0, half_width(target) / 100.0)
    values, step = _median_of(view, words, target)
    if values is None:
        return None
    finite = np.isfinite(values)
    low = 1.0 / (
        1.0 + np.exp(-np.clip((target.value + 0.5 * (step == STEP_DAYS) - np.nan_to_num(values)) / step, -30, 30))
    )
    if step == STEP_LN:
        ratio = np.log(np.maximum(np.nan_to_num(values, nan=1.0), 1e-9) / target.value)
        low = 1.0 / (1.0 + np.exp(np.clip(ratio / step, -30, 30)))
    return Moment(low, among * finite, 0.5, 0.25 if target.rule in ("range", "iqr") else 0.12)


def _median_of(view: View, words: Sequence[str], target: Target) -> tuple[Array | None, float]:
    kind = words[0]
    if kind == "onset" and words[1] != "iec":
        return view.graded(words[1], target.scheme).onset_day, STEP_DAYS
    if kind == "duration":
        return view.graded(words[1], target.scheme).duration_days, STEP_DAYS
    if kind == "lag" and "iec" not in words:
        begin = view.graded(words[1], target.scheme)
        end = begin.peak if words[3] == "peak" else view.graded(words[3], target.scheme).onset
        return np.floor(end) - np.floor(begin.onset), STEP_DAYS
    if kind == "peak":
        return view.series[words[1]].max(axis=1), STEP_LN
    if kind == "marker" and words[2] == "baseline":
        return view.level(words[1], 0.0), STEP_LN
    return None, 1.0


def total(residuals: Array) -> float:
    """Mean square."""
    return float(np.mean(np.square(residuals)))


def distance(moment: Moment, weights: Array) -> float:
    """Distance of a row from its target in half widths, bent beyond :data:`MOST`; that if nobody is left to count."""
    mass = float(weights @ moment.among)
    if mass <= 1e-9:
        return MOST
    mean = float(weights @ (moment.among * moment.value)) / mass
    return float(MOST * np.tanh((mean - moment.target) / moment.half / MOST))


def damped_step(
    residuals: Array, jacobian: Array, off: Array, damping: float, prior_sd: Array, most: float = 0.35
) -> Array:  # fmt: skip
    """Gauss-Newton step in ln of the factors, held by a normal prior (``off``: ln from its mean)."""
    normal = jacobian.T @ jacobian + np.diag(1.0 / prior_sd**2)
    normal += damping * np.diag((jacobian**2).sum(axis=0) + 1e-6)
    step = -np.linalg.solve(normal, jacobian.T @ residuals + off / prior_sd**2)
    return np.clip(step, -most, most)
