"""CRS under ASTCT 2019, Lee 2014, Penn and CTCAE 5.0, as small patients."""

from __future__ import annotations

import pytest

from icans.harmonize.grading.crs import grade_crs
from icans.harmonize.grading.ctcae import grade_crs_ctcae5
from icans.harmonize.grading.findings import findings
from icans.harmonize.grading.lee2014 import grade_lee2014
from icans.harmonize.grading.options import GradingOptions
from icans.harmonize.grading.penn import grade_penn

FEVER = {"temperature_max_c": 38.6}
TREATED = {"antipyretic_or_anticytokine": True}
WELL = {"hypotension": False, "oxygen_device": "none"}

ASTCT = [
    # finding                                                                            grade  why
    ({"temperature_max_c": 38.0},   1, "38.0 is fever"),
    ({"temperature_max_c": 37.9, **WELL},   0, "37.9 is not"),
    ({"temperature_max_c": 37.9, "hypotension": True},   0, "hypotension without fever, untreated"),
    ({"temperature_max_c": 37.9, **TREATED, "hypotension": True},   2, "treated: fever no longer needed"),
    ({"temperature_max_c": 37.9, **TREATED, "vasopressors": 1},   3, "treated, one pressor"),
    ({"temperature_max_c": 37.0, **TREATED, **WELL},   0, "treated and well again"),
    ({**FEVER, "iv_fluids": True},   2, "fluids"),
    ({**FEVER, "hypotension": True, "vasopressors": 0},   2, "hypotension, no pressor"),
    ({**FEVER, "oxygen_device": "nasal_cannula", "oxygen_flow_l_min": 6},   2, "6 L/min is low flow"),
    ({**FEVER, "oxygen_device": "nasal_cannula", "oxygen_flow_l_min": 7},   3, "7 L/min is not"),
    ({**FEVER, "oxygen_device": "blow_by"},   2, "blow-by"),
    ({**FEVER, "oxygen_device": "facemask"},   3, "mask"),
    ({**FEVER, "oxygen_device": "venturi"},   3, "Venturi mask"),
    ({**FEVER, "oxygen_device": "non_rebreather"},   3, "non-rebreather"),
    ({**FEVER, "vasopressors": 1, "vasopressin": True},   3, "norepinephrine and vasopressin"),
    ({**FEVER, "vasopressors": 0, "vasopressin": True},   3, "vasopressin alone is one pressor"),
    ({**FEVER, "vasopressors": 2},   4, "norepinephrine and epinephrine"),
    ({**FEVER, "oxygen_device": "cpap"},   4, "CPAP"),
    ({**FEVER, "oxygen_device": "ventilator"},   4, "ventilator"),
    ({**FEVER, "oxygen_device": "cpap", "home_positive_pressure": True},   1, "chronic CPAP at home"),
    ({**FEVER, "oxygen_device": "ventilator", "ventilated_for_airway_only": True},   1, "airway only"),
    ({**FEVER, "vasopressors": 1, "oxygen_device": "nasal_cannula", "oxygen_flow_l_min": 2}, 3, "published example"),
    ({**FEVER, **WELL, "organ_toxicity_grade": 4},   1, "organ toxicity does not count"),
    ({"fever": True},   1, "fever as noted"),
    ({"fever": False, "temperature_max_c": 39, **WELL},   1, "the thermometer wins over the note"),
    ({"temperature_max_c": 39, "death_attributed": "CRS"},   5, "death from CRS"),
    ({"hypotension": True},   None, "fever not recorded"),
    ({**TREATED, "hypotension": True},   2, "fever not recorded, but treated"),
    ({},   None, "nothing known"),
]  # fmt: skip

LEE = [
    ({"fever": True},   1, "symptoms only"),
    ({"crs_symptoms": True},   1, "symptoms only"),
    ({"fever": True, "iv_fluids": True},   2, "fluids"),
    ({"fever": True, "vasopressors": 1, "vasopressor_dose": "low"},   2, "one low-dose pressor"),
    ({"fever": True, "vasopressors": 1, "vasopressor_dose": "high"},   3, "high dose"),
    ({"fever": True, "vasopressors": 2, "vasopressor_dose": "low"},   3, "several"),
    ({"fever": True, "oxygen_device": "nasal_cannula", "fio2_percent": 30},   2, "below 40 %"),
    ({"fever": True, "oxygen_device": "facemask", "fio2_percent": 40},   3, "40 % or more"),
    ({"fever": True, "oxygen_device": "ventilator"},   4, "ventilator"),
    ({"fever": True, "organ_toxicity_grade": 1, "transaminase_grade": 1},   1, "organ grade 1 does not count"),
    ({"fever": True, "organ_toxicity_grade": 2},   2, "organ grade 2"),
    ({"fever": True, "organ_toxicity_grade": 3},   3, "organ grade 3"),
    ({"fever": True, "transaminase_grade": 4},   3, "transaminases 4 are 3"),
    ({"fever": True, "organ_toxicity_grade": 4},   4, "organ grade 4"),
    ({"death_attributed": "CRS"},   5, "death"),
]  # fmt: skip

