"""CARTOX grading of CRES (Neelapu et al., Nat Rev Clin Oncol 2018;15:47, 10.1038/nrclinonc.2017.148).

The bands of the CARTOX-10 total and the empty cells of grades 1 and 2 were read; the rows on pressure, seizure
and weakness are recalled. Any new motor weakness and any generalised seizure are grade 4 here and not in ASTCT.
"""

from __future__ import annotations

from icans.harmonize.grading.cognition import ICE_ITEMS, cartox_range, ten_point_grade
from icans.harmonize.grading.findings import Domain, Findings, Grade, worst
from icans.harmonize.grading.icans import arousal_words
from icans.harmonize.grading.options import DEFAULT, GradingOptions

SCHEME = "CARTOX"
TOXICITY = "ICANS"

SEIZURE_OR_WEAKNESS = {
    "none": 0.0, "brief_focal": 3.0, "electrographic_treated": 3.0, "brief_generalised": 4.0,
    "multiple_despite_treatment": 4.0, "repetitive_no_recovery": 4.0, "prolonged": 4.0,
    "focal_weakness_mild": 4.0, "hemiparesis_or_paraparesis": 4.0,
}  # fmt: skip
#: Papilloedema of unknown stage is at least stage 1-2; the other signs are those of herniation.
SIGNS = {
    "none": 0.0, "papilloedema_1_2": 3.0, "papilloedema": 3.0, "papilloedema_3_5": 4.0,
    "sixth_nerve_palsy": 4.0, "posturing": 4.0, "cushing_triad": 4.0,
}  # fmt: skip
OEDEMA = {"none": 0.0, "focal": 4.0, "diffuse": 4.0}
#: CSF opening pressure at and above which raised pressure is grade 4.
PRESSURE_GRADE_4_MMHG = 20.0


def grade_cartox(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """CRES under CARTOX."""
    return worst(
        SCHEME,
        TOXICITY,
        (_cognition(found), _pressure(found, options), _seizure_or_weakness(found, options)),
        died="ICANS" in found.words("death_attributed"),
        incomplete=found.incomplete,
    )


def _cognition(found: Findings) -> Domain:
    if found.flag("sedated"):
        return Domain("cognition", None, "sedated", 4.0, "not assessable under sedation")
    if found.flag("cognitive_test_untestable") or "unarousable" in arousal_words(found):
        return Domain("cognition", 4.0)
    if found.excluded("cartox10", "ice_total", *ICE_ITEMS):
        return Domain("cognition", None, "excluded", 4.0, "judged not attributable")
    bounds = cartox_range(found)
    if bounds is None:
        return Domain("cognition", None, "missing")
    best = ten_point_grade(bounds.high)
    unclear = ten_point_grade(bounds.low) > best
    return Domain("cognition", best, "partial" if unclear else "graded")


def _pressure(found: Findings, options: GradingOptions) -> Domain:
    if found.flag("intracranial_haemorrhage"):
        return Domain("pressure", None, "excluded", 4.0, "intracranial haemorrhage")
    items = ("cerebral_oedema", "icp_sign", "csf_opening_pressure_mmhg")
    if found.excluded(*items):
        return Domain("pressure", None, "excluded", 4.0, "judged not attributable")
    grades = [OEDEMA[word] for word in found.words("cerebral_oedema")]
    grades += [SIGNS[word] for word in found.words("icp_sign")]
    pressure = found.number("csf_opening_pressure_mmhg")
    if pressure is not None:
        raised = pressure > options.raised_pressure_mmhg
        grades.append(4.0 if pressure >= PRESSURE_GRADE_4_MMHG else 3.0 if raised else 0.0)
    whole = found.has("cerebral_oedema") and found.has("icp_sign")
    if "oedema" in options.charted_by_exception:
        grades, whole = [*grades, 0.0], True
    if not grades:
        return Domain("pressure", None, "missing")
    return Domain("pressure", max(grades), "graded" if whole else "partial")


def _seizure_or_weakness(found: Findings, options: GradingOptions) -> Domain:
    items = ("seizure", "motor")
    if found.excluded(*items):
        return Domain("seizure_or_weakness", None, "excluded", 4.0, "judged not attributable")
    grades = [SEIZURE_OR_WEAKNESS[word] for item in items for word in found.words(item)]
    whole = all(found.has(item) or item in options.charted_by_exception for item in items)
    if not grades:
        grades = [0.0] if whole else []
    if not grades:
        return Domain("seizure_or_weakness", None, "missing")
    return Domain("seizure_or_weakness", max(grades), "graded" if whole else "partial")
