"""What a sample leaves open about the coefficients of a penalised logistic model: draws from their posterior.

A ridge makes risks less extreme than they are; it trades this bias for less variance. Refits to resampled patients
show the variance only: they are drawn towards the mean like the fit itself, and their percentiles cover a true risk in
some 70 % of patients where 95 % are wanted. Read as a prior the penalty says how large coefficients are expected to be,
and the posterior holds the bias on average over patients (Wahba G, J R Stat Soc B 1983;45:133; Nychka D, J Am Stat
Assoc 1988;83:1134; Marra G, Wood SN, Scand J Stat 2012;39:53, doi 10.1111/j.1467-9469.2011.00760.x).

    b_j ~ N(0, tau^2 l_j^2),   l_j^2 ~ inverse gamma(nu/2, nu/2),   tau ~ half-Cauchy(0, 1),   intercept flat

The common scale tau is not chosen but drawn, under a prior that is flat near nought (Gelman A, Bayesian Anal
2006;1:515, doi 10.1214/06-BA117A). The own scales l_j make the prior of each coefficient a t distribution, so that a
few strong columns among many weak ones are not shrunken with them. A slab (a factor N(0, 2.5^2) for each coefficient)
keeps separated data finite (Nishimura A, Suchard MA, Bayesian Anal 2023;18:367, doi 10.1214/22-BA1308).

Rows of one patient tell less than rows of as many patients. The likelihood is raised to the power that gives its
information the size of that of the score's variance over patients (Ribatet M, Cooley D, Davison AC, Stat Sin
2012;22:813).

Sampler: Gibbs over the scales; coefficients by Metropolis-Hastings with the normal approximation at their conditional
mode as proposal. Citations from memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icans.core.random import stream
from icans.forecast.ridge import MAX_LOGIT, expit, fit_path

Floats = NDArray[np.float64]

#: Degrees of freedom of a coefficient's prior. In simulation (30 correlated columns, 100 to 500 patients) 3 covered
#: 92 to 96 % with many equal effects and with few strong ones; normal priors were a third wider for the few, the
#: horseshoe covered 86 % for the many.
FREEDOM = 3.0
#: SD of the slab, log odds per SD of a column.
SLAB = 2.5
#: Draws thrown away, kept, and made for one that is kept.
BURN, KEPT, THIN = 100, 400, 2
#: Penalty of the fit where the sampler starts and at which rows are weighed against patients.
START_PENALTY = 0.03
#: Most columns: a draw costs some p^2 (rows + p / 3) operations, minutes in all beyond this.
MAX_COLUMNS = 150
#: A mode is found when Newton's step promises less than this, in log posterior.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Likelihood:
    """Weighted log likelihood with the sum of weights ``size``; ``design`` has the intercept as first column."""

    design: Floats
    y: Floats
    weight: Floats
    offset: Floats
    size: float

    def eta(self, beta: Floats) -> Floats:
        """Log odds of the rows."""
        return np.clip(self.offset + self.design @ beta, -MAX_LOGIT, MAX_LOGIT)

    def posterior(self, beta: Floats, precision: Floats) -> float:
        """Log likelihood and log prior."""
        eta = self.eta(beta)
        own = self.weight @ (np.logaddexp(0.0, eta) - self.y * eta)
        return -self.size * float(own) - 0.5 * float(precision @ beta**2)

    def mode(self, precision: Floats, start: Floats) -> tuple[Floats, Floats]:
        """Mode for a normal prior, and the Cholesky factor (lower) of the curvature there."""
        beta = start
        for _ in range(30):
            p = expit(self.eta(beta))
            gradient = self.size * (self.design.T @ (self.weight * (self.y - p))) - precision * beta
            curvature = self.size * (self.design.T @ (self.design * (self.weight * p * (1 - p))[:, None]))
            curvature.flat[:: len(beta) + 1] += precision + 1e-8
            factor: Floats = np.asarray(np.linalg.cholesky(curvature), dtype=float)
            step = np.linalg.solve(factor.T, np.linalg.solve(factor, gradient))
            # At most three log odds per SD at a time: far from the mode the quadratic promises too much.
            beta = beta + step / max(1.0, float(np.abs(step).max()) / 3.0)
            if float(gradient @ step) < TOLERANCE:
                break
        return beta, factor


def draw_coefficients(
    X: Floats, y: Floats, weight: Floats, cluster: NDArray[np.intp], offset: Floats, *, seed: int, kept: int = KEPT
) -> Floats:
    """Draws of intercept and coefficients, shape (kept, 1 + p).

    Parameters
    ----------
    X
        Standardised columns, shape (n, p).
    y, weight, offset
        Outcome (0/1), weight (0: not known) and fixed part of the log odds of each row, shape (n,).
    cluster
        Patient of each row, 0, 1, ...
    seed
        Names the random stream.

    Raises
    ------
    NotEstimableError
        All rows with weight have the same outcome.
    """
    seen = weight > 0
    X, y, weight, cluster, offset = X[seen], y[seen], weight[seen], cluster[seen], offset[seen]
    first = fit_path(X, y, weight, (START_PENALTY,), offset)[0]
    start = np.r_[first.intercept, first.coefficients]
    share = weight / weight.sum()
    design = np.column_stack([np.ones(len(y)), X])
    size = float(weight.sum()) / design_effect(design, y, weight, cluster, first.probability(X, offset))
    return _sampled(_Likelihood(design, y, share, offset, size), start, stream(seed, "posterior"), kept)


def design_effect(design: Floats, y: Floats, weight: Floats, cluster: NDArray[np.intp], p: Floats) -> float:
    """How many times the variance of the score over patients is that of as many rows on their own, at least 1.

    Shapes (n, 1 + p) and (n,); ``p``: fitted risks. Both variances come from the same residuals. The mean over
    directions is taken in the metric of the penalised information, so that those the data say nothing about do not
    count. Rows of one patient have most in common in the level (first column), which every risk needs: the larger of
    the two holds.
    """
    residual = y - p
    score = (weight * residual)[:, None] * design
    together = np.zeros((int(cluster.max()) + 1, design.shape[1]))
    np.add.at(together, cluster, score)
    alone = design * (np.sqrt(weight) * residual)[:, None]
    information = design.T @ (design * (weight * p * (1 - p))[:, None])
    information.flat[:: len(information) + 1] += START_PENALTY * float(weight.sum())
    solved = np.linalg.inv(information)
    clustered, single = (float(np.einsum("ij,jk,ik->", part, solved, part)) for part in (together, alone))
    level = float((together[:, 0] ** 2).sum() / (alone[:, 0] ** 2).sum())
    return max(1.0, clustered / single, level)


def _sampled(seen: _Likelihood, start: Floats, rng: np.random.Generator, kept: int) -> Floats:
    p = len(start) - 1
    mode, beta = start, start
    own, tau, mixing = np.ones(p), 0.05, 1.0
    made = np.empty((kept, p + 1))
    for k in range(BURN + kept * THIN):
        precision = np.r_[0.0, 1.0 / (tau * own) + 1.0 / SLAB**2]
        mode, factor = seen.mode(precision, mode)
        noise = rng.normal(size=p + 1)
        proposed = mode + np.linalg.solve(factor.T, noise)
        back = factor.T @ (beta - mode)
        gain = seen.posterior(proposed, precision) - seen.posterior(beta, precision)
        if np.log(rng.uniform()) < gain + 0.5 * float(noise @ noise - back @ back):
            beta = proposed
        square = beta[1:] ** 2
        own = np.clip(_inverse_gamma(rng, (FREEDOM + 1) / 2, FREEDOM / 2 + square / (2 * tau)), 1e-8, 1e8)
        tau = float(np.clip(_inverse_gamma(rng, (p + 1) / 2, 1 / mixing + (square / own).sum() / 2), 1e-8, 1e4))
        mixing = float(_inverse_gamma(rng, 1.0, 1.0 + 1.0 / tau))
        if k >= BURN and (k - BURN) % THIN == 0:
            made[(k - BURN) // THIN] = beta
    return made


def _inverse_gamma(rng: np.random.Generator, shape: float, scale: Floats | float) -> Floats:
    return np.asarray(scale / rng.gamma(shape, size=np.shape(scale)))
