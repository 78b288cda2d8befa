"""CARTOX, CTCAE, cytopenia, IEC-HS and TIAN as small patients, and one patient under several schemes."""

from __future__ import annotations

import numpy as np
import pytest

from icans.cohort import vocabulary
from icans.core.errors import GradingError
from icans.harmonize.grading import cartox, icans
from icans.harmonize.grading.cartox import grade_cartox
from icans.harmonize.grading.ctcae import grade_ctcae4, grade_ctcae5, term_grade, terms
from icans.harmonize.grading.cytopenia import Series, grade_cytopenia, low_days
from icans.harmonize.grading.findings import findings
from icans.harmonize.grading.icans import grade_icans
from icans.harmonize.grading.iec_hs import Labs, criteria, grade_iec_hs
from icans.harmonize.grading.options import GradingOptions
from icans.harmonize.grading.registry import SCHEMES, scheme
from icans.harmonize.grading.rules import rules
from icans.harmonize.grading.tian import grade_tian

CARTOX = [
    ({"cartox10": 10},                                              0, "nothing"),
    ({"cartox10": 7},                                               1, "7-9"),
    ({"cartox10": 3},                                               2, "3-6"),
    ({"cartox10": 2},                                               3, "0-2"),
    ({"consciousness": "unarousable"},                              4, "obtunded"),
    ({"cartox10": 9, "icp_sign": "papilloedema_1_2"},               3, "papilloedema stage 1-2"),
    ({"cartox10": 9, "icp_sign": "papilloedema_3_5"},               4, "papilloedema stage 3-5"),
    ({"cartox10": 9, "csf_opening_pressure_mmhg": 19},              3, "raised, below 20 mmHg"),
    ({"cartox10": 9, "csf_opening_pressure_mmhg": 20},              4, "20 mmHg or more"),
    ({"cartox10": 9, "csf_opening_pressure_mmhg": 10},              1, "a normal pressure is no sign"),
    ({"cartox10": 9, "cerebral_oedema": "focal"},                   4, "oedema"),
    ({"cartox10": 9, "seizure": "brief_focal"},                     3, "partial seizure"),
    ({"cartox10": 9, "seizure": "electrographic_treated"},          3, "EEG-only"),
    ({"cartox10": 9, "seizure": "brief_generalised"},               4, "generalised seizure"),
    ({"cartox10": 9, "motor": "focal_weakness_mild"},               4, "new weakness"),
    ({"cartox10": 9, "death_attributed": "ICANS"},                  5, "death"),
    ({"sedated": True},                                          None, "sedated"),
    ({"ice_total": 5, "head_of_state": 1, "ice_command": 1},        2, "from ICE: 5"),
]  # fmt: skip

