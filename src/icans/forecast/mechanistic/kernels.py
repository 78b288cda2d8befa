"""Sums over values and members, in one pass and without tables in between. Compiled by numba.

``series`` has shape (T, J); value r lies between grid times ``low[r]`` and ``low[r] + 1``, the part ``part[r]`` of the
way. Residuals are Student's t with four degrees of freedom.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Values whose factors are multiplied before a logarithm is taken (1 + z^2/4 of sixteen values cannot overflow).
TOGETHER = 16


@njit(cache=True, nogil=True, error_model="numpy")
def add_terms(total, series, low, part, value, row, sd):  # type: ignore[no-untyped-def]
    """Add ln likelihoods (up to a constant) of values to rows of ``total``, shape (rows, J); ``row`` is sorted."""
    members = series.shape[1]
    product = np.ones(members)
    scale = np.float32(0.5 / sd)
    count = 0
    for r in range(len(value)):
        below, above = series[low[r]], series[low[r] + 1]
        share, here = np.float32(part[r]), np.float32(value[r])
        for j in range(members):
            z = (here - (below[j] + share * (above[j] - below[j]))) * scale
            product[j] *= 1.0 + z * z
        count += 1
        if r + 1 == len(value) or row[r + 1] != row[r] or count == TOGETHER:
            into, fixed = total[row[r]], np.float32(count * np.log(sd))
            for j in range(members):
                into[j] -= np.float32(2.5 * np.log(product[j])) + fixed
                product[j] = 1.0
            count = 0


@njit(cache=True, nogil=True, error_model="numpy")
def moments(weights, series, low, part, value, patient, offset, sd):  # type: ignore[no-untyped-def]
    """Sums over values and members of w u, w u g and w u g^2, with g = value - level and u the weight of the t."""
    members = series.shape[1]
    s0, s1, s2 = 0.0, 0.0, 0.0
    for r in range(len(value)):
        below, above = series[low[r]], series[low[r] + 1]
        w = weights[patient[r]]
        share, here = np.float32(part[r]), np.float32(value[r])
        for j in range(members):
            gap = here - (below[j] + share * (above[j] - below[j]))
            z = (gap - offset) / sd
            u = w[j] * 5.0 / (4.0 + z * z)
            s0 += u
            s1 += u * gap
            s2 += u * gap * gap
    return s0, s1, s2
