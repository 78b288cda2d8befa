"""Observation models: days, findings, grades, episodes; and that the cohort's grading reads the findings alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.harmonize.grading.cartox import grade_cartox
from icans.harmonize.grading.crs import grade_crs
from icans.harmonize.grading.ctcae import grade_ctcae4
from icans.harmonize.grading.findings import findings
from icans.harmonize.grading.icans import grade_icans
from icans.harmonize.grading.lee2014 import grade_lee2014
from icans.harmonize.grading.options import GradingOptions
from icans.harmonize.grading.penn import grade_penn
from icans.mechanism.observe import Latent, bedside, daily, draw, episodes, grade, observe, rescale, schemes
from icans.mechanism.observe.bedside import chart_items
from icans.mechanism.observe.tables import read_cuts, read_schemes


@dataclass(frozen=True)
class Course:
    """A stand-in for a trajectory."""

    times_h: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def latent(patients: int = 300, days: int = 20, seed: int = 1) -> Latent:
    """Courses that rise and fall, of every severity."""
    rng = stream(seed, "courses")
    t = np.arange(days)

    def wave(top: np.ndarray) -> np.ndarray:
        peak, width = rng.uniform(3, 12, patients), rng.uniform(1, 4, patients)
        return top[:, None] * np.exp(-(((t - peak[:, None]) / width[:, None]) ** 2))

    severity = wave(rng.lognormal(0.5, 0.8, patients))
    return Latent(
        np.arange(days), severity, np.cumsum(0.02 * severity**2, axis=1), wave(rng.uniform(0, 0.6, patients)),
        10 + wave(rng.uniform(0, 40, patients)), 36.8 + wave(rng.uniform(0, 4, patients)),
        wave(rng.uniform(0, 5, patients)), wave(rng.uniform(0, 5, patients)), 0.9 + wave(rng.uniform(0, 7, patients)),
        20 + wave(rng.uniform(0, 1000, patients)),
    )  # fmt: skip


# --- days --------------------------------------------------------------------------------------------------------


def test_the_worst_of_each_day() -> None:
    times = np.array([-6.0, 0.0, 6.0, 24.0, 30.0, 47.0, 100.0])
    course = Course(times, {"encephalopathy": np.array([[9.0, 1.0, 3.0, 2.0, 0.5, 0.7, 4.0]])})
    found = daily(course)
    # Before infusion does not count; midnight ends a day; days without a value repeat the day before.
    np.testing.assert_array_equal(found.encephalopathy, [[3.0, 0.7, 0.7, 0.7, 4.0]])
    np.testing.assert_array_equal(found.days, [0, 1, 2, 3, 4])
    assert np.all(found.temperature == 0)


def test_one_patient_without_a_patient_axis() -> None:
    found = daily(Course(np.array([1.0, 30.0]), {"encephalopathy": np.array([1.0, 2.0])}))
    assert found.encephalopathy.shape == (1, 2)


def test_missing_output_is_named() -> None:
    with pytest.raises(ModelError, match="encephalopathy"):
        daily(Course(np.array([-1.0]), {"IL6": np.array([[1.0]])}))


# --- findings ----------------------------------------------------------------------------------------------------


def test_health_gives_no_finding_but_background() -> None:
    healthy = latent(500)
    zero = np.zeros_like(healthy.encephalopathy)
    healthy = replace(healthy, encephalopathy=zero, seizure_hazard=zero, oedema=zero, icp=zero + 10,
                      temperature=zero + 37, hypotension=zero, hypoxia=zero,
                      creatinine=zero + 0.9, alt=zero + 20)  # fmt: skip
    found = bedside(healthy, draw(500, 3))
    for scheme in ("ASTCT", "CARTOX", "mCRES"):
        assert not grade(found, "ICANS", scheme).any()
    for scheme in ("ASTCT", "Lee2014", "Penn"):
        assert not grade(found, "CRS", scheme).any()
    shown = {name for name, codes in found.codes.items() if codes.any()}
    assert shown == {name for name, item in read_cuts().items.items() if item.background > 0}
    expected = 1 - np.prod([1 - item.background for item in read_cuts().items.values()])
    assert (grade(found, "ICANS", "FDA").max(axis=1) > 0).mean() == pytest.approx(expected, abs=0.06)


def test_a_typical_patient_reaches_grades_near_severity_one_to_four() -> None:
    severity = np.linspace(0, 5, 501)
    typical = replace(draw(1, 0), common=np.zeros(1), item={name: np.zeros(1) for name in read_cuts().items})
    course = Latent(np.arange(501), severity[None], *(np.zeros((1, 501)) for _ in range(8)))
    found = grade(bedside(course, typical), "ICANS", "ASTCT")[0]
    begins = [severity[np.argmax(found >= g)] for g in (1, 2, 3, 4)]
    np.testing.assert_allclose(begins, [1.0, 2.0, 3.0, 4.0], atol=0.02)


def test_ice_of_the_model_is_that_of_the_typical_bedside() -> None:
    """`ice_expected` of the model and the cuts of the ICE item are the same curve, to under two points."""
    from icans.mechanism.parameters import read_parameters

    table, cuts = read_parameters(), read_cuts().items["ice_total"].cuts
    severity = np.linspace(0, 5, 200)
    smooth = 10 / (1 + (severity / table["ice_half"].value) ** table["ice_steep"].value)
    stepped = 10 - np.searchsorted(cuts, severity, side="right")
    assert np.abs(smooth - stepped).max() < 2


def test_draws_of_more_patients_begin_alike() -> None:
    few, many = draw(5, 9), draw(50, 9)
    np.testing.assert_array_equal(few.seizure, many.seizure[:5])
    np.testing.assert_array_equal(few.item["tremor"], many.item["tremor"][:5])
    assert not np.array_equal(few.common, draw(5, 10).common)


def test_wrong_number_of_draws() -> None:
    with pytest.raises(ValueError, match="draw as many"):
        bedside(latent(10), draw(9))


def test_seizures_follow_the_cumulative_hazard() -> None:
    hazard = np.tile(np.linspace(0, 0.4, 30), (20000, 1))
    zero = np.zeros_like(hazard)
    course = Latent(np.arange(30), zero, hazard, *(zero for _ in range(7)))
    found = bedside(course, draw(20000, 4))
    assert (found.codes["seizure"].max(axis=1) > 0).mean() == pytest.approx(1 - np.exp(-0.4), abs=0.01)
    ever = found.codes["seizure"].max(axis=1)
    second = 1 - np.exp(-0.4) * 1.4  # two or more of a Poisson number
    assert (ever >= 4).mean() == pytest.approx(second, abs=0.01)


# --- grades: the cohort's own grading reads the findings alike ---------------------------------------------------


CHARTED = {
    ("ICANS", "ASTCT"): ("ice_total", "consciousness", "seizure", "motor", "cerebral_oedema", "icp_sign"),
    ("ICANS", "CARTOX"): ("cartox10", "consciousness", "seizure", "motor", "cerebral_oedema", "icp_sign"),
}  # fmt: skip
GRADERS = {
    ("ICANS", "ASTCT"): grade_icans, ("ICANS", "CARTOX"): grade_cartox, ("ICANS", "CTCAE"): grade_ctcae4,
    ("ICANS", "FDA"): grade_ctcae4, ("CRS", "ASTCT"): grade_crs, ("CRS", "Lee2014"): grade_lee2014,
    ("CRS", "Penn"): grade_penn,
}  # fmt: skip
_PRESSURE = ("hypotension", "vasopressors", "vasopressin", "vasopressor_dose")
_OXYGEN = ("oxygen_device", "oxygen_flow_l_min", "fio2_percent")


def charted(key: tuple[str, str]) -> list[str]:
    """Items of the cohort's chart that the scheme reads."""
    if key in CHARTED:
        return list(CHARTED[key])
    items: list[str] = []
    for item in read_schemes()[key].worth:
        items += {"blood_pressure": _PRESSURE, "oxygen": _OXYGEN}.get(item, (item,))
    return items


