"""bwh_icans: daily laboratory values and ICANS grades of one centre (Amidi et al. 2022).

What the file says and what is taken for granted
------------------------------------------------
* ``HospitalDay`` 0 is taken as the day of infusion: the CRS columns stand on the row of day 0 and records begin
  before it. Negative days are kept. A value of day d has ``time_h = 24 d`` and is known at the end of that day.
* No unit is declared, so none is: two extractions differ, and finding that out is the harmonisation's work.
* ``meanscore`` is a daily ICANS grade (mean of raters, half steps). The scheme is not named; ASTCT is taken.
* A number with two series (separate stretches of the file, or days that begin again) is two patients; ``SID-107``
  is: age, sex and diagnosis agree, the values of the same days contradict each other.
* CRS: the highest grade stands on its peak day. Where the peak day is missing and the grade is above 1, the day of
  onset is the best that is known, and the row becomes available at the end of the record only. ``CRS 0`` is known
  at the end of the record. Onset before the peak gives a row of its own, "at least grade 1" (called derived where
  the highest grade stands at the same time).
* Doses of tocilizumab come as a number without a day: no treatment row can be made, ``changes`` holds the number.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.times import HOURS_PER_DAY
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

PUBLISHED = "AllBWH_5days_deID.xlsx"
#: Column of the file -> analyte.
ANALYTES = {
    "Temp": "temperature",
    "CRP": "crp",
    "Ferritin": "ferritin",
    "Procalcitonin": "procalcitonin",
    "IL_6": "il_6",
    "WBC": "wbc",
}
CRS = {"CRS Peak Severity": "severity", "CRS Onset Day": "onset", "CRS Peak Day": "peak", "Toci doses": "toci"}
TEXT = ["Sex", "Diagnosis", "Subtype"]
NUMBERS = ["SID", "Age", "Aggressive", "HospitalDay", *ANALYTES, "meanscore", *CRS, "From DR"]
SEX = {"F": "female", "f": "female", "M": "male", "m": "male"}


def read_published(folder: Path) -> Draft:
    """Read the spreadsheet as published (its first sheet)."""
    path = located(folder, PUBLISHED)
    return _draft(tools.require(pd.read_excel(path, sheet_name=0), [*NUMBERS, *TEXT], path), path)


def read_converted(folder: Path) -> Draft:
    """Read ``daily.csv``, which has the columns and the order of the spreadsheet."""
    path = folder / "daily.csv"
    return _draft(tools.read_csv(path, [*NUMBERS, *TEXT]), path)


def _draft(raw: pd.DataFrame, path: Path) -> Draft:
    draft = Draft({}, files=[path])
    daily = _split_series(tools.numbers(raw, NUMBERS, path), draft)
    daily = _without_repeats(daily, draft)
    daily = daily.assign(**tools.daily(daily["HospitalDay"]))
    draft.tables = {
        "patients": _patients(daily, draft),
        "measurements": tools.long_measurements(daily, ANALYTES),
        "grades": pd.concat([_icans(daily, draft), _crs(daily, draft)], ignore_index=True),
        "events": tools.last_seen(daily["patient_id"], daily["time_h"], "last day of the record"),
    }
    tools.no_row(draft, "measurements", daily, list(ANALYTES), "an empty cell: no result was delivered for that day")
    draft.log(
        "measurements", "time.zero", "hospital day 0 is taken as the day of infusion; the file does not say so",
        column="time_h", rows=len(daily),
    )  # fmt: skip
    return draft


def _series(raw: pd.DataFrame) -> pd.Series:
    """Number of the series of each row within its surrogate number, from 1.

    A series ends where another number follows, and where the days begin again: they fall, and days that were there
    already come once more. Rows that are only out of order stay together.
    """
    stretch = (raw["SID"] != raw["SID"].shift()).cumsum()
    falls = (raw["HospitalDay"].diff() < 0) & (stretch == stretch.shift())
    piece = falls.groupby(stretch).cumsum()
    places = pd.DataFrame({"stretch": stretch, "day": raw["HospitalDay"], "piece": piece}).drop_duplicates()
    again = places.loc[places.duplicated(["stretch", "day"]), "stretch"]
    piece = piece.where(stretch.isin(again), 0)
    key = stretch * (len(raw) + 1) + piece
    return key.groupby(raw["SID"]).rank(method="dense").astype(int)


def _split_series(raw: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    """Patients from surrogate numbers: each separate series of rows with one number is a patient of its own."""
    order = _series(raw)
    sid = "SID-" + raw["SID"].astype(int).astype(str)
    patient_id = sid.where(order == 1, sid + "." + order.astype(str))
    moved = order > 1
    for new, rows in patient_id[moved].value_counts().sort_index().items():
        draft.log(
            "patients", "patient.split",
            "the number has more than one series of days in the file; it may be a second treatment of the patient, "
            "or a number given twice",
            patient_id=new, column="patient_id", old=str(new).rsplit(".", 1)[0], new=new, rows=int(rows),
        )  # fmt: skip
    return raw.assign(patient_id=patient_id)


def _without_repeats(daily: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    """One row a patient and day: the higher grade, the first filled value of everything else."""
    keys = ["patient_id", "HospitalDay"]
    repeated = daily[daily.duplicated(keys, keep=False)]
    if repeated.empty:
        return daily
    first = daily.groupby(keys, sort=False).first()
    first["meanscore"] = daily.groupby(keys, sort=False)["meanscore"].max()
    result = first.reset_index()
    for column in [*ANALYTES, "meanscore"]:
        values = repeated[[*keys, column]].dropna().drop_duplicates()
        kept = values.merge(result[[*keys, column]], on=keys, suffixes=("", "_kept"))
        lost = kept[kept[column] != kept[f"{column}_kept"]]
        if len(lost):
            draft.log(
                "grades" if column == "meanscore" else "measurements", "duplicate.day",
                "two rows for one patient and day disagree: the higher grade and the first measurement are kept",
                patient_id=lost["patient_id"], time_h=lost["HospitalDay"] * HOURS_PER_DAY, item=column,
                old=lost[column], new=lost[f"{column}_kept"],
            )  # fmt: skip
    draft.log(
        "measurements", "duplicate.day", "rows that repeat a patient's day are one row", rows=len(daily) - len(result)
    )
    return result


def _patients(daily: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    first = daily.groupby("patient_id", sort=False).first().reset_index()
    codes = tomllib.loads((resources.files(__package__) / "bwh.toml").read_text(encoding="utf-8"))["disease"]
    disease = first["Subtype"].fillna(first["Diagnosis"])
    tools.set_aside(draft, "patients", first, {
        "Diagnosis": "the subtype says more, and whether the field is filled tells the extraction",
        "Aggressive": "no table of the cohort holds it; it follows from the disease",
    })  # fmt: skip
    flag = first["From DR"]
    return pd.DataFrame(
        {
            "patient_id": first["patient_id"],
            "source": flag.map(lambda v: np.nan if pd.isna(v) else f"From DR {int(v)}"),
            "age_y": first["Age"],
            "sex": tools.recode(draft, "patients", "sex", first["Sex"], SEX),
            "disease": tools.recode(draft, "patients", "disease", disease, codes),
        }
    )


def _icans(daily: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    graded = daily[daily["meanscore"].notna()]
    draft.log("grades", "scheme.assumed", "the file names no scheme for the ICANS score; ASTCT is taken",
              item="ICANS", column="scheme", new="ASTCT", rows=len(graded))  # fmt: skip
    tools.no_row(draft, "grades", daily, ["meanscore"], "a day without a score was not graded")
    return _grades(graded["patient_id"], graded["time_h"], graded["available_h"], graded["meanscore"], "ICANS")


def _crs(daily: pd.DataFrame, draft: Draft) -> pd.DataFrame:
    """The highest CRS grade at its best known time, and "at least 1" from the onset on."""
    one = daily.groupby("patient_id", sort=False)[list(CRS)].first().rename(columns=CRS).reset_index()
    one = one[one["severity"].notna()]
    _log_repeated(daily, draft)
    one = one.merge(daily.groupby("patient_id")["HospitalDay"].max().rename("last"), on="patient_id")
    _log_crs(one, draft)
    some = one["severity"] > 0
    known = some & one["peak"].notna()
    at_onset = some & one["peak"].isna() & one["onset"].notna()
    day = one["last"].where(~known, one["peak"]).where(~at_onset, one["onset"])
    told = day.where(~(at_onset & (one["severity"] > 1)), np.maximum(one["last"], day))
    highest = _grades(one["patient_id"], day * HOURS_PER_DAY, (told + 1) * HOURS_PER_DAY, one["severity"], "CRS")
    early = one[some & one["onset"].notna() & ((one["onset"] < day) | (told > day))]
    start = tools.daily(early["onset"])
    at_least = _grades(early["patient_id"], start["time_h"], start["available_h"], 1.0, "CRS")
    same_time = (early["onset"] == day[early.index]).to_numpy()
    at_least = at_least.assign(source=np.where(same_time, "derived", "delivered"), lower_bound=True)
    return pd.concat([highest, at_least], ignore_index=True)


def _log_repeated(daily: pd.DataFrame, draft: Draft) -> None:
    different = daily.groupby("patient_id", sort=False)[list(CRS)].nunique()
    for column in CRS:
        more = different.index[different[column] > 1]
        if len(more):
            why = "more than one value for the patient: the first is kept"
            draft.log("grades", "duplicate.summary", why, patient_id=more.to_numpy(), item="CRS", column=column)


def _log_crs(one: pd.DataFrame, draft: Draft) -> None:
    draft.log("grades", "scheme.assumed", "the file names no scheme for the CRS grade; ASTCT is taken",
              item="CRS", column="scheme", new="ASTCT", rows=len(one))  # fmt: skip
    odd = one[(one["severity"] == 0) & one["onset"].notna()]
    if len(odd):
        why = "CRS grade 0 with a day of onset: the grade is kept, the day set aside"
        draft.log("grades", "crs.contradiction", why, patient_id=odd["patient_id"], item="CRS", old=odd["onset"])
    filler = one[(one["severity"] == 0) & one["peak"].notna()]
    if len(filler):
        why = "CRS grade 0 has no peak: the file holds the first day of the record"
        draft.log("grades", "crs.filler", why, item="CRS", column="peak day", rows=len(filler))
    late = one[(one["severity"] > 1) & one["peak"].isna()]
    if len(late):
        why = (
            "the day of the highest CRS grade is missing: it stands at the onset and is known at the end of the record"
        )
        time = late["onset"] * HOURS_PER_DAY
        draft.log("grades", "time.unknown", why, patient_id=late["patient_id"], time_h=time, item="CRS")
    given = one[one["toci"] > 0]
    if len(given):
        why = "doses are counted without a day; a treatment needs a time, and none is invented"
        doses = given["toci"].astype(int).astype(str) + " doses"
        draft.log("treatments", "treatment.undated", why,
                  patient_id=given["patient_id"], item="tocilizumab", old=doses)  # fmt: skip


def _grades(
    patient_id: pd.Series, time_h: pd.Series, available_h: pd.Series, grade: pd.Series | float, toxicity: str
) -> pd.DataFrame:
    frame = pd.DataFrame({"patient_id": patient_id, "time_h": time_h, "available_h": available_h, "grade": grade})
    return frame.assign(toxicity=toxicity, scheme="ASTCT", source="delivered", lower_bound=False)
