"""A simulation in shards, and by an executor: the same bytes as in one piece."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icans.cli.app import app
from icans.core.errors import ConfigError, DataError
from icans.study import simulate_arm
from icans.study.merge import merge_parts
from icans.study.simulate import run_scenario, simulate_scenario
from icans.study.simulate_config import make_scenario
from icans.study.simulate_shards import simulate_shard

#: The rule doses by weight of the median patient of all, which no shard sees by itself.
RULE = {"quantity": "crs_severity", "above": 0.4,
        "doses": [{"drug": "tocilizumab", "amount": 8, "unit": "mg/kg", "time_h": 0}]}  # fmt: skip
ARMS = [{"name": "Alone"}, {"name": "By rule", "triggers": [RULE]}]
RAW = {"simulation": {"days": 8, "every_h": 12, "seed": 3}, "patients": {"n": 11, "care": "none"}, "arms": ARMS}


def scenario(**patients: object):
    return make_scenario({**RAW, "patients": {**RAW["patients"], **patients}})


class Copies:
    """What processes elsewhere do: function and items arrive as pickles."""

    def map(self, function, items, label="work", *, done=None):
        return [pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item))) for item in items]


@pytest.fixture(scope="module", autouse=True)
def _no_figures():
    """The page is drawn from the tables, which are what is compared; drawing it takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icans.study.simulate.page_data", lambda done, run: None)
        patch.setattr("icans.study.simulate.write_simulation", lambda data, path: path.write_text("page"))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "x"
    simulate_scenario(scenario(), output=folder)
    return folder


def _tables(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "tables").iterdir())}


def test_the_merged_results_are_those_of_one_run_to_the_byte(whole, tmp_path):
    output = tmp_path / "y"
    for shard in ("3/4", "1/4", "4/4", "2/4"):
        assert simulate_shard(scenario(), shard, output=output, threads=1).fresh
    assert not simulate_shard(scenario(), "2/4", output=output).fresh  # handed in again: nothing is done again
    told = CliRunner().invoke(app, ["merge", str(tmp_path / "y.parts"), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["folder"] == str(output)
    assert _tables(output) == _tables(whole)
    assert "given_as_needed.parquet" in _tables(whole)  # the rule did give something
    mine, one = (json.loads((f / "run.json").read_text()) for f in (output, whole))
    changing = {"started", "finished", "seconds"}
    assert {k: v for k, v in mine.items() if k not in changing} == {k: v for k, v in one.items() if k not in changing}


def test_an_executor_does_not_change_a_bit(whole, monkeypatch):
    monkeypatch.setattr(simulate_arm, "SHARED_BATCH", 4)
    done = run_scenario(scenario(), executor=Copies())
    tables = Path(whole) / "tables"
    done.outcomes.assign(synthetic=True).to_parquet(tables.parent / "outcomes.parquet", index=False)
    assert (tables.parent / "outcomes.parquet").read_bytes() == (tables / "outcomes.parquet").read_bytes()


def test_shards_that_are_not_the_whole_are_refused_and_named(tmp_path):
    output = tmp_path / "z"
    simulate_shard(scenario(n=4), "1/2", output=output)
    with pytest.raises(DataError, match=r"a part of the same job as this command.*spec\.patients"):
        simulate_shard(scenario(n=4, product="tisa-cel"), "1/2", output=output)
    shutil.copytree(tmp_path / "z.parts" / "part-1-of-2", tmp_path / "z.parts" / "again")
    told = CliRunner().invoke(app, ["merge", str(tmp_path / "z.parts"), "--json"])
    assert told.exit_code == 2
    problems = json.loads(told.stdout)["problems"]
    assert [("missing: 2" in p["expected"], "same shard" in p["remedy"]) for p in problems] == [
        (False, True),
        (True, False),
    ]
    assert not output.exists()


def test_bad_shards_and_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at most 11 shards"):
        simulate_shard(scenario(), "1/12", output=tmp_path / "w")
    told = CliRunner().invoke(app, ["simulate", "-n", "4", "--shard", "5/4", "-o", str(tmp_path / "w")])
    assert told.exit_code == 2
    with pytest.raises(ConfigError, match=r"named \.\.\.\.parts"):
        merge_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []
