"""Likelihood of rows with normal errors and M3 censoring, compiled: the inner loop of sampling.

The same densities as :mod:`icans.population.nlme.terms` (a test holds the two together), summed by parameter set
without tables in between. Models with other observations (Student errors, M2 and M4, outcomes) take the general way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from icans.population.nlme.terms import HALF_LOG_2PI

#: Codes of error models.
KINDS = {"additive": 0, "proportional": 1, "combined": 2, "combined1": 3, "lognormal": 4}
LEFT, RIGHT, INTERVAL = 1, 2, 3
ROOT_HALF = math.sqrt(0.5)


@njit(cache=True, nogil=True, error_model="numpy")
def log_ndtr(z: float) -> float:
    """Log of the standard normal distribution function; an asymptotic series far to the left."""
    if z > 0.0:
        return math.log1p(-0.5 * math.erfc(z * ROOT_HALF))
    if z > -8.0:
        return math.log(0.5 * math.erfc(-z * ROOT_HALF))
    s = 1.0 / (z * z)
    series = 1.0 - s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s * (1.0 - 9.0 * s))))
    return -0.5 * z * z - HALF_LOG_2PI - math.log(-z) + math.log(series)


@njit(cache=True, nogil=True, error_model="numpy")
def log_between(a: float, b: float) -> float:
    """Log of the normal probability between a and b, on the side where it does not cancel."""
    if a > 0.0:
        a, b = -b, -a
    upper, lower = log_ndtr(b), log_ndtr(a)
    return upper + math.log(-math.expm1(min(lower - upper, -1e-16)))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def place_of(kind: int, a: float, b: float, floor: float, x: float) -> tuple[float, float]:
    """Location and SD of a value with prediction x."""
    if kind == 4:
        return math.log(x + floor), a
    if kind == 0:
        return x, a
    if kind == 3:
        return x, a + b * abs(x)
    size = math.hypot(x, floor) if floor > 0.0 else abs(x)
    if kind == 1:
        return x, b * size
    return x, math.hypot(a, b * size)


@njit(cache=True, nogil=True, error_model="numpy")
def sum_rows(
    f: Any, who: Any, count: Any, observed: Any, role: Any, value: Any, limit: Any, constant: Any, batch: Any,
    kind: Any, a: Any, b: Any, floor: Any, factor: Any, out: Any,
) -> None:  # fmt: skip
    """Log-likelihood of every set, (M,); minus infinity where a prediction is no number.

    ``value``, ``limit``: on the scale of the error; ``constant`` (N,): log Jacobian; ``factor``: (K, batches).
    """
    for m in range(len(who)):
        i = who[m]
        total = constant[i]
        for r in range(count[i]):
            k = observed[i, r]
            x = f[m, r] * factor[k, batch[i, r]]
            mean, sd = place_of(kind[k], a[k], b[k], floor[k], x)
            z = (value[i, r] - mean) / sd
            what = role[i, r]
            if what == 0:
                total += -0.5 * z * z - HALF_LOG_2PI - math.log(sd)
            elif what == LEFT:
                total += log_ndtr(z)
            elif what == RIGHT:
                total += log_ndtr(-z)
            else:
                total += log_between(z, (limit[i, r] - mean) / sd)
        out[m] = -np.inf if math.isnan(total) else total


@njit(cache=True, nogil=True, error_model="numpy")
def tail_slopes(what: int, z: float, upper: float, sd: float) -> tuple[float, float]:
    """Derivatives of the log probability of a censored row by its location and SD."""
    if what == LEFT:
        ratio = math.exp(-0.5 * z * z - HALF_LOG_2PI - log_ndtr(z))
        return -ratio / sd, -z * ratio / sd
    if what == RIGHT:
        ratio = math.exp(-0.5 * z * z - HALF_LOG_2PI - log_ndtr(-z))
        return ratio / sd, z * ratio / sd
    mass = log_between(z, upper)
    low = math.exp(-0.5 * z * z - HALF_LOG_2PI - mass)
    high = math.exp(-0.5 * upper * upper - HALF_LOG_2PI - mass)
    return (low - high) / sd, (z * low - upper * high) / sd


#: Weight of a censored row in the information that scales a step (it does not move where the step ends).
CENSORED_WEIGHT = 0.5


@njit(cache=True, nogil=True, error_model="numpy")
def sum_scores(
    f: Any, who: Any, count: Any, observed: Any, role: Any, value: Any, limit: Any, batch: Any, kind: Any, a: Any,
    b: Any, floor: Any, factor: Any, at_a: Any, at_b: Any, at_batch: Any, score: Any, info: Any, squares: Any,
) -> None:  # fmt: skip
    """Derivatives by error parameters: ``score`` (M, K); expected information of all sets, ``info`` (K, K).

    ``at_a``, ``at_b``, ``at_batch``: places of the parameters of each observable (-1: none; of the first batch).
    ``squares`` (observables,): sums of squared standardised residuals of quantified rows.
    """
    for m in range(len(who)):
        i = who[m]
        for r in range(count[i]):
            k = observed[i, r]
            x = f[m, r] * factor[k, batch[i, r]]
            mean, sd = place_of(kind[k], a[k], b[k], floor[k], x)
            z, what = (value[i, r] - mean) / sd, role[i, r]
            if what == 0:
                by_m, by_s = z / sd, (z * z - 1.0) / sd
                squares[k] += z * z
            else:
                by_m, by_s = tail_slopes(what, z, (limit[i, r] - mean) / sd, sd)
            size = math.hypot(x, floor[k]) if floor[k] > 0.0 else abs(x)
            s_a = 1.0
            s_b, s_x, m_x = 0.0, 0.0, 1.0
            if kind[k] == 1:
                s_b, s_x = size, b[k] * x / size
            elif kind[k] == 2:
                s_a, s_b, s_x = a[k] / sd, b[k] * size * size / sd, b[k] * b[k] * x / sd
            elif kind[k] == 3:
                s_b, s_x = abs(x), b[k] * (1.0 if x > 0.0 else -1.0)
            elif kind[k] == 4:
                m_x = 1.0 / (x + floor[k])
            weight = (1.0 if what == 0 else CENSORED_WEIGHT) * 2.0 / (sd * sd)
            if at_a[k] >= 0:
                score[m, at_a[k]] += by_s * s_a
                info[at_a[k], at_a[k]] += weight * s_a * s_a
            if at_b[k] >= 0:
                score[m, at_b[k]] += by_s * s_b
                info[at_b[k], at_b[k]] += weight * s_b * s_b
                if at_a[k] >= 0:
                    info[at_a[k], at_b[k]] += weight * s_a * s_b
                    info[at_b[k], at_a[k]] += weight * s_a * s_b
            if batch[i, r] > 0:
                j = at_batch[k] + batch[i, r] - 1
                by = (by_m * m_x + by_s * s_x) * x
                score[m, j] += by
                info[j, j] += weight * (0.5 * m_x * m_x + s_x * s_x) * x * x
