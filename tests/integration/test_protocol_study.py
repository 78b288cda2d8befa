"""The rest of the evaluation protocol as a study runs it: every table or the reason why not, and the chapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest

from forecast_cohorts import simulated
from icans.cohort.cohort import Cohort
from icans.core.execute import Serial
from icans.forecast.crossval import Design, cross_validate
from icans.forecast.final import FinalModel, fit_final
from icans.forecast.ladder import Rung
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import Horizon, Task
from icans.report.behaviour import TABLES, Behaviour
from icans.report.model import Headline, ReportData
from icans.report.render import render
from icans.study.config import EvaluateSection, ForecastSection
from icans.study.forecasts import TaskForecasts
from icans.study.protocol import protocol, settled
from icans.study.tasks import StudyTask

HORIZON = Horizon(168.0)
RUNG = Rung("logistic_last", "ridge", LastValueLogistic(penalties=(0.3, 0.1), inner_folds=2))
CELL = Headline("icans_any", "logistic_last", 72.0, 168.0)
SECTION = ForecastSection(landmarks_d=(2, 3), horizons_d=(7,), by_day_30=False, folds=3, repeats=1)


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """Few resamples and permutations: what is tested here is what is made, not how finely."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RESAMPLES", {"short": 40, "full": 20}), ("PERMUTATIONS", {"short": 1, "full": 1}),
                            ("BACKGROUND", 5), ("ORDERS", 1), ("EXPLAINED", 5)):  # fmt: skip
            patch.setattr(f"icans.study.protocol.{name}", value)
        yield


@pytest.fixture(scope="module")
def parts() -> tuple[Cohort, TaskForecasts, FinalModel]:
    cohort = simulated(120, seed=41)
    task = Task("icans_any", scheme="ASTCT")
    design = Design(landmarks_h=(48.0, 72.0), horizons=(HORIZON,), folds=3, repeats=1)
    result = cross_validate(cohort, task, [RUNG], design)
    sites = cross_validate(cohort, task, [RUNG], replace(design, leave_one_out_by="site"))
    study_task = StudyTask(task, "Any ICANS", "", (48.0, 72.0), (HORIZON,))
    fixed = Rung("logistic_last", "ridge", LastValueLogistic(penalties=(0.1,)))
    return cohort, TaskForecasts(study_task, result, {"site": sites}), fit_final(cohort, task, fixed, design, refits=20)


@pytest.fixture(scope="module")
def short(parts: tuple[Cohort, TaskForecasts, FinalModel]) -> Behaviour:
    cohort, forecast, model = parts
    return protocol(cohort, forecast, CELL, model, RUNG, SECTION, EvaluateSection(), 1, Serial())


def test_a_short_protocol_gives_every_table_but_those_of_a_full_one(short: Behaviour):
    given = {name for name in TABLES if short.table(name) is not None}
    assert given == set(TABLES) - {"shapley", "ordinal"}
    assert short.reasons == {}
    assert short.refits == 20
    assert set(short.tables["updating"]["group"]) == {"site0", "site1"}
    assert short.tables["pooled"].set_index("metric").loc["auc", "groups"] == 2


def test_the_tables_speak_of_the_declared_cell(short: Behaviour):
    for name in ("subgroups", "latency", "groups"):
        assert set(short.tables[name]["landmark_h"]) == {72.0}
        assert set(short.tables[name]["horizon_h"]) == {168.0}
    assert "no dates" in short.words["drift_windows"][0]


def test_the_chapters_show_it_and_say_that_it_is_synthetic(
    parts: tuple[Cohort, TaskForecasts, FinalModel], short: Behaviour
):
    data = ReportData(study="s", delivered=parts[0], harmonised=parts[0], behaviour=short)
    page = render(data, only=["behaviour", "explanation", "checklists"])
    for words in ("Alarms and lead time", "Groups of patients", "Drift", "Late results", "Instability", "TRIPOD+AI",
                  "In a few rules", "SYNTHETIC DATA"):  # fmt: skip
        assert words in page
    empty = render(ReportData(study="s"), only=["behaviour", "explanation", "checklists"])
    assert "The rest of the protocol was not run" in empty


def test_without_a_final_model_or_left_out_groups_the_rest_is_there(parts: tuple[Cohort, TaskForecasts, FinalModel]):
    cohort, forecast, _ = parts
    alone = replace(forecast, left_out={})
    found = protocol(cohort, alone, CELL, None, RUNG, SECTION, EvaluateSection(), 1, Serial())
    assert found.table("instability_summary") is None
    assert "left out" in found.reasons["pooled"]
    assert found.table("latency") is not None
    page = render(ReportData(study="s", behaviour=found), only=["behaviour", "explanation"])
    assert "Not looked at" in page


def test_a_full_protocol_adds_shapley_values_of_unseen_patients_and_ordinal_scores(
    parts: tuple[Cohort, TaskForecasts, FinalModel],
):
    cohort, forecast, _ = parts
    found = protocol(cohort, forecast, CELL, None, RUNG, SECTION, EvaluateSection(protocol="full"), 1, Serial())
    shapley = found.table("shapley")
    assert shapley is not None
    assert shapley["patient_id"].nunique() == 5
    ordinal = found.table("ordinal")
    assert ordinal is not None
    assert {"rps", "dxy"} <= set(ordinal["metric"])
    page = render(ReportData(study="s", delivered=cohort, behaviour=found), only=["behaviour", "explanation"])
    assert "Shapley values by group of values" in page


def test_a_penalty_is_settled_only_where_there_is_one():
    assert settled(RUNG, "penalty, 7 d = 0.1").model.penalties == (0.1,)  # type: ignore[attr-defined]
    assert settled(Rung("c", "", LandmarkCox()), "penalty = 0.03").model.penalties == (0.03,)  # type: ignore[attr-defined]
    assert settled(RUNG, "penalty, 3 d = 0.1; penalty, 7 d = 0.3") is RUNG
    assert settled(RUNG, "trees = 40") is RUNG


def test_the_same_seed_gives_the_same_tables(parts: tuple[Cohort, TaskForecasts, FinalModel], short: Behaviour):
    cohort, forecast, model = parts
    again = protocol(cohort, forecast, CELL, model, RUNG, SECTION, EvaluateSection(), 1, Serial())
    for name, table in short.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
