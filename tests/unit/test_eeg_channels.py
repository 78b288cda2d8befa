"""Channel names as hospitals write them."""

from __future__ import annotations

import numpy as np
import pytest

from icans.signals.eeg.channels import POSITIONS, mirror, parse, parse_all, side
from icans.signals.eeg.montage import positions


@pytest.mark.parametrize(
    ("label", "name", "reference"),
    [
        ("EEG Fp1-REF", "Fp1", "REF"), ("FP1-AVG", "Fp1", "AVG"), ("T3", "T7", None), ("EEG T6-A2", "P8", "A2"),
        ("fz", "Fz", None), ("Pz.", "Pz", None), ("POL F3", "F3", None), ("C3_M2", "C3", "M2"), ("CPz", "CPz", None),
        ("Fp2 - F8", "Fp2-F8", "F8"), ("T4-T6", "T8-P8", "P8"), ("EEG O1-CS2", "O1", "CS2"), ("AF7", "AF7", None),
    ],
)  # fmt: skip
def test_a_label_is_an_electrode_or_a_derivation(label, name, reference):
    channel = parse(label)
    assert (channel.name, channel.kind, channel.reference) == (name, "eeg", reference)
    assert channel.bipolar == ("-" in name)


@pytest.mark.parametrize("label", ["EOG L", "E1", "Resp", "SpO2", "EMG chin", "Photic", "DC01", "X1", "Sp1", "STI 014"])
def test_what_is_no_brain_is_other(label):
    assert parse(label).kind == "other"


@pytest.mark.parametrize("label", ["EKG", "ECG1-ECG2", "EEG EKG-REF", "ecg II"])
def test_the_heart_is_found(label):
    assert parse(label).kind == "ecg"


def test_a_double_is_set_aside_and_running_numbers_are_understood():
    channels, doubles = parse_all(["Fp1-0", "Fp1-1", "EEG Fp1", "Fp2", "A1", "T3", "T7"])
    assert [c.name for c in channels if c.kind == "eeg"] == ["Fp1", "Fp2", "T7"]
    assert doubles == ["Fp1-1", "EEG Fp1", "T7"]


def test_mirror_is_its_own_inverse_and_changes_sides():
    other = {"left": "right", "right": "left", "middle": "middle"}
    for name in [*POSITIONS.values(), "Fp1-F7", "Fz-Cz"]:
        assert mirror(mirror(name)) == name
        assert side(mirror(name)) == other[side(name)]


def test_every_position_has_its_place_and_mirrors_lie_opposite():
    places = positions()
    assert set(POSITIONS.values()) - set(places) == set()
    for name in POSITIONS.values():
        x, y, z = places[name]
        assert abs(x * x + y * y + z * z - 1) < 1e-3
        a, b, c = places[mirror(name)]
        assert abs(x + a) + abs(y - b) + abs(z - c) < 0.2


def test_positions_are_those_of_mne():
    mne = pytest.importorskip("mne")
    named = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    theirs = mne.channels.make_standard_montage(named).get_positions()["ch_pos"]
    centre = (theirs["T7"] + theirs["T8"]) / 2 + [0, 0, 0.01]
    for name, place in positions().items():
        away = theirs[name] - centre
        np.testing.assert_allclose(place, away / np.linalg.norm(away), atol=1e-3)
