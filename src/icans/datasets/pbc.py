"""pbc2 (and, through :mod:`icans.datasets.pbcseq`, pbcseq): visits of the Mayo Clinic trial in cholangitis.

Time 0 is entry to the trial. The arm is a treatment at time 0 of unknown amount. Death and transplantation (which
compete) and the end of follow-up are events. An empty cell is a test that was not done: no row.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.times import HOURS_PER_DAY
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

#: Days in a year by which pbc2 was turned into years (pbcseq holds the same visits in days).
DAYS_PER_YEAR = 365.24


@cache
def codes() -> dict[str, Any]:
    """Variables, units and codes of the two versions."""
    return tomllib.loads((resources.files(__package__) / "pbc.toml").read_text(encoding="utf-8"))


def read_converted(folder: Path) -> Draft:
    """Read ``pbc2.csv`` (years; words)."""
    path = located(folder, "pbc2.csv")
    names = codes()["pbc2"]
    raw = tools.read_csv(path, ["id", "years", "year", "status", "drug", "age", "sex", *names])
    visit_h = raw["year"] * DAYS_PER_YEAR * HOURS_PER_DAY
    end_h = raw["years"] * DAYS_PER_YEAR * HOURS_PER_DAY
    return build(raw.assign(time_h=visit_h, end_h=end_h, arm=raw["drug"]), names, path)


read_published = read_converted


def build(raw: pd.DataFrame, names: dict[str, str], path: Path) -> Draft:
    """The draft of a table of visits with ``id, time_h, end_h, status, arm, age, sex`` and the named variables."""
    draft = Draft({}, files=[path])
    words = {"ascites", "hepatomegaly", "spiders", "oedema"}
    visits = raw.assign(patient_id="PBC-" + raw["id"].astype(int).astype(str))
    for column, name in names.items():
        if name in words:
            finding = codes()["finding"]
            visits[column] = visits[column].map(lambda v, finding=finding: finding.get(v, v))
    visits = tools.numbers(visits, ["age", "time_h", "end_h", *names], path).assign(available_h=lambda t: t["time_h"])
    first = visits.groupby("patient_id", sort=False).first().reset_index()
    draft.tables = {
        "patients": pd.DataFrame(
            {
                "patient_id": first["patient_id"],
                "age_y": first["age"],
                "sex": tools.recode(draft, "patients", "sex", first["sex"], _text_keys(first["sex"], "sex")),
                "disease": "PBC",
            }
        ),
        "measurements": tools.long_measurements(visits, names, codes()["unit"]),
        "treatments": _arm(first),
        "events": _events(first),
    }
    draft.log("measurements", "time.zero", "time 0 is entry to the trial; there was no infusion",
              column="time_h", rows=len(visits))  # fmt: skip
    tools.no_row(draft, "measurements", visits, list(names), "an empty cell: not done at that visit")
    return draft


def _text_keys(values: pd.Series, kind: str) -> dict[object, str]:
    return {value: codes()[kind][str(value)] for value in values.dropna().unique()}


def _arm(first: pd.DataFrame) -> pd.DataFrame:
    arm = first[first["arm"].notna()]
    drug = arm["arm"].map(_text_keys(arm["arm"], "arm"))
    return pd.DataFrame({"patient_id": arm["patient_id"], "time_h": 0.0, "available_h": 0.0, "drug": drug})


def _events(first: pd.DataFrame) -> pd.DataFrame:
    event = first["status"].map(_text_keys(first["status"], "event"))
    return pd.DataFrame(
        {"patient_id": first["patient_id"], "time_h": first["end_h"], "available_h": first["end_h"], "event": event}
    )
