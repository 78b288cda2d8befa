"""cinc2012_icu: the first 48 hours of intensive care (PhysioNet/CinC Challenge 2012, set A).

* Time 0 is the admission to intensive care, not an infusion. A value is taken as known when it was recorded.
* ``-1`` means "missing" for the fields of the admission: no row.
* Invasive and cuff pressures are one analyte with two methods. The kind of unit is the patient's ``site``.
* SAPS-I and SOFA are measurements at 48 h, when they could be computed. ``Survival`` and ``Length_of_stay`` are
  whole days: the events death and discharge are known a day later.
"""

from __future__ import annotations

import io
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.vocabulary import analyte
from icans.core.errors import DataError, Problem
from icans.core.times import HOURS_PER_DAY
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

MISSING = -1.0
MINUTES_PER_HOUR = 60.0
SCORES_AT_H = 48.0
#: Fields of the admission that are no measurements.
PERSON = ("Age", "Gender", "ICUType")
#: Fields of the admission that are measured: -1 means missing there, too.
STATIC = (*PERSON, "Height", "Weight")
OUTCOMES = ["RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"]


@cache
def codes() -> dict[str, Any]:
    """Variables, units and codes of the challenge."""
    return tomllib.loads((resources.files(__package__) / "cinc.toml").read_text(encoding="utf-8"))


def read_converted(folder: Path) -> Draft:
    """Read the long table and the outcomes."""
    path, outcomes = folder / "set_a_long.csv.gz", folder / "outcomes_a.csv"
    types = {"RecordID": "int64", "minute": "int64", "Parameter": "category", "Value": "float64"}
    long = tools.read_csv(path, types, dtype=types)
    return _draft(long, tools.read_csv(outcomes, OUTCOMES), [path, outcomes])


def read_published(folder: Path) -> Draft:
    """Read ``set-a/*.txt`` (one file a stay: Time, Parameter, Value) and ``Outcomes-a.txt``."""
    outcomes = located(folder, "Outcomes-a.txt")
    paths = sorted(p for p in folder.rglob("*.txt") if p.stem.isdigit())
    if not paths:
        expected = "set-a/<record>.txt"
        raise DataError([Problem(str(folder), None, None, None, expected, "Unpack set A beside Outcomes-a.txt.")])
    return _draft(read_records(paths), tools.read_csv(outcomes, OUTCOMES), [outcomes, *paths])


def read_records(paths: list[Path]) -> pd.DataFrame:
    """Published records as one long table: RecordID, minute, Parameter, Value."""
    bodies, lengths = [], []
    for path in paths:
        _, _, body = path.read_bytes().partition(b"\n")
        body = body if body.endswith(b"\n") or not body else body + b"\n"
        bodies.append(body)
        lengths.append(body.count(b"\n"))
    names = ["Time", "Parameter", "Value"]
    types = {"Time": str, "Parameter": "category", "Value": "float64"}
    table = pd.read_csv(io.BytesIO(b"".join(bodies)), names=names, dtype=types, skip_blank_lines=False)
    record = np.repeat([int(path.stem) for path in paths], lengths)
    clock = table["Time"].str.split(":", n=1, expand=True).astype("int64")
    long = table.assign(RecordID=record, minute=clock[0] * 60 + clock[1])
    kept = long["Parameter"].notna() & (long["Parameter"] != "RecordID")
    return long.loc[kept, ["RecordID", "minute", "Parameter", "Value"]].reset_index(drop=True)


def _draft(long: pd.DataFrame, outcomes: pd.DataFrame, files: list[Path]) -> Draft:
    draft = Draft({}, files=files)
    _check(long, files[0])
    missing = (long["Value"] == MISSING) & (long["minute"] == 0) & long["Parameter"].isin(STATIC)
    counts = long.loc[missing, "Parameter"].astype(str).value_counts().sort_index()
    if len(counts):
        draft.log("measurements", "missing.mark", "-1 means missing for fields of the admission: no row",
                  item=counts.index.to_numpy(), old="-1", rows=counts.to_numpy())  # fmt: skip
    outcomes = outcomes[outcomes["RecordID"].isin(long["RecordID"].unique())]
    patients = _patients(long)
    long = long[~missing & ~long["Parameter"].isin(PERSON)]
    draft.tables = {
        "patients": patients,
        "measurements": pd.concat([_measurements(long, draft), _scores(outcomes)], ignore_index=True),
        "events": _events(outcomes, draft),
    }
    draft.log("measurements", "time.zero", "time 0 is the admission to intensive care; there was no infusion",
              column="time_h", rows=len(long))  # fmt: skip
    draft.log("patients", "column.mapped", "the kind of intensive care unit is taken as the site",
              column="site", rows=len(draft.tables["patients"]))  # fmt: skip
    return draft


