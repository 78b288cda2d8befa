"""Columns of NONMEM-style data sets as numbers, and the rules that each row must keep. See :mod:`.nonmem_records`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.errors import Problem

#: Columns with a meaning of their own.
RESERVED = (
    "ID", "TIME", "EVID", "MDV", "AMT", "RATE", "DUR", "CMT", "DV", "DVID", "CENS", "LIMIT", "ADDL", "II", "SS", "OCC",
)  # fmt: skip
TEXTS = ("ID", "CMT", "DVID")
#: At most this many problems of one kind are told one by one.
MOST_TOLD = 200
#: RATE and DUR of one row may differ by rounding in the file.
RATE_TOLERANCE = 1e-6


@dataclass
class Table:
    """A data set: ``frame`` holds every reserved column (numbers, NaN where there is none; texts), covariates as text.

    ``lines``: line of the file of each row (the header is line 1), or the row of a table. ``present``: columns that
    the data set has.
    """

    name: str
    frame: pd.DataFrame
    lines: np.ndarray
    present: frozenset[str]
    problems: list[Problem] = field(default_factory=list)

    def tell(
        self, mask: pd.Series | np.ndarray, column: str, expected: str, remedy: str, warning: bool = False
    ) -> None:
        """One problem for each row in ``mask`` (one a cell); from a great number on, how many more there are."""
        known = {p.row for p in self.problems if p.column == column and p.severity == "error"}
        where = np.array([i for i in np.flatnonzero(np.asarray(mask, dtype=bool)) if self.lines[i] not in known])
        severity = "warning" if warning else "error"
        for place in where[:MOST_TOLD]:
            value = self.frame[column].iloc[place] if column in self.frame else None
            found = None if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)
            line = int(self.lines[place])
            self.problems.append(Problem(self.name, line, column, found, expected, remedy, severity))
        if len(where) > MOST_TOLD:
            more = f"{len(where) - MOST_TOLD} further rows"
            self.problems.append(Problem(self.name, None, column, more, expected, remedy, severity))


def load(
    source: Path | str | pd.DataFrame, *, covariates: Sequence[str], ignore: Sequence[str], missing: Sequence[str],
    separator: str | None,
) -> Table:  # fmt: skip
    """The columns of a data set, as numbers and texts; what is wrong with them is in ``problems``."""
    name, raw, first = _raw(source, separator)
    names = [c.strip().upper() if c.strip().upper() in RESERVED and c not in covariates else c.strip() for c in raw]
    table = Table(name, pd.DataFrame(index=range(len(raw))), np.arange(len(raw)) + first, frozenset(names))
    for c in sorted({c for c in names if names.count(c) > 1}):
        table.problems.append(Problem(name, 1, c, c, "each column once", "Keep one of the columns."))
    for c in ("ID", "TIME", "DV", *covariates):
        if c not in names:
            table.problems.append(Problem(name, 1, c, None, f"a column {c}", "Add it, or take it out of the call."))
    for c in names:
        if c not in (*RESERVED, *covariates, *ignore):
            remedy = "Name it in 'covariates' or in 'ignore'."
            table.problems.append(Problem(name, 1, c, c, "a column whose meaning is given", remedy))
    if table.problems:
        return table
    raw.columns = names
    texts = {c: raw[c].str.strip().mask(raw[c].str.strip().isin(missing), "") for c in names if c not in ignore}
    frame = table.frame
    for c in (*RESERVED, *covariates):
        if c not in texts:
            frame[c] = "" if c in TEXTS else np.nan
        elif c in TEXTS or c in covariates:
            frame[c] = texts[c].map(_plain) if c in TEXTS else texts[c]
        else:
            numbers = pd.to_numeric(texts[c].where(texts[c] != ""), errors="coerce")
            frame[c] = texts[c]
            wrong = (texts[c] != "") & ~np.isfinite(numbers)
            table.tell(wrong, c, "a number", "Mend the cell.")
            frame[c] = numbers.astype(float)
    return table


def _raw(source: Path | str | pd.DataFrame, separator: str | None) -> tuple[str, pd.DataFrame, int]:
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index(drop=True)
        return "table", frame.astype(object).where(frame.notna(), "").astype(str), 1
    path = Path(source)
    with path.open(encoding="utf-8-sig") as file:
        sign = separator or ("," if "," in file.readline() else r"\s+")
    frame = pd.read_csv(path, sep=sign, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    return path.name, frame, 2


def _plain(text: str) -> str:
    """``1.0`` as ``1``: data sets are often written by programs that know only floats."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if np.isfinite(number) and number == np.floor(number) and abs(number) < 1e15 else text


