"""EEG files through MNE (Gramfort et al. 2013, doi:10.3389/fnins.2013.00267), opened without loading the samples.

EDF, EDF+ and BDF, BrainVision, EEGLAB and FIF. Files of mixed sampling rates are opened once a rate, so that no
channel is resampled piecewise by the reader.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import DataError, Problem
from icans.signals.eeg import edf_header
from icans.signals.eeg.channels import EARS, Channel, parse_all
from icans.signals.eeg.flags import Flag, Severity
from icans.signals.eeg.optional import need_mne

FORMATS = {".edf": "EDF", ".rec": "EDF", ".bdf": "BDF", ".vhdr": "BrainVision", ".set": "EEGLAB", ".fif": "FIF"}
#: Sampling rates that an EEG may have, Hz. Below the first, the beta band is beyond reach.
RATE_RANGE = (64.0, 50_000.0)


@dataclass(frozen=True)
class Part:
    """Channels of one sampling rate. ``read(start, stop)`` gives shape (channels, stop - start), volts as declared."""

    rate: float
    samples: int
    channels: tuple[Channel, ...]
    read: Callable[[int, int], npt.NDArray[np.float64]] = field(repr=False)


@dataclass(frozen=True)
class Recording:
    """An open recording: its parts by sampling rate, its length, and flags met while opening it."""

    path: str
    format: str
    seconds: float
    parts: tuple[Part, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Every channel, part by part."""
        return tuple(channel for part in self.parts for channel in part.channels)

    @property
    def eeg_names(self) -> tuple[str, ...]:
        """Names of the EEG channels."""
        return tuple(c.name for c in self.channels if c.kind == "eeg")


