"""Weights that make a sample of virtual patients the patients of one study.

A study's patients are a sample of the same kinds of people, more of some kinds. The weight of a patient is
``exp(sum of coefficient x axis)`` over a few axes of the patient's own covariates and deviations (tumour burden,
inflammation, brain, ...), so that it needs no simulation of the patient and holds for patients not yet drawn.
Coefficients minimise the squared distance of the study's ``calibrate`` rows from their published values, in units of
their bounds, plus the relative entropy of the weights (exponential tilting: Hainmueller 2012, doi
10.1093/pan/mpr025; prevalence weights of virtual populations: Allen 2016, doi 10.1002/psp4.12063). How much is left
of the sample is told as the effective sample size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Weight of the relative entropy against one row at the edge of its bounds.
ENTROPY = 0.25
#: Largest coefficient, in units per SD of an axis.
MOST = 2.5
#: Smallest effective share of the sample: below it the entropy weighs twice as much, and again.
LEAST_ESS = 0.25


@dataclass(frozen=True)
class Moment:
    """A row as a mean: among ``among`` (n,), the mean of ``value`` (n,) should be ``target``, give or take ``half``."""

    value: Array
    among: Array
    target: float
    half: float


@dataclass(frozen=True)
class Tilt:
    """Coefficients by axis, their weights (sum 1), and the share of the effective sample size that they leave."""

    coefficients: Array
    weights: Array
    ess: float


def weights_of(axes: Array, coefficients: Array, base: Array | None = None) -> Array:
    """Weights, sum 1. ``axes``: shape (n, k); ``base``: weights before."""
    log = axes @ coefficients
    raw = np.exp(log - log.max()) * (1.0 if base is None else base)
    return np.asarray(raw / raw.sum())


def effective(weights: Array) -> float:
    """Effective sample size as a share of n (Kish): 1 for equal weights."""
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))


def tilt(axes: Array, moments: Sequence[Moment], base: Array | None = None, entropy: float = ENTROPY,
    least_ess: float = LEAST_ESS,
) -> Tilt:  # fmt: skip
    """Fit the coefficients.

    Parameters
    ----------
    axes
        Standardised, shape (n, k).
    moments
        The rows to be met.
    base
        Weights before, shape (n,).
    entropy
        Weight of the relative entropy.
    least_ess
        Smallest effective share; see :data:`LEAST_ESS`.
    """
    from scipy.optimize import minimize

    n, k = axes.shape
    start = np.full(n, 1.0 / n) if base is None else base / base.sum()
    if not moments:
        return Tilt(np.zeros(k), start, 1.0)

    def loss(c: Array) -> tuple[float, Array]:
        w = weights_of(axes, c, start)
        centred = axes - w @ axes
        log = np.log(np.maximum(w, 1e-300) / np.maximum(start, 1e-300))
        total = entropy * float(w @ log)
        slope = entropy * (w * log) @ centred
        for m in moments:
            mass = float(w @ m.among)
            if mass <= 1e-12:
                continue
            mean = float(w @ (m.among * m.value)) / mass
            miss = (mean - m.target) / m.half
            total += miss**2
            slope = slope + 2.0 * miss / m.half * ((w * m.among * (m.value - mean)) @ centred) / mass
        return total, slope

    found = minimize(loss, np.zeros(k), jac=True, method="L-BFGS-B", bounds=[(-MOST, MOST)] * k)
    w = weights_of(axes, found.x, start)
    made = Tilt(np.asarray(found.x), w, effective(w) / effective(start))
    if made.ess < least_ess and entropy < 1e3:
        return tilt(axes, moments, base, 2.0 * entropy, least_ess)
    return made
