"""The joint model of grades and discharge, and the CD22 model: records, leakage, scores. Synthetic data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, make
from icans.core.errors import DataError
from icans.population.nlme.likelihood import bind, log_likelihood, means, phi_of, psi_of
from icans.population.nlme.population import start
from icans.population.nlme.records import make_records
from icans.study.cd22_model import cd22_study, settings
from icans.study.grade_joint import joint_model, joint_records, known_at, ranked_probability_score
from icans.study.grade_joint_check import JOINT, calibration, compared, path_of


def graded() -> Cohort:
    """Synthetic: A with CRS, ICANS and treatment who leaves on day 9, B without anything, seen to day 14."""
    rows = []
    for patient, last in (("A", 8), ("B", 14)):
        for day in range(last + 1):
            crs = 2.0 if patient == "A" and 2 <= day <= 5 else 0.0
            icans = {5: 1.0, 6: 4.0, 7: 1.0}.get(day, 0.0) if patient == "A" else 0.0
            rows += [(patient, 24.0 * day, 24.0 * day + 24.0, t, g) for t, g in (("CRS", crs), ("ICANS", icans))]
    grades = pd.DataFrame(rows, columns=["patient_id", "time_h", "available_h", "toxicity", "grade"])
    treated = [("A", 72.0, 96.0, "tocilizumab"), ("A", 144.0, 168.0, "corticosteroid")]
    return make("synthetic", {
        "patients": pd.DataFrame({"patient_id": ["A", "B"], "product": "axi-cel"}),
        "grades": grades.assign(scheme="ASTCT", source="delivered", lower_bound=False),
        "treatments": pd.DataFrame(treated, columns=["patient_id", "time_h", "available_h", "drug"]),
    })  # fmt: skip


def test_records_hold_grades_treatment_and_discharge() -> None:
    records = joint_records(graded())
    a, b = records.subjects
    assert [d.drug for d in a.doses] == ["car_t", "tocilizumab", "dexamethasone", "dexamethasone"]
    assert [d.drug for d in b.doses] == ["car_t"]
    left = a.observations[a.observations["observable"] == "DISCHARGE"].iloc[0]
    stayed = b.observations[b.observations["observable"] == "DISCHARGE"].iloc[0]
    assert (left["value"], left["censor"]) == (216.0, "none")
    assert (stayed["value"], stayed["censor"]) == (360.0, "right")
    icans = a.observations[a.observations["observable"] == "ICANS"]
    assert icans["value"].max() == 3.0, "grades 3 and 4 are one"
    with pytest.raises(DataError, match="axi-cel"):
        joint_records(graded(), product="tisa-cel")


def test_a_landmark_hides_later_grades_treatment_and_discharge() -> None:
    records = joint_records(graded())
    known = known_at(records, 24.0 * 5)
    a = known.subjects[0]
    assert [d.drug for d in a.doses] == ["car_t", "tocilizumab"]
    grades = a.observations[a.observations["observable"] != "DISCHARGE"]
    assert grades["time_h"].max() < 24.0 * 5
    still = a.observations[a.observations["observable"] == "DISCHARGE"].iloc[0]
    assert (still["value"], still["censor"]) == (120.0, "right")
    gone = known_at(records, 24.0 * 12).subjects[0].observations
    assert gone[gone["observable"] == "DISCHARGE"].iloc[0]["censor"] == "none"


def test_the_model_takes_the_records_and_prefers_sick_parameters_for_the_sick() -> None:
    records, model = joint_records(graded()), joint_model(threads=1)
    bound, population = bind(model, records), start(joint_model(threads=1))
    mean = means(bound, population)
    b = np.zeros((2, bound.size))
    plain = log_likelihood(bound, population, phi_of(bound, mean, b), bound.everyone)
    b[:, model.varying.index(model.names.index("brain"))] = 1.0
    sick = log_likelihood(bound, population, phi_of(bound, mean, b), bound.everyone)
    assert np.isfinite(plain).all()
    assert sick[0] - plain[0] > 0.5
    assert sick[1] < plain[1]


def test_scores_of_grade_forecasts() -> None:
    p = pd.DataFrame({"p0": [0.5, 1.0], "p1": [0.5, 0.0], "p2": 0.0, "p3": 0.0, "observed": [1, 3]})
    assert ranked_probability_score(p).tolist() == [0.25, 3.0]
    rows = []
    for patient in range(12):
        for day in (3, 4):
            for model, good in ((JOINT, 0.9), ("markov", 0.4)):
                rows.append({"model": model, "id": str(patient), "day": day, "ahead": 1, "observed": 0, "p0": good,
                             "p1": 1 - good, "p2": 0.0, "p3": 0.0})  # fmt: skip
    table = pd.DataFrame(rows)
    table["rps"] = ranked_probability_score(table)
    got = compared(table, seed=1).set_index("model")
    assert got.loc["markov", "difference"] == pytest.approx(0.01 - 0.36)
    assert got.loc["markov", "high95"] < 0.0
    bins = calibration(table).set_index("model")
    assert bins.loc["markov", "predicted"] == pytest.approx(0.6)
    assert bins.loc["markov", "observed"] == 0.0


def test_paths_for_the_rivals() -> None:
    path = path_of(joint_records(graded()))
    a = path[path["patient_id"] == "A"].set_index("day")
    assert a["state"].tolist() == [0, 0, 0, 0, 0, 1, 3, 1, 0]
    assert a["split"].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1]


def cd22_small(days):  # type: ignore[no-untyped-def]
    """Two synthetic patients with every analyte on these days."""
    people = pd.DataFrame({"patient_id": ["A", "B"], "dose": [1.0, 2.0], "dose_unit": "{dose level}",
                           "tumour_burden": [60.0, np.nan], "tumour_burden_unit": ["%", None]})  # fmt: skip
    units = {"il_6": "pg/mL", "ifn_g": "pg/mL", "il_10": "pg/mL", "gm_csf": "pg/mL", "crp": "mg/L",
             "ferritin": "ng/mL", "car_t_count": "/uL"}  # fmt: skip
    rows = [(p, 24.0 * d, 24.0 * d + 24.0, a, 10.0, u) for p in "AB" for d in days for a, u in units.items()]
    table = pd.DataFrame(rows, columns=["patient_id", "time_h", "available_h", "analyte", "value", "unit"])
    return cd22_study(make("synthetic", {"patients": people, "measurements": table}), threads=1)


def test_what_is_known_only_later_does_not_reach_the_forecasts_landmark() -> None:
    study = cd22_small((1, 7, 8, 21))
    fitted = []
    for ever in (0.0, 1.0):
        people = [replace(s, covariates={**s.covariates, "tocilizumab": ever}) for s in study.prepared.records.subjects]
        bound = bind(study.model, make_records(people))
        phi = phi_of(bound, means(bound, study.begin), np.zeros((2, bound.size)))
        fitted.append(bound.solver.values(psi_of(bound, phi), np.arange(2)))
    names = np.array([o.name for o in study.model.observed])[bound.rows.observed[0]]
    other = (names != "CRP") | (bound.rows.time_h[0] <= 192.0)
    np.testing.assert_array_equal(fitted[0][:, other], fitted[1][:, other])
    slope = settings()["effect"]["tocilizumab"]["value"]
    np.testing.assert_allclose(fitted[1][:, ~other], np.exp(slope) * fitted[0][:, ~other])
    assert (~other).sum() == 1


def test_cd22_records_have_doses_by_level_and_burden() -> None:
    study = cd22_small((1, 7))
    a, b = study.prepared.records.subjects
    assert a.doses[0].amount == pytest.approx(3e5 * settings()["weight_kg"])
    assert b.doses[0].amount == pytest.approx(1e6 * settings()["weight_kg"])
    assert a.covariates["burden"] == b.covariates["burden"] == 0.0
    assert any("median" in note for note in study.prepared.notes)
    bound = bind(study.model, study.prepared.records)
    phi = phi_of(bound, means(bound, study.begin), np.zeros((2, bound.size)))
    assert np.isfinite(log_likelihood(bound, study.begin, phi, bound.everyone)).all()
