"""One recording (synthetic) in five formats gives the same features; mixed rates and truncation are handled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eeg_signals as made
from icans.signals.eeg.analyse import EegResult, analyse
from icans.signals.eeg.reading import open_recording

mne = pytest.importorskip("mne")
edfio = pytest.importorskip("edfio")
pytest.importorskip("pybv")
pytest.importorskip("eeglabio")


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    step = 2000 / 65535  # what 16 bits of an EDF can hold from -1000 to 1000 uV
    data = made.scalp(20.0, 12.0) + made.on_sides(100 * made.train(20.0, 0.8), 1, 1)
    return (np.rint((data + 1000) / step)) * step - 1000


@pytest.fixture(scope="module")
def folder(data: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for kind, signal, suffix in ((edfio.Edf, edfio.EdfSignal, "edf"), (edfio.Bdf, edfio.BdfSignal, "bdf")):
        kind([signal(row, made.RATE, label=f"EEG {n}", physical_dimension="uV", physical_range=(-1000, 1000))
              for n, row in zip(made.NAMES, data, strict=True)]).write(folder / f"a.{suffix}")  # fmt: skip
    raw = mne.io.RawArray(data * 1e-6, mne.create_info(made.NAMES, made.RATE, "eeg"), verbose="ERROR")
    raw.save(folder / "a_raw.fif", verbose="ERROR")
    raw.export(folder / "a.vhdr", verbose="ERROR")
    raw.export(folder / "a.set", verbose="ERROR")
    return folder


def numbers(result: EegResult) -> pd.Series:
    return result.windows.drop(columns=["start_s", "stop_s"]).iloc[0].astype(float)


@pytest.fixture(scope="module")
def reference(data: np.ndarray) -> pd.Series:
    return numbers(analyse(made.recording(data)))


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "a.vhdr", "a.set", "a_raw.fif"])
def test_features_do_not_depend_on_the_format(folder, reference, name):
    found = numbers(analyse(folder / name))
    assert found.isna().equals(reference.isna())
    gap = (found - reference).abs() / reference.abs().clip(lower=0.02)
    assert gap.max() < 1e-3, gap.idxmax()


def test_a_truncated_file_is_read_as_far_as_it_goes_and_flagged(folder, tmp_path):
    whole = (folder / "a.edf").read_bytes()
    (tmp_path / "cut.edf").write_bytes(whole[: len(whole) * 3 // 4])
    result = analyse(tmp_path / "cut.edf", connectivity=False)
    assert "file.truncated" in result.doubts
    assert 14 <= result.recording.seconds <= 15


def test_channels_of_other_rates_do_not_disturb(data, reference, tmp_path):
    signals = [
        edfio.EdfSignal(row, made.RATE, label=n, physical_dimension="uV", physical_range=(-1000, 1000))
        for n, row in zip(made.NAMES, data, strict=True)
    ]
    signals.append(edfio.EdfSignal(np.full(20, 97.0), 1.0, label="SpO2", physical_range=(0, 100)))
    slow = np.sin(np.arange(20 * 100) / 9) * 500
    signals.append(edfio.EdfSignal(slow, 100.0, label="EKG", physical_dimension="uV", physical_range=(-1000, 1000)))
    edfio.Edf(signals).write(tmp_path / "mixed.edf")
    recording = open_recording(tmp_path / "mixed.edf")
    assert sorted(part.rate for part in recording.parts) == [100.0, 200.0]
    assert recording.eeg_names == tuple(made.NAMES)
    gap = (numbers(analyse(recording, heart=False)) - reference).abs() / reference.abs().clip(lower=0.02)
    assert gap.max() < 1e-3
