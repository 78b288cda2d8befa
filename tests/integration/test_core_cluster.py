"""A real cluster of two worker processes: order, bits, lost workers, errors, interruption."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import ClusterError, ConfigError, DataError, Problem
from icans.core.execute import Executor, Serial, map_resumed, opened
from icans.core.random import stream
from icans.core.resume import Checkpoints

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from icans.core import cluster as clusters  # noqa: E402

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # one death and the scheduler gives an item up: the executor's turn
    "distributed.worker.multiprocessing-method": "forkserver",  # a worker starts without importing everything again
}


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    multiprocessing.set_forkserver_preload(["distributed.nanny", "distributed.worker", "numpy", "icans.core.cluster"])
    with (
        dask.config.set(SETTINGS),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local) as made,
    ):
        yield made


def _walk(key: int) -> np.ndarray:
    """A sum whose last bits would show another order of work, or another stream."""
    time.sleep(0.01)
    steps = stream(11, "walk", key).normal(size=500)
    return np.cumsum(np.exp(steps))


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return [x.tobytes() for x in a] == [x.tobytes() for x in b]


def test_a_worker_killed_in_the_middle_changes_no_bit(client):
    items = list(range(60))
    killed = []

    def kill(place: int, result: np.ndarray) -> None:
        if len(killed) < 1 and place >= 10:
            pids = client.run(os.getpid)
            killed.append(sorted(pids.values())[0])
            os.kill(killed[0], signal.SIGKILL)

    found = clusters.Dask(client).map(_walk, items, "walks", done=kill)
    assert len(killed) == 1
    assert killed[0] not in client.run(os.getpid).values()
    assert _same(found, Serial().map(_walk, items))
    assert all(x.flags.writeable for x in found)  # as in a serial run


def _deadly(key: int) -> int:
    if key == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return key * key


def test_an_item_over_which_workers_die_is_named(client):
    with pytest.raises(ClusterError, match=r"item 4 of 6 of 'squares': 3: 1 worker died") as told:
        clusters.Dask(client, retries=0, ahead=1).map(_deadly, range(6), "squares")
    assert "memory" in str(told.value)


def _fails(key: int) -> int:
    if key == 2:
        time.sleep(0.3)  # it fails after item 5 has
    if key in (2, 5):
        raise DataError([Problem("labs.csv", key, "il6", "x", "a number", "Correct it.")])
    return key


def test_the_error_is_that_of_a_serial_run_and_names_the_item(client):
    told = []
    for executor in (Serial(), clusters.Dask(client, ahead=8)):
        with pytest.raises(DataError) as error:
            executor.map(_fails, range(9), "reading")
        told.append((str(error.value), error.value.problems, error.value.__notes__))
    assert told[0] == told[1]
    assert told[0][1][0].row == 2
    assert told[0][2] == ["item 3 of 9 of 'reading': 2"]


def test_few_items_are_under_way_and_an_interruption_takes_them_back(client):
    executor = clusters.Dask(client, ahead=1)
    seen: list[int] = []
    before = set(client.futures)

    def stop(place: int, result: int) -> None:
        seen.append(len(set(client.futures) - before))
        if len(seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executor.map(abs, range(5000), "many", done=stop)
    assert max(seen) <= 2 * 1 + 2  # threads x ahead, the function, the one just finished
    end = time.monotonic() + 5
    while set(client.futures) - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not set(client.futures) - before


def _counted(folder: str, key: int) -> float:
    Path(folder, f"{key}-{time.time_ns()}").touch()
    return float(stream(3, key).normal())


@pytest.mark.parametrize("kind", ["serial", "dask"])
def test_what_was_finished_is_not_done_again(client, tmp_path, kind):
    from functools import partial

    executor: Executor = Serial() if kind == "serial" else clusters.Dask(client)
    log, kept = tmp_path / "log", tmp_path / "kept"
    log.mkdir()
    work = partial(_counted, str(log))
    names = [f"draw-{k}" for k in range(12)]
    first = map_resumed(executor, work, range(5), names[:5], Checkpoints(kept, {"seed": 3}))
    (kept / next(p.name for p in kept.glob("draw-1-*"))).write_bytes(b"half a file")
    whole = map_resumed(executor, work, range(12), names, Checkpoints(kept, {"seed": 3}))
    assert whole[:5] == first
    assert whole == [float(stream(3, k).normal()) for k in range(12)]
    assert len(os.listdir(log)) == 12 + 1  # the broken one once more
    with pytest.raises(ValueError, match="different names"):
        map_resumed(executor, work, range(2), ["a", "a"], Checkpoints(kept, 1))


def test_a_worker_with_other_versions_is_refused(client, monkeypatch):
    other = clusters.fingerprint().replace("numpy=", "numpy=9.")
    monkeypatch.setattr(clusters, "fingerprint", lambda: other)
    with pytest.raises(ClusterError, match=r"other versions.*numpy \S+ instead of 9\."):
        clusters.Dask(client).map(abs, [1, 2], "abs")


def test_a_cluster_by_address_and_one_that_is_not_there(client, tmp_path, monkeypatch):
    with opened(f"dask:{client.scheduler.address}") as executor:
        assert executor.map(abs, [-1, -2]) == [1, 2]
        assert executor.map(abs, []) == []
    with pytest.raises(ConfigError, match="scheduler file"), opened(f"dask:{tmp_path / 'none.json'}"):
        pass
    monkeypatch.setattr(clusters, "SCHEDULER_S", 0.3)
    with pytest.raises(ClusterError, match=r"no cluster at tcp://127\.0\.0\.1:9"), opened("dask:tcp://127.0.0.1:9"):
        pass
