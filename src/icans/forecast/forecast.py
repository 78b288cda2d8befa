"""A forecast for one patient: risks, intervals, reasons, and what was known when it was made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path, write_json

#: Name and version of the layout of the JSON file.
FORMAT = "icans-forecasts/1"


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature's part in a risk: contribution to the log odds (or log hazard) against the average patient."""

    feature: str
    value: float | str | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The risk of one patient's event within one horizon, as seen from a landmark.

    Attributes
    ----------
    patient_id, task, model, version
        Whom, what, by which model, and the version of the program with the digest of the training data.
    landmark_h, horizon_h
        Hours from the task's anchor; hours ahead.
    risk, low, high
        Probability under usual care; 95 % interval from the model's posterior or its bootstrap refits (NaN: not made).
        It holds the model's uncertainty, not the chance that remains when the risk is known.
    reasons
        The largest contributions, largest first.
    data_cutoff_h
        Nothing that became known after this hour since infusion was used.
    newest_data_h
        When the newest row used became known, NaN when there was none.
    synthetic
        True when the training or the patient's data were simulated.
    notes
        Why the number may be wrong for this patient: what is new to the model, what is missing. The interval is
        widened for what is new.
    """

    patient_id: str
    landmark_h: float
    horizon_h: float
    task: str
    risk: float
    low: float
    high: float
    reasons: tuple[Reason, ...]
    data_cutoff_h: float
    newest_data_h: float
    model: str
    version: str
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not there is None."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Forecast:
        """The inverse of :meth:`as_dict`."""
        numbers = ("low", "high", "newest_data_h")
        fields = dict(value) | {name: float("nan") if value[name] is None else value[name] for name in numbers}
        reasons = tuple(Reason(**reason) for reason in value["reasons"])
        return cls(**(fields | {"reasons": reasons, "notes": tuple(value.get("notes", ()))}))


def write_forecasts(path: Path | str, forecasts: Sequence[Forecast]) -> None:
    """Write forecasts as JSON or Parquet, by the ending of the path."""
    path = Path(path)
    if path.suffix == ".parquet":
        with atomic_path(path) as temporary:
            to_frame(forecasts).to_parquet(temporary, index=False)
        return
    write_json(path, {"format": FORMAT, "forecasts": [f.as_dict() for f in forecasts]})


def read_forecasts(path: Path | str) -> list[Forecast]:
    """Read what :func:`write_forecasts` wrote.

    Raises
    ------
    DataError
        The file is not one of ours.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return from_frame(pd.read_parquet(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError([Problem(str(path), None, None, None, f"a file of format {FORMAT}", str(error))]) from error
    if found != FORMAT:
        raise DataError([Problem(str(path), None, "format", str(found), FORMAT, "Write it with this version.")])
    return [Forecast.from_dict(entry) for entry in content["forecasts"]]


def to_frame(forecasts: Sequence[Forecast]) -> pd.DataFrame:
    """One row per forecast; reasons and notes as JSON texts."""
    rows = [{**(d := f.as_dict()), **{name: json.dumps(d[name]) for name in ("reasons", "notes")}} for f in forecasts]
    frame = pd.DataFrame(rows, columns=list(Forecast.__slots__))
    numbers = ["landmark_h", "horizon_h", "risk", "low", "high", "data_cutoff_h", "newest_data_h"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def from_frame(frame: pd.DataFrame) -> list[Forecast]:
    """The inverse of :func:`to_frame`."""
    rows = frame.to_dict("records")
    return [
        Forecast(**{**row, "synthetic": bool(row["synthetic"]), "notes": tuple(json.loads(row.get("notes", "[]"))),
                    "reasons": tuple(Reason(**reason) for reason in json.loads(row["reasons"]))})
        for row in rows
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
