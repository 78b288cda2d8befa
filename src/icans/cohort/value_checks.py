"""What a value must be in the light of the other columns of its row: units, items, limits, doses, times."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from icans.cohort import schema
from icans.cohort.cells import NUMBER
from icans.cohort.findings import Describe, Findings, always
from icans.cohort.vocabulary import Analyte, Item, by_synonym, drugs, items, near
from icans.core.errors import UnitError
from icans.core.units import SPELLINGS, ucum

#: Hours by which a product may be given away from time 0 before we ask whether time 0 is the infusion.
INFUSION_SLACK_H = 24.0
#: Most pairs of analyte and unit that are looked at, since parsing a unit is slow. A large centre sends about 100.
MOST_UNITS = 500
#: Same key twice: an error where it makes the data contradict themselves, otherwise kept and told.
DUPLICATE_ERRORS = frozenset({"patients", "grades"})


@dataclass(frozen=True)
class Checked:
    """A parsed table with where its rows came from."""

    name: str
    file: str
    frame: pd.DataFrame
    lines: np.ndarray


class _Reporter:
    """Adds problems of rows of one table."""

    def __init__(self, checked: Checked, findings: Findings) -> None:
        self.checked, self.findings = checked, findings

    def each(self, where: np.ndarray, column: str, kind: str, describe: Describe, *, error: bool = True) -> None:
        """Problems at row positions ``where``, described value by value."""
        shown = self.checked.frame[column].iloc[where[:1000]]
        severity = "error" if error else "warning"
        lines = self.checked.lines[where]
        self.findings.add_rows(self.checked.file, column, kind, lines, shown, describe, severity=severity)

    def rows(
        self, mask: np.ndarray | pd.Series, column: str, kind: str, expected: str, remedy: str, *, error: bool = True
    ) -> None:
        """Problems at the rows of ``mask``, all described alike."""
        where = np.flatnonzero(np.asarray(mask, dtype=bool))
        self.each(where, column, kind, always(expected, remedy), error=error)


def check_values(checked: Checked, analytes: Mapping[str, Analyte], findings: Findings) -> None:
    """Every check of one table that needs more than one column or the vocabulary."""
    tell = _Reporter(checked, findings)
    frame = checked.frame
    if "available_h" in frame:
        early = (frame["available_h"] < frame["time_h"]).to_numpy(bool)
        remedy = "A result cannot be known before its time: correct one of the two, or leave available_h empty."
        tell.rows(early, "available_h", "early", "a time at or after time_h", remedy)
    special = {
        "patients": _patients,
        "treatments": _treatments,
        "grades": _grades,
        "events": _events,
        "recordings": _recordings,
        "assessments": _assessments,
    }
    if checked.name == "measurements":
        _measurements(frame, analytes, tell)
    elif checked.name in special:
        special[checked.name](frame, tell)
    if checked.name != "changes":
        _duplicates(checked, tell)


def _patients(frame: pd.DataFrame, tell: _Reporter) -> None:
    ids = frame["patient_id"]
    folded = ids.str.normalize("NFKC").str.lower()
    alike = (folded.duplicated(keep=False) & ~ids.duplicated(keep=False) & ids.notna()).to_numpy(bool)
    tell.rows(alike, "patient_id", "alike", "names that differ by more than case or accents' encoding",
              "Check whether two spellings mean one patient.", error=False)  # fmt: skip
    dates = frame["infusion_date"]
    wrong = np.array([text is not None and not _is_date(text) for text in dates.array.to_numpy(object, na_value=None)])
    tell.rows(wrong, "infusion_date", "date", "a date as YYYY-MM-DD", "Write the date so, or leave it empty.")
    for amount, unit in (("dose", "dose_unit"), ("tumour_burden", "tumour_burden_unit")):
        bare = (frame[amount].notna() & frame[unit].isna()).to_numpy(bool)
        tell.rows(bare, amount, "unit", f"a unit in {unit!r}", f"Fill {unit!r}.", error=False)


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _measurements(frame: pd.DataFrame, analytes: Mapping[str, Analyte], tell: _Reporter) -> None:
    names = frame["analyte"]
    unknown = (names.notna() & names.ne("") & ~names.isin(list(analytes))).to_numpy(bool)

    def describe(value: str | None) -> tuple[str, str]:
        hint = near(value or "", analytes) or ", or declare an extra analyte."
        return "an analyte of the vocabulary", f"Use a name of the vocabulary{hint}"

    tell.each(np.flatnonzero(unknown), "analyte", "analyte", describe)
    _censoring(frame, tell)
    if frame.empty:
        return
    codes, pairs = pd.factorize(pd.MultiIndex.from_arrays([names.fillna(""), frame["unit"].fillna("")]))
    values = frame["value"].to_numpy(float)
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(len(pairs) + 1))
    seen = 0
    for index, (name, unit) in enumerate(pairs):
        if name not in analytes:
            continue
        rows = order[edges[index] : edges[index + 1]]
        seen += 1
        if seen > MOST_UNITS:
            words = always(f"at most {MOST_UNITS} different units", "Check what stands in the column.")
            tell.each(rows, "unit", "units", words)
        else:
            _unit_and_range(analytes[name], unit, rows, values, tell)


def _unit_and_range(analyte: Analyte, unit: str, rows: np.ndarray, values: np.ndarray, tell: _Reporter) -> None:
    try:
        canonical = analyte.convert(values[rows], unit or analyte.unit)
    except UnitError as error:
        words = always(f"a unit that converts to {analyte.unit} ({analyte.name})", _unit_remedy(unit, analyte, error))
        tell.each(rows, "unit", "unit", words)
        return
    with np.errstate(invalid="ignore"):
        outside = (canonical < analyte.low) | (canonical > analyte.high)
    if outside.any():
        declared = f" declared in {unit}" if unit else ", no unit declared"
        bounds = f"{analyte.low:g} to {analyte.high:g} {analyte.unit} ({analyte.name}{declared})"
        remedy = "It is loaded; harmonisation looks for a wrong unit. Correct it where it is a typing error."
        tell.each(
            rows[outside], "value", "implausible", lambda _: (f"a plausible value, {bounds}", remedy), error=False
        )


def _unit_remedy(unit: str, analyte: Analyte, error: UnitError) -> str:
    try:
        ucum(unit)
    except UnitError:
        known = [analyte.unit, *analyte.also, *SPELLINGS.values()]
        close = difflib.get_close_matches(unit, known, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return f"Write the unit in UCUM, or leave it empty where it is not known{hint}"
    return f"{str(error)[:1].upper()}{str(error)[1:]}. Correct the unit or the analyte."


def _censoring(frame: pd.DataFrame, tell: _Reporter) -> None:
    left = (frame["censor"] == "left").to_numpy(bool)
    right = (frame["censor"] == "right").to_numpy(bool)
    limit, value = frame["limit"].to_numpy(float), frame["value"].to_numpy(float)
    has = ~np.isnan(limit)
    tell.rows((left | right) & ~has, "limit", "limit.missing", "the limit that censors the value",
              "Fill 'limit', or set 'censor' to 'none' where the value was measured.")  # fmt: skip
    tell.rows(has & ~left & ~right, "limit", "limit.idle", "'censor' left or right where a limit is given",
              "The limit is kept; the value counts as measured.", error=False)  # fmt: skip
    with np.errstate(invalid="ignore"):
        wrong = (left & (value > limit)) | (right & (value < limit))
        put_in = (left & (value < limit)) | (right & (value > limit))
    tell.rows(wrong, "value", "limit.side", "a value on the censored side of its limit",
              "Exchange left and right, or correct the value or the limit.")  # fmt: skip
    tell.rows(put_in, "value", "limit.substituted", "an empty value, or the limit itself, where it is censored",
              "A substituted value is not used; the limit is.", error=False)  # fmt: skip


def _treatments(frame: pd.DataFrame, tell: _Reporter) -> None:
    names = frame["drug"]
    known, synonyms = drugs(), by_synonym()
    unknown = (names.notna() & names.ne("") & ~names.isin(list(known))).to_numpy(bool)
    other = unknown & names.str.strip().str.lower().isin(list(synonyms)).to_numpy(bool)

    def generic(value: str | None) -> tuple[str, str]:
        return "the generic name in lower case", f"Write {synonyms[(value or '').strip().lower()]!r}."

    def strange(value: str | None) -> tuple[str, str]:
        return "a drug of the vocabulary", f"It is loaded as it stands{near(value or '', known) or '.'}"

    tell.each(np.flatnonzero(other), "drug", "drug.synonym", generic)
    tell.each(np.flatnonzero(unknown & ~other), "drug", "drug.unknown", strange, error=False)
    bare = (frame["amount"].notna() & frame["unit"].isna()).to_numpy(bool)
    tell.rows(bare, "amount", "unit", "a unit of the amount in 'unit'", "Fill 'unit'.", error=False)
    far = ((names == "car_t") & (frame["time_h"].abs() > INFUSION_SLACK_H)).to_numpy(bool)
    tell.rows(far, "time_h", "infusion", "the cells given at time 0",
              "Time counts from the infusion; a second infusion is a patient of its own.", error=False)  # fmt: skip


def _grades(frame: pd.DataFrame, tell: _Reporter) -> None:
    doubled = frame["grade"].to_numpy(float) * 2
    odd = ~np.isnan(doubled) & (doubled != np.floor(doubled))
    tell.rows(odd, "grade", "step", "a whole or half grade", "Correct the grade.")


def _events(frame: pd.DataFrame, tell: _Reporter) -> None:
    deaths = frame["event"] == "death"
    again = (deaths & frame["patient_id"].where(deaths).duplicated(keep=False)).to_numpy(bool)
    tell.rows(again, "event", "death.twice", "at most one death per patient", "Keep the right one.")


def _recordings(frame: pd.DataFrame, tell: _Reporter) -> None:
    path = frame["path"].fillna("")
    climbs = path.str.contains(r"(?:^|[\\/])\.\.(?:[\\/]|$)", regex=True).to_numpy(bool)
    tell.rows(climbs, "path", "path", "a path without '..'", "Give the path below the cohort folder, or absolute.")
    digest = frame["sha256"]
    odd = digest.notna().to_numpy(bool) & ~digest.fillna("").str.fullmatch("[0-9a-f]{64}").to_numpy(bool)
    tell.rows(odd, "sha256", "sha256", "64 lower-case hexadecimal digits", "Compute the hash again, or leave it empty.")


def _assessments(frame: pd.DataFrame, tell: _Reporter) -> None:
    known = items()
    names, values = frame["item"], frame["value"]
    unknown = (names.notna() & names.ne("") & ~names.isin(list(known))).to_numpy(bool)

    def describe(value: str | None) -> tuple[str, str]:
        return "an item of the vocabulary", f"Use a name of the vocabulary{near(value or '', known) or '.'}"

    tell.each(np.flatnonzero(unknown), "item", "item", describe)
    for name in set(names.dropna().unique()) & set(known):
        mask = (names == name).to_numpy(bool)
        wrong = mask.copy()
        wrong[mask] = _wrong_values(values[mask], known[name])
        expected, remedy = _item_words(known[name])
        tell.rows(wrong, "value", f"item:{name}", expected, remedy)


def _wrong_values(values: pd.Series, item: Item) -> np.ndarray:
    filled = values.notna().to_numpy(bool)
    if item.kind == "yesno":
        return filled & ~values.isin(["yes", "no"]).to_numpy(bool)
    if item.kind == "choice":
        return filled & ~values.isin(item.allowed).to_numpy(bool)
    numeric = values.str.fullmatch(NUMBER.strip("^$")).to_numpy(dtype=bool, na_value=False)
    numbers = np.full(len(values), np.nan)
    numbers[numeric] = values[numeric].astype(float).to_numpy()
    with np.errstate(invalid="ignore"):
        fits = numeric & (numbers >= _or(item.low, -np.inf)) & (numbers <= _or(item.high, np.inf))
        if item.kind == "integer":
            fits &= numbers == np.floor(numbers)
    return filled & ~fits


def _item_words(item: Item) -> tuple[str, str]:
    if item.kind == "yesno":
        return f"yes or no ({item.label})", "Write yes or no."
    if item.kind == "choice":
        return f"one of {', '.join(item.allowed)} ({item.label})", "Use one of these words."
    kind = "a whole number" if item.kind == "integer" else "a number"
    return f"{kind} from {_or(item.low, -np.inf):g} to {_or(item.high, np.inf):g} ({item.label})", "Correct the value."


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _duplicates(checked: Checked, tell: _Reporter) -> None:
    frame = checked.frame
    key = list(schema.TABLES[checked.name].key)
    if checked.name == "grades":
        frame = frame.assign(source=frame["source"].fillna("delivered"))
    again = frame.duplicated(key, keep="first").to_numpy(bool)
    if not again.any():
        return
    whole = np.zeros(len(frame), dtype=bool)
    candidates = frame.duplicated(key, keep=False).to_numpy(bool)
    whole[candidates] = frame[candidates].duplicated(keep="first").to_numpy(bool)
    # A dose entered twice would be given twice by every model; other exact copies only repeat what is known.
    strict = checked.name in DUPLICATE_ERRORS
    tell.rows(whole, key[0], "copy", "each row once (it repeats an earlier row exactly)", "Remove the copy.",
              error=strict or checked.name == "treatments")  # fmt: skip
    tell.rows(again & ~whole, key[0], "key", f"one row for each {', '.join(key)}",
              "Keep the right row." if strict else "Both rows are loaded; remove one if it is a mistake.",
              error=strict)  # fmt: skip
