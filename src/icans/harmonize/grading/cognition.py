"""ICE, CARTOX-10 and CAPD totals, as intervals where items are missing.

ICE (Lee 2019, 10.1016/j.bbmt.2018.12.758) and CARTOX-10 (Neelapu 2018, 10.1038/nrclinonc.2017.148) differ by
one point each way: CARTOX-10 asks for the head of state, ICE for a command. A total that is known only within
bounds is graded by its best possible value, and marked when the worst would be another grade.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from icans.harmonize.grading.findings import Domain, Findings
from icans.harmonize.grading.options import GradingOptions

ICE_ITEMS = {"ice_orientation": 4, "ice_naming": 3, "ice_command": 1, "ice_writing": 1, "ice_attention": 1}
CAPD_ITEMS = tuple(f"capd_item_{number}" for number in range(1, 9))
CAPD_ITEM_MAX = 4
TEN = 10.0

#: Best total of a band -> grade (Lee 2019 table 5; the bands of CARTOX-10 are the same).
BANDS = ((10.0, 0.0), (7.0, 1.0), (3.0, 2.0), (0.0, 3.0))
#: Years below which (ASTCT) or up to and including which (NCIt) CAPD takes the place of ICE.
CAPD_AGE = 12
#: A CAPD total of this or more screens positive (Traube 2014, 10.1097/CCM.0b013e3182a66b76).
CAPD_POSITIVE = 9.0
#: Level of arousal at and below which CAPD cannot be scored (Traube 2014).
CAPD_RASS_FLOOR = -4.0


class Range(NamedTuple):
    """Bounds of a total: ``low <= total <= high``."""

    low: float
    high: float


def ten_point_grade(total: float) -> float:
    """Grade of an ICE or CARTOX-10 total: 10 is 0, 7-9 is 1, 3-6 is 2, 0-2 is 3."""
    return next(grade for lowest, grade in BANDS if total >= lowest)


def ice_range(found: Findings) -> Range | None:
    """Bounds of the ICE total from the total, its items and CARTOX-10 together; None when nothing was done.

    Records that contradict each other are read as the worse of them.
    """
    ranges = _ice_records(found)
    total = found.number("cartox10")
    if total is not None:
        ranges.append(_swap(Range(total, total), found.number("head_of_state"), found.number("ice_command")))
    return _worse_overlap(ranges)


def cartox_range(found: Findings) -> Range | None:
    """Bounds of the CARTOX-10 total, from the total itself and from ICE."""
    command, head = found.number("ice_command"), found.number("head_of_state")
    ranges = [_swap(record, command, head) for record in _ice_records(found)]
    total = found.number("cartox10")
    if total is not None:
        ranges.append(Range(total, total))
    return _worse_overlap(ranges)


def capd_range(found: Findings) -> Range | None:
    """Bounds of the CAPD total; None when nothing was scored or arousal was too low to score."""
    rass = found.number("rass")
    if rass is not None and rass <= CAPD_RASS_FLOOR:
        return None
    ranges = []
    total = found.number("capd_total")
    if total is not None:
        ranges.append(Range(total, total))
    known = [found.number(item) for item in CAPD_ITEMS]
    if any(value is not None for value in known):
        low = sum(value or 0.0 for value in known)
        ranges.append(Range(low, low + CAPD_ITEM_MAX * sum(value is None for value in known)))
    if not ranges:
        return None
    low = max(one.low for one in ranges)  # more is worse here
    return Range(low, max(low, min(one.high for one in ranges)))


def _ice_records(found: Findings) -> list[Range]:
    ranges = []
    total = found.number("ice_total")
    if total is not None:
        ranges.append(Range(total, total))
    known = {item: found.number(item) for item in ICE_ITEMS}
    # the command alone may stand beside CARTOX-10 to convert it; it is no sheet of its own then
    told = {item for item, value in known.items() if value is not None}
    if told - {"ice_command"} or (told and not found.has("cartox10")):
        low = sum(value or 0.0 for value in known.values())
        ranges.append(Range(low, low + sum(most for item, most in ICE_ITEMS.items() if known[item] is None)))
    return ranges


def _worse_overlap(ranges: list[Range]) -> Range | None:
    """What several records say together, less being worse."""
    if not ranges:
        return None
    high = min(one.high for one in ranges)
    return Range(min(high, max(one.low for one in ranges)), high)


def test_of(found: Findings, options: GradingOptions) -> Literal["ICE", "CAPD"]:
    """Which test applies: CAPD in the young and with developmental delay, ICE otherwise.

    With the age unknown, CAPD applies when it is the only test that was done.
    """
    if found.developmental_delay:
        return "CAPD"
    if found.age_y is None:
        return "CAPD" if capd_range(found) is not None and ice_range(found) is None else "ICE"
    limit = CAPD_AGE if options.capd_ages == "ASTCT" else CAPD_AGE + 1
    return "CAPD" if found.age_y < limit else "ICE"


def cognition(found: Findings, options: GradingOptions, *, adjust: bool = False) -> Domain:
    """The cognitive domain of ASTCT ICANS.

    ``adjust`` shifts the total by the deficit before infusion (ICE points lacking, CAPD points present). The
    consensus gives no rule for that; the shift is this package's convention and is always reported beside the
    raw grade, never in its place.
    """
    test = test_of(found, options)
    items = ("ice_total", *ICE_ITEMS, "cartox10") if test == "ICE" else ("capd_total", *CAPD_ITEMS)
    if found.flag("sedated"):
        return Domain("cognition", None, "sedated", 4.0, "not assessable under sedation")
    if found.flag("cognitive_test_untestable"):
        return Domain("cognition", 4.0, "graded", 4.0, f"{test} cannot be performed, patient unarousable")
    if found.excluded(*items, "cognitive_test_untestable"):
        return Domain("cognition", None, "excluded", 4.0, "judged not attributable")
    bounds = ice_range(found) if test == "ICE" else capd_range(found)
    if bounds is None:
        other = found.has("capd_total", *CAPD_ITEMS) if test == "ICE" else found.has("ice_total", *ICE_ITEMS)
        note = f"{test} applies at this age and was not done" if other else ""
        return Domain("cognition", None, "missing", 4.0, note)
    return _ice_domain(bounds, found, adjust) if test == "ICE" else _capd_domain(bounds, found, options, adjust)


def _ice_domain(bounds: Range, found: Findings, adjust: bool) -> Domain:
    lacking = max(0.0, TEN - found.baseline.get("ice_total", TEN)) if adjust else 0.0
    best = ten_point_grade(min(TEN, bounds.high + lacking))
    open_ = ten_point_grade(min(TEN, bounds.low + lacking)) > best
    if best == 3.0 and bounds.high == 0.0 and not found.has("consciousness", "rass"):
        open_ = True  # 0 is grade 4 in a patient who cannot be aroused, and arousal was not recorded
    return Domain("cognition", best, "partial" if open_ else "graded", 4.0)


def _capd_domain(bounds: Range, found: Findings, options: GradingOptions, adjust: bool) -> Domain:
    present = found.baseline.get("capd_total", 0.0) if adjust else 0.0

    def grade(total: float) -> float:
        total = max(0.0, total - present)
        return 3.0 if total >= CAPD_POSITIVE else 1.0 if total >= options.capd_low else 0.0

    best = grade(bounds.low)
    return Domain("cognition", best, "partial" if grade(bounds.high) > best else "graded", 4.0)


def _swap(total: Range, gone: float | None, come: float | None) -> Range:
    low = total.low - (1.0 if gone is None else gone) + (0.0 if come is None else come)
    high = total.high - (0.0 if gone is None else gone) + (1.0 if come is None else come)
    return Range(max(0.0, low), min(TEN, high))
