"""Log-likelihood of single rows, with derivatives by the predictor and by the parameters of what is observed.

The predictor u of a measured value is the output f; of an outcome it is the link of the output plus a frailty.
``information`` is what Gauss-Newton and FOCE use in the place of the second derivative by u: the expected information
for values (normal: ``m'^2/s^2 + 2 s'^2/s^2``, so with the interaction of f and its error), the observed one for
censored values and outcomes. Densities are those of the value itself, constants included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import special

from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import ErrorParameter
from icans.population.nlme.records import INTERVAL, LEFT, QUANTIFIED, RIGHT
from icans.population.nlme.rows import EVENT, NODE
from icans.population.nlme.rows import Columns as Columns

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Ways of censoring that condition quantified rows, too.
CONDITIONED = ("M2", "M4")
#: What normal densities are made of; its one home.
LOG_2PI = float(np.log(2.0 * np.pi))
HALF_LOG_2PI = 0.5 * LOG_2PI
#: Smallest probability whose logarithm is taken.
TINY = 1e-300


@dataclass(frozen=True)
class Terms:
    """Of n rows: log-likelihood, its derivative by u, the information on u; each (n,). ``errors``: (n, parameters)."""

    logp: Array
    slope: Array
    information: Array
    errors: Array


def terms(what: Observation | Outcome, mine: tuple[ErrorParameter, ...], errors: Array, u: Array, c: Columns) -> Terms:
    """Terms of n rows. ``mine``: the parameters of ``what``; ``errors``: their values in the same order."""
    if isinstance(what, Observation):
        return _measured(what, mine, errors, u, c)
    if what.kind == "ordinal":
        return _ordinal(what, mine, errors, u, c)
    return _event(errors, u, c) if what.kind == "event" else _count(what, mine, errors, u, c)


# --- measured values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Location and SD of a row's value on the scale of its error, and their derivatives by f, a and b."""

    m: Array
    s: Array
    m_f: Array
    s_f: Array
    s_a: Array
    s_b: Array


def spread(what: Observation, errors: Array, f: Array) -> Spread:
    """Location and SD of rows with predictions ``f``; ``errors`` begin with a and b as the error model has them."""
    one, none = np.ones_like(f), np.zeros_like(f)
    a = float(errors[0]) if what.error != "proportional" else 0.0
    b = float(errors[0 if what.error == "proportional" else 1]) if what.error in WITH_B else 0.0
    if what.error in ("lognormal", "logstudent"):
        with np.errstate(divide="ignore", invalid="ignore"):
            return Spread(np.log(f + what.floor), a * one, 1.0 / (f + what.floor), none, one, none)
    if what.error in ("additive", "student"):
        return Spread(f, a * one, one, none, one, none)
    if what.error == "combined1":
        sign = np.sign(f)
        return Spread(f, a + b * np.abs(f), one, b * sign, one, np.abs(f))
    size = np.hypot(f, what.floor) if what.floor > 0.0 else np.abs(f)
    with np.errstate(divide="ignore", invalid="ignore"):
        grow = f / size if what.floor > 0.0 else np.sign(f)
        s = np.hypot(a, b * size)
        return Spread(f, s, one, b * b * size * grow / s, a / s * one, b * size * size / s)


WITH_B = ("proportional", "combined", "combined1")


def transformed(what: Observation, y: Array) -> Array:
    """A value on the scale of its error: its logarithm where that is log-normal."""
    if what.error in ("lognormal", "logstudent"):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(y + what.floor))
    return y


def _density(what: Observation, z: Array) -> tuple[Array, Array]:
    """Log density and its derivative at z."""
    if what.error in ("student", "logstudent"):
        v = what.df
        constant = special.gammaln(0.5 * (v + 1.0)) - special.gammaln(0.5 * v) - 0.5 * np.log(v * np.pi)
        return constant - 0.5 * (v + 1.0) * np.log1p(z * z / v), -(v + 1.0) * z / (v + z * z)
    return -0.5 * z * z - HALF_LOG_2PI, -z


def _log_cdf(what: Observation, z: Array) -> Array:
    """Log cumulative probability at z."""
    if what.error in ("student", "logstudent"):
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(special.stdtr(what.df, z)))
    return np.asarray(special.log_ndtr(z))


