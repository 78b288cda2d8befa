"""The first look at a recording: units, mains, dead, flipped, exchanged and missing channels (synthetic signals)."""

from __future__ import annotations

import numpy as np
import pytest

import eeg_signals as made
from icans.core.errors import DataError
from icans.core.random import stream
from icans.signals.eeg.analyse import analyse
from icans.signals.eeg.reading import from_array, open_recording
from icans.signals.eeg.survey import survey


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return made.scalp(16.0, 15.0)


def codes(values: np.ndarray, names: list[str] | None = None) -> dict[str, str]:
    recording = made.recording(values, names)
    return {flag.code: flag.where for flag in (*recording.flags, *survey(recording).flags)}


def test_a_clean_recording_has_no_doubt(data):
    found = survey(made.recording(data))
    assert found.names == tuple(made.NAMES)
    assert found.flags == ()
    np.testing.assert_allclose(found.amplitude_uv, 15.0, rtol=0.2)


@pytest.mark.parametrize(("factor", "scale"), [(1e6, 1.0), (1e3, 1e3), (1e-6, 1e12)])
def test_numbers_in_another_unit_are_brought_back_and_told(data, factor, scale):
    found = survey(made.recording(data * factor))
    assert [flag.code for flag in found.flags] == ["unit.corrected"]
    assert found.scale == pytest.approx(scale)
    same = analyse(made.recording(data), connectivity=False).windows
    moved = analyse(made.recording(data * factor), connectivity=False).windows
    np.testing.assert_allclose(moved["power_delta"], same["power_delta"], rtol=1e-6)


def test_what_no_unit_explains_gives_no_number(data):
    result = analyse(made.recording(data * 100), connectivity=False)
    assert not result.usable
    assert [f.code for f in result.flags if f.severity == "unusable"] == ["amplitude.impossible"]


@pytest.mark.parametrize("name", ["F3", "Cz", "P4"])
def test_a_flipped_channel_is_found_and_left_out(data, name):
    spoiled = data.copy()
    spoiled[made.NAMES.index(name)] *= -1
    found = survey(made.recording(spoiled))
    assert found.left_out == {name: "polarity reversed against its neighbours"}
    assert name not in found.names


def test_flat_disconnected_and_exchanged_channels_are_found(data):
    spoiled = data.copy()
    spoiled[3] = 0.0
    spoiled[8] = stream(1, "eeg", "loose").normal(0, 500, data.shape[1])
    found = survey(made.recording(spoiled)).left_out
    assert found[made.NAMES[3]] == "flat"
    assert "far larger" in found[made.NAMES[8]]
    swapped = data.copy()
    a, b = made.NAMES.index("T7"), made.NAMES.index("T8")
    swapped[[a, b]] = data[[b, a]]
    assert codes(swapped)["channel.swapped"] == "T7, T8"


def test_where_neighbours_share_nothing_the_check_is_said_to_be_impossible(data):
    alone = data.copy()
    alone[made.NAMES.index("F3")] = stream(1, "eeg", "alone").normal(0, data.std(), data.shape[1])
    assert "F3" in codes(alone)["channel.unchecked"].split(", ")
    assert "channel.unchecked" not in codes(data)


@pytest.mark.parametrize("hz", [50.0, 60.0])
def test_mains_are_told_and_filtered(data, hz):
    time = np.arange(data.shape[1]) / made.RATE
    loud = data + 40 * np.sin(2 * np.pi * hz * time)
    assert "mains" in codes(loud)
    before, after = (analyse(made.recording(x), connectivity=False).windows for x in (data, loud))
    for name in ("dtabr", "median_frequency", "sef95", "suppression_share", "power_beta"):
        np.testing.assert_allclose(after[name], before[name], rtol=0.05, err_msg=name)


def test_missing_and_doubled_electrodes_are_told(data):
    kept = [n for n in made.NAMES if n != "P3"]
    assert codes(np.delete(data, made.NAMES.index("P3"), 0), kept)["montage.partial"] == "P3"
    doubled = ["Fp1", *made.NAMES]
    assert "channel.duplicated" in codes(np.vstack([data[:1], data]), doubled)
    assert "reference.missing" in codes(data)
    assert "reference.missing" not in codes(data, [f"EEG {n}-REF" for n in made.NAMES])


def test_two_leads_and_one_channel_give_features():
    data = made.scalp(60.0)[:2]
    for names in (["Fp1-F7", "Fp2-F8"], ["Fp1", "Fp2"], ["Fp2-Pz"]):
        result = analyse(made.recording(data[: len(names)], names))
        row = result.windows.iloc[0]
        assert np.isfinite(row[["dtabr", "ratio_3_10", "suppression_share", "median_frequency"]].to_numpy(float)).all()
        assert "montage.partial" in {flag.code for flag in result.flags}
    assert np.isfinite(row["pda_prevalence"])


@pytest.mark.parametrize(
    ("rate", "names", "shape", "told"),
    [
        (-200.0, ["Fp1"], (1, 2000), "sampling rate"), (float("nan"), ["Fp1"], (1, 2000), "sampling rate"),
        (20.0, ["Fp1"], (1, 2000), "sampling rate"), (200.0, ["Nose"], (1, 2000), "electrode"),
        (200.0, ["Fp1", "Fp2"], (1, 2000), "one row a name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(rate, names, shape, told):
    with pytest.raises(DataError, match=told):
        from_array(np.ones(shape), rate, names)


def test_short_recordings_are_refused_or_flagged(data):
    with pytest.raises(DataError, match="at least 4 s"):
        analyse(made.recording(data[:, : int(3 * made.RATE)]))
    result = analyse(made.recording(data[:, : int(10 * made.RATE)]), connectivity=False)
    assert result.usable
    assert "recording.short" in result.doubts


def test_no_file_and_no_eeg_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_recording(tmp_path / "none.edf")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="ends in one of"):
        open_recording(tmp_path / "notes.txt")
    pytest.importorskip("mne")
    for suffix in ("set", "vhdr", "fif"):
        (tmp_path / f"a_raw.{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match="can be read"):
            open_recording(tmp_path / f"a_raw.{suffix}")