def fill_events(table: Table, *, classic: bool) -> None:
    """EVID where the data set has none, by NONMEM's rule; RxODE's classic form taken apart; MDV."""
    frame = table.frame
    dose = frame["AMT"].fillna(0.0).ne(0.0)
    derived = np.where(dose, 1.0, np.where(frame["MDV"].eq(1.0), 2.0, 0.0))
    frame["EVID"] = frame["EVID"].where(frame["EVID"].notna(), derived)
    if classic:
        coded = frame["EVID"].ge(100.0)
        bolus = coded & frame["EVID"].mod(100.0).eq(1.0) & frame["EVID"].lt(10_000.0)
        table.tell(coded & ~bolus, "EVID", "a bolus in classic form (100 x CMT + 1)",
                   "Infusions and resets of the classic form are not read: use EVID 0-4 with RATE.")  # fmt: skip
        to = (frame["EVID"] // 100.0).map(lambda c: "" if np.isnan(c) else f"{c:g}")
        table.tell(bolus & frame["CMT"].ne("") & frame["CMT"].ne(to), "CMT", "the compartment that EVID says",
                   "Mend CMT or EVID.")  # fmt: skip
        frame["CMT"] = frame["CMT"].where(~bolus, to)
        frame["EVID"] = frame["EVID"].where(~bolus, 1.0)
    frame["MDV"] = frame["MDV"].where(frame["MDV"].notna(), frame["EVID"].ne(0.0).astype(float))


Rule = tuple[pd.Series, str, str, str]


def check_rows(table: Table, *, estimated: bool, mdv: str) -> None:
    """Every rule that needs no other row."""
    frame = table.frame
    for rules in (_row_rules(frame, mdv), _dose_rules(frame, estimated), _censor_rules(frame)):
        for mask, column, expected, remedy in rules:
            table.tell(mask, column, expected, remedy)
    with np.errstate(invalid="ignore", divide="ignore"):
        implied = frame["AMT"] / frame["RATE"].where(frame["RATE"].gt(0.0))
    off = (implied - frame["DUR"]).abs() > RATE_TOLERANCE * implied.abs()
    table.tell(off & frame["EVID"].isin([1.0, 4.0]), "DUR", "AMT / RATE", "Mend one of the three.")


def _row_rules(frame: pd.DataFrame, mdv: str) -> list[Rule]:
    seen = frame["EVID"].eq(0.0)
    rules = [
        (frame["ID"].eq(""), "ID", "an ID in every row", "Fill it."),
        (frame["TIME"].isna(), "TIME", "a time in every row", "Fill it; clock times are not read."),
        (~frame["EVID"].isin([0.0, 1.0, 2.0, 3.0, 4.0]), "EVID", "0, 1, 2, 3 or 4",
         "For 101 and the like (RxODE's classic form) set classic_evid."),
        (~frame["MDV"].isin([0.0, 1.0]), "MDV", "0 or 1", "Mend the cell."),
        (seen & frame["MDV"].eq(0.0) & frame["DV"].isna(), "DV", "a value where MDV is 0",
         "Set MDV to 1 where the value is missing."),
    ]  # fmt: skip
    if mdv == "refuse":
        unused = seen & frame["MDV"].eq(1.0) & frame["DV"].fillna(0.0).ne(0.0)
        remedy = "Set MDV to 0 to use the value, or empty DV; mdv='drop' leaves such rows out."
        rules.append((unused, "DV", "no value where MDV is 1", remedy))
    return rules


def _dose_rules(frame: pd.DataFrame, estimated: bool) -> list[Rule]:
    dose, amount, rate = frame["EVID"].isin([1.0, 4.0]), frame["AMT"], frame["RATE"]
    more, steady = frame["ADDL"].fillna(0.0), frame["SS"].where(dose, 0.0).fillna(0.0)
    nothing = "0 where nothing is given (EVID 0, 2, 3)"
    low = rate.lt(0.0) & ~(rate.eq(-2.0) & estimated)
    return [
        (dose & ~amount.ge(0.0), "AMT", "0 or more with EVID 1 or 4", "Fill or mend it."),
        (~dose & amount.fillna(0.0).ne(0.0), "AMT", nothing, "Mend AMT or EVID."),
        (low, "RATE", "0 or more", "For -2 (estimated duration D) set estimated_duration; -1 is not known."),
        (rate.gt(0.0) & dose & amount.eq(0.0), "RATE", "0 where AMT is 0", "Write a constant infusion out."),
        (frame["DUR"].lt(0.0), "DUR", "0 or more", "Mend the cell."),
        (~(more.ge(0.0) & more.eq(np.floor(more))), "ADDL", "a whole number, 0 or more", "Mend the cell."),
        (more.gt(0.0) & ~frame["II"].gt(0.0), "II", "more than 0 where ADDL is", "Fill the interval."),
        (more.gt(0.0) & ~dose, "ADDL", nothing, "Mend ADDL or EVID."),
        (~steady.isin([0.0, 1.0]), "SS", "0 or 1", "SS 2 is not known: write the doses out."),
        (steady.eq(1.0) & ~frame["II"].gt(0.0), "II", "more than 0 where SS is 1", "Fill the interval."),
    ]


def _censor_rules(frame: pd.DataFrame) -> list[Rule]:
    cens, limit, value = frame["CENS"].fillna(0.0), frame["LIMIT"], frame["DV"]
    below = "With CENS 1, DV is the lower limit of quantification and LIMIT the lower end of the interval."
    above = "With CENS -1, DV is the upper limit of quantification and LIMIT the upper end of the interval."
    return [
        (~cens.isin([-1.0, 0.0, 1.0]), "CENS", "-1, 0 or 1", "Mend the cell."),
        (cens.ne(0.0) & frame["EVID"].ne(0.0), "CENS", "0 where nothing is observed", "Mend the cell."),
        (cens.eq(1.0) & limit.ge(value), "LIMIT", "less than DV (CENS 1)", below),
        (cens.eq(-1.0) & limit.le(value), "LIMIT", "more than DV (CENS -1)", above),
    ]


def check_order(table: Table) -> None:
    """Rows of a subject together, times and occasions that do not decrease."""
    frame = table.frame
    same = frame["ID"].eq(frame["ID"].shift())
    table.tell(same & frame["TIME"].lt(frame["TIME"].shift()), "TIME", "times that do not decrease within a subject",
               "Sort the rows of the subject by time.")  # fmt: skip
    table.tell(~same & frame["ID"].duplicated(), "ID", "the rows of a subject together",
               "Bring them together, or give the second subject another ID.")  # fmt: skip
    if "OCC" in table.present:
        table.tell(frame["OCC"].isna(), "OCC", "an occasion in every row", "Fill it.")
        table.tell(same & frame["OCC"].lt(frame["OCC"].shift()), "OCC", "occasions that do not decrease",
                   "Number occasions in order of time.")  # fmt: skip


def read_covariates(
    table: Table, columns: Mapping[str, str], codes: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Covariates by subject and name; one value a subject."""
    out: dict[str, dict[str, float]] = {i: {} for i in table.frame["ID"].unique()}
    for column, name in columns.items():
        own: Callable[[str], float | None] | None = codes[column].get if column in codes else None
        numbers = pd.to_numeric(table.frame[column].map(own) if own else table.frame[column], errors="coerce")
        known = sorted(codes.get(column, ()))
        expected = f"one of {', '.join(known)}" if known else "a number"
        table.tell(numbers.isna() & table.frame[column].ne(""), column, expected, "Mend it, or name it in 'codes'.")
        first = numbers.groupby(table.frame["ID"]).transform("first")
        table.tell(numbers.notna() & numbers.ne(first), column, "one value for a subject",
                   "Covariates do not change in time here: give two columns, or split the subject.")  # fmt: skip
        for i, value in first.groupby(table.frame["ID"]).first().items():
            if np.isfinite(value):
                out[str(i)][name] = float(value)
    return out
