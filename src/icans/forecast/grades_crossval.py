"""Cross-validation of the worst grade to come: distributions for patients that the fit has not seen.

The table that comes out is the ordinal prediction table which :mod:`icans.evaluate.ordinal` scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.dataset import examples_for
from icans.forecast.features import FeatureSpec
from icans.forecast.grade_outcomes import WORST, worst_grades
from icans.forecast.models.grades import OrdinalGrades
from icans.forecast.outcomes import Horizon, Task
from icans.forecast.tuning import patient_folds

#: Nothing but the distribution of the landmark's risk set: an endless penalty.
GRADES_OF_RISK_SET = OrdinalGrades(penalties=(1e6,))
#: The rivals, simplest first.
GRADE_LADDER: Mapping[str, OrdinalGrades] = {
    "grades_of_risk_set": GRADES_OF_RISK_SET,
    "proportional_odds": OrdinalGrades(),
    "partial_odds": OrdinalGrades(free="test"),
    "adjacent": OrdinalGrades("adjacent"),
}


def cross_validate_grades(
    cohort: Cohort,
    task: Task,
    landmarks_h: Sequence[float],
    horizon: Horizon,
    models: Mapping[str, OrdinalGrades] = GRADE_LADDER,
    *,
    spec: FeatureSpec | None = None,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecast the worst grade within the horizon for held-out patients, everything refitted in every fold.

    Returns
    -------
    (DataFrame, DataFrame)
        The ordinal prediction table (task, model, landmark_h, horizon_h, repeat, fold, patient_id, observed,
        p0 ... p5), only rows whose outcome is known; and the fits (model, repeat, fold, parameters, top, error).

    Raises
    ------
    NotEstimableError
        Fewer patients than folds, or nobody at risk.
    """
    grades = worst_grades(cohort, task, landmarks_h, horizon)
    if grades["patient_id"].nunique() < folds:
        raise NotEstimableError(f"{grades['patient_id'].nunique()} patients at risk: fewer than {folds} folds")
    outcome = grades[["patient_id", "landmark_h"]].assign(time_h=1.0, event=0)
    table = examples_for(cohort, task, outcome, spec).table
    worst = grades.groupby("patient_id")["grade"].max().clip(upper=3)
    predictions, fits = [], []
    for repeat in range(repeats):
        fold_of = patient_folds(worst, folds, stream(seed, "grade folds", repeat))
        mine = grades["patient_id"].map(fold_of).to_numpy()
        for fold in range(folds):
            train, test = mine != fold, (mine == fold) & (grades["weight"] > 0).to_numpy()
            learned = grades[train].reset_index(drop=True)
            number = int(stream(seed, "grade fit", repeat, fold).integers(2**31 - 1))
            for name, model in models.items():
                line: dict[str, object] = {"model": name, "repeat": repeat, "fold": fold}
                try:
                    fitted = model.fit(table[train], learned, number)
                except NotEstimableError as error:
                    fits.append({**line, "parameters": np.nan, "top": np.nan, "error": str(error)})
                    continue
                fits.append({**line, "parameters": fitted.parameters, "top": fitted.top, "error": ""})
                asked = grades[test].reset_index(drop=True)
                chance = pd.DataFrame(fitted.predict(table[test]), columns=[f"p{k}" for k in range(WORST + 1)])
                frame = asked[["patient_id", "landmark_h"]].assign(observed=asked["grade"], task=task.name, **line)
                window = horizon.window(asked["landmark_h"].to_numpy(dtype=float))
                predictions.append(pd.concat([frame.assign(horizon_h=window, fold=fold), chance], axis=1))
    columns = ["task", "model", "landmark_h", "horizon_h", "repeat", "fold", "patient_id", "observed"]
    wide = [*columns, *(f"p{k}" for k in range(WORST + 1))]
    found = pd.concat(predictions, ignore_index=True)[wide] if predictions else pd.DataFrame(columns=wide)
    return found, pd.DataFrame(fits)
