"""Where lesions lie, as weights of the patient model's brain regions.

The model's regional weights (``bbb_w_...``) carry priors with a spread between patients. A patient's lesions move them
towards regions with dense lesions, by as much as prior spread and the uncertainty of the link allow; the mean over the
brain stays, so that MRI moves injury between regions and does not add to it. The link is an assumption and was not
calibrated on patients.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import REGIONS


@cache
def mapping() -> dict[str, tuple[str, ...]]:
    """Region of the model -> regions of the MRI table."""
    return {name: tuple(parts) for name, parts in _raw()["regions"].items()}


def regional_weights(table: pd.DataFrame) -> dict[str, float]:
    """Weights of the model's regions for one patient.

    Parameters
    ----------
    table
        The region table of :func:`icans.signals.mri.measure.measure`, with ``flair_ml`` and its bounds.

    Returns
    -------
    Parameter name (``bbb_w_thalamus``) to value, to be given to the model in place of its own; the priors where there
    are no lesions.

    Raises
    ------
    DataError
        The table has no lesions column (no FLAIR, no mask).
    """
    needed = ("region", "volume_ml", "flair_ml", "flair_ml_low", "flair_ml_high")
    missing = [name for name in needed if name not in table]
    if missing:
        remedy = "Measure an examination with a FLAIR image or a mask of lesions."
        raise DataError([Problem("region table", None, name, None, "this column", remedy) for name in missing])
    rows = table.set_index("region")
    known = read_parameters()
    priors = np.array([known[f"bbb_w_{region}"].value for region in REGIONS])
    spread = np.array([known[f"bbb_w_{region}"].iiv for region in REGIONS])
    volumes = np.array([known[f"vol_{region}"].value for region in REGIONS])
    if float(rows.loc["brain", "flair_ml"]) <= 0:
        return {f"bbb_w_{region}": float(value) for region, value in zip(REGIONS, priors, strict=True)}
    density, range_sd = _log_density(rows)
    gain = spread**2 / (spread**2 + _raw()["update"]["sd"] ** 2 + range_sd**2)
    moved = priors * np.exp(gain * density)
    moved *= (priors @ volumes) / (moved @ volumes)
    return {f"bbb_w_{region}": float(value) for region, value in zip(REGIONS, moved, strict=True)}


def _log_density(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Log of each model region's lesion density over that of the brain, and the sd that its range speaks for."""
    floor = float(_raw()["update"]["floor"])

    def density(column: str, parts: tuple[str, ...]) -> float:
        return float(rows.loc[list(parts), column].sum() / rows.loc[list(parts), "volume_ml"].sum()) + floor

    everywhere = np.log(density("flair_ml", ("brain",)))
    middle = np.array([np.log(density("flair_ml", mapping()[region])) for region in REGIONS]) - everywhere
    low = np.array([np.log(density("flair_ml_low", mapping()[region])) for region in REGIONS])
    high = np.array([np.log(density("flair_ml_high", mapping()[region])) for region in REGIONS])
    return middle, (high - low) / 4.0


@cache
def _raw() -> dict:
    return tomllib.loads((resources.files(__package__) / "mri_weights.toml").read_text(encoding="utf-8"))
