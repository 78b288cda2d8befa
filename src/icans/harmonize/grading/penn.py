"""Penn grading of CRS (Porter et al., J Hematol Oncol 2018;11:35, 10.1186/s13045-018-0571-y).

Fluids or oxygen by cannula are already grade 3, so Penn 3 or more is about Lee/ASTCT 2 or more: never pool them.
"""

from __future__ import annotations

from icans.harmonize.grading.findings import Domain, Findings, Grade, worst
from icans.harmonize.grading.lee2014 import symptoms
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import grades_of
from icans.harmonize.grading.support import devices, hypotension_by_dose

SCHEME = "Penn"
TOXICITY = "CRS"


def grade_penn(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """CRS under the Penn scale."""
    domains = (
        symptoms(found, options),
        hypotension_by_dose(found, low=3.0, one_low_dose=3.0, high=4.0),
        _oxygen(found),
        _organs(found),
        _care(found),
    )
    died = "CRS" in found.words("death_attributed")
    return worst(SCHEME, TOXICITY, domains, died=died, incomplete=found.incomplete)


def _oxygen(found: Findings) -> Domain:
    if found.excluded("oxygen_device", "oxygen_flow_l_min"):
        return Domain("hypoxia", None, "excluded", 4.0, "judged not attributable")
    words, set_aside = devices(found)
    flow = found.number("oxygen_flow_l_min")
    if not words and set_aside:
        return Domain("hypoxia", None, "excluded", 4.0, "support for another reason")
    grades = [grades_of("crs", "penn", "device")[word] for word in words] + ([3.0] if flow else [])
    if not grades:
        return Domain("hypoxia", None, "missing")
    return Domain("hypoxia", max(grades), "graded" if words else "partial")


def _organs(found: Findings) -> Domain:
    """Creatinine 2 or transaminases 3: 2. Creatinine 3 or transaminases 4: 3."""
    if found.excluded("creatinine_grade", "transaminase_grade"):
        return Domain("organs", None, "excluded", 3.0, "judged not attributable")
    creatinine, liver = found.number("creatinine_grade"), found.number("transaminase_grade")
    if creatinine is None and liver is None:
        return Domain("organs", None, "missing", 3.0)
    kidney = min(creatinine or 0.0, 3.0)
    grade = max(kidney if kidney >= 2 else 0.0, (liver or 0.0) - 1.0 if (liver or 0.0) >= 3 else 0.0)
    return Domain("organs", grade, "graded" if creatinine is not None and liver is not None else "partial", 3.0)


def _care(found: Findings) -> Domain:
    """Admission or intravenous therapy: 2. Plasma or cryoprecipitate: 3."""
    items = {"hospital_admission_for_crs": 2.0, "iv_therapy": 2.0, "ffp_or_cryoprecipitate": 3.0}
    if not found.has(*items):
        state = "excluded" if found.excluded(*items) else "missing"
        return Domain("care", None, state, 3.0)  # type: ignore[arg-type]
    grade = max(level if found.flag(item) else 0.0 for item, level in items.items())
    whole = all(found.has(item) for item in items)
    return Domain("care", grade, "graded" if whole else "partial", 3.0)
