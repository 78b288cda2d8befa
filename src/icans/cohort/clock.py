"""Calendar times of a source as hours since infusion, and back.

Inside the package time is hours since infusion; FHIR, OMOP and SDTM write calendar times. A time zone that is
stated is heeded; one that is not is taken as UTC, which leaves differences between times of one source right (but
for the one hour of a change to or from summer time between them). Times are carried to the microsecond.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.times import HOURS_PER_DAY

#: Time zero of a patient whose infusion date may not be kept: hours are right, the date means nothing.
EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

#: Two times closer than this are the same: calendar times are written to the microsecond (2.8e-10 h).
TOLERANCE_H = 1e-9

#: ISO 8601 to the day or finer; what is coarser (year, year and month) names no time.
_ISO = (
    r"^(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<clock>\d{2}(?::\d{2}(?::\d{2}(?:[.,]\d{1,12})?)?)?)(?P<zone>Z|[+-]\d{2}:?\d{2})?)?$"
)
_COARSE = r"^\d{4}(?:-\d{2})?$|^\d{4}-(?:\d{2}|-)-(?:\d{2}|-)"

_MICROSECONDS_PER_HOUR = 3_600_000_000


def parse(text: pd.Series) -> pd.DataFrame:
    """ISO 8601 texts as instants.

    Returns
    -------
    pandas.DataFrame
        Index as ``text``. ``instant`` (datetime64[us], UTC; NaT where there is none), ``precision`` (``time``,
        ``day``, ``coarse``, ``bad`` or ``none``) and ``zoned`` (a time zone was stated).
    """
    plain = text.astype("object").where(text.notna(), "").astype(str).str.strip()
    codes, unique = pd.factorize(plain)
    words = pd.Series(unique, dtype="object")
    parts = words.str.extract(_ISO)
    precision = np.select(
        [words.eq(""), parts["clock"].notna(), parts["day"].notna(), words.str.match(_COARSE)],
        ["none", "time", "day", "coarse"],
        "bad",
    )
    clock = parts["clock"].fillna("00").str.replace(",", ".", regex=False)
    clock = clock.where(clock.str.len() > 2, clock + ":00")
    iso = parts["day"] + "T" + clock + parts["zone"].fillna("Z")
    iso = iso.str.replace(r"(\.\d{6})\d+", r"\1", regex=True)
    instants = [_instant(value) for value in iso]
    instant = pd.Series(pd.to_datetime(instants, utc=True).as_unit("us") if len(instants) else [], dtype=_US)
    precision = np.where(instant.isna() & np.isin(precision, ["time", "day"]), "bad", precision)
    table = pd.DataFrame({"instant": instant, "precision": precision, "zoned": parts["zone"].notna()})
    return table.iloc[codes].set_axis(text.index)


_US = pd.DatetimeTZDtype("us", "UTC")


def _instant(iso: object) -> object:
    """One time stamp; NaT where the calendar has no such time (30 February, hour 25)."""
    if not isinstance(iso, str):
        return pd.NaT
    try:
        return pd.Timestamp(dt.datetime.fromisoformat(iso).astimezone(dt.UTC)).as_unit("us")
    except (ValueError, OverflowError):
        return pd.NaT


def hours(instant: pd.Series, zero: pd.Series) -> npt.NDArray[np.float64]:
    """Hours from ``zero`` to ``instant`` (both datetime64[us], UTC); NaN where either is missing."""
    gap = (instant.reset_index(drop=True) - zero.reset_index(drop=True)).astype("timedelta64[us]")
    whole = gap.to_numpy().astype("int64")
    return np.where(gap.isna(), np.nan, whole / _MICROSECONDS_PER_HOUR)


def instants(time_h: npt.ArrayLike, zero: pd.Series) -> pd.Series:
    """The calendar times that lie ``time_h`` hours after ``zero``; NaT where the hours are missing."""
    values = np.asarray(time_h, dtype=float)
    whole = np.round(np.where(np.isnan(values), 0, values) * _MICROSECONDS_PER_HOUR).astype("int64")
    moved = zero.reset_index(drop=True).astype(_US) + pd.Series(pd.to_timedelta(whole, unit="us").as_unit("us"))
    return moved.where(~np.isnan(values))


def text(instant: pd.Series, *, zone: bool = True) -> pd.Series:
    """Instants as ISO 8601 text to the second, or to the microsecond where they need it; missing: empty text."""
    plain = instant.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str.replace(".000000", "", regex=False)
    return (plain + ("+00:00" if zone else "")).where(instant.notna(), "").astype("object")


def time_zeros(patients: pd.DataFrame, epoch: dt.datetime | None = None) -> pd.Series:
    """Time zero of each patient (index: patient_id): midnight UTC of ``infusion_date``, else the epoch.

    Raises
    ------
    DataError
        An infusion date that is no ISO date.
    """
    read = parse(patients["infusion_date"])
    wrong = np.flatnonzero(read["precision"].isin(["bad", "coarse"]))
    if len(wrong):
        raise DataError(
            Problem("cohort", int(i) + 1, "infusion_date", str(patients["infusion_date"].iloc[i]), "an ISO date",
                    "Write it as 2024-03-01, or leave it empty.")
            for i in wrong
        )  # fmt: skip
    fallback = pd.Timestamp(as_utc(epoch or EPOCH)).as_unit("us")
    return pd.Series(read["instant"].fillna(fallback).array, index=patients["patient_id"].tolist())


def as_utc(moment: dt.datetime | dt.date | str) -> dt.datetime:
    """A moment given by a caller (datetime, date or ISO text) in UTC; without a zone it is taken as UTC.

    Raises
    ------
    ValueError
        The text is no ISO date or time.
    """
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment)
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def set_given(
    zeros: pd.Series,
    infusion: Mapping[str, dt.datetime | dt.date | str] | None,
    problems: list[Problem],
    expected: str,
    remedy: str,
) -> None:
    """Write the time zeros that the caller knows into those found (index: patients); a problem for each stranger."""
    for name, moment in given_zeros(infusion).items():
        if name in zeros.index:
            zeros[name] = moment
        else:
            problems.append(Problem("infusion", None, None, name, expected, remedy))


def given_zeros(infusion: Mapping[str, dt.datetime | dt.date | str] | None) -> dict[str, pd.Timestamp]:
    """Times zero that the caller states, by patient."""
    return {str(k): pd.Timestamp(as_utc(v)).as_unit("us") for k, v in (infusion or {}).items()}


def end_of_day(time_h: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """When something dated to the day (its time set to 00:00) is known at the latest."""
    return np.asarray(time_h, dtype=float) + HOURS_PER_DAY
