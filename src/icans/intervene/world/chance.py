"""Random numbers by counting: a number belongs to a key, a patient and a count, whoever else is there and when asked.

A draw of a sample must be the same in two arms in which a patient lives, in a batch of one or of thousands, and after
a step of one hour or of six. So nothing is drawn from a running generator: patient and count are mixed with a key
(splitmix64, Steele 2014, doi 10.1145/2660193.2660195), as counter-based generators do (Salmon 2011,
doi 10.1145/2063384.2063405). The key comes from :func:`icans.core.random.stream`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from icans.core.random import stream

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def key(seed: int, *names: object) -> np.uint64:
    """The key of a kind of number."""
    return np.uint64(stream(seed, "world", *names).integers(0, 2**63))


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def uniforms(kind: np.uint64, patient: npt.ArrayLike, count: npt.ArrayLike) -> Array:
    """Numbers strictly between 0 and 1 of patients at counts (whole numbers that broadcast against each other)."""
    who = _mix(np.asarray(patient).astype(np.uint64) ^ kind)
    found = _mix(who ^ _mix(np.asarray(count).astype(np.uint64)))
    return np.asarray(((found >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def normals(kind: np.uint64, patient: npt.ArrayLike, count: npt.ArrayLike) -> Array:
    """Standard normal numbers of patients at counts."""
    return np.asarray(ndtri(uniforms(kind, patient, count)))
