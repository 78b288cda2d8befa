"""How the kernels of this package are compiled: once for a machine, without the GIL, dividing as numpy does."""

from __future__ import annotations

from typing import Any

from numba import njit

from icans.tissue.compiled import renewed


def kernel(function: Any) -> Any:
    """A compiled function, kept on disk; never with fast mathematics, which would reorder sums."""
    return renewed(njit(cache=True, nogil=True, error_model="numpy")(function))
