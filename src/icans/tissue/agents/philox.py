"""Random numbers by name: every draw is a function of (seed, cell, step, purpose) and of nothing else.

The generator is Philox 4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3,
DOI 10.1145/2063384.2063405). A counter-based generator keeps no state, so that a run does not depend on how
many threads share the cells, nor on the order in which cells are visited.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icans.tissue.agents.kernel import kernel

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_SCALE = 2.0**-32

# What a draw is for: the last word of the counter. Never renumber: results of old runs hang on it.
MOVE, CYCLE, EATS, TRANSFORM, ATTACH, KILL, DIVIDE, VESSEL, PLACE, TRAIT = range(1, 11)


@kernel
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Four random words of 32 bits (in uint64) for a counter of four words and a key of two."""
    a, b, c, d = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    u, v = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        p, q = _M0 * a, _M1 * c
        a, b, c, d = (q >> _HALF) ^ b ^ u, q & _LOW, (p >> _HALF) ^ d ^ v, p & _LOW
        u, v = (u + _W0) & _LOW, (v + _W1) & _LOW
    return a, b, c, d


@njit("UniTuple(float64, 4)(int64, int64, int64, int64)", cache=True, nogil=True, error_model="numpy")
def uniforms(seed: int, cell: int, step: int, purpose: int) -> Any:
    """Four uniform numbers in (0, 1) for one cell at one step and for one purpose."""
    s, t = np.uint64(seed), np.uint64(step)
    w = philox(np.uint64(cell) & _LOW, t & _LOW, t >> _HALF, np.uint64(purpose), s & _LOW, s >> _HALF)
    return (w[0] + 0.5) * _SCALE, (w[1] + 0.5) * _SCALE, (w[2] + 0.5) * _SCALE, (w[3] + 0.5) * _SCALE
