"""From rows of assessments to daily grades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icans.cohort import schema
from icans.cohort.cohort import make
from icans.core.errors import DataError, GradingError
from icans.harmonize.grading.cohort import grade_cohort, grade_days, maximum_grades
from icans.harmonize.grading.daily import days
from icans.harmonize.grading.options import GradingOptions


def cohort(rows, *, patients=None, **tables):
    """A cohort from (patient, time_h, item, value[, attributable]) rows."""
    columns = ["patient_id", "time_h", "item", "value", "attributable"]
    frame = pd.DataFrame([(*row, *[None] * (5 - len(row))) for row in rows], columns=columns)
    names = sorted({row[0] for row in rows} | {p for t in tables.values() for p in t["patient_id"]})
    who = pd.DataFrame({"patient_id": names}) if patients is None else patients
    return make("test", {"patients": who, "assessments": frame, **tables})


def grades(graded, toxicity="ICANS", scheme="ASTCT"):
    """Day to grade of the one patient."""
    rows = graded.grades
    rows = rows[(rows["toxicity"] == toxicity) & (rows["scheme"] == scheme) & (rows["source"] == "derived")]
    return {int(t / 24): g for t, g in zip(rows["time_h"], rows["grade"])}


def test_a_day_is_24_hours_and_its_worst_value_counts():
    c = cohort([("a", 0, "ice_total", "9"), ("a", 23.9, "ice_total", "5"), ("a", 24, "ice_total", "8")])
    assert grades(grade_cohort(c, ["ICANS/ASTCT"])) == {0: 2, 1: 1}


def test_nothing_is_carried_to_the_next_day():
    c = cohort([("a", 3, "seizure", "prolonged"), ("a", 30, "ice_total", "9"), ("a", 80, "tremor", "mild")])
    assert grades(grade_cohort(c, ["ICANS/ASTCT"])) == {0: 4, 1: 1}  # day 3: nothing that the scheme reads


def test_a_daily_grade_is_known_when_the_day_is_over_or_later():
    frame = pd.DataFrame({"patient_id": ["a", "a"], "time_h": [5.0, 30.0], "available_h": [5.0, 70.0],
                          "item": "ice_total", "value": ["9", "9"]})  # fmt: skip
    graded = grade_cohort(make("t", {"patients": pd.DataFrame({"patient_id": ["a"]}), "assessments": frame}))
    ours = graded.grades.query("toxicity == 'ICANS' and scheme == 'ASTCT'")
    assert ours["available_h"].tolist() == [24.0, 70.0]
    assert ours["time_h"].tolist() == [0.0, 24.0]


def test_all_words_of_a_choice_are_kept_for_every_scheme():
    # the vocabulary lists the EEG-only seizure after the generalised one; CARTOX ranks them the other way round
    c = cohort([("a", 1, "seizure", "brief_generalised"), ("a", 2, "seizure", "electrographic_treated")])
    graded = grade_cohort(c, ["ICANS/ASTCT", "ICANS/CARTOX"])
    assert grades(graded) == {0: 3}
    assert grades(graded, scheme="CARTOX") == {0: 4}


ITEMS = ("ice_orientation", "ice_naming", "ice_command", "ice_writing", "ice_attention")


def test_ice_items_are_summed_per_assessment():
    morning = [("a", 8, item, value) for item, value in zip(ITEMS, ["4", "3", "1", "0", "0"])]  # 8
    evening = [("a", 20, item, value) for item, value in zip(ITEMS, ["3", "3", "0", "1", "1"])]  # 8
    # the worst of each item over the day would be 3 + 3 + 0 + 0 + 0 = 6, grade 2, which nobody ever scored
    assert grades(grade_cohort(cohort(morning + evening), ["ICANS/ASTCT"])) == {0: 1}


def test_an_incomplete_sheet_counts_only_when_it_is_all_there_is():
    part = [("a", 8, "ice_orientation", "0"), ("a", 8, "ice_naming", "0")]  # at best 3
    assert grades(grade_cohort(cohort(part), ["ICANS/ASTCT"])) == {0: 2}
    assert grades(grade_cohort(cohort([*part, ("a", 9, "ice_total", "9")]), ["ICANS/ASTCT"])) == {0: 1}
    two = [*part, ("a", 9, "ice_naming", "0"), ("a", 9, "consciousness", "spontaneous")]
    assert grades(grade_cohort(cohort(two), ["ICANS/ASTCT"])) == {0: 0}


def test_tests_under_sedation_do_not_count():
    night = [("a", 1, "sedated", "yes"), ("a", 2, "ice_total", "0"), ("a", 2, "consciousness", "unarousable")]
    (day,) = grade_days(cohort(night), "ICANS/ASTCT")
    assert day[1].grade is None
    mixed = [("a", 1, "ice_total", "7"), ("a", 5, "sedated", "yes"), ("a", 6, "ice_total", "0")]
    (day,) = grade_days(cohort(mixed), "ICANS/ASTCT")
    assert (day[1].grade, day[1].lower_bound) == (1, True)
    woken = [("a", 1, "sedated", "yes"), ("a", 5, "sedated", "no"), ("a", 6, "ice_total", "4")]
    (day,) = grade_days(cohort(woken), "ICANS/ASTCT")
    assert (day[1].grade, day[1].lower_bound) == (2, True)
    seizing = [("a", 1, "sedated", "yes"), ("a", 2, "seizure", "prolonged")]
    assert grades(grade_cohort(cohort(seizing), ["ICANS/ASTCT"])) == {0: 4}
    assert days(cohort([("a", 1, "sedated", "no"), ("a", 2, "ice_total", "3")]))[0].found.incomplete is False


def test_findings_with_another_cause_do_not_count():
    c = cohort([("a", 1, "seizure", "prolonged", False), ("a", 2, "ice_total", "9", True)])
    ((_, result),) = grade_days(c, "ICANS/ASTCT")
    assert result.grade == 1
    assert any("seizure: judged not attributable" in note for note in result.notes)
    both = cohort([("a", 1, "seizure", "prolonged", False), ("a", 9, "seizure", "brief_focal")])
    assert grades(grade_cohort(both, ["ICANS/ASTCT"])) == {0: 3}


def test_age_delay_and_history_come_from_the_patients():
    who = pd.DataFrame(
        {"patient_id": ["child", "delay", "epi"], "age_y": [6, 30, 40], "developmental_delay": [None, True, None],
         "baseline_neurology": [None, None, "epilepsy; migraine"]}
    )  # fmt: skip
    rows = [("child", 1, "capd_total", "9"), ("delay", 1, "capd_total", "9"), ("epi", 1, "seizure", "brief_focal")]
    graded = grade_cohort(cohort(rows, patients=who)).grades
    icans = graded.query("toxicity == 'ICANS' and scheme == 'ASTCT'").set_index("patient_id")["grade"]
    assert icans.to_dict() == {"child": 3, "delay": 3, "epi": 3}
    ctcae = graded.query("scheme == 'CTCAE5' and toxicity == 'neurotoxicity'").set_index("patient_id")["grade"]
    assert ctcae.to_dict() == {"epi": 1}


def test_baseline_adjusted_grade_stands_beside_the_raw_one():
    c = cohort([("a", -48, "ice_total", "6"), ("a", -10, "ice_total", "8"), ("a", 50, "ice_total", "7")])
    graded = grade_cohort(c, ["ICANS/ASTCT"])
    assert grades(graded)[2] == 1
    assert grades(graded, scheme="ASTCT_adjusted")[2] == 1
    better = cohort([("a", -10, "ice_total", "8"), ("a", 50, "ice_total", "8")])
    graded = grade_cohort(better, ["ICANS/ASTCT"])
    assert (grades(graded)[2], grades(graded, scheme="ASTCT_adjusted")[2]) == (1, 0)


TOCI = pd.DataFrame({"patient_id": ["a"], "time_h": [30.0], "drug": ["tocilizumab"]})


def crs_rows(*day_values):
    rows = []
    for day, temperature, low in day_values:
        found = {"temperature_max_c": str(temperature), "oxygen_device": "none", "vasopressors": "0"}
        found["hypotension"] = "yes" if low else "no"
        rows += [("a", 24 * day + 6, item, value) for item, value in found.items()]
    return rows


def test_after_treatment_fever_is_no_longer_needed():
    course = crs_rows((0, 37, False), (1, 39, False), (2, 37, True), (3, 37, False))
    untreated = grade_cohort(cohort(course), ["CRS/ASTCT"])
    assert grades(untreated, "CRS") == {0: 0, 1: 1, 2: 0, 3: 0}
    treated = grade_cohort(cohort(course, treatments=TOCI), ["CRS/ASTCT"])
    assert grades(treated, "CRS") == {0: 0, 1: 1, 2: 2, 3: 0}


def test_a_grade_that_rests_on_a_drug_is_known_when_the_drug_is():
    course = crs_rows((1, 39, False), (2, 37, True))
    late = cohort(course, treatments=TOCI.assign(available_h=200.0))
    ours = grade_cohort(late, ["CRS/ASTCT"]).grades.set_index("time_h")
    assert ours["available_h"].to_dict() == {24.0: 200.0, 48.0: 200.0}
    assert grade_cohort(late.available_by(100.0), ["CRS/ASTCT"]).grades["grade"].tolist() == [1, 0]


def test_the_masking_lapses_and_prophylaxis_does_not_mask():
    late = crs_rows((1, 39, False), (2, 37, False), (3, 37, False), (4, 37, False), (5, 37, True))
    assert grades(grade_cohort(cohort(late, treatments=TOCI), ["CRS/ASTCT"]), "CRS")[5] == 0
    patient = GradingOptions(masking_persists_days=10)
    assert grades(grade_cohort(cohort(late, treatments=TOCI), ["CRS/ASTCT"], options=patient), "CRS")[5] == 2
    early = TOCI.assign(time_h=-5.0)
    course = crs_rows((1, 39, False), (2, 37, True))
    assert grades(grade_cohort(cohort(course, treatments=early), ["CRS/ASTCT"]), "CRS")[2] == 0
    masks = GradingOptions(prophylaxis_masks=True)
    assert grades(grade_cohort(cohort(course, treatments=early), ["CRS/ASTCT"], options=masks), "CRS")[2] == 2


def test_every_wrong_row_is_listed_at_once():
    rows = [("a", 1, "ice_totl", "9"), ("a", 2, "ice_total", "twelve"), ("a", 3, "ice_total", "12"),
            ("a", 4, "seizure", "grand mal"), ("a", 5, "sedated", "perhaps"), ("a", 6, "ice_total", "9")]  # fmt: skip
    with pytest.raises(DataError) as caught:
        grade_cohort(cohort(rows))
    assert len(caught.value.problems) == 5
    assert "did you mean 'ice_total'" in str(caught.value)
    with pytest.raises(GradingError, match="no scheme"):
        grade_cohort(cohort(rows[-1:]), ["ICANS/Best"])


def test_delivered_grades_stay_and_derived_ones_are_replaced():
    delivered = {"patient_id": ["a"], "time_h": [24.0], "toxicity": "ICANS", "scheme": "ASTCT", "grade": 2.0}
    c = cohort([("a", 30, "ice_total", "9")], grades=pd.DataFrame(delivered))
    once = grade_cohort(c, ["ICANS/ASTCT"])
    twice = grade_cohort(once, ["ICANS/ASTCT"])
    pd.testing.assert_frame_equal(once.grades, twice.grades)
    assert sorted(once.grades["source"]) == ["delivered", "derived"]
    assert (once.changes["rule"] == "grades.derived").sum() == 1


def test_grades_fit_the_schema_and_missing_values_are_missing():
    rows = [("a", 1, "ice_total", None), ("a", 1, "sedated", "yes"), ("b", 1, "tian_course", "observation")]
    graded = grade_cohort(cohort(rows)).grades
    assert set(graded["scheme"]) <= set(schema.SCHEMES)
    assert set(graded["toxicity"]) <= set(schema.TOXICITIES)
    a = graded[(graded["patient_id"] == "a") & (graded["scheme"] == "ASTCT")]
    assert a["grade"].isna().all()
    assert a["lower_bound"].all()


def test_maximum_per_patient():
    c = cohort([("a", -10, "ice_total", "1"), ("a", 30, "ice_total", "5"), ("a", 60, "ice_total", "5"),
                ("b", 30, "consciousness", "spontaneous"), ("c", 30, "sedated", "yes")])  # fmt: skip
    best = maximum_grades(grade_cohort(c, ["ICANS/ASTCT"]).grades.query("scheme == 'ASTCT'")).set_index("patient_id")
    assert best.loc["a", ["grade", "time_h", "days"]].tolist() == [2, 24, 2]  # not the day before infusion
    assert best.loc["b", "grade"] == 0
    assert np.isnan(best.loc["c", "grade"])
    assert best["lower_bound"].all()
    assert maximum_grades(schema.GRADES.empty()).empty


def test_cytopenia_from_counts():
    counts = [2.0] * 5 + [0.4] * 14 + [2.0] * 12
    times = [24.0 * d + 6 for d in range(31)]
    blood = pd.DataFrame({"patient_id": "a", "time_h": times, "analyte": "anc", "value": counts, "unit": "10*9/L"})
    who = pd.DataFrame({"patient_id": ["a"], "product": ["axi-cel"]})
    assert grade_cohort(cohort([], measurements=blood)).grades.empty  # no CAR T product: not asked for, not graded
    graded = grade_cohort(cohort([], measurements=blood, patients=who))
    assert graded.grades[["toxicity", "scheme", "grade"]].to_numpy().tolist() == [["ICAHT", "ICAHT_early", 3.0]]
    assert graded.grades["available_h"].tolist() == [24.0 * 31]
    other = blood.assign(value=blood["value"] * 1000, unit="/uL")
    assert grade_cohort(cohort([], measurements=other), ["ICAHT_early"]).grades["grade"].tolist() == [3.0]
    bare = grade_cohort(cohort([("a", 1, "ice_total", "9")], measurements=blood.assign(unit=None)))
    assert "ICAHT_early" not in set(bare.grades["scheme"])
    assert bare.changes.set_index("rule").loc["grades.no_unit", ["item", "rows"]].tolist() == ["anc", 31]
    died = pd.DataFrame({"patient_id": ["a"], "time_h": [24.0 * 12], "event": ["relapse"]})
    cut = grade_cohort(cohort([], measurements=blood, events=died), ["ICAHT_early"]).grades
    assert cut["grade"].tolist() == [2.0]
    assert cut["lower_bound"].tolist() == [True]


def test_row_order_does_not_matter():
    rng = np.random.default_rng(3)
    rows = [(p, 24 * d + h, "ice_total", str(rng.integers(0, 11))) for p in "abc" for d in range(5) for h in (3, 9)]
    rows += [(p, 24 * d + 5, "sedated", rng.choice(["yes", "no"])) for p in "abc" for d in range(5)]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    pd.testing.assert_frame_equal(grade_cohort(cohort(rows)).grades, grade_cohort(cohort(shuffled)).grades)


def test_thousands_of_patient_days_in_seconds():
    import time

    rng = np.random.default_rng(5)
    n = 40_000
    frame = pd.DataFrame(
        {"patient_id": rng.integers(0, 300, n).astype(str), "time_h": rng.uniform(0, 24 * 20, n),
         "item": "ice_total", "value": rng.integers(0, 11, n).astype(str)}
    )  # fmt: skip
    c = make("big", {"patients": pd.DataFrame({"patient_id": [str(i) for i in range(300)]}), "assessments": frame})
    start = time.perf_counter()
    graded = grade_cohort(c, ["ICANS/ASTCT"])
    assert len(graded.grades) > 5_000
    assert time.perf_counter() - start < 10  # about one second on one core; generous for a busy machine


def test_measured_temperature_stands_in_on_days_with_bedside_entries():
    measured = pd.DataFrame(
        {"patient_id": ["a", "a", "a"], "time_h": [26.0, 30.0, 60.0], "analyte": "temperature",
         "value": [98.6, 102.2, 39.5], "unit": ["[degF]", "[degF]", "Cel"]}
    )  # fmt: skip
    rows = [("a", 27, "hypotension", "no"), ("a", 27, "oxygen_device", "none")]
    assert grades(grade_cohort(cohort(rows, measurements=measured), ["CRS/ASTCT"]), "CRS") == {1: 1}
    noted = [*rows, ("a", 28, "temperature_max_c", "37.0")]
    assert grades(grade_cohort(cohort(noted, measurements=measured), ["CRS/ASTCT"]), "CRS") == {1: 0}
    off = GradingOptions(measured_temperature=False)
    graded = grade_cohort(cohort(rows, measurements=measured), ["CRS/ASTCT"], options=off)
    assert graded.grades["grade"].isna().all()


def iec_hs_cohort(ferritin):
    times = [-24.0, 120.0, 240.0]
    labs = [("ferritin", times, [200.0, 5000.0, ferritin], "ng/mL"), ("fibrinogen", times, [3.0, 3.0, 1.0], "g/L"),
            ("ast", times, [20.0, 20.0, 30.0], "U/L")]  # fmt: skip
    frame = pd.concat(
        [pd.DataFrame({"patient_id": "a", "time_h": t, "analyte": n, "value": v, "unit": u}) for n, t, v, u in labs]
    )
    course = {"patient_id": "a", "time_h": [72.0, 120.0, 192.0], "toxicity": "CRS", "scheme": "ASTCT",
              "grade": [2.0, 2.0, 0.0]}  # fmt: skip
    return cohort([], measurements=frame, grades=pd.DataFrame(course))


def test_iec_hs_from_laboratory_results_after_crs():
    graded = grade_cohort(iec_hs_cohort(20_000.0), ["IEC-HS/IEC-HS2023"])
    # day 5: ferritin is high, but CRS has not begun to resolve; day 10: it has, and fibrinogen is low
    assert grades(graded, "IEC-HS", "IEC-HS2023") == {5: 0, 10: 1}
    assert graded.grades.query("toxicity == 'IEC-HS'")["lower_bound"].tolist() == [True, True]
    calm = grade_cohort(iec_hs_cohort(300.0), ["IEC-HS/IEC-HS2023"])
    assert grades(calm, "IEC-HS", "IEC-HS2023")[10] == 0
    assert grades(grade_cohort(iec_hs_cohort(20_000.0)), "IEC-HS", "IEC-HS2023") == {}  # only when asked for


def test_flags_are_counted_in_the_changes():
    who = pd.DataFrame({"patient_id": ["a"], "age_y": [6]})
    graded = grade_cohort(cohort([("a", 1, "capd_total", "12")], patients=who), ["ICANS/ASTCT"])
    assert graded.changes.set_index("rule").loc["grades.flag.capd_only", "rows"] == 1
