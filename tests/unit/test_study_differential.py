"""ICANS or TIAN from the tables of a cohort: what is read, and that nothing of later is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import eeg_signals as made
from icans.cohort.cohort import make
from icans.signals.eeg.analyse import analyse
from icans.study.differential import case_at, differential_at
from icans.study.eeg_rows import Placing, measurement_rows


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


def recorded(**values):
    """An EEG from 11 to 12 h: median frequency 3 Hz, no posterior rhythm, nothing focal; ``values`` instead."""
    features = {"median_frequency": 3.0, "pdr_present": 0.0, "focal_delta": 0.4, "asymmetry_delta": 0.05, **values}
    return [(11.0, 12.0, f"eeg_{name}", "eeg", value) for name, value in features.items()]


@pytest.mark.parametrize(
    ("values", "side", "state"),
    [
        ({}, "left", "diffuse"), ({"median_frequency": 9.5, "pdr_present": 1.0}, "left", "normal"),
        ({"median_frequency": 7.0, "pdr_present": 1.0}, "left", "normal"),
        ({"asymmetry_delta": 1.5}, "left", "focal_at_tumour"), ({"asymmetry_delta": 1.5}, "right", "focal_elsewhere"),
        ({"asymmetry_delta": -0.4, "focal_delta": 2.4}, "right", "focal_at_tumour"),
        ({"asymmetry_delta": 0.1, "focal_delta": 2.4}, "right", None), ({"asymmetry_delta": 1.5}, None, None),
    ],
)  # fmt: skip
def test_where_an_eeg_is_slow_is_read_from_its_features(values, side, state):
    told = cohort(assessed=TUMOUR_BED, measured=recorded(**values))
    assert case_at(told, "A", 20.0, tumour_side=side).findings.get("eeg") == state
    assert "eeg" not in case_at(told, "A", 11.5, tumour_side=side).findings  # not over yet
    assert "eeg" not in case_at(told, "A", 100.0, tumour_side=side).findings  # of another day


def test_without_a_tumour_a_focal_eeg_is_focal_elsewhere():
    told = cohort(involved=False, measured=recorded(asymmetry_delta=1.5))
    assert case_at(told, "A", 20.0).findings["eeg"] == "focal_elsewhere"


def test_an_eeg_slow_at_the_tumour_moves_the_answer_towards_tian():
    shares = {}
    for side in ("left", "right"):
        told = cohort(route="iv", assessed=TUMOUR_BED[1:3], measured=recorded(asymmetry_delta=1.5))
        shares[side] = differential_at(told, "A", 20.0, tumour_side=side).shares
    assert shares["left"]["tian_2"] > 2 * shares["right"]["tian_2"]
    assert shares["right"]["icans"] > 10 * shares["left"]["icans"]


def test_an_eeg_read_by_the_package_reaches_the_differential_through_measurements():
    data = made.scalp(60.0)
    left = [i for i, name in enumerate(made.NAMES) if name[-1] in "13579"]
    delta = 60 * np.sin(2 * np.pi * 2.0 * np.arange(data.shape[1]) / made.RATE)
    data[left] += delta * np.linspace(0.7, 1.3, len(left))[:, None]
    rows = measurement_rows(analyse(made.recording(data), connectivity=False), Placing("A", 10.0))
    told = cohort(assessed=TUMOUR_BED)
    told = told.with_table("measurements", rows)
    assert case_at(told, "A", 20.0, tumour_side="left").findings["eeg"] == "focal_at_tumour"
    assert case_at(told, "A", 20.0, tumour_side="right").findings["eeg"] == "focal_elsewhere"
