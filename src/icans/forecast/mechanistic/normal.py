"""The normal distribution function: scipy's for many values, the standard library's for few.

Both are right to the last digits. To load ``scipy.special`` takes a third of a second, more than a single forecast
needs for all else that the block does.
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Values up to which the standard library is used.
FEW = 100_000


def ndtr(z: NDArray[Any]) -> NDArray[Any]:
    """P(Z <= z) of a standard normal, of the shape and type (float32 or float64) of ``z``."""
    if z.size > FEW:
        from scipy import special

        return np.asarray(special.ndtr(z))
    scale = -1.0 / sqrt(2.0)
    found = [0.5 * erfc(value) for value in (z.astype(np.float64) * scale).ravel().tolist()]
    return np.array(found, dtype=z.dtype).reshape(z.shape)
