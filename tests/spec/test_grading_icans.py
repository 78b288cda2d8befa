"""ASTCT 2019 ICANS, rule by rule, as small patients. Each row reads: finding, grade, and why."""

from __future__ import annotations

import pytest

from icans.core.errors import GradingError
from icans.harmonize.grading.cognition import ice_range
from icans.harmonize.grading.findings import findings
from icans.harmonize.grading.icans import grade_icans
from icans.harmonize.grading.options import GradingOptions

AWAKE = {"consciousness": "spontaneous"}
QUIET = {"seizure": "none", "motor": "none", "cerebral_oedema": "none", "icp_sign": "none"}

VECTORS = [
    # finding                                                                    grade  why
    ({"ice_total": 10, **AWAKE},   0, "nothing found"),
    ({"ice_total": 9},   1, "ICE 7-9"),
    ({"ice_total": 8},   1, "ICE 7-9"),
    ({"ice_total": 7},   1, "ICE 7-9"),
    ({"ice_total": 6},   2, "ICE 3-6"),
    ({"ice_total": 3},   2, "ICE 3-6"),
    ({"ice_total": 2},   3, "ICE 0-2"),
    ({"ice_total": 0, **AWAKE},   3, "0 in an awake patient (aphasia)"),
    ({"ice_total": 0, "consciousness": "unarousable"},   4, "0 because unarousable"),
    ({"cognitive_test_untestable": True},   4, "cannot be tested"),
    ({"ice_total": 10, **AWAKE, "tremor": "severe"},   0, "tremor does not count"),
    ({"ice_total": 10, **AWAKE, "headache": "severe"},   0, "headache does not count"),
    ({"ice_total": 10, **AWAKE, "myoclonus": "moderate"},   0, "myoclonus does not count"),
    ({"ice_total": 3, "seizure": "brief_generalised"},   3, "published example"),
    ({"ice_total": 9, "seizure": "brief_focal"},   3, "any seizure is 3"),
    ({"ice_total": 9, "seizure": "electrographic_treated"},   3, "EEG-only, resolved with treatment"),
    ({"ice_total": 9, "seizure": "repetitive_no_recovery"},   4, "non-convulsive status"),
    ({"ice_total": 9, "seizure": "brief_generalised", "seizure_minutes": 6},   4, "longer than 5 minutes"),
    ({"ice_total": 9, "seizure": "brief_generalised", "seizure_minutes": 5},   3, "exactly 5 minutes is not longer"),
    ({"ice_total": 9, "motor": "hemiparesis_or_paraparesis"},   4, "deep focal weakness"),
    ({"ice_total": 9, "motor": "focal_weakness_mild"},   1, "slight weakness is no criterion"),
    ({"ice_total": 9, "cerebral_oedema": "focal"},   3, "focal oedema"),
    ({"ice_total": 9, "cerebral_oedema": "diffuse"},   4, "diffuse oedema"),
    ({"ice_total": 9, "icp_sign": "papilloedema"},   4, "papilloedema"),
    ({"ice_total": 9, "icp_sign": "papilloedema_1_2"},   4, "papilloedema of any stage"),
    ({"ice_total": 9, "icp_sign": "sixth_nerve_palsy"},   4, "sixth nerve palsy"),
    ({"ice_total": 9, "icp_sign": "posturing"},   4, "posturing"),
    ({"ice_total": 9, "icp_sign": "cushing_triad"},   4, "Cushing's triad"),
    ({"ice_total": 9, "cerebral_oedema": "diffuse", "intracranial_haemorrhage": True}, 1, "haemorrhage is no ICANS"),
    ({"sedated": True},   None, "sedated, nothing else known"),
    ({"sedated": True, "consciousness": "unarousable"},   None, "sedation explains it"),
    ({"sedated": True, **QUIET},   None, "cognition and arousal unknown"),
    ({"sedated": True, "seizure": "prolonged"},   4, "the other domains still count"),
    ({"consciousness": "touch"},   3, "ICE missing, wakes to touch"),
    ({"consciousness": "voice"},   2, "ICE missing, wakes to voice"),
    ({"ice_total": 9, "consciousness": "voice"},   2, "worst domain wins"),
    ({"ice_total": 1, "death_attributed": "ICANS"},   5, "death from ICANS"),
    ({"ice_total": 1, "death_attributed": "CRS"},   3, "death from something else"),
    ({"ice_total": 10, **AWAKE, "icp_sign": "none"},   0, "no sign of pressure, imaging not done"),
    ({"ice_total": 10, "rass": 0},   0, "alert and calm"),
    ({"ice_total": 10, "rass": -1},   2, "arousal by RASS: to voice"),
    ({"rass": -3},   2, "arousal by RASS: to voice"),
    ({"rass": -4},   3, "arousal by RASS: to touch"),
    ({"rass": -5},   4, "arousal by RASS: none"),
    ({"rass": 3, "ice_total": 10},   0, "agitation is not a domain"),
    ({},   None, "nothing known is not zero"),
    # children and developmental delay
    ({"age_y": 8, "capd_total": 7, **AWAKE},   1, "CAPD below 9, awake"),
    ({"age_y": 8, "capd_total": 0, **AWAKE},   0, "CAPD 0 and awake"),
    ({"age_y": 8, "capd_total": 7, "consciousness": "voice"},   2, "wakes to voice"),
    ({"age_y": 8, "capd_total": 8},   1, "8 is below 9"),
    ({"age_y": 8, "capd_total": 9},   3, "CAPD 9 or more"),
    ({"age_y": 8, "cognitive_test_untestable": True},   4, "CAPD cannot be done"),
    ({"age_y": 12.0, "ice_total": 5, "capd_total": 20},   2, "12.0 years: ICE (ASTCT)"),
    ({"age_y": 11.9, "ice_total": 5, "capd_total": 20},   3, "under 12: CAPD"),
    ({"age_y": 15, "developmental_delay": True, "capd_total": 9, "ice_total": 9},   3, "delay: CAPD at any age"),
    ({"age_y": 40, "capd_total": 20},   None, "CAPD is not for an adult"),
    ({"age_y": 8, "capd_total": 20, "rass": -4},   3, "CAPD void at RASS -4; arousal tells"),
    ({"capd_total": 20},   3, "age unknown, CAPD was done"),
]  # fmt: skip


