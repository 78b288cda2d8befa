"""Lee 2014 grading of CRS (Blood 2014;124:188, 10.1182/blood-2014-05-552729). Organ toxicity counts here."""

from __future__ import annotations

from icans.harmonize.grading.crs import fever
from icans.harmonize.grading.findings import Domain, Findings, Grade, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions
from icans.harmonize.grading.support import hypotension_by_dose, oxygen_by_fraction

SCHEME = "Lee2014"
TOXICITY = "CRS"


def grade_lee2014(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """CRS under Lee 2014: fluids or one low-dose pressor 2, high-dose or several 3, ventilator 4."""
    domains = (
        symptoms(found, options),
        hypotension_by_dose(found, low=2.0, one_low_dose=2.0, high=3.0, several=3.0),
        oxygen_by_fraction(found, "lee2014"),
        _organs(found),
    )
    died = "CRS" in found.words("death_attributed")
    return worst(SCHEME, TOXICITY, domains, died=died, incomplete=found.incomplete)


def symptoms(found: Findings, options: GradingOptions = DEFAULT) -> Domain:
    """Fever or constitutional symptoms: 1."""
    if found.excluded("crs_symptoms", "fever", "temperature_max_c"):
        return Domain("symptoms", None, "excluded", 1.0, "judged not attributable")
    febrile, felt = fever(found, options), found.flag("crs_symptoms")
    if febrile or felt:
        return Domain("symptoms", 1.0, "graded", 1.0)
    if febrile is None and felt is None:
        return Domain("symptoms", None, "missing", 1.0)
    return Domain("symptoms", 0.0, "graded" if felt is not None else "partial", 1.0)


def _organs(found: Findings) -> Domain:
    """Organ toxicity from grade 2 upwards counts as it is, except that transaminases stop at 3."""
    if found.excluded("organ_toxicity_grade", "transaminase_grade"):
        return Domain("organs", None, "excluded", 4.0, "judged not attributable")
    organ, liver = found.number("organ_toxicity_grade"), found.number("transaminase_grade")
    if organ is None and liver is None:
        return Domain("organs", None, "missing")
    grade = max(0.0 if value is None or value < 2 else value for value in (organ, min(liver or 0.0, 3.0)))
    return Domain("organs", grade, "graded" if organ is not None and liver is not None else "partial")
