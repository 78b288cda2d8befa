"""ICANS or TIAN from the tables of a cohort: what is read, and that nothing of later is."""

from __future__ import annotations

import pandas as pd
import pytest

from icans.cohort.cohort import make
from icans.study.differential import case_at, differential_at


def cohort(*, involved=True, route="icv", assessed=(), measured=(), graded=()):
    rows = {
        "patients": pd.DataFrame({"patient_id": ["A", "B"], "cns_involvement": [involved, None]}),
        "treatments": pd.DataFrame({"patient_id": ["A"], "time_h": [0.0], "drug": ["car_t"], "route": [route]}),
    }
    if assessed:
        frame = pd.DataFrame(assessed, columns=["time_h", "available_h", "item", "value"])
        rows["assessments"] = frame.assign(patient_id="A")
    if measured:
        columns = ["time_h", "available_h", "analyte", "matrix", "value"]
        rows["measurements"] = pd.DataFrame(measured, columns=columns).assign(patient_id="A")
    if graded:
        frame = pd.DataFrame(graded, columns=["time_h", "grade"])
        rows["grades"] = frame.assign(patient_id="A", toxicity="CRS", scheme="ASTCT")
    return make("synthetic", rows)


TUMOUR_BED = [
    (10.0, 10.0, "cns_tumour_inflammation", "yes"),
    (10.0, 10.0, "ice_total", "10"),
    (10.0, 10.0, "icp_sign", "none"),
    (10.0, 10.0, "motor", "focal_weakness_mild"),
]
SEEN = [
    (10.0, 12.0, "crp", "serum", 9.0),
    (10.0, 12.0, "il_6", "plasma", 20.0),
    (10.0, 12.0, "il_6", "csf", 400.0),
    (10.0, 14.0, "procalcitonin", "serum", 0.1),
    (11.0, 17.0, "mri_flair_brain", "mri", 6.0),
    (11.0, 17.0, "mri_near_tumour_share", "mri", 0.95),
    (11.0, 17.0, "mri_focality", "mri", 7.0),
    (11.0, 17.0, "mri_ventricle_change", "mri", 0.02),
]


def test_the_tables_of_a_patient_with_an_inflamed_tumour_say_tian():
    told = cohort(assessed=TUMOUR_BED, measured=SEEN, graded=[(10.0, 0.0)])
    case = case_at(told, "A", 20.0)
    assert case.setting == "tumour_local"
    assert dict(case.findings) == {
        "focal_deficit": "at_tumour", "cognition": "normal", "pressure": "none", "onset": "first_day", "crs": "no",
        "inflammation": "no", "infection": "no", "cytokine_ratio": "high", "mri": "at_tumour",
        "ventricles": "unchanged",
    }  # fmt: skip
    assert differential_at(told, "A", 20.0).answer == "tian_2"


def test_what_was_not_known_yet_is_not_seen():
    early = case_at(cohort(assessed=TUMOUR_BED, measured=SEEN, graded=[(10.0, 0.0)]), "A", 12.5)
    assert "infection" not in early.findings  # the result came at 14 h
    assert "mri" not in early.findings  # read at 17 h
    assert early.findings["cytokine_ratio"] == "high"


def test_the_tables_of_a_patient_with_lymphoma_say_icans():
    found = [(96.0, 96.0, "ice_total", "4"), (96.0, 96.0, "aphasia", "moderate"), (96.0, 96.0, "tremor", "mild")]
    labs = [(95.0, 96.0, "crp", "serum", 180.0), (95.0, 96.0, "procalcitonin", "serum", 0.2)]
    told = cohort(involved=False, route="iv", assessed=found, measured=labs, graded=[(48.0, 2.0)])
    assert case_at(told, "A", 100.0).findings["onset"] == "days_1_to_15"
    assert differential_at(told, "A", 100.0).answer == "icans"


def test_a_haemorrhage_and_an_unknown_setting_are_not_guessed_away():
    bleeding = cohort(assessed=[*TUMOUR_BED, (11.0, 11.0, "intracranial_haemorrhage", "yes")])
    assert differential_at(bleeding, "A", 20.0).answer == "cannot_tell"
    case = case_at(cohort(assessed=TUMOUR_BED), "B", 20.0)
    assert (case.setting, case.cells_given, dict(case.findings)) == (None, False, {})
    with pytest.raises(KeyError, match="no patient"):
        case_at(cohort(), "C", 20.0)


def test_findings_added_by_hand_stand_above_derived_ones():
    case = case_at(cohort(assessed=TUMOUR_BED), "A", 20.0, findings={"eeg": "focal_at_tumour", "cognition": "impaired"})
    assert (case.findings["eeg"], case.findings["cognition"]) == ("focal_at_tumour", "impaired")
