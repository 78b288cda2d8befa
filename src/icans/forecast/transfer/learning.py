"""Learning curves in the number of local patients: which step of the ladder from how many on.

Local patients are drawn for learning, again and again and in growing numbers (each draw holds the smaller one of the
same repeat), and every step is asked about patients that were never drawn for learning in that repeat. The result is a
tidy table of predictions; :func:`icans.evaluate.learning_curve.learning_curve` judges it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from icans.core.errors import NotEstimableError
from icans.core.random import stream
from icans.forecast.inputs import Inputs
from icans.forecast.ladder import FittedRung, Rung
from icans.forecast.models.base import Forecaster
from icans.forecast.outcomes import Horizon
from icans.forecast.transfer.recalibrate import Transferred
from icans.forecast.transfer.update import Updated

SIZES = (25, 50, 100, 200)
#: Patients kept for testing in every repeat: fewer say nothing about calibration.
MIN_TEST = 30


def transfer_ladder(source: FittedRung, local: Rung | None = None) -> dict[str, Forecaster]:
    """The steps from nothing to a model of one's own.

    ``none``, ``intercept``, ``slope`` (intercept and slope), ``update`` (coefficients, the old as prior), ``local``
    (the rung fitted to local patients alone; the source's own rung by default).
    """
    return {
        "none": Transferred(source, "none"),
        "intercept": Transferred(source, "intercept"),
        "slope": Transferred(source, "intercept+slope"),
        "update": Updated(source),
        "local": (local or source.rung).model,
    }


def learning_predictions(
    steps: Mapping[str, Forecaster],
    inputs: Inputs | pd.DataFrame,
    outcome: pd.DataFrame,
    horizons: Sequence[Horizon],
    *,
    sizes: Sequence[int] = SIZES,
    repeats: int = 20,
    seed: int = 0,
    task: str = "transfer",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of every step after learning from n local patients.

    Parameters
    ----------
    steps
        Models by name, e.g. :func:`transfer_ladder`.
    inputs, outcome
        Local patients (stacked risk sets, row by row).
    horizons
        Horizons to predict.
    sizes, repeats, seed
        Numbers of local patients to learn from, draws of each, seed.

    Returns
    -------
    (predictions, failures)
        Columns task, model (the step), n_local, repeat, patient_id, landmark_h, horizon_h, risk, time_h, event; and
        task, model, n_local, repeat, reason where a step could not be fitted: it is left out there, and counted.

    Raises
    ------
    NotEstimableError
        Too few local patients for the smallest size and a test set.
    """
    data = Inputs.of(inputs)
    ids = np.unique(outcome["patient_id"].astype(str))
    test_size = max(MIN_TEST, len(ids) // 3)
    usable = [n for n in sorted(sizes) if n + test_size <= len(ids)]
    if not usable:
        raise NotEstimableError(
            f"{len(ids)} local patients: the smallest size ({min(sizes)}) and a test set of {test_size} need more"
        )
    patient = outcome["patient_id"].astype(str).to_numpy()
    made, failures = [], []
    for repeat in range(repeats):
        order = stream(seed, "learning curve", repeat).permutation(ids)
        test = np.isin(patient, order[:test_size])
        asked = outcome[test].reset_index(drop=True)
        for n in usable:
            train = np.isin(patient, order[test_size : test_size + n])
            known = outcome[train].reset_index(drop=True)
            for name, model in steps.items():
                line = {"task": task, "model": name, "n_local": n, "repeat": repeat}
                try:
                    fitted = model.fit(_view(model, data[train]), known, horizons, seed + repeat)
                except NotEstimableError as error:
                    failures.append(line | {"reason": str(error)})
                    continue
                for horizon in horizons:
                    window = horizon.window(asked["landmark_h"].to_numpy(dtype=float))
                    risk = fitted.predict(_view(model, data[test]), horizon)
                    made.append(asked.assign(**line, horizon_h=window, risk=risk))
    columns = ["task", "model", "n_local", "repeat", "patient_id", "landmark_h", "horizon_h", "risk", "time_h", "event"]
    table = pd.concat(made, ignore_index=True)[columns] if made else pd.DataFrame(columns=columns)
    return table, pd.DataFrame(failures, columns=["task", "model", "n_local", "repeat", "reason"])


def _view(model: Forecaster, inputs: Inputs) -> Inputs | pd.DataFrame:
    return inputs if getattr(model, "uses_history", False) else inputs.table
