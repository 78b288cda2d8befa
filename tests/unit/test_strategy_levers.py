"""Levers of therapy on few patients: signs as published, the switch within its interval, the page in form."""

from __future__ import annotations

import math

import pytest

from icans.intervene.compare.levers import Look, levers, markdown, table

CHEAP = ("Tocilizumab on day 2 for all", "Dexamethasone on days 0 to 2 for all")


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    return levers(80, names=CHEAP)


def test_tocilizumab_and_steroids_have_the_published_signs(looks: list[Look]) -> None:
    wrong = [(k.lever, k.quantity, k.before, k.after) for k in looks if not k.right]
    assert wrong == []
    tocilizumab = {k.quantity: k for k in looks if k.lever == CHEAP[0]}
    assert tocilizumab["peak IL6"].after > 1.5 * tocilizumab["peak IL6"].before
    assert tocilizumab["inc nt>=3 (ctcae)"].after > tocilizumab["inc nt>=3 (ctcae)"].before
    onset = next(k for k in looks if k.quantity.startswith("begin crs"))
    assert onset.after - onset.before > 1.0
    held = [k for k in looks if k.inside is not None]
    assert sum(k.inside for k in held) >= len(held) - 1 == 4


def test_the_switch_takes_85_to_95_percent_of_cells() -> None:
    from icans.intervene.compare.arm import run_course
    from icans.intervene.compare.running import Group
    from icans.intervene.strategy.strategy import Strategy
    from icans.mechanism.regimens import Planned
    from icans.population import artefact

    dose = Planned(168.0, "rimiducid", 0.4, "mg/kg", duration_h=2.0)
    patients = Group(n=8).draw(1, ("rimiducid",))
    found = run_course(Strategy("switch", "switch", doses=(dose,)), patients, artefact.read().readings, ("car_total",),
                       times_h=[0.0, 168.0, 170.5])  # fmt: skip
    cells = found.series["car_total"]
    gone = 100.0 * (1.0 - cells[:, 2] / cells[:, 1])
    assert 85.0 <= sorted(gone)[4] <= 95.0


def test_marks() -> None:
    one = Look("l", "q", 30.0, 20.0, (15.0, 25.0), "down", "18 %", 10.0, 19.0, "s")
    assert one.right
    assert one.inside is False
    assert Look("l", "q", 30.0, 20.0, (0, 0), "flat", "", math.nan, math.nan, "s").right
    assert not Look("l", "q", 30.0, 10.0, (0, 0), "flat", "", math.nan, math.nan, "s").right
    assert not Look("l", "q", 30.0, 40.0, (0, 0), "down", "", math.nan, math.nan, "s").right
    text = markdown([one], 10)
    assert "1 of 1 published signs are right; of 1 values" in text
    assert "No explanation was found." in text
    assert "| **no** |" in text


def test_every_lever_names_strategies_and_a_source() -> None:
    entries, known = table()
    assert {e["base"] for e in entries} | {e["changed"] for e in entries} <= set(known)
    for entry in entries:
        assert entry["source"]
        for look in entry["looks"]:
            assert look["sign"] in ("up", "down", "flat", "not said")
            assert ("low" in look) == ("high" in look)
