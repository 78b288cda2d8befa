"""Explanation: groups, importance on unseen patients, rules, reasons in words; never a word of cause."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.evaluate.explain.feature_groups import correlated_groups, feature_groups
from icans.evaluate.explain.importance import contribution_stability, importance_summary, permutation_importance
from icans.evaluate.explain.reasons import DISCLAIMER, feature_words, reason_sentences
from icans.evaluate.explain.rules import rule_summary
from icans.evaluate.fold_models import FoldModels, fold_models
from icans.evaluate.latency import latency_table
from icans.forecast.forecast import Forecast, Reason
from icans.forecast.ladder import Rung
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon

QUICK = Rung("quick", "", LastValueLogistic(penalties=(0.1,), inner_folds=2))


@pytest.fixture(scope="module")
def models() -> FoldModels:
    return fold_models(simulated(120, seed=31), TASKS["icans_any"], QUICK, Horizon(168.0), (72.0,), folds=4)


def test_columns_of_one_analyte_are_one_group():
    columns = ["day", "static.age_y", "lab.crp.last", "lab.crp.max_3d", "lab.il_6@csf.last", "mech.peak_il6"]
    found = feature_groups(columns)
    assert found["lab.crp"] == ["lab.crp.last", "lab.crp.max_3d"]
    assert list(found) == ["day", "static.age_y", "lab.crp", "lab.il_6@csf", "mech.peak_il6"]


def test_analytes_that_go_together_are_joined_and_others_are_not():
    rng = stream(1, "groups")
    a, c = rng.normal(size=(2, 200))
    table = pd.DataFrame({"lab.a.last": a, "lab.a.max_3d": a + 1, "lab.b.last": -a + 0.2 * rng.normal(size=200),
                          "lab.c.last": c, "static.sex": pd.Categorical(["f", "m"] * 100)})  # fmt: skip
    found = correlated_groups(table)
    assert set(found) == {"lab.a+b", "lab.c", "static.sex"}
    assert set(found["lab.a+b"]) == {"lab.a.last", "lab.a.max_3d", "lab.b.last"}


def test_importance_finds_what_the_forecast_draws_on(models: FoldModels):
    groups = feature_groups(list(models.models[0].inputs.table.columns))
    found = permutation_importance(models, groups, landmark_h=72.0, repeats=4)
    table = importance_summary(found).set_index("group")
    assert {"lab.crp", "lab.ferritin"} & set(table.index[:3])  # the trait drives both, and the outcome
    assert table.loc["static.sex", "value"] == pytest.approx(0.0, abs=0.05)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    every = permutation_importance(models, {"all": list(models.models[0].inputs.table.columns)}, landmark_h=72.0)
    assert importance_summary(every)["value"].iloc[0] > table["value"].max()  # without all of it, little is left
    again = permutation_importance(models, groups, landmark_h=72.0, repeats=4)
    pd.testing.assert_frame_equal(found, again)


def test_a_constant_column_has_no_importance(models: FoldModels):
    found = permutation_importance(models, {"day": ["day"]}, landmark_h=72.0, repeats=2)
    assert found[["auc_loss", "brier_gain"]].abs().to_numpy().max() < 1e-12


def test_latency_without_delay_changes_nothing_and_with_one_it_does(models: FoldModels):
    found = latency_table(simulated(120, seed=31), models, delays_h=(0.0, 24.0), n_boot=40).set_index(
        ["delay_h", "metric"]
    )
    assert (found.loc[0.0, "change"] == 0).all()
    assert found.loc[(24.0, "auc_within_fold"), "moved"] > 0.005
    assert found.loc[(24.0, "brier"), "value"] - found.loc[(0.0, "brier"), "value"] == pytest.approx(
        found.loc[(24.0, "brier"), "change"]
    )


def test_stability_of_the_same_contributions_is_perfect():
    rng = stream(2, "stability")
    one = pd.DataFrame(rng.normal(size=(30, 4)) * [4, 3, 2, 1], columns=list("abcd"))
    table, w = contribution_stability([one, one, one])
    assert w == pytest.approx(1.0)
    assert table["group"].tolist() == list("abcd")
    assert (table["sign"] == 1).all()
    noise = [pd.DataFrame(rng.normal(size=(30, 4)), columns=list("abcd")) for _ in range(30)]
    assert contribution_stability(noise)[1] < 0.3


def test_rules_recover_a_model_that_is_rules_and_say_when_they_do_not():
    rng = stream(3, "rules")
    n = 300
    index = pd.MultiIndex.from_arrays([[f"p{i}" for i in range(n)], [72.0] * n], names=["patient_id", "landmark_h"])
    table = pd.DataFrame(
        {"lab.crp.last": rng.uniform(0, 200, n), "static.product": pd.Categorical(rng.choice(["x", "y"], n))},
        index=index,
    )
    risk = np.where(table["lab.crp.last"] > 100, 0.6, np.where(table["static.product"] == "x", 0.3, 0.1))
    found = rule_summary(table, risk)
    assert found.fidelity > 0.98
    assert found.table["risk"].tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert found.table["n"].sum() == n
    assert float(found.table["rule"].iloc[0].removeprefix("lab.crp.last > ")) == pytest.approx(100, abs=3)
    assert (
        "static.product is not x" in found.table["rule"].iloc[2] or "static.product = y" in found.table["rule"].iloc[2]
    )
    blurred = rule_summary(table, rng.uniform(0.1, 0.9, n))
    assert blurred.fidelity < 0.2
    assert "cannot be summed up" in blurred.sentence
    with pytest.raises(NotEstimableError, match="differ"):
        rule_summary(table, np.full(n, 0.2))


@pytest.mark.parametrize(
    ("name", "words"),
    [("lab.crp.max_3d", "largest C-reactive protein of the last 3 days"), ("day", "day since infusion"),
     ("static.age_y", "age"), ("grade.CRS.max_d0_3", "highest CRS grade of days 0-3"),
     ("drug.tocilizumab.recent", "tocilizumab given in the last 3 days"), ("lab.il_6@csf.last", "in CSF"),
     ("mech.peak_il6", "model state: peak il6"), ("odd", "odd")],
)  # fmt: skip
def test_features_in_words(name: str, words: str):
    assert words in feature_words(name)


def test_reasons_are_plain_and_speak_of_no_cause():
    reasons = (
        Reason("lab.crp.last", 180.0, 0.9), Reason("static.age_y", 40.0, -0.3), Reason("lab.ldh.last", None, 0.06),
        Reason("day", 3.0, 0.01),
    )  # fmt: skip
    forecast = Forecast("p", 72.0, 168.0, "icans_any", 0.42, 0.30, 0.55, reasons, 72.0, 70.0, "m", "v", synthetic=True)
    said = reason_sentences(forecast, missing=["lab.il_6.last", "lab.il_6.max_3d", "lab.ferritin.last"])
    assert (
        said[0]
        == "SYNTHETIC. Forecast at day 3: a risk of 42% (95% interval 30% to 55%) within 7 days, under usual care."
    )
    assert "raised" in said[1]
    assert "(180), much" in said[1]
    assert "(not available), slightly" in said[1]
    assert "lowered" in said[2]
    assert "age (40), somewhat" in said[2]
    assert "day since infusion" not in " ".join(said)
    assert "Not available when it was made" in said[3]
    assert said[-1] == DISCLAIMER
    assert not re.search(r"\b(caus\w*|because|due to|leads? to|protect\w*|prevent\w*)\b", " ".join(said[:-1]))
    flat = reason_sentences(Forecast("p", 0.0, 24.0, "t", 0.1, np.nan, np.nan, (), 0.0, np.nan, "m", "v"))
    assert flat[0] == "Forecast at day 0: a risk of 10% within 1 day, under usual care."
    assert "Nothing about this patient" in flat[1]