def _check(long: pd.DataFrame, path: Path) -> None:
    known = {*codes()["parameter"], *PERSON}
    unknown = sorted(set(long["Parameter"].astype(str).unique()) - known)
    if unknown:
        raise DataError(
            Problem(str(path), None, "Parameter", name, "a variable of the challenge", "Check the file.")
            for name in unknown
        )


def _names(record: pd.Series) -> pd.Series:
    return "ICU-" + record.astype(str)


def _patients(long: pd.DataFrame) -> pd.DataFrame:
    static = long[(long["minute"] == 0) & long["Parameter"].isin(PERSON)]
    wide = static.assign(Parameter=static["Parameter"].astype(str)).pivot_table(
        index="RecordID", columns="Parameter", values="Value", aggfunc="first"
    )
    wide = wide.reindex(index=np.sort(long["RecordID"].unique()), columns=list(PERSON)).replace(MISSING, np.nan)
    return pd.DataFrame(
        {
            "patient_id": _names(wide.index.to_series()).to_numpy(),
            "age_y": wide["Age"].to_numpy(),
            "sex": _coded(wide["Gender"], codes()["sex"]),
            "site": _coded(wide["ICUType"], codes()["unit_type"]),
        }
    )


def _coded(values: pd.Series, names: dict[str, str]) -> np.ndarray:
    return values.map(lambda v: np.nan if pd.isna(v) else names.get(str(int(v)), np.nan)).to_numpy()


def _measurements(long: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    repeated = long.duplicated(["RecordID", "minute", "Parameter"])
    if repeated.any():
        lost = long[repeated]
        draft.log("measurements", "duplicate.time",
                  "a second value of the same variable at the same minute: the first is kept",
                  patient_id=_names(lost["RecordID"]), time_h=lost["minute"] / MINUTES_PER_HOUR,
                  item=lost["Parameter"].astype(str), old=lost["Value"])  # fmt: skip
        long = long[~repeated]
    parameter = long["Parameter"].cat.remove_unused_categories()
    entries = [codes()["parameter"][name] for name in parameter.cat.categories]
    code = parameter.cat.codes.to_numpy()

    def spread(values: list[Any]) -> pd.Series:
        """One value per variable, repeated for its rows, without making 400,000 Python strings."""
        levels, index = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
        return pd.Series(pd.Categorical.from_codes(index[code], levels))

    method = spread([entry.get("method", "") for entry in entries])
    record = pd.Categorical(long["RecordID"])
    ids = _names(pd.Series(record.categories)).to_numpy()
    time = long["minute"].to_numpy() / MINUTES_PER_HOUR
    return pd.DataFrame(
        {
            "patient_id": pd.Categorical.from_codes(record.codes, ids),
            "time_h": time,
            "available_h": time,
            "analyte": spread([entry["analyte"] for entry in entries]),
            "matrix": spread([analyte(entry["analyte"]).matrix for entry in entries]),
            "value": long["Value"].to_numpy(),
            "unit": spread([entry["unit"] for entry in entries]),
            "method": method.cat.set_categories([c for c in method.cat.categories if c]),
        }
    )


def _scores(outcomes: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for column, name in {"SAPS-I": "saps_i", "SOFA": "sofa"}.items():
        part = outcomes.loc[outcomes[column] != MISSING, ["RecordID", column]].rename(columns={column: "value"})
        parts.append(part.assign(analyte=name))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(patient_id=_names(rows["RecordID"]), time_h=SCORES_AT_H, available_h=SCORES_AT_H)
    return rows.drop(columns="RecordID").assign(matrix="clinical", unit="{score}")


def _events(outcomes: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    """Death on its day; discharge on the last day of the stay of those who left alive; else the last day known."""
    died_in_hospital = outcomes["In-hospital_death"] == 1
    stay = outcomes["Length_of_stay"].replace(MISSING, np.nan)
    death = outcomes["Survival"].replace(MISSING, np.nan)
    assumed = died_in_hospital & death.isna() & stay.notna()
    if assumed.any():
        draft.log("events", "death.day", "death in hospital without a day: the last day of the stay is taken",
                  patient_id=_names(outcomes.loc[assumed, "RecordID"]), item="death", column="time_h")  # fmt: skip
    death = death.where(~assumed, stay)
    left = ~died_in_hospital & stay.notna()
    unknown = death.isna() & ~left
    parts = [
        _event(outcomes[death.notna()], death.dropna(), "death"),
        _event(outcomes[left], stay[left], "discharge"),
        _event(outcomes[unknown], pd.Series(SCORES_AT_H / HOURS_PER_DAY, index=outcomes.index[unknown]), "last_seen"),
    ]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _event(rows: pd.DataFrame, day: pd.Series, event: str) -> pd.DataFrame:
    times = tools.daily(day)
    return pd.DataFrame({"patient_id": _names(rows["RecordID"]), **times, "event": event})
