"""The rivals for the daily grade path that see more than today's grade, in order; and the columns they see."""

from __future__ import annotations

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.forecast.features import FeatureSpec
from icans.forecast.filters.amidi import AmidiPath
from icans.forecast.filters.days import covariates, with_covariates
from icans.forecast.filters.hmm_path import PhasePath
from icans.forecast.filters.onset_lasso import PUBLISHED
from icans.forecast.filters.ordinal_path import PENALTIES, OrdinalPath
from icans.forecast.filters.pool import PooledPath
from icans.forecast.grade_path import PATH_LADDER, PathModel
from icans.forecast.outcomes import Task

#: Name of each rival: what it is, for people.
PATH_DESCRIPTIONS = {
    "persistence": "today's grade stays",
    "grades_of_day": "the training patients' grades on that day",
    "markov": "first-order Markov chain of grades, a matrix for each period",
    "markov_split": "the same, a matrix for each stratum of CRS so far",
    "hmm_lasso": "the published hidden Markov model with lasso onset hazard (Amidi 2022), re-implemented",
    "ordinal": "the Markov chain moved by an ordinal regression on course, newest results, CRS and drugs",
    "hmm": "hidden Markov phases that emit grade, newest results and CRS, learned by EM",
    "path_pool": "the mean of ordinal regression and hidden Markov phases",
}
#: Phases of the hidden Markov model, and the power of its results' density. Chosen among 2-8 phases and powers 0.05,
#: 0.1, 0.3 by cross-validation on the two public sets with daily grades (benchmarks/grade_paths.py says how close the
#: others were): a choice of the same data that the figures are for.
PHASES, RESULT_WEIGHT = 6, 0.05
#: Above this many patients the choice of the ordinal regression's penalty hardly matters, and the usual one is taken.
MANY, USUAL = 150, (0.1,)


def path_with_covariates(path: pd.DataFrame, cohort: Cohort, task: Task) -> pd.DataFrame:
    """The path with newest and largest results, other toxicities' grades and drugs as known at each day's end."""
    others = tuple(t for t in ("CRS", "ICANS") if t != task.toxicity)
    spec = FeatureSpec(toxicities=others, statistics=("max",), windows_d=(None,), scores=())
    return with_covariates(path, cohort, spec)


def known_columns(path: pd.DataFrame) -> tuple[str, ...]:
    """What the ordinal regression sees of a path: newest results, other toxicities, drugs, age."""
    return tuple(
        c for c in covariates(path) if c.endswith(".last") or c.startswith(("grade.", "drug.")) or c == "static.age_y"
    )


def emitted_columns(path: pd.DataFrame) -> tuple[str, ...]:
    """What the hidden phases emit beside the grade: newest results and other toxicities of the day."""
    return tuple(c for c in covariates(path) if c.endswith(".last") or (c.startswith("grade.") and c.endswith(".now")))


def rival(path: pd.DataFrame) -> AmidiPath:
    """The published rival; where the set has none of its laboratory values it is given CRS and drugs instead."""
    own = AmidiPath()
    if any(f"lab.{name}.max_all" in path.columns for name in PUBLISHED):
        return own
    instead = tuple(c for c in covariates(path) if c.startswith("grade.") or c.endswith(".given"))
    return AmidiPath(columns=(*own.columns, *instead))


def path_ladder(path: pd.DataFrame, seed: int = 1) -> tuple[PathModel, ...]:
    """Every rival, the simplest first, for a path with covariates (:func:`path_with_covariates`).

    With more than :data:`MANY` patients the ordinal regression takes its usual penalty instead of choosing one.
    """
    many = path["patient_id"].nunique() > MANY
    ordinal = OrdinalPath(
        columns=known_columns(path), days_ahead=(1, 3, 5), penalties=USUAL if many else PENALTIES, folds=3, seed=seed
    )
    hidden = PhasePath(
        phases=PHASES, memory=False, columns=emitted_columns(path), result_weight=RESULT_WEIGHT, starts=1, seed=seed,
        iterations=20,
    )  # fmt: skip
    return (*PATH_LADDER, rival(path), ordinal, hidden, PooledPath((ordinal, hidden), "path_pool"))
