"""Shards of a job: any cut gives the whole again, and nothing else is taken for it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core import shards
from icans.core.errors import ConfigError, DataError
from icans.core.files import write_json
from icans.core.random import stream
from icans.core.shards import Job, Shard, have_part, part_folder, read_parts, read_shard, write_part


@given(st.integers(0, 500), st.integers(1, 60))
def test_shards_cover_every_item_once_in_order_and_are_level(total, count):
    rows = [Shard(k, count).rows(total) for k in range(1, count + 1)]
    assert [i for r in rows for i in range(total)[r]] == list(range(total))
    sizes = [r.stop - r.start for r in rows]
    assert max(sizes) - min(sizes) <= 1


def _work(rows: slice, total: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two rows for each item, with text and missing values."""
    items = np.arange(total)[rows]
    values = np.array([stream(5, int(i)).normal(size=3) for i in items]).reshape(len(items), 3).astype(np.float32)
    frame = pd.DataFrame({"item": np.repeat(items, 2), "arm": np.tile(["a", "b"], len(items)),
                          "value": np.repeat(np.where(items % 3 == 0, np.nan, values[:, 0]), 2)})  # fmt: skip
    return frame, values


def _parquet(frame: pd.DataFrame, path: Path) -> bytes:
    frame.to_parquet(path, index=False)
    return path.read_bytes()


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 25), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_whole_is_the_serial_run_to_the_byte(total, count, order):
    job = Job("test", {"seed": 5, "options": [1, None, "x"]}, total)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = list(range(1, count + 1))
        order.shuffle(numbers)
        for k in numbers:
            frame, array = _work(Shard(k, count).rows(total), total)
            write_part(folder, job, Shard(k, count), tables={"rows": frame}, arrays={"draws": array}, seconds=0.5)
            assert have_part(folder, job, Shard(k, count))
        whole = read_parts(folder)
        frame, array = _work(slice(0, total), total)
        assert _parquet(whole.tables["rows"], folder / "a.parquet") == _parquet(frame, folder / "b.parquet")
        assert whole.arrays["draws"].tobytes() == array.tobytes()
        assert whole.arrays["draws"].dtype == array.dtype
        assert (whole.job.key, whole.count, whole.seconds) == (job.key, count, 0.5 * count)


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Job]:
    job = Job("test", {"seed": 5, "product": "axi-cel"}, 9)
    for k in range(1, 6):
        frame, array = _work(Shard(k, 5).rows(9), 9)
        write_part(tmp_path, job, Shard(k, 5), tables={"rows": frame}, arrays={"draws": array})
    return tmp_path, job


def test_everything_that_is_wrong_is_told_at_once(parts):
    folder, job = parts
    shutil.rmtree(part_folder(folder, Shard(2, 5)))
    shutil.rmtree(part_folder(folder, Shard(4, 5)))
    shutil.copytree(part_folder(folder, Shard(3, 5)), folder / "part-3-copy")
    (part_folder(folder, Shard(5, 5)) / "draws.npy").write_bytes(b"cut")
    frame, array = _work(Shard(4, 5).rows(9), 9)
    other = Job("test", {"seed": 6, "product": "axi-cel"}, 9, job.made_by.replace("numpy=", "numpy=0."))
    write_part(folder, other, Shard(4, 5), tables={"rows": frame}, arrays={"draws": array})
    (folder / "notes").mkdir()
    with pytest.raises(DataError) as told:
        read_parts(folder)
    text = "\n".join(str(p) for p in told.value.problems)
    assert len(told.value.problems) == 5
    assert "missing: 2, 4, 5" in text
    assert "part-3-copy" in text
    assert "is the same shard" in text
    assert "spec.seed, version (numpy=0." in text
    assert "'draws.npy'" in text
    assert "notes" in text


def test_a_part_of_another_cut_or_another_job_is_foreign(parts):
    folder, job = parts
    frame, array = _work(Shard(1, 4).rows(9), 9)
    write_part(folder, job, Shard(1, 4), tables={"rows": frame}, arrays={"draws": array})
    with pytest.raises(DataError, match=r"part-1-of-4.*differs in of"):
        read_parts(folder)
    with pytest.raises(DataError, match=r"the same job as this command.*differs in spec\.seed"):
        have_part(folder, Job("test", {**job.spec, "seed": 7}, 9), Shard(1, 5))
    assert not have_part(folder, job, Shard(9, 9))
    with pytest.raises(FileExistsError):
        write_part(folder, job, Shard(1, 5), tables={})


def test_a_part_that_was_edited_does_not_pass(parts):
    folder, _ = parts
    about = part_folder(folder, Shard(1, 5)) / shards.ABOUT
    told = json.loads(about.read_text())
    for change in (
        {"total": 10},
        {"spec": {"seed": 6}},
        {"shard": 7},
        {"first": 3},
        {"files": {"../rows.parquet": "x"}},
    ):
        write_json(about, {**told, **change})
        with pytest.raises(DataError, match="part-1-of-5"):
            read_parts(folder)
    write_json(about, told)
    assert len(read_parts(folder).tables["rows"]) == 18


def test_a_broken_write_leaves_nothing(tmp_path):
    job = Job("test", {}, 2)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_part(tmp_path, job, Shard(1, 1), tables={}, arrays={"a": np.array([{}, 1], dtype=object)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="folder with parts"):
        read_parts(tmp_path)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ConfigError, match="i/n"):
        read_shard(text)


def test_a_shard_is_read():
    assert read_shard(" 3/8 ") == Shard(3, 8)
    assert str(Shard(3, 8)) == "3/8"
    assert part_folder("x", Shard(3, 120)).name == "part-003-of-120"
