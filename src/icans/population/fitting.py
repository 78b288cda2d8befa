"""Pieces of the calibration: rows as residuals and moments, cuts from stored courses, weights of studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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


def gauss_newton(
    start: Mapping[str, float], evaluate_rows: Callable[[Mapping[str, float], Sequence[str]], Array],
    *, steps: int, step: float = 0.15, prior_sd: float = 0.7, most: float = 0.5,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:  # fmt: skip
    """Minimise the mean square of rows over factors on the log scale, with finite differences and damping.

    Parameters
    ----------
    evaluate_rows
        ``(factors, changed paths) -> residuals``; it may keep what the changed paths do not touch.
    step
        Difference in ln for the derivative: wide, because shares of a sample move in steps.
    prior_sd
        Factors are held near their start by a normal prior of this SD on the log scale.
    most
        Longest move of a factor in one step, in ln.
    """
    now = dict(start)
    names = list(now)
    here = evaluate_rows(now, names)
    damping = 0.1
    for number in range(steps):
        jac = np.empty((len(here), len(names)))
        for place, name in enumerate(names):
            moved = {**now, name: now[name] * np.exp(step)}
            jac[:, place] = (evaluate_rows(moved, [name]) - here) / step
        off = np.array([np.log(now[n] / start[n]) for n in names]) / prior_sd
        better = False
        for _ in range(4):
            normal = jac.T @ jac + np.eye(len(names)) / prior_sd**2 + damping * np.diag((jac**2).sum(axis=0) + 1e-6)
            move = -np.linalg.solve(normal, jac.T @ here + off / prior_sd)
            move = np.clip(move, -most, most)
            trial = {n: now[n] * float(np.exp(m)) for n, m in zip(names, move)}
            there = evaluate_rows(trial, names)
            say(f"step {number + 1}: mean square {total(here):.3f} -> {total(there):.3f} (damping {damping:g})")
            if total(there) < total(here):
                now, here, better, damping = trial, there, True, damping / 3
                break
            damping *= 5
        if not better:
            break
    return now
