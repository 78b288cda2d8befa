"""ICANS or TIAN, as small patients. Each row reads: setting, findings, answer, and why.

The rows of ASTCT 2019 (Lee et al. 2019, 10.1016/j.bbmt.2018.12.758) stand in the setting of that table, systemic cells
and no tumour of the nervous system; those of TIAN (Mahdi et al. 2023, 10.1038/s41591-023-02276-w, table 1) in theirs,
cells given at a tumour of the nervous system.
"""

from __future__ import annotations

import pytest

from icans.core.errors import DataError
from icans.signals.differential.case import Case, mri_state, onset_state, ratio_state, setting_of, ventricle_state
from icans.signals.differential.odds import differentiate
from icans.signals.differential.table import diagnoses, evidence, priors

DURING_CRS = {"crs": "yes", "onset": "days_1_to_15", "inflammation": "yes", "infection": "no", "drug": "no",
              "hyperinflammation": "no"}  # fmt: skip
AT_A_TUMOUR = {"crs": "no", "onset": "first_day", "inflammation": "no", "infection": "no", "drug": "no"}

ICANS_ROWS = [
    ({"cognition": "impaired"}, "grade 1, ICE 7-9"),
    ({"cognition": "impaired", "tremor": "yes"}, "grade 2, ICE 3-6, wakes to voice"),
    ({"cognition": "impaired", "aphasia": "yes"}, "grade 3, ICE 0-2 awake: global aphasia"),
    ({"cognition": "impaired", "seizure": "present", "eeg": "diffuse"}, "grade 3, seizure that resolves"),
    ({"cognition": "impaired", "eeg": "diffuse", "mri": "symmetric_or_deep"}, "grade 3, wakes only to touch"),
    ({"cognition": "untestable", "eeg": "diffuse"}, "grade 4, unarousable"),
    ({"cognition": "untestable", "seizure": "present", "eeg": "diffuse"}, "grade 4, status"),
    ({"cognition": "impaired", "focal_deficit": "elsewhere", "eeg": "focal_elsewhere"}, "grade 4, hemiparesis"),
    ({"cognition": "untestable", "mri": "diffuse_oedema", "ventricles": "narrowed", "pressure": "present"},
     "grade 4, diffuse oedema"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "why"), ICANS_ROWS, ids=[why for _, why in ICANS_ROWS])
def test_rows_of_the_icans_table_are_icans(found, why):
    result = differentiate(Case("no_tumour", {**DURING_CRS, **found}))
    assert result.answer == "icans", result.reasons
    assert result.shares["tian_1"] == result.shares["tian_2"] == result.shares["both"] == 0.0


TIAN_ROWS = [
    ({"focal_deficit": "at_tumour", "cognition": "normal", "pressure": "none"}, "tian_2",
     "grade 1, existing deficits a little worse"),
    ({"focal_deficit": "at_tumour", "cognition": "normal", "eeg": "focal_at_tumour", "pressure": "none"}, "tian_2",
     "grade 2, deficit that affects function"),
    ({"focal_deficit": "at_tumour", "cognition": "impaired", "pressure": "none", "ventricles": "unchanged",
      "mri": "at_tumour"}, "tian_2", "grade 3, severe deficit, pressure normal"),
    ({"focal_deficit": "at_tumour", "cognition": "untestable", "pressure": "none", "ventricles": "unchanged",
      "eeg": "focal_at_tumour"}, "tian_2", "grade 4, medullary dysfunction, airway needed"),
    ({"focal_deficit": "none", "cognition": "normal", "pressure": "present", "mri": "at_tumour"}, "tian_1",
     "headache with signs of pressure"),
    ({"focal_deficit": "at_tumour", "pressure": "present", "ventricles": "wider_or_shifted", "mri": "at_tumour"},
     "tian_1", "grade 3, pressure above 20 mmHg that responds"),
    ({"cognition": "untestable", "pressure": "present", "ventricles": "wider_or_shifted", "mri": "at_tumour"},
     "tian_1", "grade 4, herniation"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "answer", "why"), TIAN_ROWS, ids=[why for *_, why in TIAN_ROWS])
def test_rows_of_the_tian_table_are_tian_of_their_type(found, answer, why):
    result = differentiate(Case("tumour_local", {**AT_A_TUMOUR, **found}))
    assert result.answer == answer, (result.shares, result.reasons)


OTHERS = [
    ("no_tumour", {"cognition": "impaired", "eeg": "diffuse", "infection": "yes", "crs": "no", "onset": "later",
                   "inflammation": "yes", "hyperinflammation": "no", "drug": "no"}, "sepsis"),
    ("no_tumour", {"cognition": "normal", "hyperinflammation": "yes", "crs": "yes", "onset": "later",
                   "inflammation": "yes", "infection": "no", "drug": "no"}, "iec_hs"),
    ("no_tumour", {"cognition": "impaired", "drug": "yes", "tremor": "yes", "crs": "no", "inflammation": "no",
                   "onset": "later", "infection": "no"}, "drug"),
    ("tumour_systemic", {**DURING_CRS, "cognition": "impaired", "aphasia": "yes", "eeg": "diffuse",
                         "focal_deficit": "none", "pressure": "none", "mri": "unchanged"}, "icans"),
    ("tumour_systemic", {**DURING_CRS, "cognition": "impaired", "aphasia": "yes", "focal_deficit": "at_tumour",
                         "eeg": "focal_at_tumour", "mri": "both", "pressure": "present",
                         "ventricles": "wider_or_shifted"}, "both"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "found", "answer"), OTHERS)
