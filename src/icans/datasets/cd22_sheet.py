"""The published spreadsheet of cd22_car_hlh: three title rows, patients from the fourth, blocks by position.

Columns 0-20 hold outcome and history; 21-50 CRP, ferritin and LDH, each value followed by its true day, at day
0/7/14/21/28; 134-148 CAR percentage, count and day at the same days; from 149 on one column per day and cytokine,
the day in the second title row and the cytokine in the third. Titles may be merged cells: an empty title repeats
the one on its left.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import DataError, Problem

TITLES = 3
PATIENT_COLUMNS = (
    "patient_id", "hlh", "hlh_day", "crs", "crs_max_grade", "crs_onset_day", "response", "orr", "cr", "prior_hct",
    "prior_blina", "prior_ino", "prior_car", "marrow_pct", "ge_M2", "extramedullary", "dose_level", "tcs_product",
    "toci", "steroids", "anakinra",
)  # fmt: skip
LABS = slice(21, 51)
CAR = slice(134, 149)
CYTOKINES = slice(149, 597)
NOMINAL_DAYS = (0, 7, 14, 21, 28)
LAB_NAMES = {"crp": "CRP", "ferritin": "ferritin", "ldh": "LDH"}
#: A cytokine as titled (letters and digits only, lower case) -> name in the tidy tables.
CYTOKINE_NAMES = {
    "ifngamma": "IFN-gamma", "ifng": "IFN-gamma", "il1b": "IL-1B", "il1beta": "IL-1B", "il2": "IL-2", "il4": "IL-4",
    "il6": "IL-6", "il8": "IL-8", "il10": "IL-10", "il12p70": "IL-12p70", "il13": "IL-13", "il15": "IL-15",
    "il18": "IL-18", "gmcsf": "GM-CSF", "tnfalpha": "TNF-alpha", "tnfa": "TNF-alpha", "mip1a": "MIP-1a",
    "mip1alpha": "MIP-1a",
}  # fmt: skip
_LIMIT = re.compile(r"^\s*([<>])\s*=?\s*([-+0-9.eE]+)\s*$")


def read(path: Path) -> dict[str, pd.DataFrame]:
    """The sheet as the tidy tables ``patients``, ``labs``, ``car`` and ``cytokines``.

    Raises
    ------
    DataError
        The sheet does not have the layout of the catalogue, or cells that should be numbers are not.
    """
    sheet = pd.read_excel(path, header=None)
    if sheet.shape[1] < CYTOKINES.stop or len(sheet) <= TITLES:
        found = f"{len(sheet)} rows, {sheet.shape[1]} columns"
        expected = f"three title rows, patients, {CYTOKINES.stop} columns"
        raise DataError(
            [Problem(str(path), None, None, found, expected, "Check that it is the file of the catalogue.")]
        )
    titles = sheet.iloc[:TITLES].ffill(axis=1)
    body = sheet.iloc[TITLES:]
    body = body[pd.to_numeric(body[0], errors="coerce").notna()]
    patients = body.iloc[:, : len(PATIENT_COLUMNS)].set_axis(list(PATIENT_COLUMNS), axis=1).reset_index(drop=True)
    patients = patients.assign(patient_id=patients["patient_id"].astype(int))
    problems: list[Problem] = []
    frames = {
        "patients": patients,
        "labs": _labs(body, titles, path, problems),
        "car": _car(body, path, problems),
        "cytokines": _cytokines(body, titles, path, problems),
    }
    if problems:
        raise DataError(problems)
    return frames


def _labs(body: pd.DataFrame, titles: pd.DataFrame, path: Path, problems: list[Problem]) -> pd.DataFrame:
    """The nominal day is the one nearest to the column's true days: titles name it in more than one way."""
    parts = []
    for column in range(LABS.start, LABS.stop, 2):
        name = _lab_name(titles[column])
        if name is None:
            text = " / ".join(str(v) for v in titles[column])
            problems.append(_title_problem(path, column, text, "one of CRP, ferritin, LDH"))
            continue
        value = _numbers(body, column, path, problems)
        day = _numbers(body, column + 1, path, problems)["value"]
        middle = float(day.median())
        nearest = int(np.argmin(np.abs(np.array(NOMINAL_DAYS) - middle))) if np.isfinite(middle) else 0
        nominal = NOMINAL_DAYS[nearest]
        parts.append(value.assign(patient_id=body[0].astype(int), analyte=name, nominal_day=nominal, actual_day=day))
    return _stack(parts)


