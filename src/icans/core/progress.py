"""Progress for people, on stderr; silent when nobody watches or when ``quiet`` was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch every progress display of this process off or on."""
    global _quiet
    _quiet = quiet


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate and show a bar on stderr.

    Parameters
    ----------
    items
        What to iterate over.
    label
        What is being done, e.g. ``"bootstrap"``.
    total
        Number of items, when ``items`` has no length.
    """
    if _quiet or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, label, total=total, console=Console(stderr=True), transient=True)


@contextmanager
def stage(label: str) -> Iterator[None]:
    """Say on stderr that a stage begins, and how long it took when it ended well."""
    if _quiet:
        yield
        return
    import time

    start = time.perf_counter()
    print(f"  {label} …", file=sys.stderr, flush=True)
    yield
    print(f"  {label}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
