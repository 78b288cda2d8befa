"""Strategies as data: read, refused with line and reason, told in words, decided on rounds."""

from __future__ import annotations

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.intervene.strategy.checks import check_strategy, problems
from icans.intervene.strategy.conditions import Fever, Forecast, GradeSeen, Result
from icans.intervene.strategy.deciding import Memory, decide, doses_of
from icans.intervene.strategy.lines import lines_of
from icans.intervene.strategy.reading import parse_strategies, read_strategies, strategies, strategy, strategy_of
from icans.intervene.strategy.results import results
from icans.intervene.strategy.rules import StrategyRule, Taper
from icans.intervene.strategy.strategy import Strategy
from icans.mechanism.regimens import Planned, regimens

ANAKINRA = '{ drug = "anakinra", amount = 100, unit = "mg", route = "sc", every_h = 12, count = 14 }'
DEX = '{ drug = "dexamethasone", amount = 10, unit = "mg" }'


class Bedside:
    """What is known of four patients."""

    def __init__(self, icans: list[int], ferritin: list[float], risk: list[float], age: float = 4.0) -> None:
        self.grades = {"icans": np.array(icans), "crs": np.zeros(len(icans), int)}
        self.values = {"ferritin": np.array(ferritin), "temperature": np.full(len(icans), 37.0)}
        self.age_h = {"ferritin": np.full(len(icans), age)}
        self.risk = np.array(risk)

    def forecast(self, toxicity: str, grade: int, within_h: float) -> np.ndarray:
        return self.risk


def refused(text: str) -> list[str]:
    with pytest.raises(ModelError) as caught:
        parse_strategies(text, "spec.toml")
    return [str(p) for p in caught.value.problems]


def one_rule(rule: str, more: str = "") -> str:
    return f'[mine]\nsource = "test"\n{more}\nrules = [\n  {rule},\n]\n'


def test_library_is_sound_and_covers_the_targets() -> None:
    found = strategies()
    assert {"never", "guideline", "fractionated", "rimiducid_at_grade_4", "dasatinib_pause_at_grade_3"} <= set(found)
    given = {drug for s in found.values() for drug in s.drugs}
    assert {"tocilizumab", "anakinra", "lenzilumab", "defibrotide", "tie2_agonist", "mmp_inhibitor",
            "s1p_modulator", "rimiducid", "dasatinib", "siltuximab", "ruxolitinib"} <= given  # fmt: skip
    kinds = {s.kind for s in found.values()}
    assert kinds == {"none", "reactive", "pre-emptive", "prophylactic"}
    for name, s in found.items():
        assert problems(s) == [], name
        assert s.source, name
        if {"tie2_agonist", "mmp_inhibitor", "s1p_modulator", "switchable_car"} & set(s.drugs) or s.needs:
            assert s.hypothetical, name
            assert s.describe().splitlines()[0].isupper(), name


def test_words_say_what_is_waited_for() -> None:
    text = strategy("dexamethasone_upon_forecast").describe()
    assert "a forecast P(ICANS grade 2 or more within 48 h) above 0.3, or ICANS of grade 1 or more" in text
    assert "tapered to 4, 2 mg" in text
    assert "2 h after it is known" in text
    assert strategy("never").describe().endswith("- nothing")
    assert "10 % at hour 0, 30 % at hour 24, 60 % at hour 48" in strategy("fractionated").describe()
    assert "an available ferritin at or above 1000 ng/mL" in strategy("anakinra_upon_ferritin").describe()


