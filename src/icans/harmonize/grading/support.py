"""Oxygen and vasopressors, as the CRS scales count them."""

from __future__ import annotations

from icans.harmonize.grading.findings import Domain, Findings
from icans.harmonize.grading.rules import grades_of, rules

POSITIVE_PRESSURE = frozenset({"cpap", "bipap"})
CANNULA = frozenset({"nasal_cannula", "high_flow_cannula"})


def devices(found: Findings) -> tuple[frozenset[str], bool]:
    """Oxygen devices that count, and whether any was set aside.

    Chronic positive pressure at home, and a ventilator that only guards the airway, are no sign of CRS.
    """
    words = found.words("oxygen_device")
    kept = words
    if found.flag("home_positive_pressure"):
        kept = kept - POSITIVE_PRESSURE
    if found.flag("ventilated_for_airway_only"):
        kept = kept - {"ventilator"}
    return kept, kept != words


def oxygen_by_fraction(found: Findings, scale: str, *, ceiling: float = 4.0) -> Domain:
    """Hypoxia where the scale asks for the inspired fraction (Lee 2014, CTCAE 5.0)."""
    table = grades_of("crs", scale, "device")
    high = float(rules()["crs"][scale]["high_fio2_percent"])
    if found.excluded("oxygen_device", "fio2_percent", "oxygen_flow_l_min"):
        return Domain("hypoxia", None, "excluded", ceiling, "judged not attributable")
    words, set_aside = devices(found)
    fraction, flow = found.number("fio2_percent"), found.number("oxygen_flow_l_min")
    if not words and set_aside:
        return Domain("hypoxia", None, "excluded", ceiling, "support for another reason")
    grades = [table[word] for word in words]
    if flow:
        grades.append(2.0)
    if fraction is not None:
        grades.append(3.0 if fraction >= high else 2.0 if fraction > ROOM_AIR_PERCENT else 0.0)
    if not grades:
        return Domain("hypoxia", None, "missing", ceiling)
    grade = max(grades)
    open_ = not words or (grade == 2.0 and fraction is None)
    return Domain("hypoxia", grade, "partial" if open_ else "graded", ceiling)


#: Oxygen in room air, percent.
ROOM_AIR_PERCENT = 21.0


def pressors(found: Findings) -> tuple[int, bool]:
    """Number of vasopressors, vasopressin among them, and whether the number is complete."""
    counted, vasopressin = found.number("vasopressors"), found.flag("vasopressin")
    dose = found.words("vasopressor_dose")
    number = int(counted or 0) + int(bool(vasopressin))
    if dose - {"none"}:
        number = max(number, 1)
    return number, counted is not None and (vasopressin is not None or counted > 1)


def hypotension_by_dose(
    found: Findings, *, low: float, one_low_dose: float, high: float, several: float | None = None
) -> Domain:
    """Hypotension where the scale asks for the dose of the vasopressor (Lee 2014, Penn).

    ``low``: hypotension or fluids; ``one_low_dose``: one pressor; ``high``: a high dose; ``several``: more
    than one pressor whatever the dose (None: counts as one).
    """
    items = ("hypotension", "iv_fluids", "vasopressors", "vasopressin", "vasopressor_dose")
    if found.excluded(*items):
        return Domain("hypotension", None, "excluded", high, "judged not attributable")
    if not found.has(*items):
        return Domain("hypotension", None, "missing", high)
    number, counted = pressors(found)
    dose = found.words("vasopressor_dose")
    grades = [0.0]
    if found.flag("hypotension") or found.flag("iv_fluids"):
        grades.append(low)
    if number:
        grades.append(one_low_dose)
    if "high" in dose:
        grades.append(high)
    if several is not None and number > 1:
        grades.append(several)
    grade = max(grades)
    dosed = bool(dose) or number == 0
    hypotension_known = found.has("hypotension") or grade > 0
    whole = counted and dosed and hypotension_known
    return Domain("hypotension", grade, "graded" if whole else "partial", high)
