"""cd22_car_hlh: serial cytokines, laboratory values, CAR T-cell counts, CRS and HLH (Lichtenstein et al. 2021).

* Cytokines are daily samples (pg/mL): ``time_h = 24 d``, known at the end of the day. CRP, ferritin, LDH carry the
  true day with its fraction. CAR counts carry a whole day.
* CRS: only the highest grade and the day of onset are known. The highest grade stands at the onset; above grade 1 it
  becomes available at the end of the patient's record, and a derived row "at least grade 1" from the onset on.
* HLH is set down as IEC-HS of at least grade 1 on its day (the trial used its own definition), and as grade 0 at
  the end of the record where it did not occur.
* Tocilizumab, steroids and anakinra are yes/no without a day: no treatment row can be made, ``changes`` says who.
* Values at plate limits are not flagged by the source and are delivered as they are.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.vocabulary import analyte
from icans.core.times import HOURS_PER_DAY
from icans.datasets import cd22_sheet, tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

PUBLISHED = "clinical_data_05-12-20_v1.xlsx"
NUMBERS = ["crs_max_grade", "crs_onset_day", "hlh", "hlh_day", "dose_level", "marrow_pct"]
SCHEMES = {"crs_max_grade_lee": "Lee2014", "crs_max_grade_astct": "ASTCT"}
ASIDE = {
    name: "no table of the cohort holds it"
    for name in ("response", "orr", "cr", "prior_hct", "prior_blina", "prior_ino", "prior_car", "ge_M2",
                 "extramedullary", "tcs_product")
}  # fmt: skip


def read_published(folder: Path) -> Draft:
    """Read the published spreadsheet (see :mod:`icans.datasets.cd22_sheet`). It has no IL-18BP and no ASTCT grade."""
    path = located(folder, PUBLISHED)
    frames = cd22_sheet.read(path)
    frames["grades"] = frames["patients"][["patient_id"]].assign(crs_max_grade_lee=frames["patients"]["crs_max_grade"])
    return _draft(frames, [path])


def read_converted(folder: Path) -> Draft:
    """Read the tidy tables."""
    paths = {
        "patients": folder / "patients.csv",
        "cytokines": folder / "cytokines_daily.csv",
        "labs": folder / "inflammatory_labs.csv",
        "car": folder / "car_expansion.csv",
        "grades": folder / "crs_grades_two_schemas.csv",
        "il18bp": folder / "il18bp_daily.csv",
    }
    present = {
        key: path for key, path in paths.items() if key in ("patients", "cytokines", "labs", "car") or path.is_file()
    }
    frames = {key: pd.read_csv(path) for key, path in present.items()}
    tools.require(frames["patients"], cd22_sheet.PATIENT_COLUMNS, paths["patients"])
    tools.require(frames["cytokines"], ["patient_id", "day", "cytokine", "pg_per_mL"], paths["cytokines"])
    if "grades" not in frames:
        frames["grades"] = frames["patients"][["patient_id"]].assign(
            crs_max_grade_lee=frames["patients"]["crs_max_grade"]
        )
    return _draft(frames, list(present.values()))


def codes() -> dict[str, Any]:
    """Names used in the files and here."""
    return tomllib.loads((resources.files(__package__) / "cd22.toml").read_text(encoding="utf-8"))


def _draft(frames: dict[str, pd.DataFrame], files: list[Path]) -> Draft:
    draft = Draft({}, files=files)
    frames = {key: frame.assign(patient_id=_names(frame["patient_id"])) for key, frame in frames.items()}
    raw = frames["patients"]
    people = tools.numbers(raw.mask(raw == "---"), [*NUMBERS, *codes()["undated"]], files[0])
    measurements = pd.concat(
        [_cytokines(frames), _labs(frames["labs"]), _car(frames["car"])], ignore_index=True
    ).dropna(subset=["value"])
    last = _last_day(people, measurements)
    draft.tables = {
        "patients": _patients(frames["patients"], people, draft),
        "measurements": measurements,
        "grades": pd.concat([_crs(people, frames["grades"], last), _hlh(people, last)], ignore_index=True),
        "events": tools.last_seen(last["patient_id"], last["day"] * HOURS_PER_DAY, "last sample"),
    }
    _log(people, frames["patients"], draft)
    return draft


def _names(patient_id: pd.Series) -> pd.Series:
    return "CD22-" + patient_id.astype(int).astype(str)


def _measured(frame: pd.DataFrame, name: pd.Series | str, value: str, unit: pd.Series | str) -> pd.DataFrame:
    keep = [c for c in ("patient_id", "time_h", "available_h", "censor", "limit") if c in frame]
    result = frame[keep].assign(analyte=name, value=frame[value].astype(float), unit=unit)
    return result.assign(matrix=result["analyte"].map({n: analyte(n).matrix for n in result["analyte"].unique()}))


def _cytokines(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    known = codes()["cytokine"]
    table = frames["cytokines"]
    table = table.assign(**tools.daily(table["day"]))
    parts = [_measured(table, table["cytokine"].map(lambda c: known.get(c, c)), "pg_per_mL", "pg/mL")]
    if "il18bp" in frames:
        other = frames["il18bp"].assign(**tools.daily(frames["il18bp"]["day"]))
        parts.append(_measured(other, "il_18bp", "il18bp_pg_per_mL", "pg/mL"))
    return pd.concat(parts, ignore_index=True)


def _labs(labs: pd.DataFrame) -> pd.DataFrame:
    name = labs["analyte"].map(codes()["lab"])
    day = labs["actual_day"].fillna(labs["nominal_day"]).astype(float)
    unit = labs.get("unit", np.nan)
    return _measured(labs.assign(time_h=day * HOURS_PER_DAY), name, "value", unit)


def _car(car: pd.DataFrame) -> pd.DataFrame:
    table = car.assign(**tools.daily(car["actual_day"].fillna(car["nominal_day"])))
    percent = _measured(table, "car_t_percent", "car_pct_of_T", "%")
    return pd.concat([percent, _measured(table, "car_t_count", "car_abs_per_uL", "/uL")], ignore_index=True)


def _last_day(people: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """Last day with a sample or a dated finding, whole days."""
    sample = np.floor(measurements.groupby("patient_id")["time_h"].max() / HOURS_PER_DAY)
    dated = people.set_index("patient_id")[["crs_onset_day", "hlh_day"]].max(axis=1)
    day = pd.concat([sample.reindex(dated.index), dated], axis=1).max(axis=1).fillna(0.0)
    return day.rename("day").reset_index()


def _patients(raw: pd.DataFrame, people: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    empty = raw["marrow_pct"].astype(str).str.strip() == "---"
    if empty.any():
        draft.log("patients", "missing.mark", "the source writes --- where the value is missing",
                  patient_id=raw.loc[empty, "patient_id"], column="tumour_burden", old="---")  # fmt: skip
    burden = people["marrow_pct"]
    return pd.DataFrame(
        {
            "patient_id": people["patient_id"],
            **codes()["patients"],
            "dose": people["dose_level"],
            "dose_unit": "{dose level}",
            "tumour_burden": burden,
            "tumour_burden_unit": burden.notna().map({True: "%", False: np.nan}),
        }
    )


def _grade(frame: pd.DataFrame, day: pd.Series, known_day: pd.Series, grade: pd.Series | float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient_id": frame["patient_id"],
            "time_h": day * HOURS_PER_DAY,
            "available_h": (known_day + 1) * HOURS_PER_DAY,
            "grade": grade,
        }
    )


def _crs(people: pd.DataFrame, grades: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    table = people[["patient_id", "crs_onset_day"]].merge(grades, on="patient_id").merge(last, on="patient_id")
    parts = []
    for column, scheme in SCHEMES.items():
        if column not in table:
            continue
        graded = table[table[column].notna()]
        day = graded["crs_onset_day"].where(graded[column] > 0).fillna(graded["day"])
        told = graded["day"].where(graded[column] != 1, day)
        highest = _grade(graded, day, told, graded[column].astype(float))
        parts.append(highest.assign(scheme=scheme, source="delivered", lower_bound=False))
        some = graded[(graded[column] > 1) & graded["crs_onset_day"].notna()]
        start = _grade(some, some["crs_onset_day"], some["crs_onset_day"], 1.0)
        parts.append(start.assign(scheme=scheme, source="derived", lower_bound=True))
    return pd.concat(parts, ignore_index=True).assign(toxicity="CRS")


def _hlh(people: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    table = people[people["hlh"].notna()].merge(last, on="patient_id")
    had = table["hlh"] == 1
    day = table["hlh_day"].where(had).fillna(table["day"])
    rows = _grade(table, day, day, had.astype(float))
    return rows.assign(toxicity="IEC-HS", scheme="IEC-HS2023", source="delivered", lower_bound=had)


def _log(people: pd.DataFrame, raw: pd.DataFrame, draft: Draft) -> None:
    tools.set_aside(draft, "patients", raw, ASIDE)
    for column, drug in codes()["undated"].items():
        given = people.loc[people[column] == 1, "patient_id"]
        if len(given):
            draft.log("treatments", "treatment.undated",
                      "given, but the day is not recorded; a treatment needs a time, and none is invented",
                      patient_id=given, item=drug, old="given")  # fmt: skip
    draft.log("grades", "time.unknown",
              "only the onset of CRS and its highest grade are known: the highest grade stands at the onset and is "
              "known at the end of the record", item="CRS", rows=int((people["crs_max_grade"] > 0).sum()))  # fmt: skip
    draft.log("grades", "hlh.as_iec_hs",
              "HLH after CAR T cells by the trial's definition is set down as IEC-HS of at least grade 1",
              item="IEC-HS", rows=int((people["hlh"] == 1).sum()))  # fmt: skip
