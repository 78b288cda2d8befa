"""An executor for clusters: Dask distributed, on this machine, under Slurm, in Kubernetes.

What is sent and how, so that a run survives the loss of workers (https://distributed.dask.org, pages "Resilience" and
"Why did my worker die?"):

* The function travels once, as a task of its own. The scheduler can do a task again elsewhere; data that were
  scattered to a worker are gone with it.
* The scheduler gives the items of a dead worker to others by itself, up to ``distributed.scheduler.allowed-failures``
  times. It blames every item that was queued at that worker, also those that had not begun, so an item that it gives
  up is handed in again before it is called bad.
* At most ``ahead`` items for each thread are handed in at a time: memory does not grow with the number of items, and
  few items are blamed for a death.
* Items and results travel as pickles, as between processes of one machine: what comes back is what
  :class:`icans.core.execute.Serial` gives.
* Every worker compares its versions and the program's own code with the caller's before its first item, also one that
  joins late: other versions may give other numbers.
"""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from icans.core.errors import ClusterError, ConfigError, Problem
from icans.core.execute import Done, item_name
from icans.core.files import slug
from icans.core.progress import track
from icans.core.provenance import fingerprint

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks at how many threads the cluster has.
LOOK_S = 2.0
#: Seconds waited for the first worker (a queue may be long), and for a scheduler to answer.
WORKER_S, SCHEDULER_S = 3600.0, 30.0


@dataclass(frozen=True)
class Dask:
    """Workers of a Dask cluster.

    Attributes
    ----------
    client
        A connected ``distributed.Client``, whatever started its cluster (``LocalCluster``, ``SLURMCluster``,
        ``KubeCluster``, ``dask scheduler``).
    retries
        Times an item is handed in again after the scheduler gave it up because workers died over it.
    ahead
        Items handed in for each thread of the cluster.
    wait_s
        Longest wait for a first worker.
    """

    client: Client
    retries: int = 2
    ahead: int = 2
    wait_s: float = WORKER_S

    def map(
        self, function: Callable[[T], R], items: Sequence[T], label: str = "work", *, done: Done[R] | None = None
    ) -> list[R]:
        """Apply ``function`` to every item; it and the items must be picklable.

        Raises
        ------
        ClusterError
            No worker, other versions on a worker, the scheduler lost, or an item over which workers die every time.
        Exception
            What the first item to fail raised, as in a serial run.
        """
        if not items:
            return []
        self._wait_for_workers()
        job = _Job(self, function, items, label)
        results: dict[int, R] = {}
        try:
            for place, result in track(job.results(), label, total=len(items)):
                results[place] = result
                if done is not None:
                    done(place, result)
        finally:
            job.cancel()
        return [results[place] for place in range(len(items))]

    def _wait_for_workers(self) -> None:
        from distributed import TimeoutError as DaskTimeoutError

        try:
            self.client.wait_for_workers(1, timeout=self.wait_s)
        except (DaskTimeoutError, OSError) as error:
            raise ClusterError(
                f"no worker joined the cluster at {_where(self.client)} within {self.wait_s:g} s; "
                "look at the queue of the cluster and at the logs of its jobs"
            ) from error