@pytest.mark.parametrize(("rule", "line", "words"), [
    (f"{{ icans = 7, give = [{DEX}] }}", 5, "can never act"),
    (f"{{ iechs = 2, give = [{DEX}] }}", 5, "a grade from 1 to 1 of IEC-HS"),
    (f'{{ forecast = "icans", grade = 2, within_h = 48, above = 1.0, give = [{DEX}] }}', 5, "probability between 0"),
    (f'{{ forecast = "icans", grade = 2, within_h = -6, above = 0.3, give = [{DEX}] }}', 5, "A forecast looks ahead"),
    (f'{{ forecast = "iechs", grade = 1, within_h = 6, above = 0.3, give = [{DEX}] }}', 5, "No forecast of it"),
    (f'{{ result = "ferritin", above = 300000, give = [{DEX}] }}', 5, "can never act"),
    (f'{{ result = "crp", above = 50, below = 20, give = [{DEX}] }}', 5, "above smaller than below"),
    (f'{{ result = "ang_2", above = 2000, until_h = 12, give = [{DEX}] }}', 5, "result of the future"),
    (f'{{ result = "ang_2", above = 2000, max_age_h = 6, give = [{DEX}] }}', 5, "No result is that fresh"),
    (f'{{ result = "max_icans_grade", above = 2, give = [{DEX}] }}', 5, "look into the future"),
    (f'{{ result = "NEURO", above = 2, give = [{DEX}] }}', 5, "hidden from the bedside"),
    (f'{{ quantity = "FERRITIN", above = 2, give = [{DEX}] }}', 5, "hidden and never available"),
    (f"{{ icans = 1, delay_h = -1, give = [{DEX}] }}", 5, "before anything is known"),
    ('{ icans = 1, give = [{ time_h = -4, drug = "dexamethasone", amount = 10, unit = "mg" }] }', 5, "before anything"),
    (f"{{ icans = 1, from_h = 48, until_h = 24, give = [{DEX}] }}", 5, "from_h before until_h"),
    (f"{{ icans = 1, from_h = 9000, give = [{DEX}] }}", 5, "can never act"),
    (f"{{ give = [{DEX}] }}", 5, "one of crs, icans"),
    (f"{{ fever = 45, give = [{DEX}] }}", 5, "36 to 42"),
    ('{ icans = 1, give = [{ drug = "dexamethasone", amount = 100, unit = "mg" }] }', 5, "at most 40 mg at once"),
    ('{ icans = 1, give = [{ drug = "anakinra", amount = 200, unit = "mg", every_h = 1, count = 9 }] }', 5, "1600 mg"),
    ('{ icans = 1, give = [{ drug = "anakinraa", amount = 100, unit = "mg" }] }', 5, "Did you mean 'anakinra'"),
    ('{ icans = 1, give = [{ drug = "anakinra", amount = 1, unit = "mg", route = "po" }] }', 5, "a route that"),
    (f"{{ icans = 1, most_times = 3, lockout_h = 10, give = [{ANAKINRA}] }}", 5, "A course would begin"),
    (f"{{ icans = 1, when = [{{ crs = 1 }}], give = [{DEX}] }}", 5, "Move them into `when`"),
    (f"{{ icans = 1, taper = {{ amounts = [2, 4], every_h = 12, count = 1 }}, give = [{DEX}] }}", 5, "A taper goes"),
    (f"{{ icans = 1, wait = 3, give = [{DEX}] }}", 5, "Remove or rename"),
])  # fmt: skip
def test_bad_rules_are_refused_with_line_and_reason(rule: str, line: int, words: str) -> None:
    told = refused(one_rule(rule))
    assert any(f"spec.toml, row {line}" in t and "rule 1" in t and words in t for t in told), told


def test_everything_is_told_at_once() -> None:
    text = one_rule(f"{{ icans = 7, give = [{DEX}] }},\n  {{ fever = 45, give = [{DEX}] }}") + (
        '[other]\nsource = "x"\nproducts = ["axi"]\nforbid = ["dexamethasone"]\n'
        f"rules = [{{ icans = 1, give = [{DEX}] }}]\n"
        '[third]\nrules = 3\n'
    )  # fmt: skip
    told = "\n".join(refused(text))
    for words in ("row 5", "row 6", "Did you mean 'axi-cel'", "contradiction", "'third, source'", "'third, rules'"):
        assert words in told
    assert "TOML" in refused("[a\n")[0]


def test_contradictions_and_products() -> None:
    same = f"{{ icans = 2, give = [{DEX}] }},\n  {{ icans = 2, give = [{DEX[:-2]}, count = 4, every_h = 6 }}] }}"
    assert any("contradict each other" in t for t in refused(one_rule(same)))
    twice = f"{{ icans = 2, give = [{DEX}] }},\n  {{ icans = 2, give = [{DEX}] }}"
    assert any("twice doubles the dose" in t for t in refused(one_rule(twice)))
    levels = (f'{{ result = "crp", above = 50, give = [{DEX}] }},\n'
              f'  {{ result = "crp", below = 100, give = [{DEX}] }}')  # fmt: skip
    assert any("Both hold at once" in t for t in refused(one_rule(levels)))
    with pytest.raises(ModelError, match="Did you mean 'axi-cel'"):
        check_strategy(strategy("guideline"), ["axi-cell"])
    mine = strategy_of("mine", {"source": "x", "products": ["tisa-cel"]})
    with pytest.raises(ModelError, match="one of tisa-cel"):
        check_strategy(mine, ["axi-cel"])
    with pytest.raises(ModelError, match="shares above 0 with sum 1"):
        strategy_of("mine", {"source": "x", "cells": [[0, 0.5], [24, 0.6]]})
    with pytest.raises(ModelError, match="hidden quantity"):
        strategy_of("mine", {"source": "x", "include": ["emapalumab_upon_ferritin"]})
    with pytest.raises(ModelError, match="at worst"):
        strategy_of("mine", {"source": "x", "include": ["tocilizumab_prophylaxis", "tocilizumab_day_2", "late"]})


