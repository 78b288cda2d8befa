"""What is missing for a patient, and how far the risk could move if it were measured.

For each laboratory value or other input that the patient has no value for, all its columns are set to their tenth,
and then to their ninetieth, percentile among the training patients, and the forecast is made again. The two risks
say what a low and a high result would do *to the forecast*, everything else as it is; no statement about the patient.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icans.cohort.cohort import Cohort
from icans.forecast.final import FinalModel
from icans.forecast.outcomes import Horizon

Floats = NDArray[np.float64]
#: Positions of the tenth and ninetieth percentile among an envelope's quantiles.
_LOW, _HIGH = 2, 4
#: Inputs that can be missing; what was not recorded of the others (grades, drugs) counts as none.
_PREFIXES = ("lab", "static", "eeg", "mri", "csf", "omics")


def worth_of_missing(
    model: FinalModel, cohort: Cohort, patient_id: str, landmark_h: float, horizon: Horizon
) -> pd.DataFrame:
    """How far each missing input could move one forecast.

    Returns
    -------
    DataFrame
        input (``lab.crp``), risk (as it is), risk_low and risk_high (with the input at its tenth and ninetieth
        percentile), move (their distance); largest first. Empty when nothing is missing.
    """
    inputs = model.inputs_of(cohort, [patient_id], landmark_h)
    used = model.used(inputs.table)
    row = inputs.table
    groups: dict[str, list[str]] = {}
    for name in used:
        parts = name.split(".")
        if parts[0] in _PREFIXES and name in model.envelope.quantiles and bool(row[name].isna().iloc[0]):
            groups.setdefault(".".join(parts[:2]), []).append(name)
    complete = [
        key for key, names in groups.items()
        if all(row[n].isna().iloc[0] for n in used if n.startswith(f"{key}.") and "slope" not in n)
    ]  # fmt: skip
    columns = ["input", "risk", "risk_low", "risk_high", "move"]
    if not complete:
        return pd.DataFrame(columns=columns)
    variants = [row]
    for key in complete:
        for place in (_LOW, _HIGH):
            variants.append(row.assign(**{n: model.envelope.quantiles[n][place] for n in groups[key]}))
    table = pd.concat(variants)
    asked = replace(inputs[np.zeros(len(table), dtype=np.intp)], table=table)
    risk = model.fitted.predict(asked, horizon)
    pairs = risk[1:].reshape(-1, 2)
    found = pd.DataFrame({"input": complete, "risk": risk[0], "risk_low": pairs[:, 0], "risk_high": pairs[:, 1]})
    found["move"] = (found["risk_high"] - found["risk_low"]).abs()
    return found.sort_values("move", ascending=False, ignore_index=True)[columns]
