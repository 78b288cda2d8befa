"""Kernels on several threads: each takes a range of cells. Results do not depend on how the ranges are cut."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

#: Below this many items a thread costs more than it saves.
FEW = 512


class Threads:
    """Calls ``kernel(lo, hi, *rest)`` for ranges that cover 0 … n-1, on ``count`` threads (kernels free the GIL)."""

    def __init__(self, count: int = 1) -> None:
        self.count = max(1, count)
        self._pool = ThreadPoolExecutor(self.count) if self.count > 1 else None

    def over(self, kernel: Callable[..., Any], n: int, *rest: Any, few: int = FEW) -> None:
        """Run the kernel over ``n`` items."""
        if self._pool is None or n < few:
            kernel(0, n, *rest)
            return
        cuts = [n * k // self.count for k in range(self.count + 1)]
        done = [self._pool.submit(kernel, lo, hi, *rest) for lo, hi in pairwise(cuts)]
        for each in done:
            each.result()
