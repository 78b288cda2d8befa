"""The joint log density of a population and all its random effects, with exact derivatives.

The vector is the packed population (:class:`~icans.population.nlme.population.Packing`), then the random effects of all
subjects, N x D: whitened (``b = L z``, non-centred: right where a subject has little data) or as they are (centred:
right where a subject has much; Papaspiliopoulos, Roberts, Skold 2007, doi 10.1214/088342307000000014). All subjects
(in all classes of a mixture, which are summed over) are solved in one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from icans.population.fit.distributions import Distribution, Priors
from icans.population.nlme.likelihood import Bound, local, means, phi_of
from icans.population.nlme.population import Packing, Population
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Joint:
    """The joint density of a bound model; made by itself from ``bound``, ``pack`` and ``priors``."""

    bound: Bound
    pack: Packing
    priors: Priors
    centred: bool = False

    def __len__(self) -> int:
        return len(self.pack) + len(self.bound) * self.bound.size

    def effects(self, vector: Array) -> Array:
        """Random effects b (N, D) of a vector."""
        z = vector[len(self.pack) :].reshape(len(self.bound), self.bound.size)
        return z if self.centred else z @ self._root(self.pack.unpack(vector[: len(self.pack)])).T

    def vector(self, population: Population, b: Array) -> Array:
        """The vector of a population and random effects (N, D)."""
        z = b if self.centred else np.linalg.solve(self._root(population), b.T).T
        return np.concatenate([self.pack.pack(population), z.ravel()])

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """Log density up to the priors' normalising constants of LKJ, and its derivatives."""
        head = vector[: len(self.pack)]
        population = self.pack.unpack(head)
        z = vector[len(self.pack) :].reshape(len(self.bound), self.bound.size)
        try:
            root = self._root(population)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(len(vector))
        logp, by_head = log_prior(self.pack, self.priors, population)
        like, by_b, by = self._likelihood(population, z if self.centred else z @ root.T)
        if not np.isfinite(logp + like):
            return -np.inf, np.zeros(len(vector))
        by_head += self.pack.gradient(head, by)
        if self.centred:
            white = np.linalg.solve(root, z.T).T
            away = np.linalg.solve(root.T, white.T).T
            by_root = np.tril(away.T @ white) - len(z) * np.diag(1.0 / np.diag(root))
            by_z = by_b - away
            logp += -len(z) * float(np.log(np.diag(root)).sum())
        else:
            white = z
            by_root, by_z = np.tril(by_b.T @ z), by_b @ root - z
        logp += -0.5 * float((white * white).sum()) - 0.5 * z.size * LOG_2PI
        by_head += self._by_blocks(root, by_root)
        return float(logp + like), np.concatenate([by_head, by_z.ravel()])

    def _root(self, population: Population) -> Array:
        """Lower Cholesky factor of the covariance of b, (D, D)."""
        out = np.zeros((self.bound.size, self.bound.size))
        d, o = len(population.omega), len(population.gamma)
        if d:
            out[:d, :d] = np.linalg.cholesky(population.omega)
        for k in range(self.bound.occasions if o else 0):
            at = slice(d + k * o, d + (k + 1) * o)
            out[at, at] = np.linalg.cholesky(population.gamma)
        return out

    def _by_blocks(self, root: Array, slope: Array) -> Array:
        """Derivatives by the packed vector from those by the factor of b's covariance."""
        out = np.zeros(len(self.pack))
        at = len(self.pack.typical) + len(self.pack.effects)
        d = len(self.bound.model.varying)
        o = len(self.bound.model.occasional)
        for blocks, starts in (
            (self.pack.omega, [0]),
            (self.pack.gamma, [d + k * o for k in range(self.bound.occasions)]),
        ):
            for block in blocks:
                total = np.zeros((len(block), len(block)))
                for first in starts:
                    places = first + np.array(block)
                    own = np.tril(slope[np.ix_(places, places)])
                    own[np.diag_indices(len(block))] *= np.diag(root)[places]
                    total += own
                flat = total[np.tril_indices(len(block))]
                out[at : at + len(flat)] = flat
                at += len(flat)
        return out

    def _likelihood(self, population: Population, b: Array) -> tuple[float, Array, Population]:
        """Log-likelihood, derivatives by b (N, D), and by the natural population values (0 by covariances)."""
        bound, classes = self.bound, len(population.shares)
        n = len(bound)
        who = np.tile(np.arange(n), classes)
        mean = np.concatenate([means(bound, population, c) for c in range(classes)])
        phi = phi_of(bound, mean, np.tile(b, (classes, 1)))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far out, on the way of a trajectory
            got = local(bound, population, phi, bound.everyone if classes == 1 else bound.rows.select(who))
        by_class = got.logp.reshape(classes, n)
        joint = by_class + np.log(population.shares)[:, None]
        whole = joint[0] if classes == 1 else logsumexp(joint, axis=0)
        total = float(whole.sum())
        if not np.isfinite(total):
            return -np.inf, np.zeros_like(b), population
        part = np.exp(joint - whole)
        score = got.score.reshape(classes, n, *got.score.shape[1:]) * part[:, :, None, None]
        by_phi = score.sum(axis=2)
        by_b = np.einsum("cnop,opd->nd", score, bound.loading)
        effects = np.array([
            bound.design[:, j] @ by_phi[:, :, bound.model.names.index(e.parameter)].sum(axis=0)
            for j, e in enumerate(bound.model.effects)
        ])  # fmt: skip
        by = Population(
            by_phi.sum(axis=(0, 1)), effects, np.zeros_like(population.omega), np.zeros_like(population.gamma),
            part.ravel() @ got.errors, part.sum(axis=1) / population.shares, by_phi.sum(axis=1),
        )  # fmt: skip
        return total, by_b, by


