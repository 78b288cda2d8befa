"""Published scores: values by hand, units, cohorts, formulas as printed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icans.cohort.cohort import make
from icans.core.errors import UnitError
from icans.forecast.scores import SCORES, score, score_at
from icans.forecast.scores_templates import Formula, Term, as_score

CANONICAL = {
    "ldh": "U/L", "creatinine": "mg/dL", "platelets": "10*9/L", "crp": "mg/L", "anc": "10*9/L", "il_6": "pg/mL",
    "haemoglobin": "g/dL", "ferritin": "ng/mL", "temperature": "Cel", "mcp_1": "pg/mL",
}  # fmt: skip


def value(name, **numbers):
    return score(name).value(**{analyte: (x, CANONICAL[analyte]) for analyte, x in numbers.items()})


NAN = float("nan")
VECTORS = [
    # LDH 240, creatinine 1.0, platelets 120: 240 x 1 / 120 = 2, log2 = 1
    ("EASIX", {"ldh": 240, "creatinine": 1.0, "platelets": 120}, 1.0),
    ("EASIX", {"ldh": 960, "creatinine": 2.0, "platelets": 60}, 5.0),
    ("EASIX", {"ldh": 250, "creatinine": 1.0, "platelets": 0}, np.log2(50)),  # a zero count stands for "<5"
    ("EASIX", {"ldh": 250, "creatinine": 1.0, "platelets": 3}, np.log2(50)),
    ("EASIX", {"ldh": NAN, "creatinine": 1.0, "platelets": 120}, NAN),
    ("EASIX", {"ldh": 0, "creatinine": 1.0, "platelets": 120}, NAN),
    ("s-EASIX", {"ldh": 240, "platelets": 120}, 1.0),
    # CRP 20 mg/L is 2 mg/dL: 240 x 2 / 120 = 4, log2 = 2
    ("m-EASIX", {"ldh": 240, "crp": 20, "platelets": 120}, 2.0),
    ("m-EASIX", {"ldh": 240, "crp": 0, "platelets": 120}, np.log2(2 * 0.03)),
    # five vignettes of a public specification of CAR-HEMATOTOX (CRP here in mg/L)
    ("CAR-HEMATOTOX", {"platelets": 220, "anc": 3.4, "haemoglobin": 12.4, "crp": 8, "ferritin": 180}, 0),
    ("CAR-HEMATOTOX", {"platelets": 130, "anc": 1.8, "haemoglobin": 10.5, "crp": 14, "ferritin": 320}, 1),
    ("CAR-HEMATOTOX", {"platelets": 110, "anc": 0.95, "haemoglobin": 10.1, "crp": 42, "ferritin": 540}, 3),
    ("CAR-HEMATOTOX", {"platelets": 60, "anc": 0.7, "haemoglobin": 8.5, "crp": 24, "ferritin": 1400}, 5),
    ("CAR-HEMATOTOX", {"platelets": 40, "anc": 0.4, "haemoglobin": 7.8, "crp": 95, "ferritin": 3200}, 7),
    # the limits themselves
    ("CAR-HEMATOTOX", {"platelets": 175, "anc": 1.2, "haemoglobin": 9.0, "crp": 30, "ferritin": 650}, 3),
    ("CAR-HEMATOTOX", {"platelets": 75, "anc": 1.3, "haemoglobin": 9.0, "crp": 30, "ferritin": 2000}, 2),
    ("CAR-HEMATOTOX", {"platelets": 40, "anc": NAN, "haemoglobin": 7.8, "crp": 95, "ferritin": 3200}, NAN),
    ("Gust2017", {"temperature": 38.9, "il_6": 16, "mcp_1": 1343.5}, 1),
    ("Gust2017", {"temperature": 38.8, "il_6": 16, "mcp_1": 1343.5}, 0),
    ("Gust2017", {"temperature": 39.0, "il_6": 15.9, "mcp_1": 9999}, 0),
    ("Gust2017", {"temperature": 39.0, "il_6": 99, "mcp_1": NAN}, NAN),
    ("Gust2017", {"temperature": 38.0, "il_6": NAN, "mcp_1": NAN}, 0),  # without fever the tree says no
    ("Hay2017", {"temperature": 39.0, "mcp_1": 1400}, 1),
    ("Hay2017", {"temperature": 39.0, "mcp_1": 1300}, 0),
    ("Hay2017", {"temperature": NAN, "mcp_1": 1400}, NAN),
]


@pytest.mark.parametrize(("name", "inputs", "expected"), VECTORS)
def test_by_hand(name, inputs, expected):
    assert value(name, **inputs) == pytest.approx(expected, nan_ok=True)


def test_units_are_converted():
    in_others = score("EASIX").value(ldh=(4.0, "ukat/L"), creatinine=(88.42, "umol/L"), platelets=(120_000, "/uL"))
    assert in_others == pytest.approx(np.log2(240 / 120), abs=1e-3)
    assert score("m-EASIX").value(ldh=(240, "U/L"), crp=(2, "mg/dL"), platelets=(120, "K/uL")) == pytest.approx(2)
    arrays = score("s-EASIX").value(ldh=([240, 480], "U/L"), platelets=(120, "10*9/L"))
    assert arrays == pytest.approx([1, 2])


def test_wrong_or_lacking_units_are_refused():
    with pytest.raises(UnitError, match="needs a unit"):
        score("s-EASIX").value(ldh=240, platelets=(120, "10*9/L"))
    with pytest.raises(UnitError, match="ldh"):
        score("s-EASIX").value(ldh=(240, "mg/dL"), platelets=(120, "10*9/L"))
    with pytest.raises(TypeError, match="takes"):
        score("s-EASIX").value(ldh=(240, "U/L"))
    with pytest.raises(KeyError, match="there are"):
        score("m-EASI")


def test_every_score_says_where_it_comes_from():
    for one in SCORES.values():
        assert "10." in one.cite
        assert one.basis in ("read", "checked", "recalled")
        assert one.formula
        assert one.window
    assert [s.name for s in SCORES.values() if not s.verified] == ["Gust2017", "Hay2017"]


def cohort(rows, patients="ab"):
    columns = ["patient_id", "time_h", "available_h", "analyte", "value", "unit", "matrix", "censor", "limit"]
    frame = pd.DataFrame([(*row, *[None] * (9 - len(row))) for row in rows], columns=columns)
    return make("t", {"patients": pd.DataFrame({"patient_id": list(patients)}), "measurements": frame})


BLOOD = [
    ("a", -130, -128, "ldh", 240, "U/L"), ("a", -130, -128, "creatinine", 1.0, "mg/dL"),
    ("a", -130, -128, "platelets", 120, "10*9/L"),
    ("a", 20, 30, "ldh", 960, "U/L"),
    ("b", -130, -128, "ldh", 240, "U/L"), ("b", -130, -128, "platelets", 120, "10*9/L"),
]  # fmt: skip


def test_at_a_landmark_only_what_was_known_counts():
    early = score_at(cohort(BLOOD), 0.0, "EASIX").set_index("patient_id")
    assert early.loc["a", "value"] == pytest.approx(1)
    assert early.loc["a", "missing"] == ""
    assert np.isnan(early.loc["b", "value"])
    assert early.loc["b", "missing"] == "creatinine not measured"
    assert score_at(cohort(BLOOD), 25.0, "EASIX")["value"][0] == pytest.approx(1)  # drawn at 20 h, known at 30 h
    assert score_at(cohort(BLOOD), 30.0, "EASIX")["value"][0] == pytest.approx(3)
    own = score_at(cohort(BLOOD), {"a": 30.0, "b": 0.0}, "s-EASIX")["value"]
    assert own.tolist() == pytest.approx([3, 1])
    old = score_at(cohort(BLOOD), 0.0, "EASIX", lookback_h=24.0)
    assert "ldh not measured in the window" in old["missing"][0]


def test_the_future_does_not_matter():
    later = [("a", 31, 31, "ldh", 5000, "U/L"), ("b", 200, 200, "creatinine", 9, "mg/dL")]
    pd.testing.assert_frame_equal(score_at(cohort(BLOOD), 30, "EASIX"), score_at(cohort(BLOOD + later), 30, "EASIX"))


def test_units_of_a_cohort():
    mixed = [
        ("a", 0, 0, "ldh", 240, "U/L"), ("a", 0, 0, "crp", 20, "mg/L"), ("a", 0, 0, "platelets", 120, "K/uL"),
        ("b", 0, 0, "ldh", 240, "U/L"), ("b", 0, 0, "crp", 2, "mg/dL"), ("b", 0, 0, "platelets", 120e3, "/uL"),
    ]  # fmt: skip
    assert score_at(cohort(mixed), 1, "m-EASIX")["value"].tolist() == pytest.approx([2, 2])
    none = [(*row[:5], None) if row[3] == "crp" else row for row in mixed]
    assert score_at(cohort(none), 1, "m-EASIX")["missing"].tolist() == ["crp without a unit"] * 2
    wrong = [(*row[:5], "mmHg") if row[3] == "crp" else row for row in mixed]
    with pytest.raises(UnitError, match="crp"):
        score_at(cohort(wrong), 1, "m-EASIX")


def test_censored_and_foreign_matrix():
    rows = [("a", 0, 0, "ldh", 240, "U/L"), ("a", 0, 0, "platelets", None, "10*9/L", "blood", "left", 5),
            ("b", 0, 0, "ldh", 240, "U/L", "csf"), ("b", 0, 0, "platelets", 120, "10*9/L")]  # fmt: skip
    result = score_at(cohort(rows), 1, "s-EASIX")
    assert result["value"][0] == pytest.approx(np.log2(48))
    assert result["missing"][1] == "ldh not measured"


def test_trees_wait_for_their_window():
    rows = [("a", 10, 10, "temperature", 39.5, "Cel"), ("a", 30, 30, "temperature", 37, "Cel"),
            ("a", 12, 12, "mcp_1", 2000, "pg/mL"), ("b", 10, 10, "temperature", 37, "Cel"),
            ("b", 40, 40, "temperature", 40, "Cel"), ("b", 40, 40, "mcp_1", 3000, "pg/mL")]  # fmt: skip
    early = score_at(cohort(rows), 24, "Hay2017")
    assert early["value"].isna().all()
    assert "the first 36 h are not over" in early["missing"][0]
    assert score_at(cohort(rows), 48, "Hay2017")["value"].tolist() == [1, 0]


@given(scale=st.floats(0.1, 10), ldh=st.floats(50, 5000), crp=st.floats(1, 500), plt=st.floats(6, 500))
def test_easix_scales_with_its_inputs(scale, ldh, crp, plt):
    base = value("m-EASIX", ldh=ldh, crp=crp, platelets=plt)
    assert value("m-EASIX", ldh=ldh * scale, crp=crp, platelets=plt) == pytest.approx(base + np.log2(scale), abs=1e-9)


def test_formulas_as_printed():
    logistic = Formula("logistic", (Term("ferritin", "ng/mL", 0.5, "log10", 3.0), Term("crp", "mg/dL", 0.2)), -2.0)
    printed = as_score(logistic, "made-up", label="example", window="day 0", cite="none, an example of form")
    odds = printed.value(ferritin=(10_000, "ng/mL"), crp=(50, "mg/L"))
    assert odds == pytest.approx(-2 + 0.5 * 1 + 0.2 * 5)
    cox = Formula("cox", (Term("platelets", "10*9/L", 0.7, limit=100.0),), baseline_survival=0.8, horizon_h=240.0)
    risk = cox.risk({"platelets": np.array([150.0, 50.0, np.nan])})
    assert risk[:2] == pytest.approx([1 - 0.8 ** np.exp(0.7), 0.2])
    assert np.isnan(risk[2])
    assert cox.risk({"platelets": np.array([50.0])}) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="baseline survival"):
        Formula("cox", (Term("crp", "mg/L", 1.0),))
    with pytest.raises(ValueError, match="at least one term"):
        Formula("logistic", ())
    with pytest.raises(ValueError, match="different units"):
        as_score(
            Formula("logistic", (Term("crp", "mg/L", 1.0), Term("crp", "mg/dL", 1.0))),
            "x",
            label="",
            window="",
            cite="",
        )
