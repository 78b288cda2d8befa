"""EEG and MRI in the report of a study, on a synthetic cohort whose features were made from its grades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from icans.cohort.cohort import make
from icans.core.provenance import Provenance
from icans.core.random import stream
from icans.report.model import ReportData
from icans.report.recordings import associations, by_group, doubts, examinations, overview
from icans.report.render import render

N = 30


def cohort(*, graded=True, score=False):
    """Two EEGs a patient (the second doubtful in every third), an MRI in half; delta share and burden follow grade."""
    rng = stream(2, "recordings test")
    ids = [f"P{i:02d}" for i in range(N)]
    grade = np.arange(N) % 5
    rows, grades = [], []
    for i, patient in enumerate(ids):
        for k in range(2):
            at, doubt = 48.0 + 24 * k, "; flagged: mains, artefact" if i % 3 == 0 and k else ""
            method = f"median of 40 windows{doubt}"
            slow = 0.3 + 0.1 * grade[i] + rng.normal(0, 0.03)
            rows += [(patient, at, "eeg_rel_delta", "eeg", slow, method),
                     (patient, at, "eeg_rel_beta", "eeg", rng.uniform(0.05, 0.2), method)]  # fmt: skip
            grades.append((patient, at + 2.0, float(grade[i])))
            if score:
                rows.append((patient, at, "ve_cam_s", "eeg", float(2 * grade[i]), "read by experts"))
        if i % 2:
            for region, share in (("thalamus", 0.2), ("cerebellum", 0.05), ("brain", 1.0)):
                value = share * (0.5 + grade[i]) * rng.uniform(0.8, 1.2)
                rows.append((patient, 96.0, f"mri_flair_{region}", "mri", value, "lesions by threshold"))
    measured = pd.DataFrame(rows, columns=["patient_id", "time_h", "analyte", "matrix", "value", "method"])
    tables = {
        "patients": pd.DataFrame({"patient_id": ids}),
        "measurements": measured.assign(available_h=measured["time_h"] + 1),
        "recordings": pd.DataFrame({"patient_id": ids[:3], "time_h": 48.0, "kind": "eeg", "path": ["a", "b", "c"]}),
    }
    if graded:
        frame = pd.DataFrame(grades, columns=["patient_id", "time_h", "grade"])
        tables["grades"] = frame.assign(available_h=frame["time_h"], toxicity="ICANS", scheme="ASTCT")
    return make("synthetic", tables, provenance=Provenance(source="made in a test", synthetic=True))


@pytest.fixture(scope="module")
def whole():
    return cohort()


def test_what_was_recorded_and_doubted_is_counted(whole):
    counts = overview(whole).set_index("kind")
    assert counts.loc["EEG", ["files listed", "recordings measured", "patients"]].tolist() == [3, 2 * N, N]
    assert counts.loc["EEG", "in doubt"] == pytest.approx(10 / 60)
    assert counts.loc["MRI", ["recordings measured", "patients"]].tolist() == [N // 2, N // 2]
    flags = doubts(whole).set_index("flag")
    assert flags.loc[["mains", "artefact"], "recordings"].tolist() == [10, 10]


def test_features_are_held_against_the_grade_of_the_time(whole):
    found = examinations(whole, "eeg")
    assert found.outcome_name == "ICANS grade"
    assert found.outcome.groupby("patient_id").first().tolist() == [float(i % 5) for i in range(N)]
    table = associations(found).set_index("feature")
    assert table.index[0] == "eeg_rel_delta"
    truth = spearmanr(found.values["eeg_rel_delta"], found.outcome).statistic
    assert table.loc["eeg_rel_delta", "correlation"] == pytest.approx(truth)
    assert 0.8 < table.loc["eeg_rel_delta", "low"] < truth < table.loc["eeg_rel_delta", "high"] <= 1
    chance = table.loc["eeg_rel_beta"]
    assert chance["low"] < 0 < chance["high"]
    assert (table["patients"] == N).all()
    medians = by_group(found, ["eeg_rel_delta"])["median"]
    assert medians.is_monotonic_increasing
    assert len(medians) == 3


def test_two_recordings_of_each_patient_are_not_twice_the_news(whole):
    found = examinations(whole, "eeg")
    first = found.values.index.get_level_values("time_h") == 48.0
    wide = associations(found).set_index("feature").loc["eeg_rel_beta"]
    alone = spearmanr(found.values["eeg_rel_beta"], found.outcome)
    as_if_independent = 2 * 1.96 / np.sqrt(first.size - 3)
    assert wide["correlation"] == pytest.approx(alone.statistic)
    assert wide["high"] - wide["low"] > 0.7 * as_if_independent


def test_without_grades_an_expert_score_is_the_outcome_and_without_any_nothing_is_told():
    found = examinations(cohort(graded=False, score=True), "eeg")
    assert found.outcome_name == "VE-CAM-S"
    assert "ve_cam_s" not in found.values
    assert associations(found).iloc[0]["feature"] == "eeg_rel_delta"
    assert associations(examinations(cohort(graded=False), "eeg")).empty


def test_the_page_has_the_section_with_figures_and_cautions(whole):
    html = render(ReportData("x", delivered=whole), only=["recordings"])
    for text in (
        "EEG and MRI",
        "BiPD",
        "does not work",
        "synthetic heads only",
        "Bright tissue by region",
        "SYNTHETIC",
    ):
        assert text in html
    assert html.count("<svg") == 3
    empty = make("synthetic", {"patients": pd.DataFrame({"patient_id": ["A"]})})
    assert "no EEG and no MRI" in render(ReportData("x", delivered=empty), only=["recordings"])
    ungraded = render(ReportData("x", delivered=cohort(graded=False)), only=["recordings"])
    assert "no association is told" in ungraded