# One finding under ASTCT, CARTOX, CTCAE 4.03 and CTCAE 5.0: the orderings disagree both ways.
FOUR = [
    ({"tremor": "severe"},                                 None, None, 3, 3),
    ({"headache": "mild"},                                 None, None, 1, 1),
    ({"seizure": "brief_focal"},                              3,    3, 1, 3),
    ({"seizure": "brief_generalised"},                        3,    4, 2, 3),
    ({"seizure": "electrographic_treated"},                   3,    3, 2, 3),
    ({"icp_sign": "papilloedema_1_2"},                        4,    3, None, None),
    ({"cerebral_oedema": "focal"},                            3,    4, 4, 3),
    ({"ice_total": 5, "confusion": "severe"},                 2,    2, 3, 3),
    ({"aphasia": "severe"},                                None, None, 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(("patient", "grade", "why"), CARTOX)
def test_cartox(patient, grade, why):
    assert grade_cartox(findings(**patient)).grade == grade, why


@pytest.mark.parametrize(("patient", "astct", "cartox", "v4", "v5"), FOUR)
def test_one_patient_four_schemes(patient, astct, cartox, v4, v5):
    found = findings(**patient)
    graded = [function(found).grade for function in (grade_icans, grade_cartox, grade_ctcae4, grade_ctcae5)]
    assert graded == [astct, cartox, v4, v5]


def test_neurotoxicity_depends_on_the_list_of_terms():
    patient = findings(tremor="severe", headache="moderate", insomnia="severe", confusion="mild")
    assert grade_ctcae4(patient, GradingOptions(ctcae_terms="core")).grade == 1
    assert grade_ctcae4(patient, GradingOptions(ctcae_terms=("headache",))).grade == 2
    assert grade_ctcae4(patient, GradingOptions(ctcae_terms="trial")).grade == 3
    assert grade_ctcae4(patient, GradingOptions(ctcae_terms=("insomnia", "confusion"))).deciding == ("insomnia",)
    with pytest.raises(GradingError, match="no list of CTCAE terms"):
        terms("everything")
    with pytest.raises(GradingError, match="no CTCAE rule"):
        terms(("melancholy",))


def test_adverse_event_lists_are_charted_by_exception():
    reported = findings(confusion="moderate")
    assert grade_ctcae4(reported).lower_bound
    result = grade_ctcae4(reported, GradingOptions(charted_by_exception=("terms",)))
    assert (result.grade, result.lower_bound) == (2, False)


def test_tables_speak_of_every_word_of_the_vocabulary():
    words = {name: set(item.allowed) for name, item in vocabulary.items().items()}
    for term in rules()["ctcae"]["terms"].values():
        for name in ("grade", "grade4", "grade5"):
            assert set(term.get(name, words[term["item"]])) == words[term["item"]]
    for scale in ("astct", "lee2014", "penn", "ctcae5"):
        table = rules()["crs"][scale]["device"]
        assert list(table) == list(vocabulary.items()["oxygen_device"].allowed)
        assert list(table.values()) == sorted(table.values())  # mildest first
    for table, item in (
        (icans.SEIZURE, "seizure"), (icans.MOTOR, "motor"), (icans.OEDEMA, "cerebral_oedema"),
        (icans.CONSCIOUSNESS, "consciousness"), (cartox.SIGNS, "icp_sign"), (cartox.OEDEMA, "cerebral_oedema"),
    ):  # fmt: skip
        assert set(table) == words[item]
    assert set(cartox.SEIZURE_OR_WEAKNESS) == words["seizure"] | words["motor"]
    assert {item for entry in SCHEMES.values() for item in entry.reads} <= set(words)


@pytest.mark.parametrize(
    "wrong",
    [{"capd_ages": "astct"}, {"capd_low": 2}, {"seizure_of_five_minutes": 5}, {"masking_persists_days": -1},
     {"charted_by_exception": ("organs",)}],
)  # fmt: skip
def test_options_are_checked(wrong):
    with pytest.raises(GradingError):
        GradingOptions(**wrong)


def test_ctcae5_seizure_of_new_onset():
    assert grade_ctcae5(findings(seizure="brief_focal", seizure_history=True)).grade == 1
    assert grade_ctcae5(findings(seizure="brief_focal", seizure_history=False)).grade == 3


def test_ctcae_terms_have_their_own_ceiling():
    assert term_grade(findings(aphasia="severe"), "dysphasia", "4").ceiling == 3
    complete = findings(aphasia="severe")
    assert not grade_ctcae4(complete, GradingOptions(ctcae_terms=("dysphasia", "tremor"))).lower_bound
    assert grade_ctcae4(complete, GradingOptions(ctcae_terms=("dysphasia", "confusion"))).lower_bound
    assert (
        term_grade(findings(cerebral_oedema="focal", intracranial_haemorrhage=True), "oedema_cerebral", "4").grade
        is None
    )


def daily(*counts: float, start: int = 0, **more) -> Series:
    days = np.arange(start, start + len(counts))
    known = np.isfinite(counts)
    return Series(days[known], np.asarray(counts, dtype=float)[known], **more)


NAN = float("nan")
ANC = [
    # days (from day 0 to day 30)                       grade  why
    ([2.0] * 31,                                            0, "never low"),
    ([2.0] * 5 + [0.5] * 6 + [2.0] * 20,                    1, "6 days at 500 or less"),
    ([2.0] * 5 + [0.5] * 7 + [2.0] * 19,                    2, "7 days"),
    ([2.0] * 5 + [0.5] * 13 + [2.0] * 13,                   2, "13 days"),
    ([2.0] * 5 + [0.5] * 14 + [2.0] * 12,                   3, "14 days"),
    ([2.0] * 5 + [0.1] * 6 + [2.0] * 20,                    1, "100 or less, but 6 days"),
    ([2.0] * 5 + [0.1] * 7 + [2.0] * 19,                    3, "100 or less for 7 days"),
    ([2.0] * 5 + [0.1] * 14 + [2.0] * 12,                   4, "100 or less for 14 days"),
    ([2.0] * 3 + [0.4] * 28,                                4, "never above 500 again"),
    ([2.0] * 4 + [0.4] * 27,                                3, "above 500 on day 3: low for 27 days, not throughout"),
    ([2.0] * 5 + [0.4] * 3 + [2.0] * 2 + [0.4] * 3 + [2.0] * 18, 2, "a 2-day recovery counts as low: 8 days"),
    ([2.0] * 5 + [0.4] * 3 + [2.0] * 3 + [0.4] * 3 + [2.0] * 17, 1, "a 3-day recovery does not: 6 days"),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "grade", "why"), ANC)
def test_early_icaht(counts, grade, why):
    result = grade_cytopenia(daily(*counts), "ICAHT_early")
    assert result.grade == grade, why
    assert not result.lower_bound


PLT = [
    ([200.0] * 31,                                   0, "never low"),
    ([200.0] * 5 + [49] * 6 + [200] * 20,            1, "below 50 for 6 days"),
    ([200.0] * 5 + [50] * 26,                        0, "50 is not below 50"),
    ([200.0] * 5 + [49] * 7 + [200] * 19,            2, "7 days"),
    ([200.0] * 5 + [19] * 1 + [200] * 25,            3, "below 20 for one day"),
    ([200.0] * 5 + [19] * 14 + [200] * 12,           4, "14 days"),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "grade", "why"), PLT)
