"""Study files: defaults, and every problem told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from icans.core.errors import ConfigError, Problem
from icans.study.config import make_study, read_study
from icans.study.words import summarised


def test_a_data_set_is_all_that_is_needed():
    study = make_study({"cohort": {"dataset": "bwh_icans"}})
    assert study.forecast.landmarks_d == (0, 1, 2, 3, 5, 7)
    assert study.forecast.horizons_d == (1, 3, 5, 7)
    assert study.as_dict()["cohort"]["dataset"] == "bwh_icans"


def test_paths_are_relative_to_the_study_file(tmp_path: Path):
    (tmp_path / "study.toml").write_text('[cohort]\npath = "data"\n')
    assert read_study(tmp_path / "study.toml").cohort.path == tmp_path / "data"


def test_every_problem_is_told_at_once():
    raw = {
        "cohort": {"dataset": "a", "path": "b"},
        "forecast": {"landmark_d": [1], "horizons_d": [3, 1], "folds": 1},
        "evaluate": {"threshold_low": 0.4},
        "studdy": {},
    }
    with pytest.raises(ConfigError) as caught:
        make_study(raw, file="x.toml")
    problems = {p.column: p for p in caught.value.problems}
    assert set(problems) == {
        "cohort",
        "forecast.landmark_d",
        "forecast.horizons_d",
        "forecast.folds",
        "evaluate",
        "studdy",
    }
    assert "landmarks_d" in problems["forecast.landmark_d"].remedy
    assert "'study'" in problems["studdy"].remedy
    assert all(p.file == "x.toml" for p in problems.values())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[cohort\n", b""])
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path, content: bytes):
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_study(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_study(tmp_path / "absent.toml")


def test_warnings_of_one_kind_are_one_line_with_their_number():
    many = [Problem("m.csv", k, "value", str(k), "a plausible value", "Look.", "warning") for k in range(2, 5)]
    more = Problem("m.csv", None, "value", "906 more of this kind", "a plausible value", "Look.", "warning")
    other = Problem("p.csv", 7, "age_y", "119", "a usual age", "Look.", "warning")
    lines = summarised([*many, other, more])
    assert [line.value for line in lines] == ["909 rows, e.g. 2", "119"]
    assert lines[0].row is None
    assert lines[1] == other


def test_where_the_work_is_done_is_read_and_decides_nothing():
    plain = make_study({"cohort": {"demo_patients": 60}})
    there = make_study({"cohort": {"demo_patients": 60}, "execute": {"executor": "dask:tcp://node:8786"}})
    assert there.execute.executor == "dask:tcp://node:8786"
    assert there.decides() == plain.decides()
    assert there.as_dict() != plain.as_dict()
    with pytest.raises(ConfigError) as told:
        make_study({"cohort": {"demo_patients": 60}, "execute": {"executor": "spark"}})
    (problem,) = told.value.problems
    assert (problem.column, problem.value) == ("execute.executor", "'spark'")
    assert "dask:ADDRESS" in problem.expected
