"""FO and FOCE without interaction: the older first-order objectives, to compare with other programs.

Both take the error's SD from the prediction of the typical subject (b = 0). FO linearises the prediction there, too
(Beal and Sheiner 1982, Crit Rev Biomed Eng 8:195); FOCE does so at the mode (Lindstrom and Bates 1990, Biometrics
46:673). Measured values with normal or log-normal errors only: what is censored, counted, graded or timed needs FOCEI
or Laplace.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.population.fit.focei_objective import Accuracy, Evaluation, Motion, Slopes
from icans.population.fit.focei_rows import (
    Frame,
    Predicted,
    make_frame,
    predict,
    second_derivatives,
    steps_of_b,
    sum_errors,
)
from icans.population.fit.modes import Modes, prior_precision
from icans.population.nlme.likelihood import Bound, covariance, means, phi_of
from icans.population.nlme.observed import Observation
from icans.population.nlme.population import Population
from icans.population.nlme.terms import LOG_2PI, spread, transformed

Array = npt.NDArray[np.float64]

NORMAL = ("additive", "proportional", "combined", "combined1", "lognormal")
#: Steps of differences of the location (the logarithm of a log-normal error) in the prediction, relative.
STEP = 1e-5


@dataclass(frozen=True)
class Linear:
    """Rows on the scale of their errors at some b: location m (M, R), its derivatives by ``phi`` (M, R, Q), by b.

    ``bend``: second derivative of the location by the prediction over the square of the first.
    """

    m: Array
    by_phi: Array
    by_b: Array
    bend: Array


@dataclass(frozen=True)
class Typical:
    """At b = 0: the rows, SDs s (M, R) and their derivatives by ``phi`` (M, R, Q) and own error parameters (M, R, J).

    ``y``: values on the scale of their errors. ``jacobian``: log of |dy_scale / dy|, summed per set.
    """

    frame: Frame
    phi: Array
    line: Linear
    s: Array
    s_phi: Array
    s_e: Array
    y: Array
    jacobian: Array


def evaluate_first_order(
    bound: Bound, population: Population, accuracy: Accuracy, *, conditional: bool, gradient: bool = True,
    near: Evaluation | None = None,
) -> Evaluation:  # fmt: skip
    """FOCE's (``conditional``) or FO's objective of every subject, with exact slopes.

    Raises
    ------
    ModelError
        Data or classes that these methods cannot take.
    """
    refuse_first_order(bound)
    with np.errstate(all="ignore"):
        typical = _typical(bound, population)
        begin = np.zeros((len(bound), bound.size)) if near is None else near.modes[0].mode
        b, line, log_joint, precision = _frozen_modes(bound, population, typical, begin, accuracy)
        modes = Modes(b, precision, log_joint)
        work = _conditional if conditional else _first_order
        objective, slopes = work(bound, population, typical, modes, line, accuracy, gradient)
    bad = ~np.isfinite(objective)
    objective = np.where(bad, np.inf, objective)
    weights = np.ones((len(bound), 1))
    nothing: tuple[Motion, ...] = ()
    return Evaluation(population, objective, (modes,), weights, slopes, nothing)


def refuse_first_order(bound: Bound) -> None:
    """Raise if there is anything but measured values with normal errors."""
    problems = []
    for k, o in enumerate(bound.model.observed):
        if not isinstance(o, Observation) or o.error not in NORMAL or o.batches:
            expected = f"measured values with errors {', '.join(NORMAL)}, without batches"
            problems.append(Problem("model", None, o.name, type(o).__name__, expected, "Use focei or laplace."))
        elif ((bound.rows.observed == k) & (bound.rows.role != 0)).any():
            problems.append(Problem("records", None, o.name, "censored", "no censored value", "Use focei or laplace."))
    if bound.model.mixture is not None:
        problems.append(Problem("model", None, "mixture", "", "no latent classes", "Use focei or laplace."))
    if problems:
        raise ModelError(problems)


def _linear(bound: Bound, frame: Frame, at: Predicted) -> Linear:
    m, slope, bend = at.u.copy(), np.ones_like(at.u), np.zeros_like(at.u)
    for k, place in enumerate(frame.chosen.places):
        what = bound.model.observed[k]
        if isinstance(what, Observation) and what.error == "lognormal" and len(place[0]):
            here = at.u[place] + what.floor
            m[place], slope[place], bend[place] = np.log(here), 1.0 / here, -1.0
    by_phi = slope[..., None] * at.jac
    return Linear(m, by_phi, by_phi @ bound.flat_loading, bend)


def _typical(bound: Bound, population: Population) -> Typical:
    frame = make_frame(bound, bound.everyone)
    phi = phi_of(bound, means(bound, population), np.zeros((len(bound), bound.size)))
    at = predict(bound, phi, frame.chosen)
    s, s_u, y = np.ones_like(at.u), np.zeros_like(at.u), np.zeros_like(at.u)
    s_e = np.zeros((*at.u.shape, frame.widest))
    jacobian = np.zeros(len(bound))
    for k, place in enumerate(frame.chosen.places):
        what = bound.model.observed[k]
        if len(place[0]) == 0 or not isinstance(what, Observation):
            continue
        own = spread(what, population.errors[bound.own[k]], at.u[place])
        s[place], s_u[place] = own.s, own.s_f
        for j, e in enumerate(bound.own[k]):
            s_e[place[0], place[1], j] = own.s_a if bound.layout[e].field == "a" else own.s_b
        value = np.asarray(frame.columns[k].value, dtype=np.float64)
        y[place] = transformed(what, value)
        if what.error == "lognormal":
            jacobian -= np.bincount(place[0], weights=y[place], minlength=len(bound))
    line = _linear(bound, frame, at)
    y = np.where(frame.mask, y, line.m)
    return Typical(frame, phi, line, s, s_u[..., None] * at.jac, s_e, y, jacobian)


def _constant(t: Typical) -> Array:
    """Log density of the rows where residuals are 0, (M,)."""
    rows = np.where(t.frame.mask, -np.log(t.s) - 0.5 * LOG_2PI, 0.0)
    return np.asarray(rows.sum(axis=1) + t.jacobian)


def _frozen_modes(
    bound: Bound, population: Population, t: Typical, begin: Array, accuracy: Accuracy
) -> tuple[Array, Linear, Array, Array]:  # fmt: skip
    """Modes with the errors' SDs of the typical subject: damped Gauss-Newton."""
    prior, at_zero = prior_precision(bound, population)
    mean, b = means(bound, population), begin.copy()
    weight = np.where(t.frame.mask, 1.0 / t.s**2, 0.0)
    constant = _constant(t) + at_zero

    def look(b: Array) -> tuple[Array, Linear]:
        line = _linear(bound, t.frame, predict(bound, phi_of(bound, mean, b), t.frame.chosen))
        height = constant - 0.5 * (weight * (t.y - line.m) ** 2).sum(axis=1) - 0.5 * ((b @ prior) * b).sum(axis=1)
        return np.where(np.isfinite(height), height, -np.inf), line

    height, line = look(b)
    lost = ~np.isfinite(height)
    if lost.any():
        b[lost] = 0.0
        height, line = look(b)
    damping = np.zeros(len(b))
    for _ in range(accuracy.iterations):
        turned = np.swapaxes(line.by_b, 1, 2) * weight[:, None, :]
        precision = turned @ line.by_b + prior
        slope = (turned @ (t.y - line.m)[..., None])[..., 0] - b @ prior
        heavy = precision * (1.0 + damping[:, None, None] * np.eye(bound.size))
        step = np.linalg.solve(heavy, slope[..., None])[..., 0]
        length = np.sqrt(np.maximum((step * slope).sum(axis=1), 0.0))
        active = (length > accuracy.inner) & (damping < 1e8) & np.isfinite(height)
        if not active.any():
            break
        tried = np.where(active[:, None], b + step, b)
        there, other = look(tried)
        better = active & (there >= height - 1e-12 * (1.0 + np.abs(height)))
        b[better], height[better] = tried[better], there[better]
        for name in ("m", "by_phi", "by_b", "bend"):
            getattr(line, name)[better] = getattr(other, name)[better]
        damping = np.where(better, np.where(damping > 1e-6, damping / 10.0, 0.0), damping)
        damping = np.where(active & ~better, np.maximum(10.0 * damping, 1e-2), damping)
    turned = np.swapaxes(line.by_b, 1, 2) * weight[:, None, :]
    return b, line, height, turned @ line.by_b + prior