@pytest.mark.parametrize(("patient", "grade", "why"), VECTORS)
def test_vector(patient, grade, why):
    assert grade_icans(findings(**patient)).grade == grade, why


def test_age_boundary_is_an_option():
    twelve = findings(age_y=12.5, ice_total=5, capd_total=20)
    assert grade_icans(twelve).grade == 2
    assert grade_icans(twelve, GradingOptions(capd_ages="NCIt")).grade == 3
    thirteen = findings(age_y=13.0, ice_total=5, capd_total=20)
    assert grade_icans(thirteen, GradingOptions(capd_ages="NCIt")).grade == 2


def test_capd_zero_is_an_option():
    child = findings(age_y=8, capd_total=0, consciousness="spontaneous")
    assert grade_icans(child, GradingOptions(capd_low=0)).grade == 1


def test_five_minutes_is_an_option():
    five = findings(seizure="brief_generalised", seizure_minutes=5)
    assert grade_icans(five).grade == 3
    assert grade_icans(five, GradingOptions(seizure_of_five_minutes=4)).grade == 4


def test_capd_only_grade_three_is_flagged():
    child = grade_icans(findings(age_y=8, capd_total=9, consciousness="spontaneous"))
    assert child.flags == {"capd_only"}
    assert grade_icans(findings(age_y=8, capd_total=9, seizure="brief_focal")).flags == set()
    assert grade_icans(findings(ice_total=1)).flags == set()


def test_missing_makes_a_lower_bound_and_complete_does_not():
    assert grade_icans(findings(ice_total=8)).lower_bound
    assert not grade_icans(findings(ice_total=8, **AWAKE, **QUIET)).lower_bound
    assert not grade_icans(findings(motor="hemiparesis_or_paraparesis")).lower_bound  # nothing but death is higher
    assert grade_icans(findings(ice_total=8, **AWAKE, **QUIET, incomplete=True)).lower_bound
    assert grade_icans(findings(ice_total=8, **AWAKE, seizure="none", motor="none", icp_sign="none")).lower_bound


def test_chart_by_exception_takes_silence_as_absence():
    chart = GradingOptions(charted_by_exception=("seizure", "motor", "oedema"))
    result = grade_icans(findings(ice_total=8, **AWAKE), chart)
    assert (result.grade, result.lower_bound) == (1, False)
    assert grade_icans(findings(ice_total=10), chart).lower_bound  # arousal is still missing
    with pytest.raises(GradingError, match="can be charted by exception"):
        GradingOptions(charted_by_exception=("cognition",))


def test_not_attributable_removes_the_domain_and_is_not_zero():
    result = grade_icans(findings(ice_total=9, seizure="prolonged", not_attributable=["seizure"]))
    assert result.grade == 1
    assert result.domains["seizure"] is None
    assert grade_icans(findings(seizure="prolonged", not_attributable=["seizure"])).grade is None
    judged = grade_icans(findings(ice_total=9, **AWAKE, **QUIET, not_attributable=["seizure"]))
    assert not judged.lower_bound  # judged, not missing


