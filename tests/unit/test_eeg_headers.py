"""EDF headers that are broken, impossible, or lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icans.core.errors import DataError
from icans.signals.eeg import edf_header

FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


def edf(path: Path, signals: list[tuple], records: object = 5, record_s: object = 1, there: int = 5) -> Path:
    """A file with the given signals (label, unit, low, high, samples) and ``there`` data records."""
    count = len(signals)
    first = [
        "0",
        "X X X X",
        "Startdate X X X X",
        "01.01.85",
        "00.00.00",
        256 * (count + 1),
        "",
        records,
        record_s,
        count,
    ]
    head = "".join(str(v).ljust(w) for v, w in zip(first, (8, 80, 80, 8, 8, 8, 44, 8, 8, 4), strict=True))
    columns = [[s[0] for s in signals], [""] * count, [s[1] for s in signals], [s[2] for s in signals],
               [s[3] for s in signals], [-32768] * count, [32767] * count, [""] * count, [s[4] for s in signals],
               [""] * count]  # fmt: skip
    head += "".join(str(v).ljust(w) for values, w in zip(columns, FIELDS, strict=True) for v in values)
    size = sum(max(int(s[4]), 1) for s in signals)
    samples = (1000 * np.sin(np.arange(there * size) / 5)).astype("<i2")
    path.write_bytes(head.encode() + samples.tobytes())
    return path


GOOD = ("EEG Fp1", "uV", -500, 500, 100)


def test_a_good_header_reads(tmp_path):
    header = edf_header.read(edf(tmp_path / "a.edf", [GOOD, ("EEG Fp2", "uV", -500, 500, 100)]))
    assert header.labels == ("EEG Fp1", "EEG Fp2")
    assert header.samples == (100, 100)
    assert (header.records, header.flags, header.groups()) == (5, (), [None])


def test_every_problem_is_named_at_once(tmp_path):
    bad = [("EEG Fp1", "uV", 500, 500, -200), ("EEG Fp2", "uV", "lots", 500, 0)]
    with pytest.raises(DataError) as caught:
        edf_header.read(edf(tmp_path / "a.edf", bad, record_s=-1))
    told = str(caught.value)
    assert len(caught.value.problems) == 5
    for word in ("-200", "samples of signal 2", "physical range of signal 1", "duration of a data record"):
        assert word in told


@pytest.mark.parametrize(
    ("records", "there", "code"), [(50, 5, "file.truncated"), (-1, 5, "header.length"), (2, 5, "header.length")]
)
def test_a_lie_about_the_length_is_told_and_the_file_believed(tmp_path, records, there, code):
    header = edf_header.read(edf(tmp_path / "a.edf", [GOOD], records=records, there=there))
    assert header.records == there
    assert [flag.code for flag in header.flags] == [code]


@pytest.mark.parametrize("content", [b"", b"0" * 100, b"PK\x03\x04" + b"x" * 400, b"0       " + b"x" * 248])
def test_what_is_no_edf_is_refused(tmp_path, content):
    path = tmp_path / "a.edf"
    path.write_bytes(content)
    with pytest.raises(DataError):
        edf_header.read(path)


def test_a_header_without_samples_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one data record"):
        edf_header.read(edf(tmp_path / "a.edf", [GOOD], there=0))


def test_rates_are_parted_by_label(tmp_path):
    signals = [GOOD, ("EEG Fp2", "uV", -500, 500, 100), ("SpO2", "%", 0, 100, 1)]
    assert edf_header.read(edf(tmp_path / "a.edf", signals)).groups() == [["EEG Fp1", "EEG Fp2"], ["SpO2"]]
    signals = [GOOD, ("EEG Fp1", "uV", -500, 500, 50)]
    assert edf_header.read(edf(tmp_path / "b.edf", signals)).groups() == [None]
