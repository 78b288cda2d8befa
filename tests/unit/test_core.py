"""The ground layer: random streams, atomic writing, resumable steps, execution, units, time, errors."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.core import files, times, units
from icans.core.errors import DataError, Problem, UnitError
from icans.core.execute import Processes, Serial
from icans.core.provenance import Provenance, digest, versions
from icans.core.random import stream
from icans.core.resume import Checkpoints


def test_a_stream_is_named_by_its_keys_and_their_types():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    values = {
        stream(*name).random() for name in [(1, "a", 2), (2, "a", 2), (1, "a", 3), (1, "a", "2"), (1, "a2"), (1,)]
    }
    assert len(values) == 6


def _draw(key: int) -> float:
    return float(stream(7, "item", key).normal())


def test_results_do_not_depend_on_the_number_of_workers():
    items = list(range(7))
    assert Serial().map(_draw, items) == Processes(2).map(_draw, items) == Processes(1).map(_draw, items)


_HELD: list[np.ndarray] = []


def _grow(key: int) -> int:
    if key % 4 == 3:
        _HELD.append(np.ones(50_000_000))  # 400 MB that stay, past what loky lets a worker grow by
    time.sleep(0.3)  # it looks once in a second
    return key


def test_a_worker_that_grows_is_replaced_and_the_map_ends():
    items = list(range(16))
    assert Processes(2).map(_grow, items) == items


def test_streams_of_neighbouring_keys_are_uncorrelated():
    draws = np.array([stream(0, "patient", k).normal(size=2000) for k in range(12)])
    off_diagonal = np.corrcoef(draws)[np.triu_indices(12, 1)]
    assert np.abs(off_diagonal).max() < 4 / math.sqrt(2000)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path):
    target = tmp_path / "table.csv"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError, match="stop"), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    target = tmp_path / "run"
    with pytest.raises(RuntimeError), files.atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []
    with files.atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(FileExistsError, match="overwriting"), files.atomic_folder(target):
        pass
    assert (target / "a").read_text() == "1"
    with files.atomic_folder(target, overwrite=True) as temporary:
        (temporary / "b").write_text("2")
    assert os.listdir(target) == ["b"]


def test_written_files_obey_the_umask(tmp_path: Path):
    old = os.umask(0o027)
    try:
        files.write_text(tmp_path / "x.txt", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o640


def test_json_refuses_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_finished_steps_are_not_done_again_and_a_broken_one_is(tmp_path: Path):
    calls = []

    def work() -> int:
        calls.append(1)
        return len(calls)

    run = Checkpoints(tmp_path, key={"seed": 1})
    assert run.step("fit", work) == 1
    assert run.step("fit", work) == 1
    assert run.done() == ["fit"]
    assert Checkpoints(tmp_path, key={"seed": 2}).step("fit", work) == 2
    assert run.step("fit", work, depends="other data") == 3
    for path in tmp_path.glob("*.pickle"):
        path.write_bytes(path.read_bytes()[:3])
    assert run.step("fit", work) == 4


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_provenance_survives_a_round_trip():
    origin = Provenance("set", True, "Author 2020", "MIT", {"a.csv": "00"}, ("note",))
    assert Provenance.from_dict(origin.as_dict()) == origin
    assert {"python", "icans", "numpy"} <= set(versions())


def test_every_problem_is_told_with_place_value_and_remedy():
    problem = Problem("labs.csv", 7, "value", "12,5", "a number", "Use a point as decimal mark.")
    text = str(problem)
    for part in ("labs.csv", "row 7", "'value'", "'12,5'", "a number", "Use a point"):
        assert part in text
    error = DataError([problem] * 25)
    assert len(error.problems) == 25
    assert "25 problems" in str(error)
    assert "5 more" in str(error)


@pytest.mark.parametrize(
    ("value", "source", "target", "mass", "expected"),
    [
        (98.6, "degF", "Cel", None, 37.0),
        (1.0, "mg/dL", "mg/L", None, 10.0),
        (88.4, "µmol/L", "mg/dL", 113.12, 1.0),  # creatinine: the laboratory factor 88.4
        (1.0, "mmol/L", "mg/dL", 180.156, 18.0156),  # glucose
        (150.0, "K/uL", "10*9/L", None, 150.0),
        (500.0, "/uL", "10*9/L", None, 0.5),
        (2.0, "g/L", "mg/dL", None, 200.0),
        (13.3322, "kPa", "mm[Hg]", None, 100.0),
        (50.0, "%", "1", None, 0.5),
        (600.0, "ng/mL FEU", "mg/L{FEU}", None, 0.6),
    ],
)
def test_conversions_that_laboratories_need(value, source, target, mass, expected):
    assert units.convert(value, source, target, molar_mass_g_mol=mass) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("unit", ["G/L", "spoonful", "mg per L", "mg/{", "("])
def test_what_is_not_a_unit_is_refused(unit):
    with pytest.raises(UnitError):
        units.ucum(unit)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("mg/L{FEU}", "mg/L{DDU}"),
        ("mg/L", "mmol/L"),
        ("Cel", "mg/L"),
        ("IU/L", "U/L"),
        ("IU/mL", "ng/mL"),
        ("IU/mL", "/uL"),
        ("U/L", "IU/L"),
    ],
)
def test_conversions_that_do_not_exist_are_refused(source, target):
    with pytest.raises(UnitError):
        units.convert(1.0, source, target)


def test_an_international_unit_of_an_enzyme_is_a_micromole_a_minute():
    assert units.convert(3.0, "IU/L", "U/L", catalytic=True) == 3.0
    assert units.convert(60.0, "IU/L", "ukat/L", catalytic=True) == pytest.approx(1.0)
    assert units.convert(2.0, "m[IU]/mL", "U/L", catalytic=True) == pytest.approx(2.0)
    assert units.convert(2.0, "IU/mL", "[IU]/L") == pytest.approx(2000.0)


@given(st.floats(-1e6, 1e6), st.sampled_from([("Cel", "[degF]"), ("mg/L", "mg/dL"), ("mm[Hg]", "kPa"), ("%", "1")]))
def test_converting_there_and_back_changes_nothing(value, pair):
    there = units.convert(value, *pair)
    assert units.convert(there, *reversed(pair)) == pytest.approx(value, rel=1e-9, abs=1e-6)


def test_conversion_keeps_missing_values_and_shape():
    out = units.convert([[1.0, math.nan], [2.0, 3.0]], "g/L", "mg/dL")
    assert out.shape == (2, 2)
    assert np.isnan(out[0, 1])


def test_days_and_hours():
    assert times.days(36.0) == 1.5
    assert times.hours(1.5) == 36.0
    assert times.day_number([-0.5, 0.0, 23.9, 24.0]).tolist() == [-1, 0, 0, 1]
    assert times.show(84.0) == "day 3.5"
