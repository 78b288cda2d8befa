"""The worst grade to come: for each patient and landmark the largest grade within a window, where it is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.forecast.incidence import MAX_WEIGHT, censoring
from icans.forecast.outcomes import CENSORED, COMPETING, Horizon, Task, subjects, task_grades

#: Largest grade.
WORST = 5


def worst_grades(
    cohort: Cohort, task: Task, landmarks_h: Sequence[float], horizon: Horizon, *, free_only: bool = True
) -> pd.DataFrame:
    """Worst grade of a toxicity within a window from each landmark.

    Parameters
    ----------
    cohort, task
        The task names toxicity, scheme, source and follow-up; its event (the first grade at its threshold) defines
        who is still free.
    landmarks_h, horizon
        Hours from the task's anchor; how far to look.
    free_only
        Only patients who have not had the task's event by the landmark; otherwise everybody in follow-up.

    Returns
    -------
    DataFrame
        patient_id, landmark_h, grade (0-5; half steps rounded up), weight: 1 / P(still followed), 0 where follow-up
        ended inside the window without a competing event (what came later is not known; ``grade`` is then the
        worst seen and at least a lower bound). Sorted by landmark and patient.
    """
    people = subjects(cohort, task)
    clock = "available_h" if task.clock == "known" else "time_h"
    grades = task_grades(cohort, task)[["patient_id", clock, "grade"]].rename(columns={clock: "at"})
    frames = []
    for landmark in sorted(set(map(float, landmarks_h))):
        start = people["anchor_h"] + landmark
        stop = np.fmin(people["end_h"], people["competing_h"])
        here = stop > start
        if free_only:
            here &= ~(people["onset_h"] <= start)
        mine = people[here]
        window = float(horizon.window(landmark))
        if mine.empty or window <= 0:
            continue
        time = (stop - start)[here].to_numpy(dtype=float)
        competing = (mine["competing_h"] <= mine["end_h"]).to_numpy()
        code = np.where(competing, COMPETING, CENSORED)
        known = (time >= window) | competing
        curve = censoring(time, code).just_before(np.minimum(time, window))
        weight = np.where(known, 1.0 / np.maximum(curve, 1.0 / MAX_WEIGHT), 0.0)
        within = grades[grades["patient_id"].isin(mine.index)]
        begin = within["patient_id"].map(start)
        within = within[(within["at"] > begin) & (within["at"] <= begin + window)]
        worst = within.groupby("patient_id")["grade"].max().reindex(mine.index).fillna(0.0)
        grade = np.floor(worst.to_numpy() + 0.5).astype(int).clip(0, WORST)
        frames.append(
            pd.DataFrame({"patient_id": mine.index, "landmark_h": landmark, "grade": grade, "weight": weight})
        )
    columns = ["patient_id", "landmark_h", "grade", "weight"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