def _measured(what: Observation, mine: tuple[ErrorParameter, ...], errors: Array, f: Array, c: Columns) -> Terms:
    factor = np.ones_like(f)
    if what.batches:
        first = len(mine) - len(what.batches)
        factor = np.exp(np.concatenate([[0.0], errors[first:]])[c.batch])
    k = spread(what, errors, f * factor)
    z = (transformed(what, c.value) - k.m) / k.s
    at = c.role == QUANTIFIED
    if at.all() and what.censoring not in CONDITIONED:
        logp, by_m, by_s, info_m, info_s = _quantified(what, k.s, z, c.value)
        info_ms: Array | float = 0.0
    else:
        none = partial(np.zeros_like, f)
        six: Six = (none(), none(), none(), none(), none(), none())
        for into, part in zip(six, _quantified(what, k.s[at], z[at], c.value[at]), strict=False):
            into[at] = part
        for role in (LEFT, RIGHT, INTERVAL):
            at = c.role == role
            if at.any():
                low, high = _bounds(what, role, c, at)
                _tail(what, k, at, low, high, six)
        _condition(what, k, c, six)
        logp, by_m, by_s, info_m, info_s, info_ms = six
    by_f = by_m * k.m_f + by_s * k.s_f
    information = info_m * k.m_f**2 + 2.0 * info_ms * k.m_f * k.s_f + info_s * k.s_f**2
    columns = {"a": by_s * k.s_a, "b": by_s * k.s_b}
    out = np.empty((len(f), len(mine)))
    for j, e in enumerate(mine):
        out[:, j] = columns[e.field] if e.field in columns else by_f * f * factor * (c.batch == e.place + 1)
    return Terms(logp, by_f * factor, information * factor**2, out)