@dataclass
class _Job:
    """One call of :meth:`Dask.map`: what is handed in, and what came back."""

    about: Dask
    function: Callable[[Any], Any]
    items: Sequence[Any]
    label: str
    running: dict[Future[Any], int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)
    shared: Any = None
    _looked: float = 0.0
    _room: int = 1

    def results(self) -> Iterator[tuple[int, Any]]:
        """Place and result of each item as they come. The error of the earliest item that fails is raised."""
        import cloudpickle
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        client = self.about.client
        with warnings.catch_warnings():  # a large function is sent once, which is what the warning asks for
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            self.shared = client.submit(_hold, cloudpickle.dumps(self.function), key=self._key())
        finished = as_completed()
        waiting = iter(range(len(self.items)))
        failed: dict[int, BaseException] = {}
        while True:
            while not failed and len(self.running) < self._most():
                place = next(waiting, None)
                if place is None:
                    break
                finished.add(self._submit(place))
            if not any(place < min(failed, default=len(self.items)) for place in self.running.values()):
                break
            future = next(finished)
            place = self.running.pop(future)
            try:
                answer = self._answer(future)
            except KilledWorker as error:
                self.lost[place] = self.lost.get(place, 0) + 1
                if self.lost[place] > self.about.retries:
                    failed[place] = self._bad(place, error)
                else:
                    finished.add(self._submit(place))
            except Exception as error:
                failed[place] = error
            else:
                yield place, answer
        if failed:
            place = min(failed)
            if not isinstance(failed[place], ClusterError):
                failed[place].add_note(item_name(self.label, place, self.items))
            raise failed[place]

    def cancel(self) -> None:
        """Take back what has not come back (after an error or an interruption)."""
        if self.running:
            self.about.client.cancel(list(self.running))
        for future in (*self.running, self.shared):
            if future is not None:  # an error's traceback may hold them for long
                future.release()
        self.running.clear()

    def _submit(self, place: int) -> Future[Any]:
        import cloudpickle

        item = cloudpickle.dumps(self.items[place])
        future = self.about.client.submit(_apply, self.shared, item, fingerprint(), key=self._key())
        self.running[future] = place
        return future

    def _answer(self, future: Future[Any]) -> Any:
        from distributed import CancelledError

        try:
            return pickle.loads(future.result())  # noqa: S301 - from our own workers
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and future.status == "error":
                raise  # the item's own error
            raise ClusterError(
                f"the connection to the cluster at {_where(self.about.client)} was lost during {self.label!r}; "
                "what was finished and kept is not lost: start the same command again"
            ) from error

    def _bad(self, place: int, error: Any) -> ClusterError:
        deaths = (error.allowed_failures + 1) * self.lost[place]
        return ClusterError(
            f"{item_name(self.label, place, self.items)}: {deaths} {'worker' if deaths == 1 else 'workers'} died while "
            f"they had it (the last: {error.last_worker.address}). Most often memory was too short: give workers more "
            "of it, or start fewer on each machine; their logs say more"
        )

    def _most(self) -> int:
        """Items to be handed in at a time; workers may come and go."""
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._room = max(1, self.about.ahead * sum(self.about.client.nthreads().values()))
        return self._room

    def _key(self) -> str:
        return f"{slug(self.label, 'work')}-{uuid4().hex}"


@contextmanager
def connected(
    address: str | None = None, *, scheduler_file: str | None = None, workers: int | None = None,
    wait_s: float = WORKER_S,
) -> Iterator[Dask]:  # fmt: skip
    """A cluster for as long as the block lasts: one that runs already, or worker processes of this machine.

    Parameters
    ----------
    address
        Of a running scheduler, e.g. ``tcp://host:8786``.
    scheduler_file
        What ``dask scheduler --scheduler-file`` (or ``dask-jobqueue``) wrote, on a disk that both see.
    workers
        Worker processes of this machine, of one thread each, where neither of the above is given; by default one for
        each core. A worker that dies is replaced.

    Raises
    ------
    ConfigError
        Dask is not installed, or the scheduler file is not there.
    ClusterError
        Nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        remedy = "Install it: pip install 'icans[scale]'."
        raise ConfigError([Problem("options", None, "executor", "dask", "Dask distributed", remedy)]) from error
    with ExitStack() as stack:
        try:
            if scheduler_file is not None:
                client = Client(scheduler_file=_existing(scheduler_file), timeout=SCHEDULER_S)
            elif address is not None:
                client = Client(address, timeout=SCHEDULER_S)
            else:
                cluster = stack.enter_context(
                    LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
                )
                client = Client(cluster)
        except (OSError, ValueError) as error:
            where = address or scheduler_file or "this machine"
            raise ClusterError(f"no cluster at {where}: {error}; is its scheduler running, and is it reached from here?"
                               ) from error  # fmt: skip
        yield Dask(stack.enter_context(client), wait_s=wait_s)


def _existing(path: str) -> str:
    from pathlib import Path

    if not Path(path).is_file():  # Dask itself would wait for it without end
        remedy = "Start the cluster first, with --scheduler-file."
        raise ConfigError([Problem("options", None, "executor", path, "a scheduler file", remedy)])
    return path


def _where(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "its old address"


def _hold(payload: bytes) -> bytes:
    """The pickled function, as a task: the scheduler can do it again after its worker died."""
    return payload


@lru_cache(maxsize=2)
def _loaded(payload: bytes) -> Callable[[Any], Any]:
    return pickle.loads(payload)  # noqa: S301 - from our own client


@cache
def _check(expected: str) -> None:
    """Raise when this worker has other versions than the caller."""
    mine, theirs = (dict(part.split("=", 1) for part in text.split(";")) for text in (fingerprint(), expected))
    differ = [f"{name} {mine.get(name, 'absent')} instead of {value}" for name, value in theirs.items()
              if mine.get(name) != value]  # fmt: skip
    if differ:
        raise ClusterError(
            f"a worker has other versions than the caller, and may give other numbers: {', '.join(differ)}"
        )


def _apply(payload: bytes, item: bytes, expected: str) -> bytes:
    """One item, on a worker."""
    _check(expected)
    result = _loaded(payload)(pickle.loads(item))  # noqa: S301 - from our own client
    try:
        return pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        return bytes(cloudpickle.dumps(result))
