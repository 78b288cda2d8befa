"""What must hold of every scheme, whatever the findings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.cohort import vocabulary
from icans.harmonize.grading.cytopenia import RULES, Series, grade_cytopenia
from icans.harmonize.grading.daily import LESS_IS_WORSE
from icans.harmonize.grading.findings import Findings
from icans.harmonize.grading.options import DEFAULT
from icans.harmonize.grading.registry import SCHEMES
from icans.harmonize.grading.remember import remembering

#: These say how a finding is to be read, or stand in for one that was not recorded (the course of TIAN for its signs);
#: they are no findings that are better or worse.
MODIFIERS = frozenset(
    {"sedated", "intracranial_haemorrhage", "home_positive_pressure", "ventilated_for_airway_only", "rass",
     "antipyretic_or_anticytokine", "tian_type", "tian_course", "cns_tumour_inflammation", "head_of_state",
     "ice_command", "cartox10"}
)  # fmt: skip
NAMES = sorted(SCHEMES)


def items_of(name: str) -> list[str]:
    return sorted(SCHEMES[name].reads - MODIFIERS)


def value_of(item: str) -> st.SearchStrategy:
    entry = vocabulary.items()[item]
    if entry.kind == "choice":
        return st.sampled_from(entry.allowed).map(lambda word: frozenset({word}))
    if entry.kind == "yesno":
        return st.booleans()
    return st.integers(int(np.ceil(entry.low)), int(min(entry.high, 60))).map(float)


@st.composite
def patients(draw, name: str, *, full: bool = False) -> Findings:
    items = items_of(name)
    chosen = items if full else draw(st.lists(st.sampled_from(items), unique=True))
    values = {item: draw(value_of(item)) for item in chosen if item != "death_attributed"}
    masked = {"antipyretic_or_anticytokine": draw(st.booleans())} if name == "CRS/ASTCT" else {}
    age = draw(st.sampled_from([None, 6.0, 40.0]))
    return Findings({**values, **masked}, age_y=age)


def grade(name: str, found: Findings):
    return SCHEMES[name].function(found, DEFAULT)


def height(value: float | None) -> float:
    return -1.0 if value is None else value


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_worse_finding_never_lowers_a_grade(name, data):
    found = data.draw(patients(name))
    if not found.values:
        return
    item = data.draw(st.sampled_from(sorted(set(found.values) - MODIFIERS) or ["ice_total"]))
    if item not in found.values:
        return
    entry, value = vocabulary.items()[item], found.values[item]
    if entry.kind == "choice":
        worse = value | {data.draw(st.sampled_from(entry.allowed))}
    elif entry.kind == "yesno":
        worse = True
    elif item in LESS_IS_WORSE:
        worse = float(data.draw(st.integers(int(entry.low), int(value))))
    else:
        worse = float(data.draw(st.integers(int(value), int(min(entry.high, 60)))))
    after = grade(name, replace(found, values={**found.values, item: worse}))
    assert height(after.grade) >= height(grade(name, found).grade)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_forgetting_a_finding_never_raises_a_grade(name, data):
    found = data.draw(patients(name))
    if not found.values:
        return
    item = data.draw(st.sampled_from(sorted(set(found.values) - MODIFIERS) or [None]))
    if item is None:
        return
    less = replace(found, values={key: value for key, value in found.values.items() if key != item})
    assert height(grade(name, less).grade) <= height(grade(name, found).grade)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_lower_bound_is_below_every_completion_and_an_exact_grade_is_equal_to_all(name, data):
    partial = data.draw(patients(name))
    whole = data.draw(patients(name, full=True))
    kept = {key: value for key, value in whole.values.items() if key not in partial.values}
    if any(item in partial.values for item in ("ice_total", "capd_total")):
        kept = {key: v for key, v in kept.items() if not key.startswith(("ice_", "capd_"))}
    complete = replace(partial, values={**kept, **partial.values})
    first, second = grade(name, partial), grade(name, complete)
    assert height(first.grade) <= height(second.grade)
    if first.grade is not None and not first.lower_bound and consistent(partial, complete):
        assert first.grade == second.grade


def consistent(partial: Findings, complete: Findings) -> bool:
    """Whether the completion does not contradict what was recorded (no pressors without hypotension, ...)."""
    added = set(complete.values) - set(partial.values)
    quiet = partial.flag("hypotension") is False and bool(
        added & {"vasopressors", "vasopressin", "iv_fluids", "vasopressor_dose"}
    )
    alone = bool(added & {"oxygen_flow_l_min", "fio2_percent"}) and "oxygen_device" in partial.values
    seizure = "seizure" in partial.values and "seizure_minutes" in added
    fever = ("fever" in partial.values and "temperature_max_c" in added) or "temperature_max_c" in partial.values
    test = "cognitive_test_untestable" in added
    dose = "vasopressors" in partial.values and bool(added & {"vasopressor_dose", "iv_fluids", "vasopressin"})
    pressure = "csf_opening_pressure_mmhg" in added
    return not (quiet or alone or seizure or fever or test or dose or pressure)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_the_order_of_findings_does_not_matter(name, data):
    found = data.draw(patients(name))
    order = data.draw(st.permutations(sorted(found.values)))
    again = replace(found, values={key: found.values[key] for key in order})
    assert grade(name, again) == grade(name, found)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_grades_are_whole_and_within_the_scale(name, data):
    result = grade(name, data.draw(patients(name)))
    assert result.grade in (None, 0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("rule", RULES)
@given(
    counts=st.lists(st.floats(0, 150) | st.floats(0, 2), min_size=1, max_size=70),
    which=st.integers(0, 69),
    share=st.floats(0, 1),
    drop=st.sets(st.integers(0, 69)),
)
def test_cytopenia_is_monotone(rule, counts, which, share, drop):
    days = np.arange(len(counts)) + (0 if rule.endswith("early") else 31)
    counts = np.asarray(counts)
    base = grade_cytopenia(Series(days, counts), rule)
    lower = counts.copy()
    lower[which % len(counts)] *= share
    assert height(grade_cytopenia(Series(days, lower), rule).grade) >= height(base.grade)
    # Forgetting a low result never raises. (Forgetting a recovery may: days between two low results count as low.)
    kept = ~((counts <= 0.1) & np.isin(np.arange(len(counts)), list(drop)))
    assert height(grade_cytopenia(Series(days[kept], counts[kept]), rule).grade) <= height(base.grade)


@given(data=st.data())
def test_a_scheme_looks_at_no_item_that_it_does_not_name(data):
    every = sorted(vocabulary.items())
    chosen = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=40))
    found = Findings(
        {item: data.draw(value_of(item)) for item in chosen}, age_y=data.draw(st.sampled_from([6.0, 60.0]))
    )
    for entry in SCHEMES.values():
        assert remembering(entry, DEFAULT)(found) == entry.function(found, DEFAULT)
