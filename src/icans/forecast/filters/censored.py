"""Moments of a normal value of which only a limit is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Floats = NDArray[np.float64]

#: How a value is known: in full, below a limit (left), above it (right).
EXACT, LEFT, RIGHT = 0, -1, 1


def truncated_moments(
    mean: Floats, variance: Floats, limit: Floats, side: NDArray[np.int8]
) -> tuple[Floats, Floats, Floats]:
    """Log probability of the side, and mean and variance of a normal given that it lies there.

    Parameters
    ----------
    mean, variance
        Of the normal.
    limit, side
        ``side`` -1: the value lies below ``limit``; 1: above it.

    Notes
    -----
    With z the limit on the normal's own scale and r = phi(z)/Phi(z) (Johnson NL, Kotz S, Balakrishnan N, Continuous
    Univariate Distributions 1, 1994, 13.10): mean - r, variance 1 - z r - r^2 below the limit; mirrored above it.
    """
    sd = np.sqrt(variance)
    sign = np.where(side == LEFT, 1.0, -1.0)
    z = sign * (limit - mean) / sd
    log_mass = log_ndtr(z)
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_mass)
    # Far in the tail z + r loses its digits; the asymptotic series of r (in 1/z) gives both moments there.
    far = z < -100.0
    inverse = 1.0 / np.where(far, z, -1.0)
    ratio = np.where(far, -z - inverse + 2.0 * inverse**3, ratio)
    shrink = np.where(far, 1.0 - inverse**2 + 6.0 * inverse**4, ratio * (z + ratio))
    return log_mass, mean - sign * sd * ratio, variance * np.clip(1.0 - shrink, 1e-15, 1.0)
