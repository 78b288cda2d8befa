"""The executor seam: the same call runs work here, in processes of this machine, or on a cluster.

Results come back in the order of the items, whatever the number of workers; randomness comes from
:func:`icans.core.random.stream` by key, so that results do not depend on the executor. An item that fails raises its
own exception, with a note that says which item it was. :mod:`icans.core.cluster` has the executor for clusters;
:func:`opened` makes any of them from one short text.
"""

from __future__ import annotations

import os
import pickle
import reprlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from icans.core.errors import ConfigError, Problem
from icans.core.progress import track
from icans.core.resume import Checkpoints

T = TypeVar("T")
R = TypeVar("R")

#: Called with the place of an item and its result as soon as it is there, in any order, in the calling process.
Done = Callable[[int, R], None]

FORMS = "serial, processes, processes:N, dask, dask:N, dask:ADDRESS (tcp://host:8786) or dask:FILE (scheduler.json)"


class Executor(Protocol):
    """Anything that can apply a function to many items and keep their order."""

    def map(
        self, function: Callable[[T], R], items: Sequence[T], label: str = "work", *, done: Done[R] | None = None
    ) -> list[R]:
        """``[function(item) for item in items]``, in order; ``done`` hears of each result as it comes."""
        ...


@dataclass(frozen=True)
class Serial:
    """One item after the other in this process."""

    def map(
        self, function: Callable[[T], R], items: Sequence[T], label: str = "work", *, done: Done[R] | None = None
    ) -> list[R]:
        """Apply ``function`` to every item, in order."""
        results = []
        for place, item in enumerate(track(items, label, total=len(items))):
            try:
                results.append(function(item))
            except Exception as error:
                error.add_note(item_name(label, place, items))
                raise
            if done is not None:
                done(place, results[-1])
        return results


@dataclass(frozen=True)
class Processes:
    """Worker processes on this machine (joblib/loky). ``workers=None`` takes every core."""

    workers: int | None = None

    def map(
        self, function: Callable[[T], R], items: Sequence[T], label: str = "work", *, done: Done[R] | None = None
    ) -> list[R]:
        """Apply ``function`` to every item; it and the items must be picklable."""
        count = self.workers or os.cpu_count() or 1
        if count == 1 or len(items) < 2:
            return Serial().map(function, items, label, done=done)
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=count, return_as="generator")
        results: list[R] = []
        with _worker_may_be_replaced():
            answers = parallel(delayed(_attempt)(function, item) for item in items)
            for place, answer in enumerate(track(answers, label, total=len(items))):
                if isinstance(answer, _Failed):  # in order: the first that fails, as in a serial run
                    with warnings.catch_warnings():  # what was begun after it is thrown away on purpose
                        warnings.simplefilter("ignore", UserWarning)
                        answers.close()
                    answer.error.add_note(item_name(label, place, items))
                    raise answer.error from _WorkerTracebackError(answer.traceback)
                results.append(answer)
                if done is not None:
                    done(place, answer)
        return results


