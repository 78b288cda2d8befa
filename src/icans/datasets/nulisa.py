"""nulisa_cart_lbcl: daily CRS and ICANS grades and treatment flags, day 0 to 14 (Blaum, Beer et al.).

* A day without a grade was not graded (mostly after discharge): it has no row; ``changes`` counts them.
* A treatment flag is a treatment on that day, hour and amount unknown; it is known at the end of the day.
* ``last_seen`` is the last day with any grade.
* The study's protein results are published as averages over groups, so there are no measurements here.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import pandas as pd

from icans.core.errors import DataError, Problem
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

PUBLISHED = "swimmer_plot_data.xlsx"
GRADES = {"crs_grade": "CRS", "icans_grade": "ICANS"}
FLAGS = ["toci", "siltux", "steroids", "anakinra"]
NUMBERS = ["day", *GRADES, *FLAGS]


def read_published(folder: Path) -> Draft:
    """Read the spreadsheet behind the published swimmer plot; its ``ID`` is "product patient"."""
    path = located(folder, PUBLISHED)
    raw = tools.require(pd.read_excel(path), ["ID", "therapy_day", *GRADES, *FLAGS], path)
    raw = raw.dropna(subset=["ID"])
    parts = raw["ID"].astype(str).str.strip().str.extract(r"^(?P<product_code>\S+)\s+(?P<patient>\S+)$")
    wrong = parts["patient"].isna()
    if wrong.any():
        raise DataError(
            Problem(str(path), int(i) + 2, "ID", str(raw.loc[i, "ID"]), "product and patient", "Correct the cell.")
            for i in raw.index[wrong]
        )
    frame = raw.rename(columns={"therapy_day": "day"}).assign(
        patient_id=parts["patient"] + parts["product_code"], product_code=parts["product_code"]
    )
    return _draft(frame, path)


def read_converted(folder: Path) -> Draft:
    """Read ``daily_toxicity.csv``."""
    path = folder / "daily_toxicity.csv"
    return _draft(tools.read_csv(path, ["patient_id", "product_code", *NUMBERS]), path)


def _draft(raw: pd.DataFrame, path: Path) -> Draft:
    draft = Draft({}, files=[path])
    days = tools.numbers(raw, NUMBERS, path)
    days = days.assign(**tools.daily(days["day"]))
    graded = days[days[list(GRADES)].notna().any(axis=1)]
    draft.tables = {
        "patients": _patients(days, draft),
        "grades": _grades(days, draft),
        "treatments": _treatments(days, draft),
        "events": tools.last_seen(graded["patient_id"], graded["time_h"], "last day with a grade"),
    }
    return draft


def codes() -> dict[str, dict[str, str]]:
    """Product codes, costimulatory domains and drug names of the file."""
    return tomllib.loads((resources.files(__package__) / "nulisa.toml").read_text(encoding="utf-8"))


def _patients(days: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    first = days.groupby("patient_id", sort=False)["product_code"].first().reset_index()
    product = tools.recode(draft, "patients", "product", first["product_code"], codes()["product"])
    return pd.DataFrame(
        {
            "patient_id": first["patient_id"],
            "disease": "LBCL",
            "product": product,
            "costimulation": product.map(codes()["costimulation"]),
        }
    )


def _grades(days: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    parts = []
    for column, toxicity in GRADES.items():
        part = days.loc[days[column].notna(), ["patient_id", "time_h", "available_h", column]]
        parts.append(part.rename(columns={column: "grade"}).assign(toxicity=toxicity))
    tools.no_row(draft, "grades", days, list(GRADES), "not graded that day, mostly after discharge: not grade 0")
    return pd.concat(parts, ignore_index=True).assign(scheme="ASTCT", source="delivered", lower_bound=False)


def _treatments(days: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    parts = []
    for flag in FLAGS:
        part = days.loc[days[flag] == 1, ["patient_id", "time_h", "available_h"]]
        parts.append(part.assign(drug=codes()["drug"][flag]))
    tools.no_row(draft, "treatments", days, FLAGS, "treatment that day is not recorded, mostly after discharge")
    return pd.concat(parts, ignore_index=True)
