"""What can be wrong with a strategy beyond its form: rules that cannot work, contradictions, doses over the maximum.

Every problem says which strategy and rule, what was found, what would be right and what to do. The functions take the
parsed strategy, so that one written in Python is held to the same as one from a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from icans.core.errors import ModelError, Problem
from icans.intervene.strategy.conditions import GRADED, Condition, Fever, Forecast, GradeSeen, Result
from icans.intervene.strategy.limits import administrations, limits, milligrams, most_in_a_day
from icans.intervene.strategy.results import results
from icans.intervene.strategy.rules import StrategyRule
from icans.intervene.strategy.strategy import Strategy
from icans.mechanism.parameters import unknown
from icans.mechanism.regimens import Planned
from icans.mechanism.therapies import therapies

#: Grades that can be seen at the bedside; of late hyperinflammation only whether it is there.
HIGHEST = {"crs": 4, "icans": 4, "iechs": 1}
#: The month that is simulated, hours.
HORIZON_H = 35 * 24.0
#: What is known only when the stay is over: no rule can wait for it.
KNOWN_AT_THE_END = (
    "max_icans_grade", "max_crs_grade", "days_icans_ge2", "days_icans_ge3", "days_crs_ge2", "car_auc_0_28", "icu_days",
    "tumour_nadir", "tumour_log_reduction", "response_probability", "bcell_aplasia_days", "infection_days",
    "neutropenia_days", "death_probability", "steroid_mg_dex_equivalent",
)  # fmt: skip


def check_strategy(strategy: Strategy, products: Sequence[str] = ()) -> None:
    """Refuse a strategy that cannot work, or that is not for one of ``products``.

    Raises
    ------
    ModelError
        Every problem at once.
    """
    found = [*problems(strategy), *product_problems(strategy, products)]
    if found:
        raise ModelError(found)


def problems(strategy: Strategy, numbers: Sequence[int] = ()) -> list[Problem]:
    """Every problem of a strategy; ``numbers``: how its rules are counted, if not from 1 on."""
    found: list[Problem] = []
    for number, rule in zip(numbers or _counted(strategy), strategy.rules, strict=True):
        place = f"{strategy.name}, rule {number}"
        for condition in rule.when:
            found += _condition(place, rule, condition)
        found += _times(place, rule)
    for number, dose in enumerate(strategy.doses, 1):
        found += _dose(f"{strategy.name}, dose {number}", dose)
    found += _contradictions(strategy, numbers or _counted(strategy))
    found += _over_the_maximum(strategy, numbers or _counted(strategy))
    found += _cells(strategy)
    return found


def product_problems(strategy: Strategy, products: Sequence[str] = ()) -> list[Problem]:
    """Unknown products, of the strategy and of those it is to be used for; a product that it is not for."""
    from icans.population.products import products as known

    found = [_named(strategy.name, "products", unknown("product", p, known()))
             for p in dict.fromkeys([*strategy.products, *products]) if p not in known()]  # fmt: skip
    if strategy.products:
        found += [_problem(strategy.name, "products", p, f"one of {', '.join(strategy.products)}",
                           "The strategy is for those alone; leave it out, or take another product.")
                  for p in products if p in known() and p not in strategy.products]  # fmt: skip
    return found


def _condition(place: str, rule: StrategyRule, one: Condition) -> Iterator[Problem]:
    if isinstance(one, (GradeSeen, Forecast)) and one.toxicity not in GRADED:
        yield _named(place, "when", unknown("toxicity", one.toxicity, GRADED))
        return
    if isinstance(one, (GradeSeen, Forecast)) and not 1 <= one.grade <= HIGHEST[one.toxicity]:
        name = GRADED[one.toxicity]
        yield _never(place, f"{name} of grade {one.grade}", f"a grade from 1 to {HIGHEST[one.toxicity]} of {name}")
    if isinstance(one, Forecast):
        yield from _forecast(place, one)
    elif isinstance(one, Fever) and not 36.0 <= one.from_c <= 42.0:
        yield _never(place, f"fever from {one.from_c:g}", "a temperature from 36 to 42 °C")
    elif isinstance(one, Result):
        yield from _result(place, rule, one)


def _forecast(place: str, one: Forecast) -> Iterator[Problem]:
    if one.toxicity == "iechs":
        yield _problem(place, "when", "forecast of iechs", "a forecast of crs or icans", "No forecast of it is made.")
    if not one.within_h > 0:
        yield _problem(place, "when", f"within {one.within_h:g} h", "hours ahead above 0",
                       "A forecast looks ahead; what has happened is a grade or a result.")  # fmt: skip
    if not 0.0 < one.above < 1.0:
        yield _never(place, f"P above {one.above:g}", "a probability between 0 and 1")


def _result(place: str, rule: StrategyRule, one: Result) -> Iterator[Problem]:
    if one.analyte in KNOWN_AT_THE_END:
        yield _problem(place, "when", one.analyte, "something that is known when the rule acts",
                       "This is known only at the end of the stay: the rule would look into the future.")  # fmt: skip
        return
    if one.analyte not in results():
        hidden = " A state of the model is hidden from the bedside; name the assay that measures it."
        nearest = unknown("result", one.analyte, results())
        yield _named(place, "when", replace(nearest, expected="a result that is ever available",
                                            remedy=nearest.remedy + hidden))  # fmt: skip
        return
    entry = results()[one.analyte]
    if math.isnan(one.above) and math.isnan(one.below):
        yield _problem(place, "when", one.analyte, "a level: above, below, or both", "Give one.")
    if one.above >= entry.top:
        yield _never(place, f"{one.analyte} above {one.above:g}",
                     f"a level below {entry.top:g} {entry.unit_label}, the highest that is reported")  # fmt: skip
    if one.below <= entry.lloq:
        yield _never(place, f"{one.analyte} below {one.below:g}",
                     f"a level above {entry.lloq:g} {entry.unit_label}, the lowest that is reported")  # fmt: skip
    if one.above >= one.below:
        yield _never(place, f"above {one.above:g} and below {one.below:g}", "above smaller than below")
    soonest = entry.turnaround_h[0]
    if one.max_age_h < soonest:
        yield _problem(place, "when", f"{one.analyte} at most {one.max_age_h:g} h old",
                       f"max_age_h of at least {soonest:g} h, after which this result is available",
                       "No result is that fresh when it arrives: raise max_age_h, or use a faster assay.")  # fmt: skip
    if rule.until_h < soonest:
        yield _problem(place, "until_h", f"{rule.until_h:g}",
                       f"a rule that lasts beyond {soonest:g} h, when the first {entry.label} is back",
                       "It would need a result of the future: lengthen it, or take a faster assay.")  # fmt: skip


def _times(place: str, rule: StrategyRule) -> Iterator[Problem]:
    if not rule.when:
        yield _never(place, "no condition", "at least one condition", column="when")
    if not rule.give:
        yield _problem(place, "give", None, "at least one dose", "Say what is given.")
    if rule.delay_h < 0:
        yield _problem(place, "delay_h", f"{rule.delay_h:g}", "hours, at least 0",
                       "It would act before anything is known: the future decides nothing.")  # fmt: skip
    for dose in rule.give:
        yield from _dose(place, dose)
        if dose.time_h < 0:
            yield _problem(place, "give", f"{dose.time_h:g} h", "hours after the decision, at least 0",
                           "It would be given before anything is known; a planned dose belongs in doses.")  # fmt: skip
    if not rule.from_h < rule.until_h:
        yield _never(place, f"{rule.from_h:g} to {rule.until_h:g} h", "from_h before until_h", column="from_h")
    if rule.from_h >= HORIZON_H:
        yield _never(place, f"from {rule.from_h:g} h", f"a start within {HORIZON_H:g} h", column="from_h")
    if rule.most_times > 1 and not rule.lockout_h > 0:
        yield _problem(place, "lockout_h", f"{rule.lockout_h:g}", "hours between two times", "Give them.")
    elif rule.most_times > 1:
        span = max((d.time_h + (d.every_h or 0.0) * (d.count - 1) for d in rule.doses), default=0.0)
        if span >= rule.lockout_h:
            yield _problem(place, "lockout_h", f"{rule.lockout_h:g}", f"more than {span:g} h, the length of a course",
                           "A course would begin before the last has ended, against its own doses.")  # fmt: skip


def _dose(place: str, dose: Planned) -> Iterator[Problem]:
    if dose.drug not in therapies():
        yield _named(place, "drug", unknown("drug", dose.drug, therapies()))
    elif dose.route not in therapies()[dose.drug].routes:
        routes = ", ".join(therapies()[dose.drug].routes)
        yield _problem(place, "route", dose.route, f"a route that {dose.drug} has: {routes}", "Choose one.")


def _counted(strategy: Strategy) -> range:
    return range(1, len(strategy.rules) + 1)


def _contradictions(strategy: Strategy, numbers: Sequence[int]) -> Iterator[Problem]:
    for (i, first), (j, second) in combinations(zip(numbers, strategy.rules, strict=True), 2):
        shared = sorted({d.drug for d in first.doses} & {d.drug for d in second.doses})
        place = f"{strategy.name}, rules {i} and {j}"
        same = set(first.when) & set(second.when)
        if same and shared and first.doses != second.doses:
            words = next(iter(same)).describe()
            yield _problem(place, "give", words, f"one dose of {shared[0]} for one and the same condition",
                           "The rules contradict each other: keep one, or make the conditions different.")  # fmt: skip
        elif same and shared:
            yield _problem(place, "when", next(iter(same)).describe(), "each rule once",
                           "The same rule twice doubles the dose: remove one.")  # fmt: skip
        for a, b in ((x, y) for x in first.when for y in second.when if shared):
            if isinstance(a, Result) and isinstance(b, Result) and _against(a, b):
                yield _problem(place, "when", f"{a.describe()}; {b.describe()}",
                               f"conditions for {shared[0]} that exclude each other or agree",
                               "Both hold at once between the levels: set the lower one below the upper.")  # fmt: skip


def _against(a: Result, b: Result) -> bool:
    """One waits for high and the other for low values, and the two overlap."""
    if a.analyte != b.analyte:
        return False
    for high, low in ((a, b), (b, a)):
        if math.isnan(high.below) and math.isnan(low.above) and high.above < low.below:
            return True
    return False


def _over_the_maximum(strategy: Strategy, numbers: Sequence[int]) -> Iterator[Problem]:
    for drug in (d for d in strategy.drugs if d in limits() and d in therapies()):
        most = limits()[drug]
        groups = [(strategy.name, "doses", strategy.doses)]
        groups += [
            (f"{strategy.name}, rule {k}", "give", r.doses) for k, r in zip(numbers, strategy.rules, strict=True)
        ]
        for place, column, doses in groups:
            single = max((milligrams(d) for d in doses if d.drug == drug), default=0.0)
            day = most_in_a_day(*administrations(doses, drug))
            for value, top, span in ((single, most.single_mg, "at once"), (day, most.day_mg, "within 24 h")):
                if value > top * (1 + 1e-9):
                    yield _maximum(place, column, drug, value, top, span, most.source)
                    break
        planned = float(administrations(strategy.doses, drug)[1].sum())
        ruled = sum(r.most_times * float(administrations(r.doses, drug)[1].sum()) for r in strategy.rules)
        if planned + ruled > most.course_mg * (1 + 1e-9):
            yield _maximum(
                strategy.name, "doses", drug, planned + ruled, most.course_mg, "in all, at worst", most.source
            )


def _maximum(place: str, column: str, drug: str, value: float, top: float, span: str, source: str) -> Problem:
    return _problem(place, column, f"{drug} {value:g} mg {span}", f"at most {top:g} mg {span} ({source})",
                    "Lower the amount, the number of doses or of times.")  # fmt: skip


def _cells(strategy: Strategy) -> Iterator[Problem]:
    if not strategy.cells:
        return
    shares = [s for _, s in strategy.cells]
    if min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        yield _problem(strategy.name, "cells", str(shares), "shares above 0 with sum 1", "Correct them.")
    hours = [h for h, _ in strategy.cells]
    if hours != sorted(hours) or hours[0] < 0:
        yield _problem(strategy.name, "cells", str(hours), "hours from 0 on, ascending", "Correct them.")


def _never(place: str, found: str, expected: str, *, column: str = "when") -> Problem:
    return _problem(place, column, found, expected, "As it stands the rule can never act. Correct or remove it.")


def _problem(place: str, column: str, value: Any, expected: str, remedy: str) -> Problem:
    return Problem("strategies", None, f"{place}, {column}", None if value is None else str(value), expected, remedy)


def _named(place: str, column: str, problem: Problem) -> Problem:
    return replace(problem, file="strategies", column=f"{place}, {column}")
