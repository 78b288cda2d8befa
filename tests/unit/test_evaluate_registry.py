"""The prospective registry: a chain that shows every change, and scoring that counts the first sealed forecast."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.core.errors import DataError
from icans.core.random import stream
from icans.evaluate.registry import START, head, seal, sealed_table, verify
from icans.evaluate.registry_score import score_registry
from icans.forecast.forecast import Forecast, Reason

START_TIME = datetime(2024, 3, 1, 8, tzinfo=UTC)


def one(patient: str, risk: float, landmark: float = 72.0) -> Forecast:
    return Forecast(
        patient_id=patient, landmark_h=landmark, horizon_h=168.0, task="icans_any", risk=risk, low=float("nan"),
        high=float("nan"), reasons=(Reason("lab.crp.last", 80.0, 0.4),), data_cutoff_h=landmark,
        newest_data_h=landmark - 6, model="cox_last", version="test", synthetic=True,
    )  # fmt: skip


def filled(folder: Path, sealings: int = 4, each: int = 3) -> Path:
    for k in range(sealings):
        made = [one(f"p{k}-{i}", 0.1 + 0.2 * i) for i in range(each)]
        seal(folder, made, model_digest="m" * 64, data_digest="d", now=START_TIME + timedelta(days=k))
    return folder


def test_sealed_forecasts_come_back_as_they_were(tmp_path: Path):
    made = [one("a", 0.25), one("b", 1 / 3)]
    entry = seal(tmp_path / "r", made, model_digest="m", note="protocol 7", now=START_TIME)
    assert entry.content["previous"] == START
    assert entry.content["sealed_at"] == "2024-03-01T08:00:00+00:00"
    found = verify(tmp_path / "r", head=entry.digest)
    assert found.intact
    assert "1 sealing with 2 forecasts" in found.text()
    assert [f.risk for f in found.entries[0].forecasts] == [0.25, 1 / 3]
    assert np.isnan(found.entries[0].forecasts[0].low)
    assert found.entries[0].forecasts[0].reasons == made[0].reasons
    assert head(tmp_path / "r") == entry.digest


def test_a_registry_that_is_not_there_is_whole_and_empty(tmp_path: Path):
    assert verify(tmp_path / "none").intact
    assert head(tmp_path / "none") == START


def _edit(folder: Path, files: list[Path], k: int) -> None:
    content = json.loads(files[k].read_bytes())
    content["forecasts"][0]["risk"] = 0.99
    files[k].chmod(0o644)
    files[k].write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def _edit_and_rename(folder: Path, files: list[Path], k: int) -> None:
    """An attacker who also recomputes the digest in the name."""
    import hashlib

    _edit(folder, files, k)
    digest = hashlib.sha256(files[k].read_bytes()).hexdigest()
    files[k].rename(folder / f"{k + 1:06d}-{digest[:16]}.json")


def _remove(folder: Path, files: list[Path], k: int) -> None:
    files[k].unlink()


def _swap(folder: Path, files: list[Path], k: int) -> None:
    other = (k + 1) % len(files)
    a, b = files[k].read_bytes(), files[other].read_bytes()
    for f in (files[k], files[other]):
        f.chmod(0o644)
    files[k].write_bytes(b)
    files[other].write_bytes(a)


def _add(folder: Path, files: list[Path], k: int) -> None:
    (folder / f"notes-{k}.txt").write_text("x")


def _one_byte(folder: Path, files: list[Path], k: int) -> None:
    raw = bytearray(files[k].read_bytes())
    raw[-2] ^= 1
    files[k].chmod(0o644)
    files[k].write_bytes(bytes(raw))


CHANGES = [_edit, _edit_and_rename, _remove, _swap, _add, _one_byte]


@given(st.sampled_from(CHANGES), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_change_is_found_with_the_published_head(change, k):
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = filled(Path(name) / "r")
        published = head(folder)
        change(folder, sorted(folder.iterdir()), k)
        assert not verify(folder, head=published).intact


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("k", [0, 1])
def test_changes_before_the_end_are_found_without_it(change, k, tmp_path: Path):
    folder = filled(tmp_path / "r")
    change(folder, sorted(folder.iterdir()), k)
    assert not verify(folder).intact
    with pytest.raises(DataError, match="unbroken"):
        sealed_table(folder)
    with pytest.raises(DataError, match="unbroken"):
        seal(folder, [one("z", 0.5)], model_digest="m")


def test_a_cut_end_is_found_by_the_published_head_only(tmp_path: Path):
    folder = filled(tmp_path / "r")
    published = head(folder)
    sorted(folder.iterdir())[-1].unlink()
    assert verify(folder).intact
    assert "cut off" in verify(folder, head=published).problems[0]


def test_a_clock_that_runs_backwards_is_told(tmp_path: Path):
    seal(tmp_path / "r", [one("a", 0.2)], model_digest="m", now=START_TIME)
    seal(tmp_path / "r", [one("b", 0.2)], model_digest="m", now=START_TIME - timedelta(hours=1))
    assert "before the file in front" in verify(tmp_path / "r").problems[0]


def test_nothing_to_seal_is_refused_with_every_reason(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        seal(tmp_path / "r", [], model_digest="")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "r").exists()


def outcomes(n: int) -> tuple[list[Forecast], pd.DataFrame]:
    rng = stream(3, "registry")
    risk = rng.uniform(0.05, 0.9, n)
    event = (rng.random(n) < risk).astype(int)
    made = [one(f"p{i:03d}", float(r)) for i, r in enumerate(risk)]
    frame = pd.DataFrame({"task": "icans_any", "patient_id": [f.patient_id for f in made], "landmark_h": 72.0})
    frame = frame.assign(time_h=np.where(event == 1, 100.0, 168.0), event=event)
    return made, frame.assign(known_at=(START_TIME + timedelta(days=9)).isoformat())


def test_scores_are_those_of_the_first_prospective_forecasts(tmp_path: Path):
    made, truth = outcomes(120)
    seal(tmp_path / "r", made[:100], model_digest="m", now=START_TIME)
    better = [one(f.patient_id, float(e)) for f, e in zip(made[:30], truth["event"][:30], strict=True)]
    seal(tmp_path / "r", better, model_digest="m2", now=START_TIME + timedelta(days=1))  # sealed again: does not count
    late = [one(f.patient_id, float(e)) for f, e in zip(made[100:], truth["event"][100:], strict=True)]
    seal(tmp_path / "r", late, model_digest="m", now=START_TIME + timedelta(days=10))  # after the outcome was known
    found = score_registry(tmp_path / "r", truth, n_boot=0)
    assert len(found.predictions) == 100
    assert found.left_out["reason"].value_counts().to_dict() == {
        "a forecast of the same was sealed before": 30, "the outcome was known before the forecast was sealed": 20,
    }  # fmt: skip
    brier = found.table.set_index("metric").loc["brier", "value"]
    risk = np.array([f.risk for f in made[:100]])
    assert brier == pytest.approx(float(((risk - truth["event"][:100]) ** 2).mean()))
    assert any("SYNTHETIC" in s for s in found.sentences)


def test_outcomes_without_a_time_of_knowledge_are_said_to_prove_nothing(tmp_path: Path):
    made, truth = outcomes(40)
    seal(tmp_path / "r", made, model_digest="m", now=START_TIME)
    found = score_registry(tmp_path / "r", truth.drop(columns="known_at").iloc[:30], n_boot=0)
    assert any("not shown" in s for s in found.sentences)
    assert found.left_out["reason"].tolist() == ["no outcome"] * 10


def test_bad_outcomes_are_told_all_at_once(tmp_path: Path):
    made, truth = outcomes(10)
    seal(tmp_path / "r", made, model_digest="m", now=START_TIME)
    twice = pd.concat([truth, truth.iloc[:2]]).assign(known_at="1 March")
    with pytest.raises(DataError) as caught:
        score_registry(tmp_path / "r", twice)
    assert len(caught.value.problems) == 2 + len(twice)
    with pytest.raises(DataError, match="event"):
        score_registry(tmp_path / "r", truth.drop(columns="event"))
