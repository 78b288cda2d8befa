"""EEG on the bench: five formats, bad input, speed, memory, and the library that couples channels in general.

Recordings are real clips (``vecams_eeg_clips``, Tesh et al. 2022) put end to end as often as needed: the samples are
real, the length is SYNTHETIC, and so are the channels beyond 19 (mixtures of two, with noise). Speed is CPU time of
one thread, the best of three runs.

Run: ``ICANS_DATA=... python benchmarks/eeg.py`` (about ten minutes; ``--quick`` leaves out the 8 hours). Needs the
packages edfio, pybv, eeglabio and mne-connectivity. Results: ``benchmarks/results/eeg/bench.md``, ``bench.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.random import stream

RESULTS = Path(__file__).parent / "results" / "eeg"
SEED = 20261125
RATE = 256
#: Features below this size are compared by difference, not by ratio.
SMALL = 0.02
EXTRA = ("F9", "F10", "T9", "T10", "P9", "P10", "FC1", "FC2", "CP1", "CP2", "FC5", "FC6", "CP5")
HOURS = 8
#: Length written sample by sample; what is longer repeats its data records.
SHORT_S = 1800
ASKED = {"with connectivity": 40, "without": 250}


def clips(folder: Path) -> dict[str, Any]:
    import mne

    mne.set_log_level("ERROR")
    return {p.stem: mne.io.read_raw_edf(p, preload=True) for p in sorted(folder.glob("*.edf"))}


def features(result: Any) -> pd.Series:
    return result.windows.iloc[0].astype(float).drop(["start_s", "stop_s", "usable_share", "heart_share"])


def difference(a: pd.Series, b: pd.Series) -> pd.Series:
    return (a - b).abs() / b.abs().clip(lower=SMALL)


def write_formats(raw: Any, folder: Path) -> list[Path]:
    """The recording as BDF (24 bit), BrainVision, EEGLAB and FIF."""
    import edfio

    data = raw.get_data() * 1e6
    span = float(np.ceil(np.abs(data).max() + 1))
    signals = [
        edfio.BdfSignal(row, raw.info["sfreq"], label=name[:16], physical_dimension="uV", physical_range=(-span, span))
        for name, row in zip(raw.ch_names, data, strict=True)
    ]
    edfio.Bdf(signals).write(folder / "clip.bdf")
    typed = raw.copy().set_channel_types({"EKG": "ecg"})
    for name in ("clip.vhdr", "clip.set"):
        typed.export(folder / name, overwrite=True)
    typed.save(folder / "clip_raw.fif", overwrite=True)
    return [folder / "clip.bdf", folder / "clip.vhdr", folder / "clip.set", folder / "clip_raw.fif"]


def formats(recordings: dict[str, Any], folder: Path) -> pd.DataFrame:
    """Largest relative difference of any feature, by format, over all clips; against the samples in memory.

    The EDF is the clip as delivered; the others hold its samples.
    """
    from icans.signals.eeg.analyse import analyse
    from icans.signals.eeg.reading import from_array

    rows = []
    with tempfile.TemporaryDirectory() as name:
        for clip, raw in recordings.items():
            reference = features(analyse(from_array(raw.get_data() * 1e6, raw.info["sfreq"], list(raw.ch_names))))
            for path in [folder / f"{clip}.edf", *write_formats(raw, Path(name))]:
                found = difference(features(analyse(path)), reference)
                rows.append((path.suffix[1:], clip, float(found.max()), str(found.idxmax()), float(found.median())))
    frame = pd.DataFrame(rows, columns=["format", "clip", "largest", "feature", "median"])
    worst = frame.loc[frame.groupby("format")["largest"].idxmax()]
    within = frame.groupby("format")["largest"].apply(lambda v: f"{int((v < 1e-3).sum())} of {len(v)}")
    return worst.assign(**{"clips within 0.001": worst["format"].map(within)})


def spoiled(data: np.ndarray, rate: float, names: list[str], rng: np.random.Generator) -> dict[str, tuple]:
    """The recording spoiled in one way each: kind -> samples, names."""
    time_s = np.arange(data.shape[1]) / rate
    one = int(rng.integers(19))
    out: dict[str, tuple] = {"every channel turned round": (-data, names)}

    def changed(rows: Any, values: np.ndarray) -> np.ndarray:
        copy = data.copy()
        copy[rows] = values
        return copy

    out["one channel turned round"] = (changed(one, -data[one]), names)
    out["one channel missing"] = (np.delete(data, one, 0), [n for i, n in enumerate(names) if i != one])
    out["one channel flat"] = (changed(one, np.zeros(data.shape[1])), names)
    out["one channel off the head"] = (changed(one, rng.normal(0, 40 * data.std(), data.shape[1])), names)
    left, right = names.index("EEG F3"), names.index("EEG F4")
    out["F3 and F4 exchanged"] = (changed([left, right], data[[right, left]]), names)
    for hz in (50, 60):
        mains = 50 * np.sin(2 * np.pi * hz * time_s) * rng.uniform(0.5, 1.5, (len(data), 1))
        out[f"mains of {hz} Hz, 50 uV"] = (data + mains, names)
    out["uV read as V"] = (data * 1e6, names)
    out["mV read as V"] = (data * 1e3, names)
    holes = data.copy()
    holes[:, int(5 * rate) : int(5.5 * rate)] = np.nan
    out["half a second of no numbers"] = (holes, names)
    return out


def exchanges(recordings: dict[str, Any]) -> pd.DataFrame:
    """Every pair of mirror electrodes of every clip exchanged: named, not named, and named as delivered."""
    from icans.signals.eeg.channels import mirror, parse_all
    from icans.signals.eeg.reading import from_array
    from icans.signals.eeg.survey import survey

    def said(data: np.ndarray, raw: Any) -> list[tuple[str, str]]:
        found = survey(from_array(data, raw.info["sfreq"], list(raw.ch_names)))
        return [(flag.code, flag.where) for flag in found.flags if flag.code.startswith("channel.")]

    rows = []
    for clip, raw in recordings.items():
        data = raw.get_data() * 1e6
        before = said(data, raw)
        plain = {channel.name: i for i, channel in enumerate(parse_all(list(raw.ch_names))[0])}
        for one, i in plain.items():
            other = mirror(one)
            if plain.get(other, -1) <= i:
                continue
            exchanged = data.copy()
            exchanged[[i, plain[other]]] = data[[plain[other], i]]
            swap = ("channel.swapped", f"{one}, {other}")
            after = said(exchanged, raw)
            about = any({one, other} & set(re.split(r"[:;,] *", where)) for _, where in after)
            rows.append((clip, swap[1], swap in after, about and swap not in after, not about, swap in before))
    names = ["clip", "pair", "named", "left out or told unchecked", "missed", "named as delivered"]
    frame = pd.DataFrame(rows, columns=names)
    grouped = frame.groupby("pair", sort=False)
    table = pd.DataFrame({"clips": grouped.size(), **{name: grouped[name].sum() for name in names[2:]}})
    table["missed in"] = frame[frame["missed"]].groupby("pair")["clip"].agg(", ".join)
    return table.fillna("").reset_index()


def robustness(recordings: dict[str, Any]) -> pd.DataFrame:
    """By kind of spoiling: how often flagged, and how far spectral and all features move."""
    from icans.signals.eeg.analyse import analyse
    from icans.signals.eeg.reading import from_array

    rows = []
    for clip, raw in recordings.items():
        rng = stream(SEED, "eeg", "spoil", clip)
        data, rate, names = raw.get_data() * 1e6, raw.info["sfreq"], list(raw.ch_names)
        whole = analyse(from_array(data, rate, names), connectivity=False)
        clean, before = features(whole), {(flag.code, flag.where) for flag in whole.flags}
        usual = {"reference.missing", "recording.short", "heart"}
        rows.append(("nothing", bool({code for code, _ in before} - usual), False, 0.0, 0.0, True))
        for kind, (values, labels) in spoiled(data, rate, names, rng).items():
            result = analyse(from_array(values, rate, labels), connectivity=False)
            flagged = len({(flag.code, flag.where) for flag in result.flags} - before) > 0
            unchecked = {"exchanged", "turned"} & set(kind.split()) and "channel.unchecked" in {
                flag.code for flag in result.flags
            }
            told = not flagged and bool(unchecked)
            found = difference(features(result), clean) if result.usable else pd.Series({"dtabr": np.inf})
            spectral = float(found.reindex(["dtabr", "median_frequency", "sef95"]).max())
            kept = flagged or told or float(found.max()) <= 0.05
            rows.append((kind, flagged, told, spectral, float(found.max()), kept))
    frame = pd.DataFrame(rows, columns=["kind", "flagged", "told", "spectral", "any", "kept"])
    grouped = frame.groupby("kind", sort=False)
    return pd.DataFrame({
        "clips": grouped.size(), "flagged": grouped["flagged"].mean(),
        "says that it cannot be checked": grouped["told"].mean(),
        "within 5 % or flagged": grouped["kept"].mean(),
        "spectral features, median change": grouped["spectral"].median(),
        "spectral features, largest": grouped["spectral"].max(),
    }).reset_index()  # fmt: skip


def long_recording(recordings: dict[str, Any], path: Path, seconds: float, channels: int) -> None:
    """An EDF of the clips at 256 Hz, end to end until it is as long as asked (SYNTHETIC length)."""
    import edfio

    pieces = []
    for raw in recordings.values():
        pieces.append(raw.copy().resample(RATE).get_data() * 1e6)
    names = list(next(iter(recordings.values())).ch_names)
    data = np.clip(np.concatenate(pieces, axis=1), -3000, 3000)
    rng = stream(SEED, "eeg", "channels")
    if channels > 19:
        mixed = [
            data[[i % 19, (7 * i + 3) % 19]].mean(axis=0) + rng.normal(0, 2, data.shape[1])
            for i in range(channels - 19)
        ]
        data, names = np.vstack([data, *[m[None] for m in mixed]]), names + list(EXTRA[: channels - 19])
    short = min(seconds, SHORT_S)
    data = np.tile(data, int(np.ceil(short * RATE / data.shape[1])))[:, : int(short * RATE)]
    signals = [
        edfio.EdfSignal(row, RATE, label=name[:16], physical_dimension="uV", physical_range=(-3200, 3200))
        for name, row in zip(names, data, strict=True)
    ]
    edfio.Edf(signals, data_record_duration=1).write(path)
    if seconds > short:
        repeat(path, int(seconds // short))


def repeat(path: Path, times: int) -> None:
    """The data records of an EDF again and again, behind a header that says so; memory stays small."""
    raw = path.read_bytes()
    size = int(raw[184:192])
    records = int(raw[236:244])
    with path.open("wb") as file:
        file.write(raw[:236] + str(records * times).ljust(8).encode() + raw[244:size])
        for _ in range(times):
            file.write(raw[size:])


def timed(path: str, connectivity: bool) -> dict[str, float]:
    """CPU seconds (best of three), in this process."""
    from icans.signals.eeg.analyse import analyse

    best = np.inf
    for _ in range(3):
        start = time.process_time()
        result = analyse(path, connectivity=connectivity)
        best = min(best, time.process_time() - start)
    return {"cpu_s": best, "times_real": result.recording.seconds / best}


def once(path: str) -> dict[str, float]:
    """CPU seconds and peak memory of one pass with connectivity, for a process of its own."""
    from icans.signals.eeg.analyse import analyse

    start = time.process_time()
    result = analyse(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": time.process_time() - start, "windows": len(result.windows), "peak_mb": peak}


def speed(recordings: dict[str, Any], folder: Path) -> pd.DataFrame:
    rows = []
    for channels in (19, 32):
        path = folder / f"speed{channels}.edf"
        long_recording(recordings, path, 1800, channels)
        for title, connectivity in (("with connectivity", True), ("without", False)):
            found = timed(str(path), connectivity)
            rows.append({"channels": channels, "connectivity": title, "minutes": 30, **found, "asked": ASKED[title]})
    return pd.DataFrame(rows)


def memory(recordings: dict[str, Any], folder: Path, hours: float) -> pd.DataFrame:
    """Peak memory by length of the recording, each in a process of its own."""
    rows = []
    for length in (0.25, hours):
        path = folder / "long.edf"
        long_recording(recordings, path, 3600 * length, 32)
        command = [sys.executable, __file__, "--once", str(path)]
        told = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        rows.append({"hours": length, "channels": 32, "file_mb": path.stat().st_size / 1e6, **json.loads(told)})
    return pd.DataFrame(rows)


def coupling_against_library(recordings: dict[str, Any]) -> dict[str, float]:
    """Debiased squared wPLI of one minute, ours and mne-connectivity's: largest difference, and CPU seconds."""
    import mne_connectivity

    from icans.signals.eeg import connectivity, prepare

    raws = list(recordings.values())[:4]
    data = np.concatenate(
        [prepare.working(r.get_data()[:19] * 1e6, r.info["sfreq"])[:, : 14 * 128] for r in raws], axis=1
    )
    good = np.ones((19, data.shape[1] // 128), dtype=bool)
    connectivity.couplings(data[:, :512], good[:, :4])
    start = time.process_time()
    ours = connectivity.couplings(data, good).index()
    mine = time.process_time() - start
    epochs = data.reshape(19, -1, 256).transpose(1, 0, 2)
    epochs = epochs - epochs.mean(axis=2, keepdims=True)

    def theirs() -> Any:
        return mne_connectivity.spectral_connectivity_epochs(
            epochs, method="wpli2_debiased", mode="multitaper", sfreq=128, fmin=(1.0, 4.0, 8.0, 13.0),
            fmax=(3.99, 7.99, 12.99, 29.99), faverage=True, mt_bandwidth=2.0, verbose="ERROR",
        ).get_data("dense")  # fmt: skip

    theirs()
    start = time.process_time()
    found = theirs()
    other = time.process_time() - start
    lower = np.tril_indices(19, -1)
    gaps = [np.abs(ours[b][lower] - found[..., k][lower]) for k, b in enumerate(connectivity.BANDS)]
    return {"largest difference": float(np.max(gaps)), "median difference": float(np.median(gaps)), "cpu_s": mine,
            "cpu_s, library": other}  # fmt: skip


def markdown(frame: pd.DataFrame) -> str:
    def shown(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(shown(v) for v in row) + " |" for row in frame.itertuples(index=False)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--once")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="one part anew, the others as they were")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once)))
        return
    warnings.simplefilter("ignore")
    folder = Path(os.environ["ICANS_DATA"]) / "vecams_eeg_clips"
    recordings = clips(folder)
    with tempfile.TemporaryDirectory() as name:
        makers: dict[str, Callable[[], pd.DataFrame]] = {
            "Five formats": lambda: formats(recordings, folder),
            "Bad input": lambda: robustness(recordings),
            "Pairs of channels exchanged": lambda: exchanges(recordings),
            "Speed (SYNTHETIC length)": lambda: speed(recordings, Path(name)),
            "Memory (SYNTHETIC length)": lambda: memory(recordings, Path(name), 1.0 if options.quick else HOURS),
            "Coupling against mne-connectivity": lambda: pd.DataFrame([coupling_against_library(recordings)]),
        }
        kept = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8")) if options.only else {}
        parts = {
            title: make() if options.only in (None, title) else pd.DataFrame(kept.get(title, []))
            for title, make in makers.items()
        }
    text = "# EEG on the bench\n\n" + __doc__.split("Run:")[0].strip() + "\n"
    for title, frame in parts.items():
        text += f"\n## {title}\n\n{markdown(frame)}\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "bench.md").write_text(text, encoding="utf-8")
    record = {title: frame.to_dict("records") for title, frame in parts.items()}
    (RESULTS / "bench.json").write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
