"""Small and odd cohorts: forecasting gives valid risks, or says why it cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.cohort.cohort import Cohort, make
from icans.core.errors import DataError, NotEstimableError
from icans.core.random import stream
from icans.forecast.crossval import PREDICTION_COLUMNS, Design, cross_validate
from icans.forecast.final import fit_final
from icans.forecast.ladder import Rung, ladder
from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.outcomes import TASKS, Horizon, outcome_table

RUNGS = (
    *ladder(scores=(), names=["prevalence", "crs_rule"]),
    Rung("lr", "", LastValueLogistic(penalties=(1.0, 0.01), inner_folds=2)),
    Rung("cox", "", LandmarkCox(interactions=True, penalties=(1.0, 0.01), inner_folds=2)),
    Rung("gbm", "", Boosting(trees=(0, 5), min_rows=5, inner_folds=2)),
)
DESIGN = Design(
    landmarks_h=(0.0, 48.0, 96.0),
    horizons=(Horizon(48.0), Horizon(720.0, until=True)),
    folds=3,
    repeats=1,
    min_events=2,
)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Any mix of: no labs, one value only, huge values, zeros, missing grades, deaths, no CRS, constant columns."""
    n = draw(st.integers(8, 24))
    rng = stream(draw(st.integers(0, 10_000)), "fuzz")
    ids = [f"p{i}" for i in range(n)]
    rate, missing = draw(st.sampled_from([0.0, 0.05, 0.2, 0.6])), draw(st.sampled_from([0.0, 0.3, 0.9]))
    days = draw(st.integers(1, 9))
    grid = pd.DataFrame([(p, 24.0 * d) for p in ids for d in range(days)], columns=["patient_id", "time_h"])
    grid = grid.assign(available_h=grid["time_h"] + draw(st.sampled_from([0.0, 24.0])))
    grade = np.where(rng.random(len(grid)) < rate, rng.integers(1, 5, len(grid)), 0).astype(float)
    grade[rng.random(len(grid)) < missing / 3] = np.nan
    grades = [grid.assign(toxicity="ICANS", scheme="ASTCT", grade=grade)]
    if draw(st.booleans()):
        grades.append(grid.assign(toxicity="CRS", scheme="ASTCT", grade=rng.integers(0, 3, len(grid)) * 1.0))
    tables: dict[str, pd.DataFrame] = {"grades": pd.concat(grades)}
    tables["patients"] = pd.DataFrame(
        {"patient_id": ids, "age_y": rng.normal(60, 9, n) if draw(st.booleans()) else np.nan, "sex": "female"}
    )
    scale = draw(st.sampled_from([0.0, 1.0, 1e12]))
    if draw(st.booleans()):
        value = np.where(rng.random(len(grid)) < missing, np.nan, rng.lognormal(1, 1, len(grid)) * scale)
        tables["measurements"] = grid.assign(analyte="crp", value=value)
    if draw(st.booleans()):
        dead = rng.choice(ids, 3, replace=False)
        tables["events"] = pd.DataFrame({"patient_id": dead, "time_h": rng.uniform(1, 300, 3), "event": "death"})
    return make("fuzz", tables)


@given(cohorts())
@settings(max_examples=20)
def test_valid_risks_or_a_reason(cohort):
    try:
        found = cross_validate(cohort, TASKS["icans_any"], RUNGS, DESIGN)
    except (NotEstimableError, DataError):
        return
    assert found.predictions.columns.tolist() == PREDICTION_COLUMNS
    assert found.predictions["risk"].between(0.0, 1.0).all()
    assert (found.predictions["time_h"] > 0).all()
    failed = found.fits[found.fits["error"] != ""]
    assert set(found.predictions["model"]) | set(failed["model"]) == {rung.name for rung in RUNGS}


@given(cohorts(), st.sampled_from([0.0, 30.0, 96.0]))
@settings(max_examples=8)
def test_final_forecasts_are_for_those_at_risk(cohort, landmark):
    try:
        model = fit_final(cohort, TASKS["icans_any"], RUNGS[2], DESIGN, refits=2)
    except (NotEstimableError, DataError):
        return
    made, gone = model.forecast(cohort, landmark)
    assert all(0.0 <= f.risk <= 1.0 for f in made)
    assert not {f.patient_id for f in made} & set(gone["patient_id"])
    at_risk = set(outcome_table(cohort, TASKS["icans_any"], [landmark])["patient_id"])
    assert at_risk <= {f.patient_id for f in made}
