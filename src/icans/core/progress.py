"""Progress for people, on stderr: a bar on a terminal, a line a minute in a log; silent if ``quiet`` was asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_quiet = False
#: Seconds between two lines where there is no terminal (the log of a cluster's job).
LINE_S = 60.0


def set_quiet(quiet: bool) -> None:
    """Switch every progress display of this process off or on."""
    global _quiet
    _quiet = quiet


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate and show a bar on stderr; without a terminal, a line now and then where it takes long.

    Parameters
    ----------
    items
        What to iterate over.
    label
        What is being done, e.g. ``"bootstrap"``.
    total
        Number of items, when ``items`` has no length.
    """
    if _quiet:
        yield from items
        return
    if not sys.stderr.isatty():
        yield from _lines(items, label, total)
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, label, total=total, console=Console(stderr=True), transient=True)


def _lines(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    start = last = time.monotonic()
    for count, item in enumerate(items):
        now = time.monotonic()
        if now - last >= LINE_S:
            last = now
            of = f" of {total}" if total is not None else ""
            print(f"  {label}: {count}{of} after {(now - start) / 60:.0f} min", file=sys.stderr, flush=True)
        yield item


@contextmanager
def stage(label: str) -> Iterator[None]:
    """Say on stderr that a stage begins, and how long it took when it ended well."""
    if _quiet:
        yield
        return
    start = time.perf_counter()
    print(f"  {label} …", file=sys.stderr, flush=True)
    yield
    print(f"  {label}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