@contextmanager
def _worker_may_be_replaced() -> Iterator[None]:
    """Hide loky's warning that it replaces a worker, as it does with one that grew by 300 MB.

    Ours grow by the packages they load. Where warnings are errors, this one is raised in the thread that hands out
    the work, which dies of it, and the map waits without end.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
        yield


@dataclass(frozen=True)
class _Failed:
    """What an item raised in a worker process; tracebacks do not travel, their text does."""

    error: Exception
    traceback: str


class _WorkerTracebackError(Exception):
    """Shown above an error as its cause: where in the worker it came from."""


def _attempt(function: Callable[[T], R], item: T) -> R | _Failed:
    """The result of an item, or what it raised: joblib itself would raise what fails first by the clock."""
    try:
        return function(item)
    except Exception as error:
        told = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, to see whether it can travel
        except Exception:
            return _Failed(RuntimeError(f"{type(error).__name__}: {error}"), told)
        return _Failed(error, told)


def item_name(label: str, place: int, items: Sequence[object]) -> str:
    """How an item is named in errors: ``item 3 of 40 of 'bootstrap': 17``."""
    return f"item {place + 1} of {len(items)} of {label!r}: {reprlib.repr(items[place])}"


def map_resumed(
    executor: Executor, function: Callable[[T], R], items: Sequence[T], names: Sequence[str], stored: Checkpoints,
    label: str = "work",
) -> list[R]:  # fmt: skip
    """As :meth:`Executor.map`, keeping each result as it comes, and working only on items that are not kept yet.

    Parameters
    ----------
    names
        A name for each item, none twice; together with the key of ``stored`` it must decide the result.
    stored
        Where results are kept; on the side of the caller, so that workers need no shared folder.

    Raises
    ------
    ValueError
        Not one name for each item, or a name twice.
    """
    if len(names) != len(items) or len(set(names)) != len(names):
        raise ValueError(f"{len(items)} items need as many different names; got {len(set(names))}")
    have = [stored.has(name) for name in names]
    left = [place for place, known in enumerate(have) if not known]

    def keep(place: int, result: R) -> None:
        stored.step(names[left[place]], lambda: result)

    fresh = dict(zip(left, executor.map(function, [items[p] for p in left], label, done=keep), strict=True))
    return [
        fresh[place] if place in fresh else stored.step(name, lambda place=place: function(items[place]))  # type: ignore[misc]
        for place, name in enumerate(names)
    ]


@dataclass(frozen=True)
class Choice:
    """An executor as it is written: ``kind`` serial, processes or dask; workers; where the cluster's scheduler is."""

    kind: str
    workers: int | None = None
    address: str | None = None
    scheduler_file: str | None = None


def read_choice(text: str, *, file: str = "options", name: str = "--executor") -> Choice:
    """Read the text that names an executor (:data:`FORMS`).

    Parameters
    ----------
    file, name
        Where the text stands, for the error.

    Raises
    ------
    ConfigError
        It is none of the forms.
    """
    kind, mark, rest = text.strip().partition(":")
    wrong = Problem(file, None, name, text, FORMS, "Write one of these.")
    if kind not in ("serial", "processes", "dask") or (mark and not rest) or (kind == "serial" and mark):
        raise ConfigError([wrong])
    if not mark:
        return Choice(kind)
    if rest.isdecimal() and int(rest) > 0:
        return Choice(kind, workers=int(rest))
    if kind == "dask" and rest.endswith(".json"):
        return Choice(kind, scheduler_file=rest)
    if kind == "dask" and ":" in rest:
        return Choice(kind, address=rest)
    raise ConfigError([wrong])


@contextmanager
def opened(choice: Executor | Choice | str | None = None, workers: int | None = None) -> Iterator[Executor]:
    """The executor of a choice, with its cluster (where it has one) for as long as the block lasts.

    Parameters
    ----------
    choice
        An executor (it is given back as it is), a choice, or its text; None: processes of this machine.
    workers
        Number of processes where there is no choice; None: one for each core.

    Raises
    ------
    ConfigError
        The text is none of :data:`FORMS`, workers are given beside a choice, or Dask is not installed.
    ClusterError
        No scheduler there, or no worker.
    """
    if choice is None:
        choice = Choice("processes", workers)
    elif workers is not None:
        raise ConfigError([Problem("options", None, "--workers", str(workers), "workers or an executor, not both",
                                   "Write the number into the executor, e.g. processes:4.")])  # fmt: skip
    if isinstance(choice, str):
        choice = read_choice(choice)
    if not isinstance(choice, Choice):
        yield choice
    elif choice.kind == "serial":
        yield Serial()
    elif choice.kind == "processes":
        yield Processes(choice.workers)
    else:
        from icans.core.cluster import connected

        with connected(choice.address, scheduler_file=choice.scheduler_file, workers=choice.workers) as executor:
            yield executor