PENN = [
    ({"creatinine_grade": 1, "transaminase_grade": 2},   0, "organ grades below the scale's"),
    ({"fever": True},   1, "supportive care"),
    ({"fever": True, "creatinine_grade": 2},   2, "creatinine 2"),
    ({"fever": True, "transaminase_grade": 3},   2, "transaminases 3"),
    ({"fever": True, "hospital_admission_for_crs": True},   2, "admission"),
    ({"fever": True, "iv_therapy": True},   2, "intravenous therapy"),
    ({"fever": True, "iv_fluids": True},   3, "fluid boluses (Lee: 2)"),
    ({"fever": True, "vasopressors": 1, "vasopressor_dose": "low"},   3, "low-dose pressor"),
    ({"fever": True, "oxygen_device": "nasal_cannula"},   3, "oxygen"),
    ({"fever": True, "oxygen_device": "bipap"},   3, "BiPAP"),
    ({"fever": True, "ffp_or_cryoprecipitate": True},   3, "plasma"),
    ({"fever": True, "creatinine_grade": 3},   3, "creatinine 3"),
    ({"fever": True, "transaminase_grade": 4},   3, "transaminases 4"),
    ({"fever": True, "vasopressors": 1, "vasopressor_dose": "high"},   4, "high-dose pressor"),
    ({"fever": True, "oxygen_device": "ventilator"},   4, "ventilator"),
    ({"death_attributed": "CRS"},   5, "death"),
]  # fmt: skip

CTCAE5 = [
    ({"fever": True},   1, "fever"),
    ({"fever": True, "iv_fluids": True},   2, "fluids"),
    ({"fever": True, "vasopressors": 1, "vasopressor_dose": "low"},   3, "one pressor"),
    ({"fever": True, "oxygen_device": "facemask", "fio2_percent": 45},   3, "40 % or more"),
    ({"fever": True, "oxygen_device": "ventilator"},   4, "ventilator"),
]  # fmt: skip


@pytest.mark.parametrize(("patient", "grade", "why"), ASTCT)
def test_astct(patient, grade, why):
    assert grade_crs(findings(**patient)).grade == grade, why


@pytest.mark.parametrize(("patient", "grade", "why"), LEE)
def test_lee2014(patient, grade, why):
    assert grade_lee2014(findings(**patient)).grade == grade, why


@pytest.mark.parametrize(("patient", "grade", "why"), PENN)
def test_penn(patient, grade, why):
    assert grade_penn(findings(**patient)).grade == grade, why


@pytest.mark.parametrize(("patient", "grade", "why"), CTCAE5)
def test_ctcae5(patient, grade, why):
    assert grade_crs_ctcae5(findings(**patient)).grade == grade, why


def test_the_same_patient_under_four_scales():
    patient = findings(fever=True, hypotension=True, iv_fluids=True, vasopressors=0, vasopressin=False)
    assert [f(patient).grade for f in (grade_crs, grade_lee2014, grade_penn, grade_crs_ctcae5)] == [2, 2, 3, 2]


def test_lower_bounds():
    assert grade_crs(findings(**FEVER)).lower_bound
    assert not grade_crs(findings(**FEVER, **WELL)).lower_bound
    assert grade_crs(findings(**FEVER, oxygen_device="nasal_cannula", hypotension=False)).lower_bound  # flow unknown
    assert grade_crs(findings(**FEVER, hypotension=True, oxygen_device="none")).lower_bound  # pressors unknown
    full = findings(**FEVER, hypotension=True, vasopressors=1, oxygen_device="none")
    assert not grade_crs(full).lower_bound
    by_device = grade_lee2014(findings(fever=True, oxygen_device="facemask"))
    assert (by_device.grade, by_device.lower_bound) == (2, True)


def test_not_attributable_and_charted_by_exception():
    septic = findings(fever=True, hypotension=True, not_attributable=["fever", "hypotension"])
    assert grade_crs(septic).grade == 0
    chart = GradingOptions(charted_by_exception=("hypotension", "hypoxia"))
    result = grade_crs(findings(**FEVER), chart)
    assert (result.grade, result.lower_bound) == (1, False)
    assert grade_crs(findings(temperature_max_c=37, **TREATED), chart).grade == 0
