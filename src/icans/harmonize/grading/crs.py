"""ASTCT 2019 grading of CRS (Lee et al., Biol Blood Marrow Transplant 2019;25:625, 10.1016/j.bbmt.2018.12.758).

Fever (38.0 degrees Celsius or more, not otherwise explained) is needed at entry. After antipyretic, anti-cytokine or
steroid treatment it is no longer needed and hypotension and hypoxia drive the grade. Organ toxicity never does.
"""

from __future__ import annotations

from icans.harmonize.grading.findings import Domain, Findings, Grade, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import grades_of, rules
from icans.harmonize.grading.support import CANNULA, devices

SCHEME = "ASTCT"
TOXICITY = "CRS"


def grade_crs(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """CRS under ASTCT 2019."""
    died = "CRS" in found.words("death_attributed")
    febrile = fever(found, options)
    domains = (_fever_domain(febrile, found), hypotension(found, options), hypoxia(found, options))
    treated = found.flag("antipyretic_or_anticytokine")
    if died or febrile or treated:
        return worst(SCHEME, TOXICITY, domains, died=died, incomplete=found.incomplete)
    by_name = {d.name: d.grade for d in domains}
    if febrile is None and not found.excluded("fever", "temperature_max_c"):
        return Grade(SCHEME, TOXICITY, None, True, (), by_name, notes=("fever: not recorded, CRS cannot be told",))
    note = "no fever and no treatment that could mask it: not CRS"
    open_ = treated is None and any(d.grade is None or d.grade > 0 for d in domains[1:])
    return Grade(SCHEME, TOXICITY, 0.0, open_ or found.incomplete, (), by_name, notes=(note,), adjusted=0.0)


def fever(found: Findings, options: GradingOptions = DEFAULT) -> bool | None:
    """Whether there was fever: as noted, or by the highest temperature."""
    noted, highest = found.flag("fever"), found.number("temperature_max_c")
    limit = float(rules()["crs"]["astct"]["fever_c"])
    by_temperature = None if highest is None else highest >= limit
    if found.excluded("fever"):
        return False
    if noted or by_temperature:
        return True
    if noted is None and by_temperature is None:
        return False if "fever" in options.charted_by_exception else None
    return False


def _fever_domain(febrile: bool | None, found: Findings) -> Domain:
    if febrile is None:
        return Domain("fever", None, "missing", 1.0)
    if found.excluded("fever", "temperature_max_c"):
        return Domain("fever", None, "excluded", 1.0, "judged not attributable")
    return Domain("fever", 1.0 if febrile else 0.0, "graded", 1.0)


def hypotension(found: Findings, options: GradingOptions = DEFAULT) -> Domain:
    """No pressor 2, one pressor with or without vasopressin 3, several not counting vasopressin 4."""
    items = ("hypotension", "iv_fluids", "vasopressors", "vasopressin")
    if found.excluded(*items):
        return Domain("hypotension", None, "excluded", 4.0, "judged not attributable")
    if not found.has(*items):
        if "hypotension" in options.charted_by_exception:
            return Domain("hypotension", 0.0, "graded", 4.0, "nothing charted, taken as absent")
        return Domain("hypotension", None, "missing")
    number, vasopressin = found.number("vasopressors"), found.flag("vasopressin")
    grades = [0.0]
    if found.flag("hypotension") or found.flag("iv_fluids"):
        grades.append(2.0)
    if vasopressin or (number or 0) >= 1:
        grades.append(3.0)
    if (number or 0) >= 2:
        grades.append(4.0)
    grade = max(grades)
    none_possible = found.flag("hypotension") is False  # without hypotension there is no pressor to count
    whole = none_possible or (number is not None and (grade > 0 or found.has("hypotension")) and
                              (vasopressin is not None or number >= 1))  # fmt: skip
    return Domain("hypotension", grade, "graded" if whole else "partial")


def hypoxia(found: Findings, options: GradingOptions = DEFAULT) -> Domain:
    """Low flow (at most 6 L/min) or blow-by 2; high flow or a mask 3; positive pressure 4."""
    if found.excluded("oxygen_device", "oxygen_flow_l_min"):
        return Domain("hypoxia", None, "excluded", 4.0, "judged not attributable")
    words, set_aside = devices(found)
    flow = found.number("oxygen_flow_l_min")
    if not words and set_aside:
        return Domain("hypoxia", None, "excluded", 4.0, "positive pressure for another reason")
    if not words and flow is None:
        if "hypoxia" in options.charted_by_exception:
            return Domain("hypoxia", 0.0, "graded", 4.0, "nothing charted, taken as absent")
        return Domain("hypoxia", None, "missing")
    table = grades_of("crs", "astct", "device")
    limit = float(rules()["crs"]["astct"]["low_flow_l_min"])
    grades = [table[word] for word in words]
    if flow:
        grades.append(2.0 if flow <= limit else 3.0)
    grade = max(grades, default=0.0)
    unclear = not words or (grade == 2.0 and bool(words & CANNULA) and flow is None)
    return Domain("hypoxia", grade, "partial" if unclear else "graded")