def _twice(bound: Bound, t: Typical, phi: Array, line: Linear, accuracy: Accuracy) -> Array:
    """Second derivatives of locations by ``phi`` and b, (M, R, Q, D)."""
    spread_b = np.full(bound.size, 1e-6)
    step = steps_of_b(bound, phi, spread_b, accuracy.step)
    twice = second_derivatives(t.frame, phi, step)
    # The location is a function of the prediction: slope times its second derivatives, plus the bend.
    slope = _slope_of_location(bound, t.frame, line)
    return slope[..., None, None] * twice + (line.bend[..., None] * line.by_phi)[..., None] * line.by_b[:, :, None, :]


def _slope_of_location(bound: Bound, frame: Frame, line: Linear) -> Array:
    slope = np.ones_like(line.m)
    for k, place in enumerate(frame.chosen.places):
        what = bound.model.observed[k]
        if isinstance(what, Observation) and what.error == "lognormal" and len(place[0]):
            slope[place] = np.exp(-line.m[place])
    return slope


def _conditional(
    bound: Bound, population: Population, t: Typical, modes: Modes, line: Linear, accuracy: Accuracy, gradient: bool
) -> tuple[Array, Slopes | None]:  # fmt: skip
    """FOCE: Laplace with the information ``J' J / s^2`` and s of the typical subject."""
    _, log_det = np.linalg.slogdet(modes.precision)
    objective = -2.0 * modes.log_joint - bound.size * LOG_2PI + log_det
    if not gradient:
        return objective, None
    prior, _ = prior_precision(bound, population)
    phi = phi_of(bound, means(bound, population), modes.mode)
    twice = _twice(bound, t, phi, line, accuracy)
    load = bound.flat_loading
    bb = np.swapaxes(twice, 2, 3) @ load
    weight = np.where(t.frame.mask, 1.0 / t.s**2, 0.0)
    residual = t.y - line.m
    exact = np.swapaxes(line.by_b, 1, 2) @ (weight[..., None] * line.by_b) + prior
    exact -= np.einsum("mr,mrde->mde", weight * residual, 0.5 * (bb + np.swapaxes(bb, 2, 3)))
    inverse = np.linalg.inv(modes.precision)
    solved = line.by_b @ inverse
    size = (solved * line.by_b).sum(axis=2)
    by_phi = 2.0 * np.einsum("mrd,mrqd->mq", weight[..., None] * solved, twice)
    u = np.linalg.solve(exact, (by_phi @ load)[..., None])[..., 0]
    along = (line.by_b * u[:, None, :]).sum(axis=2)
    total = by_phi - np.einsum("mr,mrq->mq", weight * (along + 2.0 * residual), line.by_phi)
    total += np.einsum("mr,mrq->mq", weight * residual, (twice @ u[:, None, :, None])[..., 0])
    # What every row's SD does: to its density, to the information, to the mode.
    by_s = weight / t.s * (2.0 * (t.s**2 - residual**2) - 2.0 * size - 2.0 * residual * along)
    total += np.einsum("mr,mrq->mq", by_s, t.s_phi)
    pull, turn = modes.mode @ prior, u @ prior
    sigma = prior - pull[:, :, None] * pull[:, None, :] - prior @ inverse @ prior
    sigma = sigma + 0.5 * (turn[:, :, None] * pull[:, None, :] + pull[:, :, None] * turn[:, None, :])
    return objective, _slopes(bound, t, total, sigma, by_s)


