"""SDTM domains as files: CSV, gzipped CSV, and SAS transport (XPT version 5 and 8)."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from icans.cohort.extras import exact
from icans.cohort.sdtm_codes import TEXT_LENGTH
from icans.core.errors import DataError, Problem, UnsafeInputError

#: One domain of a large study is below 1 GB as text; more is refused.
MAX_BYTES = 2**30
WITH_SUPPLEMENT = ("dm", "lb", "vs", "ex", "cm", "ae", "qs", "fa", "ce", "zr")
DOMAINS = (*WITH_SUPPLEMENT, *(f"supp{domain}" for domain in WITH_SUPPLEMENT), "ts", "adsl")
SUFFIXES = (".csv", ".csv.gz", ".xpt")


def find(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The file of each domain that is read, and the names of files that are not.

    Raises
    ------
    DataError
        No folder, or one domain in two files.
    """
    if not folder.is_dir():
        raise DataError([Problem(str(folder), None, None, None, "a folder with SDTM domains", "Give the folder.")])
    found: dict[str, Path] = {}
    other: list[str] = []
    problems = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        name, _, suffix = path.name.lower().partition(".")
        if name not in DOMAINS or f".{suffix}" not in SUFFIXES:
            other.append(path.name)
        elif name in found:
            problems.append(
                Problem(path.name, None, None, None, f"one file for {name}", f"Remove it or {found[name].name}.")
            )
        else:
            found[name] = path
    if problems:
        raise DataError(problems)
    return found, other


def load(path: Path) -> pd.DataFrame:
    """One domain; text columns as text (empty: missing), numeric columns of XPT as numbers, names in upper case.

    Raises
    ------
    DataError, UnsafeInputError
        A file that cannot be read.
    """
    frame = _xpt(path) if path.suffix.lower() == ".xpt" else _csv(path)
    frame.columns = [str(c).strip().upper() for c in frame.columns]
    double = frame.columns[frame.columns.duplicated()]
    if len(double):
        raise DataError([Problem(path.name, 1, str(double[0]), None, "each column once", "Remove one of them.")])
    return frame


def _csv(path: Path) -> pd.DataFrame:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            [Problem(path.name, None, None, None, f"a gzip file ({error})", "Compress it again.")]
        ) from None
    if len(raw) > MAX_BYTES:
        raise UnsafeInputError([Problem(path.name, None, None, None, "at most 1 GB of text", "Split the study.")])
    try:
        frame = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        message = f"a comma-separated table in UTF-8 ({str(error)[:120]})"
        raise DataError([Problem(path.name, None, None, None, message, "Export it again.")]) from None
    return _as_wide_as_its_header(path, frame)


def _as_wide_as_its_header(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Refuse a table whose lines have more cells than its header (pandas would make an index of the first)."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    expected = "as many cells in each line as in the header"
    raise DataError([Problem(path.name, None, None, None, expected, "Quote the cells that contain commas.")])


def _xpt(path: Path) -> pd.DataFrame:
    import pyreadstat

    try:
        frame, _ = pyreadstat.read_xport(str(path))
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError, ValueError) as error:
        message = f"a SAS transport file ({str(error)[:120]})"
        raise DataError([Problem(path.name, None, None, None, message, "Export it again as XPT.")]) from None
    return frame


def words(frame: pd.DataFrame, column: str, *, na: bool = True) -> pd.Series:
    """A column as stripped text, empty where missing or absent.

    ``na``: the word NA, which R writes for a missing value, is taken as missing, too.
    """
    if column not in frame:
        return pd.Series("", index=frame.index, dtype="object")
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values):
        whole = values.astype("float64")
        return pd.Series(["" if np.isnan(x) else f"{x:.15g}" for x in whole], index=frame.index, dtype="object")
    text = values.astype("object").where(values.notna(), "").astype(str).str.strip()
    return text.mask(text.eq("NA"), "") if na else text


def numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers; NaN where missing, absent, no number, or not finite."""
    if column in frame and pd.api.types.is_numeric_dtype(frame[column]):
        values = frame[column].astype("float64")
    else:
        values = exact(words(frame, column))
    return values.where(np.isfinite(values))


def store(frame: pd.DataFrame, folder: Path, domain: str, form: str, labels: dict[str, str]) -> None:
    """Write one domain as ``csv``, ``csv.gz``, ``xpt5`` or ``xpt8``.

    Raises
    ------
    DataError
        A text longer than XPT version 5 can hold.
    """
    if form.startswith("csv"):
        frame.to_csv(folder / f"{domain}.{form}", index=False, na_rep="", lineterminator="\n")
        return
    import pyreadstat

    version: Literal[5, 8] = 5 if form == "xpt5" else 8
    text = frame.columns[[not pd.api.types.is_numeric_dtype(frame[c]) for c in frame.columns]]
    if version == 5:
        long = [(c, i) for c in text for i in np.flatnonzero(frame[c].str.encode("utf-8").str.len() > TEXT_LENGTH)]
        if long:
            remedy = "Write form='xpt8' or 'csv', which have no such limit."
            raise DataError(
                Problem(f"{domain}.xpt", int(i) + 1, c, str(frame[c].iloc[i]), f"at most {TEXT_LENGTH} bytes", remedy)
                for c, i in long
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pyreadstat.write_xport(
            frame, str(folder / f"{domain}.xpt"), file_label=domain.upper(), table_name=domain.upper(),
            column_labels=[labels.get(c, c)[:40] for c in frame.columns], file_format_version=version,
        )  # fmt: skip