@pytest.mark.parametrize("key", list(GRADERS), ids="/".join)
def test_the_cohorts_grading_agrees(key: tuple[str, str]) -> None:
    found = bedside(latent(60, 14), draw(60, 5))
    ours = grade(found, *key)
    chart = chart_items(found)
    options = GradingOptions(ctcae_terms="broad" if key[1] == "FDA" else "trial")
    fever = np.maximum.accumulate(found.codes["fever"] > 0, axis=1)
    checked = set()
    for patient in range(60):
        for day in range(14):
            items: dict[str, object] = {name: str(chart[name][patient, day]) for name in charted(key)}
            if key == ("CRS", "ASTCT"):
                items["antipyretic_or_anticytokine"] = "yes" if fever[patient, day] else "no"
            if "creatinine_grade" in items and key[1] == "Lee2014":
                items["organ_toxicity_grade"] = items.pop("creatinine_grade")
            theirs = GRADERS[key](findings(age_y=60, **items), options)
            assert theirs.grade == ours[patient, day], (items, theirs)
            checked.add(int(ours[patient, day]))
    assert {0, 1, 2, 3} <= checked | ({1} if key[1] == "Penn" else set())


def test_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="CRS/Lee2014"):
        grade(bedside(latent(3), draw(3)), "CRS", "Lee2015")


