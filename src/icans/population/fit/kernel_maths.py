"""Arithmetic of Markov chains, compiled: chain m belongs to subject ``m % N``, its class is ``z[m]``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def log_prior(v: Any, means: Any, z: Any, precision: Any) -> Any:
    """``-0.5 b' P b`` with ``b = v - mean`` of the class; (M,)."""
    m, d, n = v.shape[0], v.shape[1], means.shape[1]
    out = np.empty(m)
    for i in range(m):
        mean = means[z[i], i % n]
        total = 0.0
        for a in range(d):
            b = v[i, a] - mean[a]
            total += precision[a, a] * b * b
            for c in range(a):
                total += 2.0 * precision[a, c] * b * (v[i, c] - mean[c])
        out[i] = -0.5 * total
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def log_t(v: Any, centre: Any, inverse: Any, log_det: Any, z: Any, freedom: float) -> Any:
    """Log density of the multivariate t proposal, up to a constant; ``inverse`` of its lower root; (M,)."""
    m, d, n = v.shape[0], v.shape[1], centre.shape[1]
    out = np.empty(m)
    for i in range(m):
        c, s = z[i], i % n
        size = 0.0
        for a in range(d):
            x = 0.0
            for b in range(a + 1):
                x += inverse[c, s, a, b] * (v[i, b] - centre[c, s, b])
            size += x * x
        out[i] = -log_det[c, s] - 0.5 * (freedom + d) * math.log1p(size / freedom)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def around(centre: Any, spread: Any, z: Any, noise: Any) -> Any:
    """``centre + spread noise``; ``spread`` lower triangular; (M, D)."""
    m, d, n = noise.shape[0], noise.shape[1], centre.shape[1]
    out = np.empty((m, d))
    for i in range(m):
        c, s = z[i], i % n
        for a in range(d):
            x = centre[c, s, a]
            for b in range(a + 1):
                x += spread[c, s, a, b] * noise[i, b]
            out[i, a] = x
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def along(v: Any, root: Any, length: Any, noise: Any, j: int) -> Any:
    """A step along column j of each subject's ``root``; (M, D)."""
    m, d, n = v.shape[0], v.shape[1], root.shape[0]
    out = np.empty((m, d))
    for i in range(m):
        s = i % n
        for a in range(d):
            out[i, a] = v[i, a] + root[s, a, j] * length[s] * noise[i]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def everywhere(v: Any, root: Any, length: Any, noise: Any) -> Any:
    """A step in all directions of each subject's ``root``; (M, D)."""
    m, d, n = v.shape[0], v.shape[1], root.shape[0]
    out = np.empty((m, d))
    for i in range(m):
        s = i % n
        for a in range(d):
            x = 0.0
            for b in range(d):
                x += root[s, a, b] * noise[i, b]
            out[i, a] = v[i, a] + length[s] * x
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def accept(
    v: Any, z: Any, f: Any, ll: Any, new_v: Any, new_z: Any, new_f: Any, new_ll: Any, ratio: Any, u: Any, n: int
) -> Any:
    """Metropolis and Hastings, in place: the part of each subject's chains that moved, (n,)."""
    m, d = v.shape
    rate = np.zeros(n)
    for i in range(m):
        # A ratio that is no number is never taken.
        if math.log(u[i]) < ratio[i]:
            for a in range(d):
                v[i, a] = new_v[i, a]
            for r in range(f.shape[1]):
                f[i, r] = new_f[i, r]
            z[i], ll[i] = new_z[i], new_ll[i]
            rate[i % n] += 1.0
    return rate * (n / m)