def test_early_t_icaht(counts, grade, why):
    assert grade_cytopenia(daily(*counts), "T-ICAHT_early").grade == grade, why


LATE = [
    ("ICAHT_late", [1.6, 1.6], 0), ("ICAHT_late", [1.5, 1.6], 1), ("ICAHT_late", [1.0, 1.6], 2),
    ("ICAHT_late", [0.5, 1.6], 3), ("ICAHT_late", [0.1, 1.6], 4),
    ("T-ICAHT_late", [100, 100], 0), ("T-ICAHT_late", [99, 120], 1), ("T-ICAHT_late", [49, 120], 2),
    ("T-ICAHT_late", [19, 120], 3), ("T-ICAHT_late", [19] * 14, 4),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "counts", "grade"), LATE)
def test_late_cytopenia(rule, counts, grade):
    assert grade_cytopenia(daily(*counts, start=40), rule).grade == grade


def test_cytopenia_missing_days_and_censoring():
    gaps = daily(2, 2, 0.4, NAN, NAN, NAN, NAN, 0.4, 2, 2, 2)
    assert low_days(gaps.day, gaps.count, 0.5) == 6  # low on both sides of a gap is low
    assert low_days(np.array([3, 9]), np.array([0.4, 2.0]), 0.5) == 1  # one side only: not counted
    assert grade_cytopenia(gaps, "ICAHT_early").lower_bound
    none = grade_cytopenia(daily(0.4, start=40), "ICAHT_early")
    assert (none.grade, none.lower_bound) == (None, True)
    assert grade_cytopenia(daily(0.4, start=40), "ICAHT_late").grade is None  # one result is not enough
    relapsed = daily(*[0.4] * 31, end_day=10.0)
    result = grade_cytopenia(relapsed, "ICAHT_early")
    assert (result.grade, result.lower_bound, set(result.flags)) == (2, True, {"censored"})
    died = grade_cytopenia(daily(*[0.4] * 11, end_day=10.0, died=True), "ICAHT_early")
    assert died.grade == 4  # never above 500 until death


