"""Group-sequential boundaries by exact recursion, and what a trial with them does.

Scores of successive looks have independent increments in information. The density of the score among trials still
running is carried from look to look by numerical integration (Armitage, McPherson and Rowe 1969, doi 10.2307/2343787;
Jennison and Turnbull 2000, "Group Sequential Methods", chapter 19), here on Gauss-Legendre nodes. Error spending: Lan
and DeMets 1983, doi 10.1093/biomet/70.3.659; families of Hwang, Shih and De Cani 1990, doi 10.1002/sim.4780091207.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from icans.core.errors import ConfigError, Problem

Array = npt.NDArray[np.float64]

#: Nodes of the integration at each look, and standard deviations beyond which nothing is left.
NODES, REACH = 96, 9.0
KINDS = ("pocock", "obrien_fleming", "spend_obrien_fleming", "spend_pocock", "spend_hsd", "spend_power")


@dataclass(frozen=True)
class Crossing:
    """Chances of stopping at each look above and below, shape (K,) each, and expected share of full information."""

    above: Array
    below: Array
    fraction: Array

    @property
    def expected_fraction(self) -> float:
        """Mean information at the end of the trial, as a share of the most."""
        stop = self.above + self.below
        return float((stop[:-1] * self.fraction[:-1]).sum() + (1.0 - stop[:-1].sum()) * self.fraction[-1])


def crossing(fraction: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, drift: float = 0.0) -> Crossing:
    """Chances of crossing on the scale of the standardised score.

    Parameters
    ----------
    fraction
        Information at each look as a share of the most, increasing, the last 1.
    lower, upper
        Bounds; infinities where there is none.
    drift
        Mean of the score at full information.
    """
    t, low_at, high_at = (np.asarray(v, float) for v in (fraction, lower, upper))
    above, below = np.zeros(len(t)), np.zeros(len(t))
    place, mass = np.array([0.0]), np.array([1.0])  # sums (score times root of information) and their weights
    before = 0.0
    for k, now in enumerate(t):
        step = now - before
        mean, sd = place + drift * step, math.sqrt(step)
        top, bottom = high_at[k] * math.sqrt(now), low_at[k] * math.sqrt(now)
        above[k] = float(mass @ norm.sf((top - mean) / sd))
        below[k] = float(mass @ norm.cdf((bottom - mean) / sd))
        if k + 1 < len(t):
            spread = REACH * math.sqrt(now)
            low, high = max(bottom, drift * now - spread), min(top, drift * now + spread)
            nodes, weights = _legendre(low, high)
            density = norm.pdf((nodes[:, None] - mean[None, :]) / sd) / sd
            place, mass = nodes, weights * (density @ mass)
        before = now
    return Crossing(above, below, t)


@cache
def _gauss() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(NODES)


def _legendre(low: float, high: float) -> tuple[Array, Array]:
    nodes, weights = _gauss()
    half = 0.5 * (high - low)
    return low + half * (nodes + 1.0), half * weights


def spent(kind: str, alpha: float, fraction: Array, parameter: float = -4.0) -> Array:
    """Error spent by each share of information, one side of ``alpha``.

    ``spend_obrien_fleming``, ``spend_pocock`` (Lan and DeMets), ``spend_hsd`` with ``parameter`` gamma, ``spend_power``
    with exponent ``parameter``.
    """
    t = np.minimum(np.asarray(fraction, float), 1.0)
    if kind == "spend_obrien_fleming":
        return np.asarray(2.0 * norm.sf(norm.isf(alpha / 2.0) / np.sqrt(t)))
    if kind == "spend_pocock":
        return np.asarray(alpha * np.log1p((math.e - 1.0) * t))
    if kind == "spend_hsd":
        if abs(parameter) < 1e-9:
            return alpha * t
        return np.asarray(alpha * np.expm1(-parameter * t) / math.expm1(-parameter))
    if kind == "spend_power":
        return np.asarray(alpha * t**parameter)
    raise KeyError(kind)


def boundaries(
    kind: str, fraction: Sequence[float], alpha: float = 0.05, sided: int = 2, parameter: float = -4.0,
    lower: Sequence[float] | None = None,
) -> Array:  # fmt: skip
    """Upper bounds of the score at every look; a two-sided trial has their mirror image below.

    Parameters
    ----------
    alpha
        Error of the whole trial, over both sides if ``sided`` is 2.
    lower
        Binding futility bounds of a one-sided trial; None: none, or not binding, so that the error holds without them.

    Raises
    ------
    ConfigError
        Looks that do not increase to 1, an error outside (0, 1/2), or an unknown kind.
    """
    _check(kind, fraction, alpha)
    t = np.asarray(fraction, float)
    if kind in ("pocock", "obrien_fleming"):
        shape = np.ones(len(t)) if kind == "pocock" else 1.0 / np.sqrt(t)

        def excess(constant: float) -> float:
            bound = constant * shape
            return _error(t, _low(bound, sided, lower), bound, sided) - alpha

        constant = float(brentq(excess, 0.5, 12.0, xtol=1e-10))
        return np.asarray(constant * shape)
    want = np.diff(np.concatenate([[0.0], spent(kind, alpha / sided, t, parameter)]))
    bound: list[float] = []
    for k in range(len(t)):

        def gap(value: float, k: int = k) -> float:
            tried = np.array([*bound, value])
            low = _low(tried, sided, None if lower is None else lower[: k + 1])
            return float(crossing(t[: k + 1], low, tried).above[k]) - want[k]

        bound.append(float(brentq(gap, -3.0, 30.0, xtol=1e-10)))
    return np.asarray(bound)


def _low(bound: Array, sided: int, lower: Sequence[float] | None) -> Array:
    if sided == 2:
        return -bound
    return np.full(len(bound), -np.inf) if lower is None else np.asarray(lower, float)


def _error(t: Array, low: Array, bound: Array, sided: int) -> float:
    seen = crossing(t, low, bound)
    return float(seen.above.sum() + (seen.below.sum() if sided == 2 else 0.0))


def drift_for_power(fraction: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, power: float) -> float:
    """Mean of the score at full information that gives a power to cross above."""

    def short(drift: float) -> float:
        return float(crossing(fraction, lower, upper, drift).above.sum()) - power

    return float(brentq(short, 0.0, 15.0, xtol=1e-9))


def inflation(fraction: Sequence[float], upper: Array, alpha: float, sided: int, power: float) -> float:
    """Most information over that of the fixed design of the same error and power."""
    drift = drift_for_power(fraction, _low(np.asarray(upper), sided, None), upper, power)

    def short(fixed: float) -> float:
        z = norm.isf(alpha / sided)
        return float(norm.sf(z - fixed)) - power

    return (drift / float(brentq(short, 0.0, 15.0))) ** 2


def conditional_power(score: Array, fraction: float, final: float, drift: float) -> Array:
    """Chance to end above ``final`` given the score now, if the mean at full information is ``drift``."""
    left = 1.0 - fraction
    mean = score * math.sqrt(fraction) + drift * left
    return np.asarray(norm.sf((final - mean) / math.sqrt(left)))


def _check(kind: str, fraction: Sequence[float], alpha: float) -> None:
    t = np.asarray(fraction, float)
    found = []
    if kind not in KINDS:
        found.append(Problem("boundaries", None, "kind", repr(kind), f"one of {', '.join(KINDS)}", "Choose one."))
    if len(t) == 0 or t[0] <= 0 or np.any(np.diff(t) <= 0) or abs(t[-1] - 1.0) > 1e-9:
        found.append(Problem("boundaries", None, "fraction", str(list(t)), "shares that increase to 1", "Correct it."))
    if not 0 < alpha < 0.5:
        found.append(Problem("boundaries", None, "alpha", repr(alpha), "a share above 0 and below 0.5", "Correct it."))
    if found:
        raise ConfigError(found)
