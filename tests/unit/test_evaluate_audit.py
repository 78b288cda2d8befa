"""The leakage audit on cohorts with and without a leak of a known kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icans.cohort.cohort import Cohort, make
from icans.core.random import stream
from icans.evaluate import audit_features
from icans.evaluate.audit import Audit, audit, audit_task, coincidence
from icans.evaluate.audit_fill import grade_labels, outcome_fills
from icans.evaluate.audit_score import score
from icans.evaluate.audit_shuffle import future_shuffled, labels_shuffled, shuffle_future
from icans.forecast.outcomes import Task


def simulated(n: int = 120, seed: int = 1, *, tells: float = 0.0) -> tuple[Cohort, pd.DataFrame]:
    """Two analytes, daily for ten days with gaps; CRP carries ``tells`` SDs of signal; nothing else tells anything."""
    rng = stream(seed, "audit cohort")
    y = rng.permutation(np.arange(n) % 2)
    ids = np.array([f"P{i:03d}" for i in range(n)])
    patients = pd.DataFrame(
        {"patient_id": ids, "source": rng.choice(["a", "b"], n), "sex": rng.choice(["male", "female"], n)}
    )
    patients["disease"] = np.where(rng.random(n) < 0.3, None, "DLBCL")
    days = np.arange(10.0)
    grid = pd.DataFrame(
        [(p, d, a) for p in ids for d in days for a in ("crp", "temperature")], columns=["patient_id", "day", "analyte"]
    )
    grid = grid[rng.random(len(grid)) < 0.7]
    signal = grid["patient_id"].map(dict(zip(ids, y * tells, strict=True))).to_numpy()
    crp = np.round(np.exp(rng.normal(3 + signal, 1.0)), 1)
    heat = np.round(rng.normal(37.3, 0.6, len(grid)), 1)
    grid["value"] = np.where(grid["analyte"] == "crp", crp, heat)
    grid["time_h"], grid["available_h"] = 24 * grid["day"], 24 * (grid["day"] + 1)
    onset = np.where(y == 1, 24.0 * rng.integers(4, 8, n), np.nan)
    rows = [
        {"patient_id": p, "time_h": 24 * d, "available_h": 24 * (d + 1), "toxicity": "ICANS", "scheme": "ASTCT",
         "grade": float(t <= 24 * d) if t == t else 0.0}
        for p, t in zip(ids, onset, strict=True) for d in days
    ]  # fmt: skip
    cohort = make(
        "simulated",
        {"patients": patients, "measurements": grid.drop(columns="day"), "grades": pd.DataFrame(rows)},
    )
    outcome = pd.DataFrame({"patient_id": ids, "outcome": y, "onset_h": onset + 24, "end_h": 240.0})
    return cohort, outcome


def run(cohort: Cohort, outcome: pd.DataFrame, **options: object) -> Audit:
    return audit(cohort, cohort, outcome, task="ICANS", n_boot=100, **options)  # type: ignore[arg-type]


def verdict(result: Audit, check: str, scope: str = "whole record") -> str:
    rows = result.table[(result.table["check"] == check) & (result.table["scope"] == scope)]
    return str(rows["verdict"].iloc[0])


@pytest.mark.parametrize("seed", range(4))
def test_innocent_data_pass(seed: int) -> None:
    result = run(*simulated(seed=seed, tells=1.0))
    assert result.occurrence_can_be_validated
    assert result.recommended_tasks == ("occurrence",)
    assert not (result.table["verdict"] == "separates").any()
    assert result.fills.empty
    assert "stands in the way" in result.sentences[0]


def test_checks_of_innocent_data_are_near_a_half() -> None:
    cohort, outcome = simulated(n=200, seed=9)
    values = run(cohort, outcome).table["auroc"].dropna()
    assert len(values) >= 8
    assert values.between(0.33, 0.67).all()


def test_a_source_that_is_the_outcome_is_found() -> None:
    cohort, outcome = simulated()
    y = outcome["outcome"].to_numpy()
    cohort = cohort.with_table("patients", cohort.patients.assign(source=np.where(y == 1, "ward", "clinic")))
    result = run(cohort, outcome)
    assert not result.occurrence_can_be_validated
    assert verdict(result, "source", "any time") == "separates"
    assert coincidence(result.groupings)["source"] == 1.0
    assert result.recommended_tasks == ("cases_only",)
    assert "cannot be validated" in result.sentences[0]
    assert any("clinic: 0 of 60 patients" in s for s in result.sentences)


def test_a_source_that_nearly_is_the_outcome_leaves_work_within_it() -> None:
    cohort, outcome = simulated(n=300)
    y = outcome["outcome"].to_numpy()
    flipped = np.where(np.arange(300) % 9 == 0, 1 - y, y)
    cohort = cohort.with_table("patients", cohort.patients.assign(source=np.where(flipped == 1, "ward", "clinic")))
    result = run(cohort, outcome)
    assert not result.occurrence_can_be_validated
    assert result.recommended_tasks == ("within_batch", "cases_only")


def test_unit_regime_decimals_missingness_and_counts_are_found() -> None:
    cohort, outcome = simulated()
    case = cohort.measurements["patient_id"].map(outcome.set_index("patient_id")["outcome"]) == 1
    value = cohort.measurements["value"]
    written = cohort.with_table("measurements", cohort.measurements.assign(value=value.where(~case, value.round())))
    assert verdict(run(written, outcome), "decimals") == "separates"
    sparse = cohort.with_table("measurements", cohort.measurements[case | (cohort.measurements.index % 3 == 0)])
    result = run(sparse, outcome)
    assert verdict(result, "row counts") == "separates"
    assert verdict(result, "missingness pattern", "known by day 3") == "separates"
    assert not result.occurrence_can_be_validated
    regimes = pd.DataFrame(
        {
            "patient_id": outcome["patient_id"],
            "analyte": "crp",
            "regime": np.where(outcome["outcome"] == 1, "mg/L", "mg/dL"),
        }
    )
    found = run(cohort, outcome, regimes=regimes)
    assert verdict(found, "unit regime") == "separates"
    assert any("unit regime of crp" in reason for reason in found.reasons)


def test_longer_records_after_onset_do_not_decline_occurrence() -> None:
    """Those who fall ill stay longer: that tells the outcome, but only after the fact."""
    cohort, outcome = simulated()
    case = cohort.measurements["patient_id"].map(outcome.set_index("patient_id")["outcome"]) == 1
    grades = cohort.grades
    ill = grades["patient_id"].map(outcome.set_index("patient_id")["outcome"]) == 1
    cohort = cohort.with_table("measurements", cohort.measurements[case | (cohort.measurements["time_h"] < 96)])
    cohort = cohort.with_table("grades", grades[ill | (grades["time_h"] < 96)])
    result = run(cohort, outcome)
    assert verdict(result, "record length") == "separates"
    assert verdict(result, "record length", "known by day 3") != "separates"
    assert result.occurrence_can_be_validated
    assert any("record length (whole record)" in s for s in result.sentences)


def filled_by_grade(cohort: Cohort, by_grade: bool) -> Cohort:
    """Missing days filled with the median, of rows with the same grade of the day or of all rows."""
    ids = cohort.patient_ids
    every = pd.MultiIndex.from_product([ids, 24.0 * np.arange(10), ["crp"]], names=["patient_id", "time_h", "analyte"])
    crp = cohort.measurements[cohort.measurements["analyte"] == "crp"]
    wide = crp.set_index(["patient_id", "time_h", "analyte"])["value"].reindex(every).reset_index()
    grade = cohort.grades.set_index(["patient_id", "time_h"])["grade"]
    label = grade.reindex(pd.MultiIndex.from_frame(wide[["patient_id", "time_h"]])).to_numpy()
    keys = label if by_grade else np.zeros(len(wide))
    wide["value"] = wide["value"].fillna(wide.groupby(keys)["value"].transform("median"))
    return cohort.with_table("measurements", wide.assign(censor="none", available_h=wide["time_h"] + 24))


def fills(cohort: Cohort, outcome: pd.DataFrame) -> pd.DataFrame:
    return outcome_fills(cohort, grade_labels(cohort, outcome.set_index("patient_id")["outcome"]))


def test_values_filled_by_grade_are_found() -> None:
    cohort, outcome = simulated(tells=0.5)
    filled = filled_by_grade(cohort, by_grade=True)
    found = fills(filled, outcome)
    graded = found[found["label"] == "ICANS grade of the day"]
    assert set(graded["mostly"]) == {"0.0", "1.0"}
    assert (graded["purity"] > 0.95).all()
    result = run(filled, outcome)
    assert verdict(result, "fill values") == "found"
    assert any("filled in by outcome" in s for s in result.sentences)


@pytest.mark.parametrize("digits", [0, 1])
@pytest.mark.parametrize("tells", [0.0, 2.0])
def test_rounded_values_give_no_false_alarm(digits: int, tells: float) -> None:
    cohort, outcome = simulated(tells=tells)
    rounded = cohort.measurements.assign(value=cohort.measurements["value"].round(digits))
    assert fills(cohort.with_table("measurements", rounded), outcome).empty


def test_one_median_for_all_a_floor_and_a_ceiling_give_no_false_alarm() -> None:
    cohort, outcome = simulated(tells=1.5)
    assert fills(filled_by_grade(cohort, by_grade=False), outcome).empty
    clipped = cohort.measurements.assign(value=cohort.measurements["value"].clip(10, 200))
    assert fills(cohort.with_table("measurements", clipped), outcome).empty


def honest(cohort: Cohort, landmark_h: float) -> pd.Series:
    seen = cohort.available_by(landmark_h).measurements
    return seen.groupby("patient_id")["value"].mean().reindex(cohort.patient_ids)


def peeking(cohort: Cohort, landmark_h: float) -> pd.Series:
    seen = cohort.measurements[cohort.measurements["time_h"] <= landmark_h]  # the day's summary is not yet known
    return seen.groupby("patient_id")["value"].mean().reindex(cohort.patient_ids)


def test_a_forecast_that_looks_ahead_is_caught() -> None:
    cohort, outcome = simulated(n=30)
    good, bad = future_shuffled(honest, cohort, 72.0), future_shuffled(peeking, cohort, 72.0)
    assert good["verdict"] == "passes"
    assert good["high"] == 0.0
    assert bad["verdict"] == "fails"
    assert "looks ahead" in str(bad["meaning"])
    result = run(cohort, outcome).with_checks(good, bad)
    assert result.table["check"].tail(2).tolist() == ["future shuffled"] * 2


def test_shuffling_the_future_keeps_the_past_and_the_times() -> None:
    cohort, _ = simulated(n=20)
    mixed = shuffle_future(cohort, 72.0, 1)
    for name in ("measurements", "grades"):
        pd.testing.assert_frame_equal(mixed.available_by(72.0).table(name), cohort.available_by(72.0).table(name))
        assert sorted(mixed.table(name)["time_h"]) == sorted(cohort.table(name)["time_h"])
        assert not mixed.table(name).equals(cohort.table(name))


def test_permuted_labels_catch_selection_outside_the_folds() -> None:
    rng = stream(2, "labels")
    x = rng.normal(size=(60, 400))
    y = np.arange(60) % 2
    fold = np.arange(60) // 2 % 5

    def forecast(labels: np.ndarray, inside: bool) -> np.ndarray:
        risk = np.empty(60)
        for k in range(5):
            train = fold != k
            seen = train if inside else np.ones(60, dtype=bool)
            shift = x[seen & (labels == 1)].mean(axis=0) - x[seen & (labels == 0)].mean(axis=0)
            best = np.argsort(-np.abs(shift))[:10]
            risk[~train] = x[~train][:, best] @ np.sign(shift[best])
        return risk

    assert labels_shuffled(lambda v: forecast(v, True), y)["verdict"] == "passes"
    cheating = labels_shuffled(lambda v: forecast(v, False), y)
    assert cheating["verdict"] == "fails"
    assert cheating["auroc"] > 0.7


def test_decimals_count_what_was_written() -> None:
    assert audit_features.decimals(np.array([3.0, 3.1, 2.25, 100.125, 1 / 3, 1e6, -0.5])).tolist() == [
        0,
        1,
        2,
        3,
        4,
        0,
        1,
    ]


def test_too_few_patients_are_said_to_be_too_few() -> None:
    index = pd.Index([f"P{i}" for i in range(12)], name="patient_id")
    found = score(pd.DataFrame({"a": np.arange(12.0)}, index=index), pd.Series([0] * 9 + [1] * 3, index=index))
    assert found.auroc is None
    assert "needs 10 patients" in found.reason
    assert score(pd.DataFrame(index=index), pd.Series(0, index=index)).n == 12


def test_the_public_icans_cohort_is_declined_for_occurrence_but_not_for_severity(data_folder: Path) -> None:
    table = pd.read_csv(data_folder / "bwh_icans" / "daily.csv").drop_duplicates(["SID", "HospitalDay"])
    patient, time = "SID-" + table["SID"].astype(str), 24.0 * table["HospitalDay"]
    names = {"Temp": "temperature", "CRP": "crp", "Ferritin": "ferritin", "Procalcitonin": "procalcitonin",
             "IL_6": "il_6", "WBC": "wbc"}  # fmt: skip
    base = pd.DataFrame({"patient_id": patient, "time_h": time, "available_h": time + 24})
    long = [base.assign(analyte=name, value=table[column]).dropna(subset="value") for column, name in names.items()]
    grades = base.assign(toxicity="ICANS", scheme="ASTCT", grade=table["meanscore"])
    cohort = make(
        "bwh",
        {
            "patients": pd.DataFrame({"patient_id": sorted(set(patient))}),
            "measurements": pd.concat(long),
            "grades": grades,
        },
    )
    heat = cohort.measurements[cohort.measurements["analyte"] == "temperature"].groupby("patient_id")["value"].median()
    regimes = pd.DataFrame(
        {"patient_id": heat.index, "analyte": "temperature", "regime": np.where(heat > 60, "F", "C")}
    )
    task = Task("icans_any", threshold=0.0, strict=True)
    result = audit_task(cohort, cohort, task, regimes=regimes, n_boot=100)
    found = result.table.set_index(["check", "scope", "data"])["auroc"]
    assert found["unit regime", "whole record", "delivered"] > 0.97
    assert found["row counts", "whole record", "delivered"] > 0.95
    assert found["row counts", "known by day 3", "delivered"] > 0.9
    assert not result.occurrence_can_be_validated
    assert "cases_only" in result.recommended_tasks
    severe = Task("icans_severe", threshold=3.0, cases_only=True, case_threshold=0.0)
    within = audit_task(cohort, cohort, severe, regimes=regimes, n_boot=100)
    assert within.occurrence_can_be_validated, within.reasons
