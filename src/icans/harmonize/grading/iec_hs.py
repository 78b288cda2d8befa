"""IEC-HS, hyperinflammation after immune effector cells (Hines et al., 2023, 10.1016/j.jtct.2023.03.006).

Unverified: thresholds and grades are recalled. Laboratory results can say that the criteria are met (then the
grade is at least 1) or not; how severe it is follows from the course (``iec_hs_course``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icans.harmonize.grading.findings import Domain, Findings, Grade, domain_from_words, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.rules import grades_of, rules

SCHEME = "IEC-HS2023"
TOXICITY = "IEC-HS"


@dataclass(frozen=True)
class Labs:
    """Results that bear on hyperinflammation, in canonical units.

    ``worst``: analyte to the most abnormal value of the period (ferritin ng/mL, ast and alt U/L, fibrinogen
    mg/dL). ``baseline``: before infusion. ``uln``: upper limits of normal of this laboratory.
    ``new_cytopenia``: new, worse or refractory cytopenia. ``crs_resolving``: CRS has begun to resolve, or
    worsens after a first response; before that, hyperinflammation counts as CRS.
    """

    worst: Mapping[str, float] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    uln: Mapping[str, float] = field(default_factory=dict)
    new_cytopenia: bool | None = None
    crs_resolving: bool | None = None


def grade_iec_hs(found: Findings, labs: Labs | None = None, options: GradingOptions = DEFAULT) -> Grade:
    """IEC-HS from the course noted, from laboratory results, or both."""
    domains = [domain_from_words("course", found, "iec_hs_course", grades_of("iec_hs", "course"))]
    notes: tuple[str, ...] = ()
    if labs is not None:
        met = criteria(labs, found, options)
        if met is not None:
            # The criteria say "present"; how severe, only the course can tell.
            domains.append(Domain("laboratory", 1.0 if met else 0.0, "partial" if met else "graded", 4.0))
        notes = (f"laboratory criteria (recalled): {_SAID[met]}",)
    died = "IEC-HS" in found.words("death_attributed")
    flags = frozenset({"unverified"})
    return worst(SCHEME, TOXICITY, domains, died=died, incomplete=found.incomplete, flags=flags, notes=notes)


_SAID = {True: "met", False: "not met", None: "cannot be told"}


def criteria(labs: Labs, found: Findings, options: GradingOptions = DEFAULT) -> bool | None:
    """Whether the criteria are met: ferritin, enough common manifestations, and the right time.

    None when a missing result could decide.
    """
    rule = rules()["iec_hs"]
    ferritin = _exceeds(labs, "ferritin", rule["ferritin_times"])
    fibrinogen = labs.worst.get("fibrinogen")
    common = [
        _any(_exceeds(labs, "ast", rule["transaminase_times"]), _exceeds(labs, "alt", rule["transaminase_times"])),
        None if fibrinogen is None else fibrinogen < rule["fibrinogen_mg_dl"],
        found.flag("haemophagocytosis"),
        labs.new_cytopenia,
    ]
    sure = sum(value is True for value in common)
    possible = sure + sum(value is None for value in common)
    enough = (
        True if sure >= options.iec_hs_common_needed else None if possible >= options.iec_hs_common_needed else False
    )
    parts = (ferritin, enough, labs.crs_resolving)
    if any(part is False for part in parts):
        return False
    return None if any(part is None for part in parts) else True


def _exceeds(labs: Labs, analyte: str, times: float) -> bool | None:
    """Above ``times`` the upper limit of normal, or above ``times`` the baseline where that was raised already."""
    value = labs.worst.get(analyte)
    if value is None:
        return None
    limit = labs.uln.get(analyte, rules()["iec_hs"]["uln"][analyte])
    return value > times * max(limit, labs.baseline.get(analyte, limit))


def _any(*values: bool | None) -> bool | None:
    if any(values):
        return True
    return None if any(value is None for value in values) else False
