"""Fetching from a server on this machine: checked, whole or not at all."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from icans.core.errors import DataError
from icans.datasets import download
from icans.datasets.download import UNVERIFIED, cache_folder, fetch, remove
from icans.datasets.registry import Dataset, SourceFile, dataset


class Quiet(SimpleHTTPRequestHandler):
    """Counts requests and logs nothing."""

    seen: list[str] = []  # noqa: RUF012

    def log_message(self, *args: object) -> None:
        self.seen.append(self.path)


@pytest.fixture
def server(tmp_path):
    """A folder served over HTTP: (folder, address)."""
    folder = tmp_path / "served"
    folder.mkdir()
    Quiet.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def entry(base: str, *files: tuple[str, str | None], **changes: object) -> Dataset:
    """A data set whose files are served at ``base``."""
    sources = tuple(SourceFile(path, sha, f"{base}/{path}") for path, sha in files)
    return replace(dataset("bwh_icans"), files=sources, **changes)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_files_arrive_whole_with_the_licence_told(server, tmp_path, capsys):
    folder, base = server
    (folder / "a.csv").write_bytes(b"x\n1\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.bin").write_bytes(b"\x00" * 3_000_000)
    files = [("a.csv", sha(b"x\n1\n")), ("deep/b.bin", sha(b"\x00" * 3_000_000))]
    target = fetch(entry(base, *files), tmp_path / "out")
    assert (target / "a.csv").read_bytes() == b"x\n1\n"
    assert (target / "b.bin").stat().st_size == 3_000_000
    assert sorted(p.name for p in target.iterdir()) == ["a.csv", "b.bin"]
    told = capsys.readouterr().err
    assert "CC BY-NC 4.0 (not for commercial use)" in told
    assert "Amidi" in told


def test_what_is_there_and_right_is_not_fetched_again(server, tmp_path):
    folder, base = server
    (folder / "a.csv").write_bytes(b"one")
    source = entry(base, ("a.csv", sha(b"one")))
    fetch(source, tmp_path / "out")
    fetch(source, tmp_path / "out")
    assert len(Quiet.seen) == 1


def test_a_damaged_copy_is_replaced(server, tmp_path):
    folder, base = server
    (folder / "a.csv").write_bytes(b"one")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_bytes(b"half")
    fetch(entry(base, ("a.csv", sha(b"one"))), tmp_path / "out")
    assert (tmp_path / "out" / "a.csv").read_bytes() == b"one"


def test_a_wrong_file_is_refused_and_leaves_nothing(server, tmp_path):
    folder, base = server
    (folder / "a.csv").write_bytes(b"tampered")
    (folder / "b.csv").write_bytes(b"fine")
    source = entry(base, ("a.csv", sha(b"one")), ("b.csv", sha(b"fine")))
    with pytest.raises(DataError) as caught:
        fetch(source, tmp_path / "out")
    (problem,) = caught.value.problems
    assert problem.value == sha(b"tampered")
    assert sha(b"one") in problem.expected
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.csv"]


def test_a_wrong_file_does_not_replace_an_older_copy(server, tmp_path):
    folder, base = server
    (folder / "a.csv").write_bytes(b"tampered")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_bytes(b"older")
    with pytest.raises(DataError):
        fetch(entry(base, ("a.csv", sha(b"one"))), tmp_path / "out")
    assert (tmp_path / "out" / "a.csv").read_bytes() == b"older"


def test_every_file_that_cannot_be_had_is_named(server, tmp_path):
    _, base = server
    with pytest.raises(DataError) as caught:
        fetch(entry(base, ("a.csv", "0" * 64), ("b.csv", "0" * 64)), tmp_path / "out")
    assert [p.file for p in caught.value.problems] == [f"{base}/a.csv", f"{base}/b.csv"]
    assert all("404" in p.value for p in caught.value.problems)


def test_no_server_is_a_problem_with_a_remedy(tmp_path):
    with pytest.raises(DataError, match="by hand"):
        fetch(entry("http://127.0.0.1:9", ("a.csv", "0" * 64)), tmp_path / "out")


def test_files_without_a_hash_come_only_when_asked_for(server, tmp_path):
    folder, base = server
    (folder / "a.mat").write_bytes(b"one")
    source = entry(base, ("a.mat", None))
    with pytest.raises(DataError, match="unverified=True"):
        fetch(source, tmp_path / "out")
    fetch(source, tmp_path / "out", unverified=True)
    assert sha(b"one") in (tmp_path / "out" / UNVERIFIED).read_text()


def test_a_file_without_a_hash_that_changed_is_told(server, tmp_path):
    folder, base = server
    (folder / "a.mat").write_bytes(b"one")
    source = entry(base, ("a.mat", None))
    fetch(source, tmp_path / "out", unverified=True)
    (tmp_path / "out" / "a.mat").unlink()
    (folder / "a.mat").write_bytes(b"two")
    with pytest.raises(DataError, match="as first fetched"):
        fetch(source, tmp_path / "out", unverified=True)


def test_an_oversized_answer_is_stopped(server, tmp_path, monkeypatch):
    folder, base = server
    (folder / "a.csv").write_bytes(b"x" * 5000)
    monkeypatch.setattr(download, "LARGEST_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        fetch(entry(base, ("a.csv", sha(b"x" * 5000))), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_sets_to_be_had_by_hand_say_how(tmp_path):
    with pytest.raises(DataError, match="PhysioNet"):
        fetch("cinc2012_icu", tmp_path)
    with pytest.raises(DataError, match="write"):
        fetch("pbcseq", tmp_path)


def test_the_cache_can_be_moved_and_cleared(server, tmp_path, monkeypatch):
    folder, base = server
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == Path(tmp_path / "cache")
    (folder / "a.csv").write_bytes(b"one")
    assert fetch(entry(base, ("a.csv", sha(b"one")))) == tmp_path / "cache" / "bwh_icans"
    assert remove("bwh_icans")
    assert not remove("bwh_icans")


def test_the_cache_of_the_platform_is_used_otherwise(monkeypatch):
    monkeypatch.delenv("ICANS_CACHE", raising=False)
    assert cache_folder().parts[-2:] == ("icans", "datasets")