def _first_order(
    bound: Bound, population: Population, t: Typical, modes: Modes, line: Linear, accuracy: Accuracy, gradient: bool
) -> tuple[Array, Slopes | None]:  # fmt: skip
    """FO: y is normal around the typical prediction with covariance ``G Sigma G' + diag s^2``."""
    sigma = covariance(bound, population)
    mask = t.frame.mask
    g = np.where(mask[..., None], t.line.by_b, 0.0)
    residual = np.where(mask, t.y - t.line.m, 0.0)
    s2 = np.where(mask, t.s**2, 1.0)
    v = g @ sigma @ np.swapaxes(g, 1, 2) + s2[:, :, None] * np.eye(g.shape[1])
    factor = np.linalg.cholesky(v)
    inverse = np.linalg.inv(v)
    solved = (inverse @ residual[..., None])[..., 0]
    log_det = 2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    objective = log_det + (residual * solved).sum(axis=1) + mask.sum(axis=1) * LOG_2PI - 2.0 * t.jacobian
    if not gradient:
        return objective, None
    twice = _twice(bound, t, t.phi, t.line, accuracy)
    slope_v = inverse - solved[:, :, None] * solved[:, None, :]
    vg = slope_v @ g
    total = 2.0 * np.einsum("mrd,mrqd->mq", vg @ sigma, np.where(mask[..., None, None], twice, 0.0))
    total -= 2.0 * np.einsum("mr,mrq->mq", solved, np.where(mask[..., None], t.line.by_phi, 0.0))
    by_s = np.where(mask, 2.0 * t.s * np.diagonal(slope_v, axis1=1, axis2=2), 0.0)
    total += np.einsum("mr,mrq->mq", by_s, t.s_phi)
    return objective, _slopes(bound, t, total, np.swapaxes(g, 1, 2) @ vg, by_s)


def _slopes(bound: Bound, t: Typical, total: Array, sigma: Array, by_s: Array) -> Slopes:
    n, o, p = t.phi.shape
    d, k = len(bound.model.varying), len(bound.model.occasional)
    gamma = np.zeros((n, k, k))
    for place in range(o if k else 0):
        at = slice(d + place * k, d + (place + 1) * k)
        gamma += sigma[:, at, at]
    errors = sum_errors(t.frame, by_s[..., None] * t.s_e)
    return Slopes(total.reshape(n, o, p).sum(axis=1)[None], sigma[:, :d, :d], gamma, errors, np.ones((n, 1)))
