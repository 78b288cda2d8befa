"""All parameters of a linear system by expectation-maximisation; standard errors.

Shumway RH, Stoffer DS, J Time Ser Anal 1982;3:253; Dempster AP, Laird NM, Rubin DB, J R Stat Soc B 1977;39:1. Loading,
offset, noise and start have closed maximisation steps. Drift, push and diffusion have none when gaps differ: their
part of the expected complete log likelihood, which needs only sums of the smoothed moments for each different gap, is
raised by a few quasi-Newton steps and the result is taken only when it is higher, so that the likelihood never falls
(a generalised EM step). With censored values the smoothed moments are those of expectation propagation, and the
likelihood that is traced is that of the filter's moment matching: it rises but for that approximation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from icans.core.errors import NotEstimableError
from icans.forecast.filters.censored import truncated_moments
from icans.forecast.filters.kalman import Smoothed, cavity, kalman_filter, kalman_smoother
from icans.forecast.filters.system import LinearSystem, Panel

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Quasi-Newton steps on drift, push and diffusion in each round.
INNER = 4
#: Smallest noise variance.
SMALLEST = 1e-8
#: Step of the numerical second derivatives, on the scale of the packed parameters.
STEP = 1e-3


@dataclass(frozen=True)
class Free:
    """What is estimated: entries of drift, push, loading, offset (masks or all), noise, diffusion, start.

    ``diffusion``: ``"full"``, ``"diagonal"`` or ``"fixed"``. A system with everything free is not identified (states
    can be rotated and scaled); fix the loading or parts of it.
    """

    drift: bool | Mask = True
    push: bool | Mask = True
    diffusion: str = "full"
    loading: bool | Mask = False
    offset: bool | Mask = False
    noise: bool = True
    start: bool = True
    start_cov: bool = True


@dataclass(frozen=True)
class EmFit:
    """The system, the log likelihood before each round and after the last, and whether the gain fell below target."""

    system: LinearSystem
    trace: tuple[float, ...]
    converged: bool


def fit_em(
    system: LinearSystem, panel: Panel, free: Free | None = None, *, rounds: int = 100, tolerance: float = 1e-6
) -> EmFit:
    """Expectation-maximisation from ``system``.

    Raises
    ------
    NotEstimableError
        No value was seen.
    """
    free = free or Free()
    if not panel.seen.any():
        raise NotEstimableError("the panel holds no value: nothing to fit")
    trace: list[float] = []
    for _ in range(rounds):
        smooth = kalman_smoother(system, panel)
        trace.append(float(smooth.log_likelihood.sum()))
        if len(trace) > 1 and trace[-1] - trace[-2] < tolerance * max(1.0, abs(trace[-1])):
            return EmFit(system, tuple(trace), True)
        system = _maximise(system, panel, smooth, free)
    trace.append(float(kalman_filter(system, panel).log_likelihood.sum()))
    return EmFit(system, tuple(trace), False)


def _maximise(system: LinearSystem, panel: Panel, smooth: Smoothed, free: Free) -> LinearSystem:
    loading, offset, noise = _channels(system, panel, smooth, free)
    start, start_cov = _start(system, panel, smooth, free)
    moved = _dynamics(system, panel, smooth, free)
    return replace(moved, loading=loading, offset=offset, noise=noise, start=start, start_cov=start_cov)


def _start(system: LinearSystem, panel: Panel, smooth: Smoothed, free: Free) -> tuple[Floats, Floats]:
    real = panel.last >= 0
    mean, cov = smooth.start_mean[real], smooth.start_cov[real]
    start = mean.mean(axis=0) if free.start else system.start
    if not free.start_cov:
        return start, system.start_cov
    apart = mean - start
    return start, (cov + apart[:, :, None] * apart[:, None, :]).mean(axis=0)


def _channels(system: LinearSystem, panel: Panel, smooth: Smoothed, free: Free) -> tuple[Floats, Floats, Floats]:
    """Weighted least squares of each channel on state and one, in expectation."""
    y, y_state, y_square = _value_moments(system, panel, smooth)
    d = len(system.start)
    loading, offset, noise = system.loading.copy(), system.offset.copy(), system.noise.copy()
    wanted = np.concatenate(
        [_mask(free.loading, loading.shape), _mask(free.offset, offset.shape)[:, None]], axis=1
    )  # fmt: skip
    for j in range(len(offset)):
        at = panel.seen[:, :, j]
        if not at.any():
            continue
        m, P = smooth.mean[at], smooth.cov[at]
        wide = np.concatenate([m, np.ones((len(m), 1))], axis=1)
        second = wide.T @ wide
        second[:d, :d] += P.sum(axis=0)
        cross = np.append(y_state[at][:, j].sum(axis=0), y[at][:, j].sum())
        beta = np.append(loading[j], offset[j])
        chosen = wanted[j]
        if chosen.any():
            rest = cross[chosen] - second[np.ix_(chosen, ~chosen)] @ beta[~chosen]
            beta[chosen] = np.linalg.lstsq(second[np.ix_(chosen, chosen)], rest, rcond=None)[0]
        loading[j], offset[j] = beta[:d], beta[d]
        if free.noise:
            left = y_square[at][:, j].sum() - 2 * beta @ cross + beta @ second @ beta
            noise[j] = max(left / at.sum(), SMALLEST)
    return loading, offset, noise


def _value_moments(system: LinearSystem, panel: Panel, smooth: Smoothed) -> tuple[Floats, Floats, Floats]:
    """E y (N, T, m), E y x (N, T, m, d), E y^2 (N, T, m); of censored values given all that is known."""
    y = np.where(panel.seen, panel.value, 0.0)
    state = y[..., None] * smooth.mean[:, :, None, :]
    square = y**2
    if smooth.sites is None:
        return y, state, square
    at = panel.censored
    centre, variance = (a[at] for a in cavity(system, panel, smooth, smooth.sites))
    noise = np.broadcast_to(system.noise, panel.value.shape)[at]
    _, mean, var = truncated_moments(centre, variance + noise, panel.value[at], panel.side[at])
    # The state leans on the noise-free value z as in the smoothed joint law; z leans on y by its share of variance.
    lever = np.einsum("ntij,mj->ntmi", smooth.cov, system.loading)
    spread = np.einsum("ntmi,mi->ntm", lever, system.loading)
    with_y = variance / (variance + noise) * var / np.maximum(spread[at], 1e-12)
    states = np.broadcast_to(smooth.mean[:, :, None, :], state.shape)[at]
    y[at], square[at] = mean, var + mean**2
    state[at] = mean[:, None] * states + lever[at] * with_y[:, None]
    return y, state, square


@dataclass(frozen=True)
class _Sums:
    """Smoothed second moments of (state now; state before, 1) summed over rows with the same gap."""

    gap: Floats
    count: Floats
    now: Floats
    cross: Floats
    before: Floats


def _sums(panel: Panel, smooth: Smoothed) -> _Sums:
    d = smooth.mean.shape[-1]
    gap = panel.gap
    at = ~np.isnan(panel.time) & (gap > 0)
    before_mean = np.concatenate([smooth.start_mean[:, None], smooth.mean[:, :-1]], axis=1)[at]
    before_cov = np.concatenate([smooth.start_cov[:, None], smooth.cov[:, :-1]], axis=1)[at]
    unique, place = np.unique(np.round(gap[at], 9), return_inverse=True)
    mean, cov, lag = smooth.mean[at], smooth.cov[at], smooth.lag[at]
    wide = np.concatenate([before_mean, np.ones((len(before_mean), 1))], axis=1)
    now, cross = np.zeros((len(unique), d, d)), np.zeros((len(unique), d, d + 1))
    before = np.zeros((len(unique), d + 1, d + 1))
    np.add.at(now, place, cov + mean[:, :, None] * mean[:, None, :])
    own = mean[:, :, None] * wide[:, None, :]
    own[:, :, :d] += lag
    np.add.at(cross, place, own)
    square = wide[:, :, None] * wide[:, None, :]
    square[:, :d, :d] += before_cov
    np.add.at(before, place, square)
    return _Sums(unique, np.bincount(place, minlength=len(unique)).astype(float), now, cross, before)


def _expected(system: LinearSystem, sums: _Sums) -> float:
    """Expected log density of all steps (constants left out)."""
    F, f, Q = system.step(sums.gap)
    d = F.shape[-1]
    wide = np.concatenate([F, f[:, :, None]], axis=2)
    left = sums.now - wide @ sums.cross.transpose(0, 2, 1)
    left = left - sums.cross @ wide.transpose(0, 2, 1) + wide @ sums.before @ wide.transpose(0, 2, 1)
    jitter = 1e-12 * np.eye(d)
    sign, log_det = np.linalg.slogdet(Q + jitter)
    if not (sign > 0).all() or not np.isfinite(log_det).all():
        return -np.inf
    return float(-0.5 * (sums.count @ log_det + np.einsum("nii->", np.linalg.solve(Q + jitter, left))))


def _dynamics(system: LinearSystem, panel: Panel, smooth: Smoothed, free: Free) -> LinearSystem:
    only = Free(free.drift, free.push, free.diffusion, False, False, False, False, False)
    begin = pack(system, only)
    sums = _sums(panel, smooth)
    if len(begin) == 0 or len(sums.gap) == 0:
        return system

    def loss(theta: Floats) -> float:
        value = _expected(unpack(system, only, theta), sums)
        return -value if np.isfinite(value) else 1e12

    done = minimize(loss, begin, method="L-BFGS-B", options={"maxiter": INNER})
    return unpack(system, only, done.x) if done.fun < loss(begin) else system


def pack(system: LinearSystem, free: Free) -> Floats:
    """The free parameters as one vector: entries as they are, variances as logarithms, covariances as Cholesky
    factors with the logarithm of their diagonal.
    """  # fmt: skip
    parts = [
        getattr(system, name)[_mask(getattr(free, name), getattr(system, name).shape)]
        for name in ("drift", "push", "loading", "offset")
    ]
    if free.diffusion == "diagonal":
        parts.append(np.log(np.diag(system.diffusion)))
    elif free.diffusion == "full":
        parts.append(_root(system.diffusion))
    parts += [np.log(system.noise)] * free.noise + [system.start] * free.start
    parts += [_root(system.start_cov)] * free.start_cov
    return np.concatenate(parts)


def unpack(system: LinearSystem, free: Free, theta: Floats) -> LinearSystem:
    """The system with the free parameters of a vector from :func:`pack`."""
    d = len(system.start)
    taken = 0

    def take(count: int) -> Floats:
        nonlocal taken
        taken += count
        return theta[taken - count : taken]

    changed: dict[str, Floats] = {}
    for name in ("drift", "push", "loading", "offset"):
        value = getattr(system, name).copy()
        mask = _mask(getattr(free, name), value.shape)
        value[mask] = take(int(mask.sum()))
        changed[name] = value
    if free.diffusion == "diagonal":
        changed["diffusion"] = np.diag(np.exp(np.clip(take(d), -40, 40)))
    elif free.diffusion == "full":
        changed["diffusion"] = _square(take(d * (d + 1) // 2), d)
    if free.noise:
        changed["noise"] = np.exp(np.clip(take(len(system.noise)), -40, 40))
    if free.start:
        changed["start"] = take(d).copy()
    if free.start_cov:
        changed["start_cov"] = _square(take(d * (d + 1) // 2), d)
    return replace(system, **changed)


def standard_errors(
    system: LinearSystem, panel: Panel, free: Free, *, of: Callable[[LinearSystem], Floats] | None = None
) -> Floats:
    """Standard errors from the observed information (numerical second derivatives), at a maximum.

    Parameters
    ----------
    of
        Quantities whose errors are wanted (delta method); None: the packed parameters themselves.

    Raises
    ------
    NotEstimableError
        The information is not positive definite: the parameters are not identified, or this is no maximum.
    """
    theta = pack(system, free)

    def value(t: Floats) -> float:
        return float(kalman_filter(unpack(system, free, t), panel).log_likelihood.sum())

    information = -_curvature(value, theta)
    try:
        cov: Floats = np.asarray(np.linalg.inv(information), dtype=float)
        np.linalg.cholesky(information)
    except np.linalg.LinAlgError as error:
        raise NotEstimableError("the information is not positive definite: fix what is not identified") from error
    if of is None:
        return np.asarray(np.sqrt(np.diag(cov)), dtype=float)
    slope = np.stack(
        [(of(unpack(system, free, theta + e)) - of(unpack(system, free, theta - e))) / (2 * STEP)
         for e in STEP * np.eye(len(theta))], axis=-1,
    )  # fmt: skip
    return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", slope, cov, slope)))


def _curvature(value: Callable[[Floats], float], theta: Floats) -> Floats:
    p = len(theta)
    size = STEP * np.maximum(1.0, np.abs(theta))
    shifts = np.diag(size)
    here = value(theta)
    plus = np.array([value(theta + e) for e in shifts])
    minus = np.array([value(theta - e) for e in shifts])
    out = np.diag((plus - 2 * here + minus) / size**2)
    for i in range(p):
        for j in range(i):
            both = value(theta + shifts[i] + shifts[j]) + value(theta - shifts[i] - shifts[j])
            out[i, j] = (both - plus[i] - minus[i] - plus[j] - minus[j] + 2 * here) / (2 * size[i] * size[j])
            out[j, i] = out[i, j]
    return out


def _mask(free: bool | Mask, shape: tuple[int, ...]) -> Mask:
    return np.array(np.broadcast_to(np.asarray(free, dtype=bool), shape))


def _root(cov: Floats) -> Floats:
    d = len(cov)
    root = np.linalg.cholesky(cov + 1e-12 * max(float(np.trace(cov)), 1e-12) * np.eye(d))
    root[np.arange(d), np.arange(d)] = np.log(np.diag(root))
    return np.asarray(root[np.tril_indices(d)], dtype=float)


def _square(values: Floats, d: int) -> Floats:
    root = np.zeros((d, d))
    root[np.tril_indices(d)] = values
    root[np.arange(d), np.arange(d)] = np.exp(np.clip(np.diag(root), -20, 20))
    return np.asarray(root @ root.T, dtype=float)
