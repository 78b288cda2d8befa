"""What the calibration searches and records: paths of cuts, factors along the chain, the command that was given."""

from __future__ import annotations

import shlex

import pytest

from icans.population import artefact
from icans.population.calibrate import CUTS, expand, start_cuts
from icans.population.products import free_levers, multipliers, tables
from icans.population.readings import readings


class TestCuts:
    def test_every_cut_has_a_start_within_its_search(self):
        begun = start_cuts()
        assert set(begun) == {path for path, _, _ in CUTS}
        for path, low, high in CUTS:
            assert low < high, path
            assert path.startswith("cut.") or 0.5 * low <= begun[path] <= high, path

    def test_every_cut_leads_somewhere(self):
        before = readings()
        for path, low, high in CUTS:
            changed = readings(expand({path: low + 0.37 * (high - low)}))
            assert changed != before, path

    def test_times_of_stray_events_move_alone(self):
        before = readings()
        after = readings({"nt.ctcae.onset": 9.5, "nt.ctcae.duration": 11.0})
        assert (after.nt["ctcae"].stray_onset_d, after.nt["ctcae"].stray_duration_d) == (9.5, 11.0)
        assert after.nt["ctcae"].stray == before.nt["ctcae"].stray
        assert after.nt["fda"] == before.nt["fda"]
        assert after.crs == before.crs

    def test_unknown_paths_are_refused(self):
        with pytest.raises(KeyError):
            readings({"cut.nothing": 1.0})


class TestFactors:
    def test_tempo_scales_every_rate_of_the_chain_alike(self):
        base = multipliers("axi-cel", "LBCL", {"global.all.tempo": 1.0})
        slow = multipliers("axi-cel", "LBCL", {"global.all.tempo": 0.5})
        names = tables()["lever"]["tempo"]["parameters"]
        assert {n.removesuffix("_on").removesuffix("_off") for n in names} == {"micro", "excito", "neuro"}
        for name in base:
            assert slow[name] == pytest.approx(base[name] * (0.5 if name in names else 1.0)), name

    def test_stored_factors_are_those_that_may_move(self):
        stored = artefact.read().factors
        assert {path for path in stored if not path.startswith("kinetics.")} == set(free_levers())


class TestRecord:
    def test_the_stored_command_can_be_given_again(self):
        words = shlex.split(artefact.read().about["command"])
        assert words[:3] == artefact.COMMAND.split()
        options = dict(zip(words[3:], [*words[4:], ""]))
        assert options["--patients"].isdigit()  # without its options the command makes another population