def log_prior(pack: Packing, priors: Priors, population: Population) -> tuple[float, Array]:
    """Log density of the packed vector (Jacobians of its transformations included), and its derivatives."""
    model, out, at, total = pack.model, np.zeros(len(pack)), 0, 0.0
    for p in pack.typical:
        phi, scale = float(population.typical[p]), model.parameters[p].scale
        logp, slope = priors.typical[p].log_density(float(scale.back(phi)) if priors.typical_natural[p] else phi)
        if priors.typical_natural[p]:
            step = 1e-6 * max(1.0, abs(phi))
            steep = float(scale.slope(phi))
            bend = float(np.log(scale.slope(phi + step)) - np.log(scale.slope(phi - step))) / (2.0 * step)
            logp, slope = logp + float(np.log(steep)), slope * steep + bend
        total, out[at], at = total + logp, slope, at + 1
    for j in pack.effects:
        logp, out[at] = priors.effects[j].log_density(float(population.effects[j]))
        total, at = total + logp, at + 1
    for blocks, matrix, sds in (
        (pack.omega, population.omega, priors.sd_eta),
        (pack.gamma, population.gamma, priors.sd_kappa),
    ):
        for block in blocks:
            factor: Array = np.asarray(np.linalg.cholesky(matrix[np.ix_(block, block)]))
            logp, slopes = block_prior(factor, [sds[i] for i in block], priors.lkj)
            total, out[at : at + len(slopes)], at = total + logp, slopes, at + len(slopes)
    logp, slopes = _errors_prior(pack, priors, population.errors)
    total, out[at : at + len(slopes)], at = total + logp, slopes, at + len(slopes)
    for c, p in pack.shifts:
        logp, out[at] = priors.shifts.log_density(float(population.shifts[c, p]))
        total, at = total + logp, at + 1
    if pack.classes > 1:  # Dirichlet(1): the Jacobian of the log odds alone
        total += float(np.log(population.shares).sum())
        out[at:] = 1.0 - pack.classes * population.shares[1:]
    return total, out


def block_prior(factor: Array, sds: list[Distribution], lkj: float) -> tuple[float, Array]:
    """Log density of a block's packed Cholesky factor, and derivatives by it.

    Row i of the factor is the SD s times a unit vector c whose last entry is positive: with SDs and correlations (LKJ,
    in c: prod c_ii^(d - i + 2 lkj - 2), i from 1) independent, its density is p(s) p(c) c_ii / s^(i - 1), and the
    diagonal is packed as a logarithm. Constants of LKJ are left out.
    """
    d = len(factor)
    total, slope = 0.0, np.zeros((d, d))
    for i in range(d):
        row = factor[i, : i + 1]
        s = float(np.sqrt(row @ row))
        logp, by_s = sds[i].log_density(s)
        power = (d - i - 1 + 2.0 * lkj - 2.0 + 1.0) if i else 0.0
        total += logp + power * float(np.log(row[i] / s)) - i * float(np.log(s)) + float(np.log(row[i]))
        slope[i, : i + 1] = (by_s - (power + i) / s) * row / s
        slope[i, i] += (power + 1.0) / row[i]
    slope[np.diag_indices(d)] *= np.diag(factor)
    return total, slope[np.tril_indices(d)]


def _errors_prior(pack: Packing, priors: Priors, errors: Array) -> tuple[float, Array]:
    """Of the free parameters of what is observed: natural priors, with the Jacobians of logarithms and gaps."""
    total, slopes, jacobian = 0.0, np.zeros(len(errors)), np.zeros(len(errors))
    free = set(map(int, pack.errors))
    for j in free:
        logp, slopes[j] = priors.errors[j].log_density(float(errors[j]))
        total += logp
    for j in sorted(free, reverse=True):
        e = pack.layout[j]
        if e.positive:
            total += float(np.log(errors[j]))
            slopes[j], jacobian[j] = slopes[j] * errors[j], 1.0
        elif e.field == "cut" and e.place > 0:
            gap = float(errors[j] - errors[j - 1])
            total += float(np.log(gap))
            slopes[j - 1] += slopes[j]
            slopes[j], jacobian[j] = slopes[j] * gap, 1.0
    return total, (slopes + jacobian)[pack.errors]