def test_every_scheme_covers_every_word() -> None:
    found = bedside(latent(3), draw(3))
    for (_, _), scheme in read_schemes().items():
        for item, table in scheme.worth.items():
            assert set(table) >= set(found.words[item])
            worth = [table[w] for w in found.words[item]]
            assert worth == sorted(worth), (scheme.name, item)
        assert scheme.status in ("read", "recalled", "assumed")
    assert set(schemes("CRS")) == {"ASTCT", "Lee2014", "Penn"}


def test_fever_opens_crs() -> None:
    course = latent(1, 4)
    course = replace(course, temperature=np.array([[37.0, 39.5, 36.5, 36.5]]),
                     hypotension=np.array([[2.0, 2.0, 2.0, 0.0]]), hypoxia=np.zeros((1, 4)))  # fmt: skip
    np.testing.assert_array_equal(grade(bedside(course, draw(1, 2)), "CRS", "ASTCT"), [[0, 2, 2, 0]])


@pytest.mark.parametrize("begins", [(1.0, 1.8, 2.6, 3.5), (0.4, 1.0, 3.0, 8.0), (1.0, 2.0, 3.0, 4.0)])
def test_grades_begin_where_a_calibration_says(begins: tuple[float, ...]) -> None:
    severity = np.linspace(0, 10, 1001)
    typical = replace(draw(1, 0), common=np.zeros(1), item={name: np.zeros(1) for name in read_cuts().items})
    course = rescale(Latent(np.arange(1001), severity[None], *(np.zeros((1, 1001)) for _ in range(8))), icans=begins)
    found = grade(bedside(course, typical), "ICANS", "ASTCT")[0]
    np.testing.assert_allclose([severity[np.argmax(found >= g)] for g in (1, 2, 3, 4)], begins, atol=0.02)


def test_levels_that_do_not_ascend_are_named() -> None:
    with pytest.raises(ModelError, match="4 ascending levels") as error:
        rescale(latent(2), icans=(1.0, 1.0, 2.0, 3.0), crs=(1.0, 2.0))
    assert "3 ascending levels" in str(error.value)


# --- episodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grades", "onset", "peak", "duration", "resolved", "recurred"),
    [
        ([0, 0, 1, 2, 2, 1, 0, 0, 0, 0], 2, 3, 4, True, False),
        ([0, 1, 0, 0, 1, 0, 0, 0, 0, 0], 1, 1, 4, True, False),  # two days of grade 0 do not end it
        ([0, 1, 0, 0, 0, 3, 0, 0, 0, 0], 1, 5, 1, True, True),
        ([0, 0, 0, 0, 0, 0, 0, 1, 1, 1], 7, 7, 3, False, False),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], np.nan, np.nan, np.nan, False, False),
        ([4, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 0, 1, True, False),
    ],
)  # fmt: skip
def test_episodes(
    grades: list[int], onset: float, peak: float, duration: float, resolved: bool, recurred: bool
) -> None:  # fmt: skip
    found = episodes(np.array([grades], dtype=np.int8), np.arange(10))
    assert found.worst[0] == max(grades)
    np.testing.assert_array_equal([found.onset_day[0], found.peak_day[0], found.duration_d[0]], [onset, peak, duration])
    assert (found.resolved[0], found.recurred[0]) == (resolved, recurred)
    assert found.share() == float(max(grades) > 0)


# --- all of it ---------------------------------------------------------------------------------------------------


def test_ten_thousand_patients() -> None:
    import time

    rng = stream(2, "many")
    times = np.arange(0, 30 * 24 + 1, 12.0)
    top = rng.lognormal(0.0, 1.0, (10000, 1))
    course = Course(times, {"encephalopathy": top * np.exp(-(((times / 24 - 7) / 3) ** 2))})
    begin = time.process_time()
    seen = observe(course, seed=1)
    shares = {name: seen.episodes("ICANS", name).share() for name in ("ASTCT", "mCRES", "CTCAE", "FDA")}
    assert time.process_time() - begin < 20
    assert shares["ASTCT"] < shares["CTCAE"] < shares["FDA"]
    assert shares["mCRES"] == pytest.approx(shares["ASTCT"], abs=0.1)
    assert seen.episodes().onset_day[seen.grades["ICANS", "ASTCT"].max(axis=1) > 0].min() >= 0


def test_rows_for_the_cohort() -> None:
    found = bedside(latent(4, 3), draw(4, 1))
    rows = found.assessments(["a", "b", "c", "d"])
    assert set(rows.columns) == {"patient_id", "time_h", "item", "value"}
    one = rows[(rows.patient_id == "c") & (rows["item"] == "ice_total")]
    assert list(one.value) == list(found["ice_total"][2])
    assert list(one.time_h) == [12.0, 36.0, 60.0]
    assert isinstance(rows, pd.DataFrame)
    assert {"oxygen_device", "vasopressors"} <= set(rows["item"])