def open_recording(path: str | Path) -> Recording:
    """Open an EEG file; samples are read when they are asked for.

    Raises
    ------
    DataError
        The file is no EEG that can be read, its header is impossible, or it has no EEG channel. Every problem of a
        header is named at once.
    IcansError
        The optional package MNE is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(sorted(FORMATS))
        raise _refused(path, "name", path.suffix, f"a file name that ends in one of {known}",
                       "Export the recording as EDF.")  # fmt: skip
    flags: list[Flag] = []
    if kind in ("EDF", "BDF"):
        header = edf_header.read(path)
        flags += header.flags
        raws = [_mne(path, kind, include) for include in header.groups()]
    else:
        raws = [_mne(path, kind, None)]
    parts = _parts(path, raws)
    return _recording(path, kind, parts, flags)


def from_array(
    data: npt.NDArray[np.float64], rate: float, names: list[str], *, name: str = "array", volts: bool = False
) -> Recording:
    """A recording from samples in memory.

    Parameters
    ----------
    data
        Shape (channels, samples), microvolts (volts with ``volts``).
    rate
        Sampling rate, Hz.
    names
        Labels, one a channel.

    Raises
    ------
    DataError
        Shape, rate or names that cannot be.
    """
    if data.ndim != 2 or len(data) != len(names):
        raise _refused(Path(name), "shape", str(data.shape), f"({len(names)}, samples), one row a name",
                       "Turn the array round, or name every channel.")  # fmt: skip
    scale = 1.0 if volts else 1e-6
    channels, doubles = parse_all(names)
    part = Part(rate, data.shape[1], tuple(channels), lambda start, stop: data[:, start:stop] * scale)
    return _recording(Path(name), "array", (_checked(Path(name), part),), _double_flags(doubles))


def _recording(path: Path, kind: str, parts: tuple[Part, ...], flags: list[Flag]) -> Recording:
    labels = [c.label for part in parts for c in part.channels]
    if not any(c.kind == "eeg" for part in parts for c in part.channels):
        raise _refused(path, "channels", ", ".join(labels)[:200], "at least one channel named after an electrode "
                       "of the 10-20 or 10-10 system", "Rename the channels.")  # fmt: skip
    doubles = [c.label for part in parts for c in part.channels if c.kind == "other" and _is_double(c, parts)]
    known = {flag.code for flag in flags}
    if doubles and "channel.duplicated" not in known:
        flags = [*flags, *_double_flags(doubles)]
    references = {c.reference for part in parts for c in part.channels if c.kind == "eeg" and not c.bipolar}
    if references == {None}:
        text = "the file names no reference; features rest on derivations and on the average reference"
        flags = [*flags, Flag("reference.missing", "note", text)]
    elif len(references) > 1:
        written = ", ".join(sorted(str(r) for r in references))
        severity: Severity = "note" if all(r in EARS for r in references) else "doubt"
        flags = [*flags, Flag("reference.mixed", severity, f"channels have different references: {written}")]
    seconds = max(part.samples / part.rate for part in parts if any(c.kind == "eeg" for c in part.channels))
    return Recording(path.name, kind, seconds, parts, tuple(flags))


def _is_double(channel: Channel, parts: tuple[Part, ...]) -> bool:
    return any(c.kind == "eeg" and c.name == channel.name for part in parts for c in part.channels)


def _double_flags(doubles: list[str]) -> list[Flag]:
    if not doubles:
        return []
    text = "channels with the name of an earlier one were set aside"
    return [Flag("channel.duplicated", "doubt", text, ", ".join(doubles))]


def _parts(path: Path, raws: list[Any]) -> tuple[Part, ...]:
    """One part a file handle; an electrode that stands under two sampling rates counts once, in the first.

    Rates at which nothing electrical was recorded (a pulse oximeter, a trigger) are left out.
    """
    labels = [list(raw.ch_names) for raw in raws]
    channels, _ = parse_all([label for group in labels for label in group])
    made, first = [], 0
    for raw, group in zip(raws, labels, strict=True):
        mine = tuple(channels[first : first + len(group)])
        first += len(group)
        if len(raws) == 1 or any(c.kind != "other" for c in mine):
            made.append(_part(path, raw, mine))
    if not made:
        made = [_part(path, raws[0], tuple(channels[: len(labels[0])]))]
    return tuple(made)


def _part(path: Path, raw: Any, channels: tuple[Channel, ...]) -> Part:

    def read(start: int, stop: int) -> npt.NDArray[np.float64]:
        return np.asarray(raw.get_data(start=start, stop=min(stop, raw.n_times)), dtype=float)

    return _checked(path, Part(float(raw.info["sfreq"]), int(raw.n_times), channels, read))


def _checked(path: Path, part: Part) -> Part:
    low, high = RATE_RANGE
    if not low <= part.rate <= high and (any(c.kind == "eeg" for c in part.channels) or part.rate <= 0):
        raise _refused(path, "sampling rate", f"{part.rate:g} Hz", f"a rate between {low:g} and {high:g} Hz",
                       "Check the header of the file.")  # fmt: skip
    return part


def _mne(path: Path, kind: str, include: list[str] | None) -> Any:
    """The file as MNE sees it; whatever the reader raises becomes a named problem."""
    mne = need_mne()
    readers: dict[str, Callable[..., Any]] = {
        "EDF": mne.io.read_raw_edf,
        "BDF": mne.io.read_raw_bdf,
        "BrainVision": mne.io.read_raw_brainvision,
        "EEGLAB": mne.io.read_raw_eeglab,
        "FIF": mne.io.read_raw_fif,
    }
    chosen = {"include": include} if include is not None else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return readers[kind](str(path), preload=False, verbose="ERROR", **chosen)
    except Exception as error:  # readers of foreign files raise many kinds; any of them means "not readable"
        message = f"{type(error).__name__}: {error}"[:300]
        raise _refused(path, None, message, f"a {kind} file that can be read", "Export it again.") from error


def _refused(path: Path, column: str | None, value: str | None, expected: str, remedy: str) -> DataError:
    return DataError([Problem(path.name, None, column, value, expected, remedy)])
