"""Patterns put into a synthetic background are found, told apart, and not found where they are not."""

from __future__ import annotations

import numpy as np
import pytest

import eeg_signals as made
from icans.signals.eeg.analyse import analyse
from icans.signals.eeg.findings import FREQUENT, findings, rules, window_findings

SECONDS = 16.0


def found(data: np.ndarray, **options: bool) -> tuple[dict, dict]:
    result = analyse(made.recording(data), connectivity=False, **options)
    assert result.usable
    return result.windows.mean().to_dict(), findings(result.windows)


@pytest.fixture(scope="module")
def quiet() -> np.ndarray:
    return made.scalp(SECONDS, 12.0)


@pytest.fixture(scope="module")
def plain(quiet) -> tuple[dict, dict]:
    return found(quiet)


def test_a_plain_background_has_no_pattern(plain):
    there = plain[1]
    assert not any(there[k] for k in ("gpd", "lpd", "lrda", "burst_suppression", "extreme_low_voltage", "ncse"))


def test_generalised_discharges_are_found_with_their_frequency(quiet, plain):
    values, there = found(quiet + made.on_sides(120 * made.train(SECONDS, 0.8), 1, 1))
    assert there["gpd"]
    assert not there["lpd"]
    assert abs(values["pd_frequency"] - 1.25) < 0.1
    assert values["pd_coincidence"] > 0.8
    assert values["gpd_rate"] > 5 * plain[0]["gpd_rate"]
    assert 40 < values["pd_duration_ms"] < 160


@pytest.mark.parametrize(("left", "right", "sign"), [(1.0, 0.05, 1), (0.05, 1.0, -1)])
def test_discharges_of_one_side_are_lateralised(quiet, left, right, sign):
    values, there = found(quiet + made.on_sides(150 * made.train(SECONDS, 1.0), left, right))
    assert there["lpd"]
    assert sign * values["pd_lateralisation"] > 0.3


def test_rhythmic_delta_is_found_and_its_side(quiet):
    time = np.arange(int(SECONDS * made.RATE)) / made.RATE
    wave = 60 * np.sin(2 * np.pi * 2.0 * time)
    values, there = found(quiet + made.on_sides(wave, 1, 1))
    assert there["grda"]
    assert not there["lrda"]
    assert abs(values["rda_frequency"] - 2.0) < 0.1
    values, there = found(quiet + made.on_sides(wave, 1, 0))
    assert there["lrda"]
    assert values["rda_lateralisation"] > 0.3


def test_burst_suppression_and_low_voltage_are_told_apart(quiet):
    time = np.arange(int(SECONDS * made.RATE)) / made.RATE
    bursts = np.where(time % 6 < 1.5, 1.0, 0.04)
    values, there = found(2.5 * quiet * bursts)
    assert there["burst_suppression"]
    assert not there["extreme_low_voltage"]
    assert values["burst_floor_ratio"] > 5
    there = found(0.12 * quiet)[1]
    assert there["extreme_low_voltage"]
    assert not there["burst_suppression"]


def test_a_rhythm_of_four_hertz_raises_suspicion(quiet, plain):
    time = np.arange(int(SECONDS * made.RATE)) / made.RATE
    wave = 80 * np.sin(2 * np.pi * 4.0 * time)
    values, there = found(quiet + made.on_sides(wave, 1, 0.1))
    assert there["ncse"]
    assert values["seizure_index"] > 3 * plain[0]["seizure_index"]


def test_alpha_behind_the_head_is_the_posterior_rhythm(quiet):
    time = np.arange(int(SECONDS * made.RATE)) / made.RATE
    behind = np.array([25.0 if n[0] in "OP" else 3.0 for n in made.NAMES])[:, None]
    values, _ = found(0.5 * quiet + behind * np.sin(2 * np.pi * 9.5 * time))
    assert values["pdr_present"] == 1
    assert abs(values["pdr_frequency"] - 9.5) < 0.2


def test_every_finding_has_a_rule_with_a_source_and_unknown_stays_unknown(quiet):
    assert all(rule["from"] in {"definition", "clips"} and rule["why"] for rule in rules().values())
    windows = analyse(made.recording(quiet), connectivity=False).windows
    without = windows.drop(columns="gpd_rate")
    assert findings(without)["gpd"] is None
    assert window_findings(without)["gpd"].isna().all()
    assert 0 < FREQUENT < 0.5