def test_a_test_with_another_cause_is_judged_not_missing():
    for patient, item in (({"ice_total": 2, "age_y": 60}, "ice_total"), ({"capd_total": 20, "age_y": 6}, "capd_total")):
        result = grade_icans(findings(**patient, **AWAKE, **QUIET, not_attributable=[item]))
        assert (result.grade, result.lower_bound, result.domains["cognition"]) == (0, False, None)


def test_deciding_domains_are_named():
    result = grade_icans(findings(ice_total=2, consciousness="touch", seizure="none"))
    assert result.deciding == ("cognition", "consciousness")
    assert result.domains == {"cognition": 3, "consciousness": 3, "seizure": 0, "motor": None, "oedema": None}


def test_baseline_gives_raw_and_adjusted():
    result = grade_icans(findings(ice_total=7, baseline={"ice_total": 8}))
    assert (result.grade, result.adjusted) == (1, 1)
    assert grade_icans(findings(ice_total=8, **AWAKE, baseline={"ice_total": 8})).adjusted == 0
    assert grade_icans(findings(ice_total=6, baseline={"ice_total": 8})).adjusted == 1
    child = grade_icans(findings(age_y=6, capd_total=12, baseline={"capd_total": 10}))
    assert (child.grade, child.adjusted) == (3, 1)
    assert grade_icans(findings(ice_total=2, baseline={})).adjusted == 3


def test_baseline_never_lowers_what_it_does_not_explain():
    result = grade_icans(findings(ice_total=8, seizure="brief_focal", baseline={"ice_total": 6}))
    assert (result.grade, result.adjusted) == (3, 3)


@pytest.mark.parametrize(
    ("items", "low", "high"),
    [
        ({"ice_orientation": 4, "ice_naming": 3, "ice_command": 1, "ice_writing": 1, "ice_attention": 0}, 9, 9),
        ({"ice_orientation": 2, "ice_naming": 3}, 5, 8),
        ({"cartox10": 7}, 6, 8),
        ({"cartox10": 7, "head_of_state": 1, "ice_command": 0}, 6, 6),
        ({"cartox10": 7, "head_of_state": 0, "ice_command": 1}, 8, 8),
        ({"cartox10": 10}, 9, 10),
        ({"ice_total": 4, "cartox10": 9}, 4, 4),  # contradiction: the worse
        ({"ice_total": 9, "ice_orientation": 0}, 6, 6),
        ({"ice_total": 5, "ice_orientation": 2, "ice_naming": 3}, 5, 5),
        ({"cartox10": 8, "ice_orientation": 4, "ice_naming": 3}, 7, 9),
    ],
)
def test_ice_from_items_and_from_cartox(items, low, high):
    assert ice_range(findings(**items)) == (low, high)


def test_a_total_known_within_bounds_is_graded_by_its_best():
    result = grade_icans(findings(ice_orientation=2, ice_naming=3))  # 5 to 8
    assert (result.grade, result.lower_bound) == (1, True)
    exact = grade_icans(findings(cartox10=5, **AWAKE, **QUIET))  # ICE 4 to 6: one band
    assert (exact.grade, exact.lower_bound) == (2, False)
    assert grade_icans(findings(cartox10=7, **AWAKE, **QUIET)).lower_bound  # ICE 6 to 8: two bands


def test_capd_with_a_missing_item_has_no_total_but_a_floor():
    items = {f"capd_item_{i}": 2 for i in range(1, 8)}
    child = grade_icans(findings(age_y=5, **items))  # 14 of seven items
    assert child.grade == 3
    few = grade_icans(findings(age_y=5, capd_item_1=1, **AWAKE, **QUIET))
    assert (few.grade, few.lower_bound) == (1, True)


def test_words_and_numbers_are_checked():
    with pytest.raises(GradingError, match="unknown item 'ice_totl'; did you mean 'ice_total'"):
        findings(ice_totl=3)
    with pytest.raises(GradingError, match="whole number from 0 to 10"):
        findings(ice_total=11)
    with pytest.raises(GradingError, match="whole number"):
        findings(ice_total=7.5)
    with pytest.raises(GradingError, match="one of"):
        findings(seizure="absence")
    with pytest.raises(GradingError, match="yes or no"):
        findings(sedated="maybe")
    with pytest.raises(GradingError, match="is a number"):
        findings(seizure_minutes="long")
    with pytest.raises(GradingError, match="a number from"):
        findings(seizure_minutes=float("nan"))