def test_order_of_results_does_not_matter():
    series = daily(*[2.0] * 5, *[0.4] * 9, *[2.0] * 17)
    shuffled = np.random.default_rng(1).permutation(len(series.day))
    again = Series(series.day[shuffled], series.count[shuffled])
    assert grade_cytopenia(again, "ICAHT_early") == grade_cytopenia(series, "ICAHT_early")


NORMAL = {"ferritin": 250.0, "ast": 20.0, "alt": 20.0, "fibrinogen": 300.0}


@pytest.mark.parametrize(
    ("labs", "met"),
    [
        (Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}, crs_resolving=True), True),
        (Labs({**NORMAL, "ferritin": 5000, "ast": 250}, crs_resolving=True), True),
        (Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}, crs_resolving=False), False),
        (Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}), None),
        (Labs({**NORMAL, "ferritin": 500, "fibrinogen": 100}, crs_resolving=True), False),
        (Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}, baseline={"ferritin": 3000}, crs_resolving=True), False),
        (Labs({**NORMAL, "ferritin": 5000}, new_cytopenia=False, crs_resolving=True), None),
        (Labs({"fibrinogen": 100.0}, crs_resolving=True), None),
    ],
)
def test_iec_hs_criteria(labs, met):
    assert criteria(labs, findings()) is met


def test_iec_hs_grades():
    sick = Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}, crs_resolving=True)
    present = grade_iec_hs(findings(), sick)
    assert (present.grade, present.lower_bound, set(present.flags)) == (1, True, {"unverified"})
    assert grade_iec_hs(findings(iec_hs_course="severe"), sick).grade == 3
    assert grade_iec_hs(findings(iec_hs_course="treatment")).grade == 2
    assert grade_iec_hs(findings(iec_hs_course="none", death_attributed="IEC-HS")).grade == 5
    assert grade_iec_hs(findings()).grade is None
    two = GradingOptions(iec_hs_common_needed=2)
    assert criteria(Labs({**NORMAL, "ferritin": 5000, "fibrinogen": 100}, new_cytopenia=False, crs_resolving=True),
                    findings(haemophagocytosis=False), two) is False  # fmt: skip


@pytest.mark.parametrize(
    ("patient", "grade"),
    [
        ({"cns_tumour_inflammation": False}, 0),
        ({"tian_course": "observation"}, 1),
        ({"tian_course": "intervention"}, 2),
        ({"tian_course": "urgent_intervention", "tian_type": "type_1"}, 3),
        ({"tian_course": "life_threatening"}, 4),
        ({"death_attributed": "TIAN"}, 5),
        ({}, None),
    ],
)
def test_tian_by_course(patient, grade):
    result = grade_tian(findings(**patient))
    assert result.grade == grade
    assert "unverified" in result.flags


@pytest.mark.parametrize(
    ("signs", "grade"), [("none", 0), ("mild", 1), ("moderate", 2), ("severe", 3), ("life_threatening", 4)]
)
def test_tian_by_signs_as_published(signs, grade):
    """Mahdi et al. 2023, Table 1; signs come before what was done."""
    result = grade_tian(findings(tian_signs=signs, tian_course="observation", tian_type="type_2"))
    assert (result.grade, result.flags) == (grade, {"type_2"})


def test_every_scheme_names_its_source_and_whether_it_was_read():
    for entry in SCHEMES.values():
        assert entry.source.basis in ("read", "checked", "recalled")
        assert any(character.isdigit() for character in entry.source.cite)
    assert scheme("ICANS/ASTCT").source.verified
    assert not scheme("TIAN/TIAN2023").source.verified
    assert not scheme("IEC-HS/IEC-HS2023").source.verified
    with pytest.raises(GradingError, match="no scheme"):
        scheme("ICANS/Best")
