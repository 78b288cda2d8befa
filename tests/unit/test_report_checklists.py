"""Checklists filled from a run: complete, honest about what a program cannot know, and following the data."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.report.behaviour import Behaviour
from icans.report.checklists.card import card_text, model_card
from icans.report.checklists.facts import facts
from icans.report.checklists.probast import domain_summary, probast_table, questions
from icans.report.checklists.tripod import items, tripod_table
from icans.report.model import Audit, Headline, ReportData, RunInfo, Task


def data(events: int = 40) -> ReportData:
    cell = {"task": "icans_any", "model": "cox_last", "landmark_h": 72.0, "horizon_h": 168.0}
    rows = [
        {**cell, "metric": m, "value": 0.7, "low": 0.6, "high": 0.8, "n": 200, "events": events}
        for m in ("auc", "auc_within_fold", "slope", "oe", "net_benefit_0.20")
    ]
    pooled = pd.DataFrame(
        [{"by": "site", **cell, "metric": "auc", "value": 0.7, "low": 0.6, "high": 0.8, "expect_low": 0.5,
          "expect_high": 0.9, "groups": 4, "i2": 0.1, "note": ""}]
    )  # fmt: skip
    subgroups = pd.DataFrame(
        [{**cell, "grouping": "sex", "level": s, "metric": "auc", "value": 0.7, "verdict": v}
         for s, v in (("female", "no difference seen"), ("male", "uninformative"))]
    )  # fmt: skip
    tables = {
        "groups": pooled[["by"]], "pooled": pooled, "subgroups": subgroups, "latency": pooled,
        "updating": pd.DataFrame({"choice": ["none", "none", "intercept"]}),
        "instability_summary": pd.DataFrame({"metric": ["mape"], "value": [0.05]}),
        "importance": pd.DataFrame({"group": ["lab.crp"]}),
    }  # fmt: skip
    cohort = simulated(40, seed=3)
    return ReportData(
        study="a synthetic study", delivered=cohort, harmonised=cohort,
        audit=Audit(pd.DataFrame({"verdict": ["quiet"]}), ("Nothing found.",), True),
        tasks=(Task("icans_any", "Any ICANS", "first ICANS"),), headline=Headline(**cell, metric="auc_within_fold"),
        performance=pd.DataFrame(rows), comparisons=pd.DataFrame(rows), sample_size=("T: the sample size suffices.",),
        methods={"Models": "Cox", "Validation": "nested", "Question": "not stated"}, limits=("small",),
        behaviour=Behaviour("icans_any", "cox_last", 72.0, 168.0, tables, refits=50),
        run=RunInfo(versions={"icans": "0.1.0"}, seed=1),
    )  # fmt: skip


def test_every_item_of_tripod_ai_is_there_once():
    numbers = [item["number"] for item in items()]
    assert len(numbers) == len(set(numbers)) == 52
    main = {number.rstrip("abcdefg") for number in numbers}
    assert main == {str(k) for k in range(1, 28)}
    assert all(item["ask"] and item["phase"] in ("D", "E", "D, E") for item in items())


def test_items_follow_the_run_and_leave_people_their_part():
    table = tripod_table(facts(data())).set_index("item")
    assert table.loc["23a", "status"] == "answered"
    assert "0.70 (0.60 to 0.80), 40 events in 200 patients" in table.loc["23a", "in_this_run"]
    assert "in a new site 0.50 to 0.90" in table.loc["23b", "in_this_run"]
    assert table.loc["24", "in_this_run"] == "asked for: none (2 groups), intercept (1 groups)"
    assert table.loc["5a", "status"] == "partly"
    assert "SYNTHETIC" in table.loc["5a", "in_this_run"]
    for number in ("17", "18a", "18b", "19", "25"):
        assert table.loc[number, "status"] == "for a person"
        assert table.loc[number, "in_this_run"] == ""
    assert table.loc["5b", "status"] == "not in this run"  # the cohort has no dates
    assert table.loc["4", "status"] == "not in this run"  # the question was not stated


def test_an_empty_report_answers_nothing_but_its_title():
    table = tripod_table(facts(ReportData(study="x")))
    assert set(table.loc[table["status"].isin(["answered", "partly"]), "item"]) == {"1"}


def test_the_self_check_follows_the_run():
    table = probast_table(data()).set_index("id")
    assert len(table) == len(questions())
    assert table.loc["D2", "answer"] == "yes"
    assert table.loc["E5", "answer"] == "no"
    assert table.loc["E5", "because"] == "40 events at the declared cell"
    assert table.loc["E7", "because"].startswith("50%")
    assert table.loc["D1", "answer"] == "for a person"
    assert probast_table(data(120)).set_index("id").loc["E5", "answer"] == "yes"
    concern = domain_summary(table.reset_index()).set_index(["part", "domain"])["concern"]
    assert concern["evaluation", "analysis"] == "high"
    assert concern["development", "predictors"] == "unclear"  # no harmonisation was run
    assert concern["evaluation", "outcome"] == "low"


@pytest.mark.parametrize(
    ("change", "question", "answer"),
    [({"audit": None}, "D2", "no information"), ({"behaviour": None}, "E8", "no"), ({"comparisons": None}, "E9", "no"),
     ({"sample_size": ("T: at most 3 parameters.",)}, "D8", "no"), ({"performance": None}, "D3", "no information")],
)  # fmt: skip
def test_what_was_not_done_is_never_a_yes(change: dict[str, object], question: str, answer: str):
    table = probast_table(replace(data(), **change)).set_index("id")  # type: ignore[arg-type]
    assert table.loc[question, "answer"] == answer


def test_a_leak_is_a_no():
    leaky = replace(data(), audit=Audit(pd.DataFrame({"verdict": ["separates"]}), ("Leak.",), False))
    table = probast_table(leaky)
    assert table.set_index("id").loc["D2", "answer"] == "no"
    concern = domain_summary(table).set_index(["part", "domain"])["concern"]
    assert concern["development", "participants and data sources"] == "high"


def test_the_card_is_json_says_synthetic_and_names_no_cause():
    card = model_card(data(), {"task": "icans_any", "training": {"digest": "abc"}})
    assert json.loads(json.dumps(card)) == card
    assert card["synthetic"] is True
    text = card_text(card)
    assert "SYNTHETIC DATA" in text
    assert "not causes" in text
    assert "1 of 2 comparisons have enough events; none differs" in text
    assert "Research use only" in text
