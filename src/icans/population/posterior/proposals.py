"""Draws to be weighted: multivariate t around the mode of each class, spread evenly by scrambled Sobol points.

Even points make weighted quantiles several times more exact than random ones at the same number of solves (Owen 1997,
J Complexity 13:41). The t has heavier tails than the posterior is expected to have, so that weights stay bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp, ndtri
from scipy.stats import chi2, qmc

from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Degrees of freedom of proposals.
DF = 10.0
#: Smallest probability with which a class is proposed, in total over classes.
LEAST = 0.05


@dataclass(frozen=True)
class Proposal:
    """For N subjects and C classes: probabilities (N, C), centres (N, C, D), Cholesky factors (N, C, D, D).

    ``df``: degrees of freedom; infinite for normal.
    """

    share: Array
    centre: Array
    factor: Array
    df: float = DF

    def place(self, noise: Array, cls: Ints, who: Ints) -> Array:
        """Where standard noise (M, D) lies for the subjects and classes of M sets."""
        return np.asarray(self.centre[who, cls] + np.einsum("mde,me->md", self.factor[who, cls], noise))

    def log_density(self, z: Array, cls: Ints, who: Ints) -> Array:
        """Log density of (z, class), (M,)."""
        away = z - self.centre[who, cls]
        factor = self.factor[who, cls]
        noise = np.linalg.solve(factor, away[..., None])[..., 0] if z.shape[1] else away
        spread = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.share[who, cls]) - spread + self._standard((noise * noise).sum(axis=-1)))

    def _standard(self, q: Array) -> Array:
        """Log density of standard noise with squared length ``q``, (M,)."""
        d, v = self.factor.shape[-1], self.df
        if not np.isfinite(v):
            return -0.5 * q - 0.5 * d * LOG_2PI
        constant = gammaln(0.5 * (v + d)) - gammaln(0.5 * v) - 0.5 * d * np.log(v * np.pi)
        return np.asarray(constant - 0.5 * (v + d) * np.log1p(q / v))


def even_uniforms(rng: np.random.Generator, count: int, dimensions: int) -> Array:
    """Scrambled Sobol points (count, dimensions), inside the open unit cube."""
    sampler = qmc.Sobol(dimensions, scramble=True, rng=rng)
    points = sampler.random_base2(max(1, int(np.ceil(np.log2(count)))))[:count]
    return np.asarray(np.clip(points, 1e-12, 1.0 - 1e-12))


def noise_and_classes(uniform: Array, share: Array, df: float) -> tuple[Array, Ints]:
    """Standard noise (S, D) and classes (S,) of uniforms (S, D + 2): effects, length, class."""
    d = uniform.shape[1] - 2
    noise = ndtri(uniform[:, :d])
    if np.isfinite(df):
        noise = noise * np.sqrt(df / chi2.ppf(uniform[:, d : d + 1], df))
    cls = np.minimum((uniform[:, d + 1 :] > np.cumsum(share)[None]).sum(axis=1), len(share) - 1)
    return noise, cls.astype(np.int64)


def defensive(share: Array) -> Array:
    """Probabilities of classes (N, C) with no class left out."""
    c = share.shape[1]
    return np.asarray((1.0 - LEAST) * share + LEAST / c) if c > 1 else share


def fitted(
    proposal: Proposal, z: Array, cls: Ints, log_weights: Array, at: npt.NDArray[np.intp], widen: float = 1.0
) -> Proposal:
    """The proposal with centres, factors and class probabilities of subjects ``at`` moved to their weighted draws.

    ``z``: (n, S, D), ``cls`` and normalised ``log_weights``: (n, S), of the subjects ``at``. A class with too little
    weight keeps what it had. Population Monte Carlo (Cappe, Guillin, Marin, Robert 2004, doi 10.1198/106186004X12803).
    """
    share, centre, factor = proposal.share.copy(), proposal.centre.copy(), proposal.factor.copy()
    d = z.shape[2]
    for c in range(share.shape[1]):
        mine = np.where(cls == c, log_weights, -np.inf)
        whole = logsumexp(mine, axis=1)
        share[at, c] = np.exp(whole)
        with np.errstate(invalid="ignore"):
            w = np.exp(mine - whole[:, None])
        for row in np.flatnonzero(whole > np.log(0.01)):
            mean = w[row] @ z[row]
            away = z[row] - mean
            # A prior of d draws from the unit covariance keeps what few draws say from being narrower than they know.
            size = 1.0 / (w[row] ** 2).sum()
            spread = (size * (w[row] * away.T) @ away + np.eye(d)) / (size + 1.0)
            centre[at[row], c], factor[at[row], c] = mean, np.sqrt(widen) * np.linalg.cholesky(spread)
    return Proposal(defensive(share / share.sum(axis=1, keepdims=True)), centre, factor, proposal.df)
