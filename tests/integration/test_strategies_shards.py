"""A comparison of strategies in shards: the same bytes as in one piece."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icans.cli.app import app
from icans.core.errors import ConfigError
from icans.intervene.compare import running
from icans.study.strategies import compare_strategies
from icans.study.strategies_config import comparison_of
from icans.study.strategies_shards import strategies_shard


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Chunks of a few patients, and no figures: the tables are what is compared."""
    monkeypatch.setattr(running.parts_of, "__defaults__", (4,))
    monkeypatch.setitem(running.tasks_for.__kwdefaults__, "chunk", 4)
    monkeypatch.setitem(running.run_strategies.__kwdefaults__, "chunk", 4)
    monkeypatch.setattr("icans.study.strategies.write_strategies", lambda page, path: path.write_text("page"))


def _tables(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "tables").iterdir())}


def test_the_merged_results_are_those_of_one_run_to_the_byte(tmp_path):
    options = ["--strategy", "never", "--strategy", "guideline", "-n", "11", "--seed", "3", "-o", str(tmp_path / "y")]
    for number in (2, 1):
        told = CliRunner().invoke(app, ["strategies", *options, "--shard", f"{number}/2", "--json"])
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)["items"] == (1, 2)[number - 1]
    again = CliRunner().invoke(app, ["strategies", *options, "--shard", "1/2", "--json"])
    assert json.loads(again.stdout)["fresh"] is False
    told = CliRunner().invoke(app, ["merge", str(tmp_path / "y.parts"), "--json"])
    assert told.exit_code == 0, told.output
    compare_strategies(comparison_of(["never", "guideline"], patients=11, seed=3), output=tmp_path / "x")
    assert _tables(tmp_path / "y") == _tables(tmp_path / "x")
    mine, one = (json.loads((tmp_path / f / "run.json").read_text()) for f in "yx")
    changing = {"started", "finished", "folder"}
    assert {k: v for k, v in mine.items() if k not in changing} == {k: v for k, v in one.items() if k not in changing}


def test_more_shards_than_chunks_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at most 3 shards"):
        strategies_shard(comparison_of(["never", "guideline"], patients=11), "1/4", output=tmp_path / "z")
    assert list(tmp_path.iterdir()) == []
