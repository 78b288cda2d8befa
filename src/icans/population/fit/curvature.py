"""Log determinants of curvatures that are not positive everywhere, raised smoothly, with their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Share of the reference's curvature below which a direction is raised; smallest slope of what is raised.
BLUNT, FLAT = 0.2, 1e-8


@dataclass(frozen=True)
class Curvature:
    """Log determinants (N,) of what stands for the matrices; their derivatives by the matrices and by the references,
    symmetric, (N, D, D) each; ``blunt`` (N,): where anything was raised.
    """

    log_det: Array
    by_matrix: Array
    by_reference: Array
    blunt: Bools


def raised(matrix: Array, reference: Array) -> Curvature:
    """Log determinants of symmetric matrices (N, D, D), raised beside positive ones of the same shape.

    With generalised eigenvalues m of the two, a matrix becomes that with s(m): m from ``BLUNT`` on, below it
    ``BLUNT / 2 (1 + exp(2 m / BLUNT - 2))``, which agrees at ``BLUNT`` in value and slope and stays above its half.
    Matrices that are not numbers have an infinite log determinant.
    """
    n, d = matrix.shape[0], matrix.shape[-1]
    if d == 0:
        return Curvature(np.zeros(n), np.zeros((n, 0, 0)), np.zeros((n, 0, 0)), np.zeros(n, dtype=np.bool_))
    good: Bools = np.asarray((np.isfinite(matrix) & np.isfinite(reference)).all(axis=(1, 2)))
    safe = np.where(good[:, None, None], matrix, np.eye(d))
    factor = np.linalg.cholesky(np.where(good[:, None, None], reference, np.eye(d)))
    half = np.linalg.solve(factor, 0.5 * (safe + np.swapaxes(safe, 1, 2)))
    share, turned = np.linalg.eigh(np.linalg.solve(factor, np.swapaxes(half, 1, 2)))
    low = share < BLUNT
    slope = np.where(low, np.maximum(np.exp(2.0 * np.minimum(share, BLUNT) / BLUNT - 2.0), FLAT), 1.0)
    size = np.where(low, 0.5 * BLUNT * (1.0 + slope), share)
    v = np.linalg.solve(np.swapaxes(factor, 1, 2), turned)  # v' reference v = 1
    by_matrix = np.einsum("nde,ne,nfe->ndf", v, slope / size, v)
    # Where nothing was raised the reference does not matter, to the last digit.
    by_reference = np.einsum("nde,ne,nfe->ndf", v, np.where(low, 1.0 - share * slope / size, 0.0), v)
    log_det = np.log(size).sum(axis=1) + 2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    return Curvature(np.where(good, log_det, np.inf), by_matrix, by_reference, low.any(axis=1) & good)