def test_python_and_toml_agree(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(one_rule('{ result = "ferritin", above = 900, delay_h = 1, give = [{ drug = "dexamethasone", '
                             'amount = 10, unit = "mg" }] }'))  # fmt: skip
    given = Planned(0.0, "dexamethasone", 10, "mg")
    rule = StrategyRule((Result("ferritin", above=900.0),), (given,), delay_h=1.0)
    python = Strategy("mine", "mine", rules=(rule,), source="test")
    read = read_strategies(path)["mine"]
    assert read.describe() == python.describe()
    assert not read.one_call
    assert read.analytes == ("ferritin",)
    assert repr(read.rules) == repr(python.rules)


def test_a_regimen_keeps_its_triggers() -> None:
    from icans.population import artefact

    known = artefact.read().readings
    mine = strategy("guideline").triggers(known, 80.0)
    cuts = {"crs": known.crs["astct"].cuts, "icans": known.nt["astct"].cuts}
    theirs = regimens()["standard_care"].triggers(80.0, cuts=cuts)
    for a, b in zip(mine, theirs, strict=True):
        assert (a.quantity, a.threshold, a.doses, a.lockout_h, a.max_times) == (
            b.quantity, b.threshold, b.doses, b.lockout_h, b.max_times)  # fmt: skip


def test_taper_begins_after_the_course() -> None:
    course = Planned(0.0, "dexamethasone", 10, "mg", every_h=6, count=4)
    steps = Taper((6.0, 3.0), 12.0, 2).after(course)
    assert [(s.time_h, s.amount, s.count) for s in steps] == [(30.0, 6.0, 2), (54.0, 3.0, 2)]


def test_decisions_respect_lockout_times_and_windows() -> None:
    rule = StrategyRule((GradeSeen("icans", 2),), (Planned(0.0, "dexamethasone", 10, "mg"),), lockout_h=12.0,
                        most_times=2, sustained=True, from_h=6.0, until_h=60.0)  # fmt: skip
    mine = Strategy("s", "s", rules=(rule,))
    memory = Memory.fresh(4, mine)
    hours: list[tuple[float, list[bool]]] = []
    for t in np.arange(0.0, 73.0, 6.0):
        seen = Bedside([2, 1, 2 if t >= 54 else 0, 2 if t == 30 else 0], [1.0] * 4, [0.0] * 4)
        acts, memory = decide(mine, seen, memory, float(t))
        if acts.any():
            hours.append((float(t), acts[:, 0].tolist()))
    assert hours == [(6.0, [True, False, False, False]), (18.0, [True, False, False, False]),
                     (30.0, [False, False, False, True]), (54.0, [False, False, True, False])]  # fmt: skip
    assert memory.times[:, 0].tolist() == [2, 0, 1, 1]


def test_conditions_read_only_what_is_there() -> None:
    seen = Bedside([0, 0, 1, 0], [500.0, np.nan, 2000.0, 5000.0], [0.1, 0.5, np.nan, 0.31])
    assert Result("ferritin", above=1000).holds(seen).tolist() == [False, False, True, True]
    assert Result("ferritin", below=1000).holds(seen).tolist() == [True, False, False, False]
    assert Result("ferritin", above=1, max_age_h=3).holds(seen).tolist() == [False] * 4
    assert Forecast("icans", 2, 48, 0.3).holds(seen).tolist() == [False, True, False, True]
    assert Fever().holds(seen).tolist() == [False] * 4
    edge = Strategy("s", "s", rules=(StrategyRule((GradeSeen("icans", 1), Result("ferritin", above=4000)), ()),))
    acts, memory = decide(edge, seen, Memory.fresh(4, edge), 0.0)
    assert acts[:, 0].tolist() == [False, False, True, True]
    again, _ = decide(edge, seen, memory, 6.0)
    assert not again.any()


def test_doses_go_by_weight() -> None:
    rule = strategy("guideline").rules[0]
    (dose,) = doses_of(rule, 24.0, 60.0, 1.7)
    assert (dose.time_h, dose.amount, dose.unit) == (26.0, 480.0, "mg")
    (heavy,) = doses_of(rule, 24.0, 140.0, 2.4)
    assert heavy.amount == 800.0


def test_lines_are_found_in_both_ways_of_writing() -> None:
    text = '[a]\nx = "{[ #"\nrules = [ # {\n  { b = 1, c = [{ d = 2 }] },\n\n  { e = "}" },\n]\n'
    text += "[[a.more]]\nf = 1\n[[a.more]]\n"
    found = lines_of(text)
    assert found[("a", "rules")] == 3
    assert found[("a", "rules", "1")] == 4
    assert found[("a", "rules", "2")] == 6
    assert found[("a", "more", "1")] == 8
    assert found[("a", "more", "2")] == 10


def test_results_are_those_of_the_laboratory() -> None:
    from icans.intervene.world.assays import table

    for info in results().values():
        if info.analyte:
            assert info.output == table()["analyte"][info.analyte]["output"]
            assert info.lloq < info.top
    assert results()["temperature"].output == "TEMP"
