"""What can be written down: power and size of the two classical designs, and intervals of a simulated share."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Array = npt.NDArray[np.float64]


def power_two_proportions(p0: float, p1: float, n0: float, n1: float, alpha: float = 0.05, sided: int = 2) -> float:
    """Power of the pooled score test of two proportions by the normal approximation.

    Fleiss, Levin and Paik 2003 ("Statistical Methods for Rates and Proportions", without continuity correction): the
    threshold is set by the pooled variance, the spread of the difference by the two variances themselves.
    """
    pooled = (n0 * p0 + n1 * p1) / (n0 + n1)
    null = math.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
    spread = math.sqrt(p0 * (1 - p0) / n0 + p1 * (1 - p1) / n1)
    z = float(norm.isf(alpha / sided))
    gap = p0 - p1
    power = norm.cdf((gap - z * null) / spread)
    if sided == 2:
        power += norm.cdf((-gap - z * null) / spread)
    return float(power)


def exact_power_two_proportions(p0: float, p1: float, n0: int, n1: int, alpha: float = 0.05, sided: int = 2) -> float:
    """Power of the same test summed over every outcome: what simulation estimates."""
    from scipy.stats import binom

    from icans.intervene.trial.scores import two_proportions

    x0, x1 = (v.ravel().astype(float) for v in np.meshgrid(np.arange(n0 + 1), np.arange(n1 + 1), indexing="ij"))
    z = two_proportions(x0, np.full_like(x0, n0), x1, np.full_like(x1, n1))
    chance = binom.pmf(x0, n0, p0) * binom.pmf(x1, n1, p1)
    cut = float(norm.isf(alpha / sided))
    rejected = np.abs(z) > cut if sided == 2 else z < -cut
    return float(chance[rejected].sum())


def schoenfeld_power(
    hazard_ratio: float, events: float, share: float = 0.5, alpha: float = 0.05, sided: int = 2
) -> float:
    """Power of the log-rank test with so many events (Schoenfeld 1981, doi 10.1093/biomet/68.1.316)."""
    z = float(norm.isf(alpha / sided))
    drift = abs(math.log(hazard_ratio)) * math.sqrt(events * share * (1 - share))
    return float(norm.cdf(drift - z) + (norm.cdf(-drift - z) if sided == 2 else 0.0))


def schoenfeld_events(
    hazard_ratio: float, power: float, share: float = 0.5, alpha: float = 0.05, sided: int = 2
) -> float:
    """Events that give the log-rank test a power; the other tail of a two-sided test is left out, as is usual."""
    z = float(norm.isf(alpha / sided) + norm.ppf(power))
    return z**2 / (share * (1 - share) * math.log(hazard_ratio) ** 2)


def monte_carlo_interval(share: float, simulations: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share seen in so many simulations (Wilson 1927, doi 10.2307/2276774)."""
    z = float(norm.isf((1 - level) / 2))
    n = float(simulations)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