def _quantified(what: Observation, s: Array, z: Array, value: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Log density, its slopes by location and SD, and the information on each, of quantified rows."""
    density, d = _density(what, z)
    logp = density - np.log(s) - (transformed(what, value) if _is_log(what) else 0.0)
    location, scale = (1.0, 2.0) if "student" not in what.error else _student_information(what.df)
    inverse = 1.0 / (s * s)
    return logp, -d / s, -(z * d + 1.0) / s, location * inverse, scale * inverse


def _is_log(what: Observation) -> bool:
    return what.error in ("lognormal", "logstudent")


def _student_information(df: float) -> tuple[float, float]:
    return (df + 1.0) / (df + 3.0), 2.0 * df / (df + 3.0)


def _bounds(what: Observation, role: int, c: Columns, at: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    low = np.full(int(at.sum()), -np.inf)
    high = np.full(int(at.sum()), np.inf)
    if role == LEFT:
        high = transformed(what, c.value[at])
        if what.censoring == "M4" and not _is_log(what):
            low = np.zeros_like(high)
    elif role == RIGHT:
        low = transformed(what, c.value[at])
    else:
        low, high = transformed(what, c.value[at]), transformed(what, c.limit[at])
    return low, high


Six = tuple[Array, Array, Array, Array, Array, Array]


def _tail(
    what: Observation, k: Spread, at: npt.NDArray[np.bool_], low: Array, high: Array, out: Six, sign: float = 1.0
) -> None:
    """Add ``sign`` times the log of the probability of the interval, with derivatives by location and SD."""
    m, s = k.m[at], k.s[at]
    a, b = (low - m) / s, (high - m) / s
    log_mass = _log_mass(what, a, b)
    # Ratios of the density at each end to the mass, their z-weighted forms, and derivatives of the densities.
    ratio_a, ratio_b = _ratio(what, a, log_mass), _ratio(what, b, log_mass)
    za, zb = np.where(np.isfinite(a), a, 0.0), np.where(np.isfinite(b), b, 0.0)
    first_m = -(ratio_b - ratio_a) / s
    first_s = -(zb * ratio_b - za * ratio_a) / s
    bend_a, bend_b = _density(what, za)[1] * ratio_a, _density(what, zb)[1] * ratio_b
    second_m = (bend_b - bend_a) / s**2
    second_ms = (zb * bend_b - za * bend_a + ratio_b - ratio_a) / s**2
    second_s = (zb**2 * bend_b - za**2 * bend_a + 2.0 * (zb * ratio_b - za * ratio_a)) / s**2
    logp, by_m, by_s, info_m, info_s, info_ms = out
    logp[at] += sign * log_mass
    by_m[at] += sign * first_m
    by_s[at] += sign * first_s
    info_m[at] -= sign * (second_m - first_m**2)
    info_s[at] -= sign * (second_s - first_s**2)
    info_ms[at] -= sign * (second_ms - first_m * first_s)


def _log_mass(what: Observation, a: Array, b: Array) -> Array:
    """Log of the probability between a and b, on the side where it does not cancel."""
    flip = a > 0.0
    low, high = np.where(flip, -b, a), np.where(flip, -a, b)
    upper = _log_cdf(what, np.where(np.isfinite(high), high, 40.0))
    upper = np.where(np.isposinf(high), 0.0, upper)
    lower = np.where(np.isfinite(low), _log_cdf(what, np.where(np.isfinite(low), low, -40.0)), -np.inf)
    with np.errstate(divide="ignore"):
        return np.asarray(upper + np.log(-np.expm1(np.minimum(lower - upper, -1e-16))))


def _ratio(what: Observation, z: Array, log_mass: Array) -> Array:
    finite = np.isfinite(z)
    density = _density(what, np.where(finite, z, 0.0))[0]
    return np.asarray(np.exp(np.where(finite, density - log_mass, -np.inf)))


def _condition(what: Observation, k: Spread, c: Columns, out: Six) -> None:
    """M2: values are conditional on lying above the limit; M4: all rows on being positive."""
    if what.censoring == "M2":
        at = (c.role == QUANTIFIED) & np.isfinite(c.limit)
        if at.any():
            low = transformed(what, c.limit[at])
            _tail(what, k, at, low, np.full_like(low, np.inf), out, sign=-1.0)
    elif what.censoring == "M4" and not _is_log(what):
        at = np.ones(len(c.role), dtype=bool)
        _tail(what, k, at, np.zeros(len(c.role)), np.full(len(c.role), np.inf), out, sign=-1.0)


# --- outcomes ----------------------------------------------------------------------------------------------------


def _ordinal(what: Outcome, mine: tuple[ErrorParameter, ...], errors: Array, u: Array, c: Columns) -> Terms:
    top = len(what.cuts)
    cuts, slope = errors[:top], errors[top]
    memory = errors[top + 1] if what.memory is not None else 0.0
    linear = slope * u + memory * c.previous
    y = c.value.astype(np.int64)
    low = np.where(c.role == LEFT, 0, y)
    high = np.where(c.role == RIGHT, top, y)
    edges = np.concatenate([[-np.inf], cuts, [np.inf]])
    # The grade lies between two cuts: P = expit(linear - edge below) - expit(linear - edge above).
    below, above = linear - edges[low], linear - edges[high + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(np.isinf(below) | np.isinf(above), np.inf, below - above)
        log_gap = np.log(-np.expm1(-gap))
        logp = special.log_expit(below) + special.log_expit(-above) + np.where(np.isinf(gap), 0.0, log_gap)
    p_low, p_high = special.expit(below), special.expit(above)
    by_linear = 1.0 - p_low - p_high
    bend = p_low * (1.0 - p_low) + p_high * (1.0 - p_high)
    mass = np.maximum(np.exp(logp), TINY)
    out = np.zeros((len(u), len(mine)))
    rows = np.arange(len(u))
    for edge, p, sign in ((low, p_low, -1.0), (high + 1, p_high, 1.0)):
        inner = (edge >= 1) & (edge <= top)
        out[rows[inner], edge[inner] - 1] += sign * (p * (1.0 - p) / mass)[inner]
    out[:, top] = by_linear * u
    if what.memory is not None:
        out[:, top + 1] = by_linear * c.previous
    return Terms(logp, by_linear * slope, bend * slope**2, out)


def _count(what: Outcome, mine: tuple[ErrorParameter, ...], errors: Array, u: Array, c: Columns) -> Terms:
    with np.errstate(over="ignore"):
        mean = np.exp(errors[0] + errors[1] * u)
    y = c.value
    if what.dispersion is None:
        logp = special.xlogy(y, mean) - mean - special.gammaln(y + 1.0)
        by_linear, bend = y - mean, mean
        extra = None
    else:
        size = 1.0 / errors[2]
        logp = (
            special.gammaln(y + size) - special.gammaln(size) - special.gammaln(y + 1.0)
            - size * np.log1p(mean / size) + special.xlogy(y, mean / (mean + size))
        )  # fmt: skip
        by_linear = size * (y - mean) / (mean + size)
        bend = size * mean / (mean + size)
        by_size = special.digamma(y + size) - special.digamma(size) - np.log1p(mean / size) + (mean - y) / (mean + size)
        extra = -by_size * size**2
    out = np.zeros((len(u), len(mine)))
    out[:, 0], out[:, 1] = by_linear, by_linear * u
    if extra is not None:
        out[:, 2] = extra
    return Terms(logp, by_linear * errors[1], bend * errors[1] ** 2, out)


def _event(errors: Array, u: Array, c: Columns) -> Terms:
    linear = errors[0] + errors[1] * u
    node = c.role == NODE
    with np.errstate(over="ignore"):
        risk = c.weight * np.exp(linear)
    logp = np.where(node, -risk, np.where(c.role == EVENT, linear, 0.0))
    by_linear = np.where(node, -risk, 1.0)
    bend = np.where(node, risk, 0.0)
    out = np.stack([by_linear, by_linear * u], axis=1)
    return Terms(logp, by_linear * errors[1], bend * errors[1] ** 2, out)
