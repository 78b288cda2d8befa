"""Streaming: windows do not depend on how the recording is read; broken samples are left out (synthetic signals)."""

from __future__ import annotations

import numpy as np
import pytest

import eeg_signals as made
from icans.signals.eeg import artefacts, filters, prepare, windows
from icans.signals.eeg.analyse import analyse
from icans.signals.eeg.reading import from_array
from icans.signals.eeg.resampling import resample
from icans.signals.eeg.summary import summarise

NAMES = ("Fp1", "Cz", "O2")


@pytest.mark.parametrize("rate", [100.0, 128.0, 200.0, 250.0, 256.0, 512.0])
def test_the_working_signal_is_the_same_at_every_rate(rate):
    time = np.arange(int(20 * rate)) / rate
    wave = 10 * np.sin(2 * np.pi * 6 * time) + 5 * np.sin(2 * np.pi * 20 * time + 1)
    slow = prepare.working(wave[None], rate)[0]
    at = np.arange(len(slow)) / prepare.RATE
    expected = 10 * np.sin(2 * np.pi * 6 * at) + 5 * np.sin(2 * np.pi * 20 * at + 1)
    inside = slice(3 * prepare.RATE, -3 * prepare.RATE)
    np.testing.assert_allclose(slow[inside], expected[inside], atol=0.05)


@pytest.mark.parametrize("rate", [128, 256, 500])
def test_mains_is_gone_from_the_working_signal(rate):
    time = np.arange(20 * rate) / rate
    for hz in (50, 60):
        left = prepare.working(100 * np.sin(2 * np.pi * hz * time)[None], float(rate))[0][512:-512]
        assert np.abs(left).max() < 0.05


@pytest.mark.parametrize("rate", [64.0, 100.0, 200.0, 256.0, 499.9, 500.0, 2048.0])
def test_resampling_and_filtering_are_those_of_scipy(rate):
    from scipy.signal import butter, resample_poly, sosfiltfilt

    data = np.cumsum(np.random.default_rng(3).normal(size=(3, int(9.3 * rate))), axis=1)
    scale, taps = prepare.ratio(rate), prepare._taps(rate)
    made_here = resample(data, scale.numerator, scale.denominator, taps)
    theirs = resample_poly(data, scale.numerator, scale.denominator, axis=1, window=taps, padtype="line")
    np.testing.assert_allclose(made_here, theirs, atol=1e-12 * np.abs(theirs).max())
    sos = butter(2, [1.0, 20.0], "bandpass", fs=prepare.RATE, output="sos")
    filtered = filters.band_pass(theirs, 1.0, 20.0)
    np.testing.assert_array_equal(filtered, sosfiltfilt(sos, theirs, padlen=3 * prepare.RATE))


def test_blocks_join_without_a_seam(monkeypatch):
    recording = made.recording(made.scalp(75.0))
    whole = list(windows.stream(recording, NAMES, 1e6))
    monkeypatch.setattr(windows, "BLOCK_WINDOWS", 2)
    pieces = list(windows.stream(recording, NAMES, 1e6))
    assert [w.start_s for w in pieces] == [15.0 * i for i in range(5)] == [w.start_s for w in whole]
    for a, b in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(a.data, b.data, atol=0.02)
    again = windows.window_at(recording, NAMES, 1e6, 3)
    np.testing.assert_array_equal(again.data, pieces[3].data)


def test_no_more_is_read_than_a_block_needs():
    asked: list[int] = []
    data = made.scalp(400.0)
    recording = made.recording(data)
    part = recording.parts[0]

    def read(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return part.read(start, stop)

    from dataclasses import replace

    watched = replace(recording, parts=(replace(part, read=read),))
    assert len(list(windows.stream(watched, NAMES, 1e6))) == 27
    most = windows.BLOCK_WINDOWS * windows.WINDOW_S + 2 * prepare.PADDING_S + 1
    assert max(asked) <= most * made.RATE


def test_parts_of_two_rates_keep_their_time():
    time_a, time_b = np.arange(30 * 200) / 200, np.arange(30 * 256) / 256
    a = from_array(np.sin(2 * np.pi * 5 * time_a)[None] * 20, 200.0, ["Fp1"])
    b = from_array(np.sin(2 * np.pi * 5 * time_b)[None] * 20, 256.0, ["O2"])
    from dataclasses import replace

    both = replace(a, parts=(a.parts[0], b.parts[0]))
    found = next(iter(windows.stream(both, ("Fp1", "O2"), 1e6))).data[:, 400:1500]
    np.testing.assert_allclose(found[0], found[1], atol=0.1)


def test_numbers_that_are_none_are_left_out_and_written_down():
    data = made.scalp(60.0)
    data[4, int(20 * made.RATE) : int(22 * made.RATE)] = np.nan
    data[7, int(40 * made.RATE)] += 4000
    result = analyse(made.recording(data), connectivity=False)
    gone = result.left_out.set_index("channel")
    assert gone.loc[made.NAMES[4], "reason"] == "no number"
    assert gone.loc[made.NAMES[4], "start_s"] <= 20 <= 22 <= gone.loc[made.NAMES[4], "stop_s"]
    assert gone.loc[made.NAMES[7], "reason"] == "jump"
    assert np.isfinite(result.windows["dtabr"]).all()


def test_heart_beats_are_removed_where_there_is_an_ecg():
    seconds = 30.0
    time = np.arange(int(seconds * made.RATE)) / made.RATE
    beat = np.zeros_like(time)
    for at in np.arange(0.5, seconds - 0.5, 0.85):
        beat += np.exp(-(((time - at) / 0.012) ** 2))
    clean = made.scalp(seconds, 5.0)
    loud = clean + 60 * beat * np.linspace(0.4, 1.0, 19)[:, None]
    names = [*made.NAMES, "EKG"]
    with_ecg = analyse(made.recording(np.vstack([loud, 900 * beat]), names), connectivity=False)
    assert "heart" in {flag.code for flag in with_ecg.flags}
    target, kept = (analyse(made.recording(x), connectivity=False).windows["power_beta"] for x in (clean, loud))
    removed = with_ecg.windows["power_beta"]
    assert np.median(np.abs(removed / target - 1)) < 0.25 < np.median(np.abs(kept / target - 1))


def test_an_ecg_without_beats_takes_nothing():
    noise = made.pink(1, 30, prepare.RATE)[0]
    assert len(prepare.beats(noise)) == 0
    assert len(prepare.beats(np.zeros(2000))) == 0


def test_jumps_are_relative_to_the_window():
    data = np.full((3, 15 * prepare.RATE), 1.0) * np.sin(np.arange(15 * prepare.RATE)) * 400
    window = windows.Window(0.0, 15.0, data, np.zeros(data.shape, dtype=bool), np.zeros(3))
    good, gone = artefacts.good_seconds(window, ("a", "b", "c"))
    assert good.all()
    assert gone == []


def test_the_summary_has_medians_spread_and_intervals():
    import pandas as pd

    frame = pd.DataFrame({"start_s": np.arange(41.0), "x": np.arange(41.0), "y": [np.nan] * 41})
    found = summarise(frame)
    assert found.loc["x", "median"] == 20
    assert found.loc["x", "iqr"] == 20
    assert found.loc["x", "median_low"] < 20 < found.loc["x", "median_high"]
    assert found.loc["y", "windows"] == 0
