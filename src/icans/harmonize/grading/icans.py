"""ASTCT 2019 grading of ICANS (Lee et al., Biol Blood Marrow Transplant 2019;25:625, 10.1016/j.bbmt.2018.12.758).

Five domains; the worst attributable one is the grade. Tremor, myoclonus and headache do not count. Intracranial
haemorrhage, with or without oedema, is no feature of ICANS and takes the oedema domain out.
"""

from __future__ import annotations

from dataclasses import replace

from icans.harmonize.grading.cognition import cognition, test_of
from icans.harmonize.grading.findings import Domain, Findings, Grade, worst
from icans.harmonize.grading.options import DEFAULT, GradingOptions

SCHEME = "ASTCT"
TOXICITY = "ICANS"

CONSCIOUSNESS = {"spontaneous": 0.0, "voice": 2.0, "touch": 3.0, "unarousable": 4.0}
#: An awake patient is not grade 1 by arousal alone: "wakes spontaneously" stands in the grade 1 column, yet a
#: patient with ICE 10 who is awake is grade 0 (rule of the same table: no finding, no ICANS).
SEIZURE = {
    "none": 0.0, "brief_focal": 3.0, "brief_generalised": 3.0, "electrographic_treated": 3.0,
    "multiple_despite_treatment": 3.0, "repetitive_no_recovery": 4.0, "prolonged": 4.0,
}  # fmt: skip
MOTOR = {"none": 0.0, "focal_weakness_mild": 0.0, "hemiparesis_or_paraparesis": 4.0}
OEDEMA = {"none": 0.0, "focal": 3.0, "diffuse": 4.0}
SIGN_OF_PRESSURE = 4.0
#: Minutes beyond which a seizure is prolonged.
PROLONGED_MIN = 5.0
#: Highest RASS (Sessler 2002, 10.1164/rccm.2107138) -> level of arousal, where that was not recorded itself.
RASS_AROUSAL = ((-5.0, "unarousable"), (-4.0, "touch"), (-1.0, "voice"), (4.0, "spontaneous"))


def grade_icans(found: Findings, options: GradingOptions = DEFAULT) -> Grade:
    """ICANS under ASTCT 2019, raw (``grade``) and after allowing for the baseline (``adjusted``)."""
    raw = _grade(found, options, adjust=False)
    if not found.baseline or raw.grade is None:
        return raw
    return replace(raw, adjusted=_grade(found, options, adjust=True).grade)


def _grade(found: Findings, options: GradingOptions, *, adjust: bool) -> Grade:
    test = cognition(found, options, adjust=adjust)
    arousal = consciousness(found, options)
    others = (seizure(found, options), motor(found, options), oedema(found, options))
    result = worst(
        SCHEME,
        TOXICITY,
        (test, arousal, *others),
        died="ICANS" in found.words("death_attributed"),
        incomplete=found.incomplete,
    )
    if result.grade == 0 and test.grade is None and arousal.grade is None:
        # Neither cognition nor arousal was assessed: "at least 0" would say nothing and look like "none".
        return replace(result, grade=None, adjusted=None, lower_bound=True)
    if result.deciding == ("cognition",) and result.grade == 3 and test_of(found, options) == "CAPD":
        return replace(result, flags=result.flags | {"capd_only"})
    return result


def arousal_words(found: Findings) -> frozenset[str]:
    """Level of arousal as recorded, or from RASS."""
    words = found.words("consciousness")
    rass = found.number("rass")
    if words or rass is None:
        return words
    return frozenset({next(word for highest, word in RASS_AROUSAL if rass <= highest)})


def consciousness(found: Findings, options: GradingOptions) -> Domain:
    """Level of arousal; not assessable under sedation."""
    if found.flag("sedated"):
        return Domain("consciousness", None, "sedated", 4.0, "not assessable under sedation")
    if found.excluded("consciousness", "rass"):
        return Domain("consciousness", None, "excluded", 4.0, "judged not attributable")
    words = arousal_words(found)
    if not words:
        return _absent("consciousness", options)
    return Domain("consciousness", max(CONSCIOUSNESS[word] for word in words))


def seizure(found: Findings, options: GradingOptions) -> Domain:
    """Any seizure is 3; one longer than five minutes, or repeated without recovery, is 4."""
    if found.excluded("seizure", "seizure_minutes"):
        return Domain("seizure", None, "excluded", 4.0, "judged not attributable")
    words, minutes = found.words("seizure"), found.number("seizure_minutes")
    if not words and minutes is None:
        return _absent("seizure", options)
    grade = max((SEIZURE[word] for word in words), default=0.0)
    if minutes is not None and minutes > 0:
        at_five = float(options.seizure_of_five_minutes)
        by_length = 4.0 if minutes > PROLONGED_MIN else at_five if minutes == PROLONGED_MIN else 3.0
        grade = max(grade, by_length)
    return Domain("seizure", grade, "graded" if words else "partial")


def motor(found: Findings, options: GradingOptions) -> Domain:
    """Deep focal weakness is 4; slight weakness is not a criterion."""
    if found.excluded("motor"):
        return Domain("motor", None, "excluded", 4.0, "judged not attributable")
    words = found.words("motor")
    return Domain("motor", max(MOTOR[word] for word in words)) if words else _absent("motor", options)


def oedema(found: Findings, options: GradingOptions) -> Domain:
    """Oedema on imaging and signs of raised pressure, unless there is intracranial haemorrhage."""
    if found.flag("intracranial_haemorrhage"):
        return Domain("oedema", None, "excluded", 4.0, "intracranial haemorrhage is graded by CTCAE")
    if found.excluded("cerebral_oedema", "icp_sign"):
        return Domain("oedema", None, "excluded", 4.0, "judged not attributable")
    imaging, signs = found.words("cerebral_oedema"), found.words("icp_sign")
    if not imaging and not signs:
        return _absent("oedema", options)
    by_image = max((OEDEMA[word] for word in imaging), default=0.0)
    by_sign = SIGN_OF_PRESSURE if signs - {"none"} else 0.0
    whole = (bool(imaging) and bool(signs)) or "oedema" in options.charted_by_exception
    return Domain("oedema", max(by_image, by_sign), "graded" if whole else "partial")


def _absent(name: str, options: GradingOptions) -> Domain:
    if name in options.charted_by_exception:
        return Domain(name, 0.0, "graded", 4.0, "nothing charted, taken as absent")
    return Domain(name, None, "missing")