def _lab_name(titles: pd.Series) -> str | None:
    """The laboratory value that a column's titles name: the lowest title row that names exactly one decides."""
    for title in reversed(titles.tolist()):
        names = [name for key, name in LAB_NAMES.items() if key in str(title).lower()]
        if len(names) == 1:
            return names[0]
    return None


def _car(body: pd.DataFrame, path: Path, problems: list[Problem]) -> pd.DataFrame:
    parts = []
    for place, nominal in enumerate(NOMINAL_DAYS):
        first = CAR.start + 3 * place
        columns = ("car_pct_of_T", "car_abs_per_uL", "actual_day")
        values = {name: _numbers(body, first + i, path, problems)["value"] for i, name in enumerate(columns)}
        part = pd.DataFrame({"patient_id": body[0].astype(int), "nominal_day": nominal, **values})
        parts.append(part.dropna(subset=["car_pct_of_T", "car_abs_per_uL"], how="all"))
    return pd.concat(parts, ignore_index=True)


def _cytokines(body: pd.DataFrame, titles: pd.DataFrame, path: Path, problems: list[Problem]) -> pd.DataFrame:
    days, names = {}, {}
    for column in range(CYTOKINES.start, CYTOKINES.stop):
        day = re.search(r"-?\d+", str(titles[column].iloc[1]))
        name = CYTOKINE_NAMES.get(_plain(str(titles[column].iloc[2])))
        if day is None or name is None:
            text = f"{titles[column].iloc[1]} / {titles[column].iloc[2]}"
            problems.append(_title_problem(path, column, text, "a day above a cytokine"))
            continue
        days[column], names[column] = int(day.group()), name
    cells = body[list(names)].astype(object).reset_index(names="row").melt("row", var_name="column", value_name="cell")
    cells = cells[cells["cell"].notna()]
    parsed = _parse(cells["cell"], cells["row"], cells["column"], path, problems)
    patient = body[0].astype(int)
    table = pd.DataFrame(
        {
            "pg_per_mL": parsed["value"],
            "censor": parsed["censor"],
            "limit": parsed["limit"],
            "patient_id": cells["row"].map(patient),
            "day": cells["column"].map(days),
            "cytokine": cells["column"].map(names),
        }
    )
    return table.dropna(subset=["pg_per_mL"]).reset_index(drop=True)


def _numbers(body: pd.DataFrame, column: int, path: Path, problems: list[Problem]) -> pd.DataFrame:
    """A column of the sheet as numbers."""
    cells = body[column]
    return _parse(cells, pd.Series(body.index, index=body.index), pd.Series(column, index=body.index), path, problems)


def _parse(cells: pd.Series, row: pd.Series, column: pd.Series, path: Path, problems: list[Problem]) -> pd.DataFrame:
    """Cells as numbers; ``<x`` and ``>x`` become censored values at x; other text is a problem."""
    text = cells.astype("object").where(cells.notna(), "").astype(str).str.strip()
    limit = text.str.extract(_LIMIT)
    censored = limit[0].notna()
    value = pd.to_numeric(limit[1].where(censored, text), errors="coerce")
    wrong = value.isna() & ~text.isin(["", "---", "nan", "NA", "N/A"])
    problems += [
        Problem(str(path), int(r) + 1, f"column {c}", found, "a number, <limit or >limit", "Correct the cell.")
        for r, c, found in zip(row[wrong], column[wrong], text[wrong])
    ]
    return pd.DataFrame(
        {
            "value": value.astype(float),
            "censor": limit[0].map({"<": "left", ">": "right"}).fillna("none"),
            "limit": value.where(censored, np.nan).astype(float),
        }
    )


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part.dropna(subset=["value"]) for part in parts]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _title_problem(path: Path, column: int, found: str, expected: str) -> Problem:
    return Problem(str(path), 1, f"column {column}", found, expected, "Check that it is the file of the catalogue.")


def _plain(text: str) -> str:
    """Letters and digits of a title in lower case, Greek letters spelt out, the unit left away."""
    text = re.sub(r"\(.*?\)|pg\s*/\s*ml", "", text.lower())
    return re.sub(r"[^a-z0-9]", "", text.replace("γ", "gamma").replace("β", "beta").replace("α", "alpha"))
