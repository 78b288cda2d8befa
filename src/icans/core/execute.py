"""The executor seam: the same call runs work here, in processes, or later on a cluster.

Results come back in the order of the items, whatever the number of workers; randomness comes from
:func:`icans.core.random.stream` by key, so that results do not depend on the executor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from icans.core.progress import track

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Anything that can apply a function to many items and keep their order."""

    def map(self, function: Callable[[T], R], items: Sequence[T], label: str = "work") -> list[R]:
        """``[function(item) for item in items]``, in order."""
        ...


@dataclass(frozen=True)
class Serial:
    """One item after the other in this process."""

    def map(self, function: Callable[[T], R], items: Sequence[T], label: str = "work") -> list[R]:
        """Apply ``function`` to every item, in order."""
        return [function(item) for item in track(items, label, total=len(items))]


@dataclass(frozen=True)
class Processes:
    """Worker processes on this machine (joblib/loky). ``workers=None`` takes every core."""

    workers: int | None = None

    def map(self, function: Callable[[T], R], items: Sequence[T], label: str = "work") -> list[R]:
        """Apply ``function`` to every item; it and the items must be picklable."""
        count = self.workers or os.cpu_count() or 1
        if count == 1 or len(items) < 2:
            return Serial().map(function, items, label)
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=count, return_as="generator")
        return list(track(parallel(delayed(function)(item) for item in items), label, total=len(items)))