def test_other_causes_and_both_together(setting, found, answer):
    result = differentiate(Case(setting, found))
    assert result.answer == answer, (result.shares, result.reasons)


CANNOT_TELL = [
    ("no_tumour", {"cognition": "impaired"}, (), "one finding never decides"),
    ("tumour_systemic", {"cognition": "impaired", "focal_deficit": "at_tumour", "crs": "yes"}, (), "contradiction"),
    (None, {"cognition": "impaired", "crs": "no", "inflammation": "no"}, (), "setting not known"),
    ("no_tumour", {**DURING_CRS, "cognition": "impaired"}, ("haemorrhage",), "haemorrhage is looked for first"),
    ("tumour_local", {**AT_A_TUMOUR, "focal_deficit": "at_tumour"}, ("progression",), "the tumour itself grew"),
]


@pytest.mark.parametrize(("setting", "found", "flags", "why"), CANNOT_TELL, ids=[row[-1] for row in CANNOT_TELL])
def test_what_the_findings_do_not_tell_is_not_told(setting, found, flags, why):
    result = differentiate(Case(setting, found, red_flags=flags))
    assert result.answer == "cannot_tell", (result.shares, result.leads)
    assert result.reasons


def test_tian_without_signs_of_its_type_is_tian_of_unknown_type():
    found = {**AT_A_TUMOUR, "recurs": "yes", "cytokine_ratio": "high"}
    assert differentiate(Case("tumour_local", found)).answer == "tian"


def test_without_cells_none_of_their_syndromes_is_meant():
    shares = differentiate(Case("no_tumour", {"cognition": "impaired"}, cells_given=False)).shares
    assert sum(shares[name] for name in ("icans", "tian_1", "tian_2", "both", "iec_hs")) == 0.0
    assert shares["sepsis"] + shares["drug"] == pytest.approx(1.0)


def test_shares_follow_bayes_where_no_group_repeats():
    found = {"cognition": "impaired", "crs": "yes"}
    by_hand = priors()["no_tumour"].shares.copy()
    for name, state in found.items():
        by_hand = by_hand * evidence()[name].states[state]
    by_hand /= by_hand.sum()
    result = differentiate(Case("no_tumour", found))
    for name, value in zip(diagnoses(), by_hand, strict=True):
        assert result.shares[name] == pytest.approx(value)
        assert result.low[name] <= result.shares[name] + 1e-12 <= result.high[name] + 1e-9


def test_findings_that_say_the_same_count_less_than_twice():
    one = differentiate(Case("tumour_local", {"focal_deficit": "at_tumour"}))
    two = differentiate(Case("tumour_local", {"focal_deficit": "at_tumour", "eeg": "focal_at_tumour"}))
    exponents = {w.finding: w.exponent for w in two.weights}
    assert sorted(exponents.values()) == [0.6, 1.0]
    assert two.shares["tian_2"] > one.shares["tian_2"]


def test_every_row_of_the_table_has_a_source_and_a_status():
    for row in (*evidence().values(), *priors().values()):
        assert row.status in ("read", "recalled", "assumed")
        assert len(row.source) > 20


def test_same_seed_same_answer_and_the_interval_is_wide():
    case = Case("no_tumour", {**DURING_CRS, "cognition": "impaired"})
    assert differentiate(case, seed=4).as_dict() == differentiate(case, seed=4).as_dict()
    result = differentiate(case)
    assert result.high["icans"] - result.low["icans"] > 0.05
    assert result.as_dict()["validated"] is False


def test_words_that_the_table_does_not_know_are_named_all_at_once():
    with pytest.raises(DataError) as error:
        Case("nowhere", {"cognition": "odd", "mood": "low"}, red_flags=("moon",))
    assert {p.column for p in error.value.problems} == {"setting", "cognition", "finding", "red flag"}
    with pytest.raises(DataError, match="tumour"):
        Case("no_tumour", {"focal_deficit": "at_tumour"})


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (setting_of(cns_tumour=None, local_cells=True), None),
        (setting_of(cns_tumour=False, local_cells=None), "no_tumour"),
        (setting_of(cns_tumour=True, local_cells=True), "tumour_local"),
        (setting_of(cns_tumour=True, local_cells=None), "tumour_systemic"),
        (onset_state(3.0), "first_day"),
        (onset_state(24.0), "days_1_to_15"),
        (onset_state(361.0), "later"),
        (ratio_state(50.0, 1000.0), "low"),
        (ratio_state(2000.0, 1000.0), "high"),
        (ratio_state(1.0, 0.0), None),
        (mri_state(0.1, tumour=True), "unchanged"),
        (mri_state(5.0, tumour=False), "symmetric_or_deep"),
        (mri_state(5.0, tumour=True), None),
        (mri_state(5.0, tumour=True, near_share=0.95, focality_low=6.0), "at_tumour"),
        (mri_state(5.0, tumour=True, near_share=0.95, focality_low=1.0), "both"),
        (mri_state(5.0, tumour=True, near_share=0.05), "symmetric_or_deep"),
        (ventricle_state(0.3), "wider_or_shifted"),
        (ventricle_state(-0.3), "narrowed"),
        (ventricle_state(0.0), "unchanged"),
    ],
)
def test_numbers_become_states(state, expected):
    assert state == expected
