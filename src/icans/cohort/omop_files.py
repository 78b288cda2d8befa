"""OMOP CDM 5.4 tables as files, and the part of the model that is used here.

Field names and order are those of the CDM 5.4 specification (OHDSI CommonDataModel, tables of the same names).
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from icans.cohort.extras import exact
from icans.core.errors import DataError, Problem, UnsafeInputError

#: One table of an extract is below 2 GB as text; more belongs into Parquet.
MAX_BYTES = 2**31
SUFFIXES = (".csv", ".csv.gz", ".parquet")

FIELDS: dict[str, tuple[str, ...]] = {
    "person": (
        "person_id", "gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth", "birth_datetime",
        "race_concept_id", "ethnicity_concept_id", "location_id", "provider_id", "care_site_id", "person_source_value",
        "gender_source_value", "gender_source_concept_id", "race_source_value", "race_source_concept_id",
        "ethnicity_source_value", "ethnicity_source_concept_id"),
    "observation_period": (
        "observation_period_id", "person_id", "observation_period_start_date", "observation_period_end_date",
        "period_type_concept_id"),
    "visit_occurrence": (
        "visit_occurrence_id", "person_id", "visit_concept_id", "visit_start_date", "visit_start_datetime",
        "visit_end_date", "visit_end_datetime", "visit_type_concept_id"),
    "condition_occurrence": (
        "condition_occurrence_id", "person_id", "condition_concept_id", "condition_start_date",
        "condition_start_datetime", "condition_end_date", "condition_end_datetime", "condition_type_concept_id",
        "condition_status_concept_id", "stop_reason", "provider_id", "visit_occurrence_id", "visit_detail_id",
        "condition_source_value", "condition_source_concept_id", "condition_status_source_value"),
    "drug_exposure": (
        "drug_exposure_id", "person_id", "drug_concept_id", "drug_exposure_start_date",
        "drug_exposure_start_datetime", "drug_exposure_end_date", "drug_exposure_end_datetime", "verbatim_end_date",
        "drug_type_concept_id", "stop_reason", "refills", "quantity", "days_supply", "sig", "route_concept_id",
        "lot_number", "provider_id", "visit_occurrence_id", "visit_detail_id", "drug_source_value",
        "drug_source_concept_id", "route_source_value", "dose_unit_source_value"),
    "procedure_occurrence": (
        "procedure_occurrence_id", "person_id", "procedure_concept_id", "procedure_date", "procedure_datetime",
        "procedure_end_date", "procedure_end_datetime", "procedure_type_concept_id", "modifier_concept_id", "quantity",
        "provider_id", "visit_occurrence_id", "visit_detail_id", "procedure_source_value",
        "procedure_source_concept_id", "modifier_source_value"),
    "measurement": (
        "measurement_id", "person_id", "measurement_concept_id", "measurement_date", "measurement_datetime",
        "measurement_time", "measurement_type_concept_id", "operator_concept_id", "value_as_number",
        "value_as_concept_id", "unit_concept_id", "range_low", "range_high", "provider_id", "visit_occurrence_id",
        "visit_detail_id", "measurement_source_value", "measurement_source_concept_id", "unit_source_value",
        "unit_source_concept_id", "value_source_value", "measurement_event_id", "meas_event_field_concept_id"),
    "observation": (
        "observation_id", "person_id", "observation_concept_id", "observation_date", "observation_datetime",
        "observation_type_concept_id", "value_as_number", "value_as_string", "value_as_concept_id",
        "qualifier_concept_id", "unit_concept_id", "provider_id", "visit_occurrence_id", "visit_detail_id",
        "observation_source_value", "observation_source_concept_id", "unit_source_value", "qualifier_source_value",
        "value_source_value", "observation_event_id", "obs_event_field_concept_id"),
    "death": (
        "person_id", "death_date", "death_datetime", "death_type_concept_id", "cause_concept_id",
        "cause_source_value", "cause_source_concept_id"),
    "concept": (
        "concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id", "standard_concept",
        "concept_code", "valid_start_date", "valid_end_date", "invalid_reason"),
    "cdm_source": (
        "cdm_source_name", "cdm_source_abbreviation", "cdm_holder", "source_description",
        "source_documentation_reference", "cdm_etl_reference", "source_release_date", "cdm_release_date",
        "cdm_version", "cdm_version_concept_id", "vocabulary_version"),
}  # fmt: skip

#: Fields that hold numbers (identifiers, concepts and quantities).
NUMBERS = ("value_as_number", "quantity", "range_low", "range_high", "year_of_birth", "month_of_birth", "day_of_birth")

#: What a table must have to be read at all.
NEEDED: dict[str, tuple[str, ...]] = {
    "person": ("person_id",),
    "visit_occurrence": ("person_id", "visit_start_date"),
    "condition_occurrence": ("person_id", "condition_start_date"),
    "drug_exposure": ("drug_exposure_id", "person_id", "drug_exposure_start_date"),
    "procedure_occurrence": ("person_id", "procedure_date"),
    "measurement": ("measurement_id", "person_id", "measurement_date"),
    "observation": ("observation_id", "person_id", "observation_date"),
    "death": ("person_id", "death_date"),
    "concept": ("concept_id", "concept_code", "vocabulary_id"),
}


def find(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The file of each table that is known here, and the names of the others.

    Raises
    ------
    DataError
        No folder, no ``person``, or one table in two files.
    """
    if not folder.is_dir():
        raise DataError([Problem(str(folder), None, None, None, "a folder with OMOP CDM tables", "Give the folder.")])
    found: dict[str, Path] = {}
    other, problems = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        name, _, suffix = path.name.lower().partition(".")
        if name not in FIELDS or f".{suffix}" not in SUFFIXES:
            other.append(path.name)
        elif name in found:
            expected, remedy = f"one file for table {name}", f"Remove it or {found[name].name}."
            problems.append(Problem(path.name, None, None, None, expected, remedy))
        else:
            found[name] = path
    if "person" not in found:
        problems.append(Problem(str(folder), None, None, None, "a table 'person'", "Export person.csv or .parquet."))
    if problems:
        raise DataError(problems)
    return found, other


def load(path: Path, table: str) -> pd.DataFrame:
    """One table with every field of the model, text as text; fields beyond the model are left out.

    Raises
    ------
    DataError, UnsafeInputError
        A file that cannot be read, or without the fields that it needs.
    """
    frame = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    frame.columns = [str(c).strip().lower() for c in frame.columns]
    missing = [name for name in NEEDED.get(table, ()) if name not in frame]
    double = sorted(set(frame.columns[frame.columns.duplicated()]))
    if missing or double:
        raise DataError(
            Problem(path.name, 1, name, None, "a field of the OMOP CDM, once", "Export the table whole.")
            for name in [*missing, *double]
        )
    return frame.reset_index(drop=True)


def _csv(path: Path) -> pd.DataFrame:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise UnsafeInputError([Problem(path.name, None, None, None, "at most 2 GB of text", "Use Parquet.")])
        frame = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        message = f"a comma-separated table in UTF-8 ({str(error)[:120]})"
        raise DataError([Problem(path.name, None, None, None, message, "Export it again.")]) from None
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    expected = "as many cells in each line as in the header"  # pandas would make an index of the first cells
    raise DataError([Problem(path.name, None, None, None, expected, "Quote the cells that contain commas.")])


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"a Parquet file ({str(error)[:120]})"
        raise DataError([Problem(path.name, None, None, None, message, "Export it again.")]) from None


def words(frame: pd.DataFrame, field: str) -> pd.Series:
    """A field as text, empty where missing or absent; whole numbers without a decimal point."""
    if field not in frame:
        return pd.Series("", index=frame.index, dtype="object")
    values = frame[field]
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").where(values.notna(), "").astype("object")
    if pd.api.types.is_float_dtype(values):
        return pd.Series(["" if np.isnan(x) else f"{x:.15g}" for x in values], index=frame.index, dtype="object")
    return values.astype("object").where(values.notna(), "").astype(str)


def numbers(frame: pd.DataFrame, field: str) -> pd.Series:
    """A field as numbers; NaN where missing, absent, no number or not finite."""
    if field not in frame:
        return pd.Series(np.nan, index=frame.index)
    values = frame[field]
    values = values.astype("float64") if pd.api.types.is_numeric_dtype(values) else exact(words(frame, field))
    return values.where(np.isfinite(values))


def moments(frame: pd.DataFrame, stem: str) -> pd.Series:
    """The datetime of a record where there is one, else its date, as text."""
    timed, dated = words(frame, f"{stem}_datetime"), words(frame, f"{stem}_date")
    return timed.where(timed.ne(""), dated)


def store(frame: pd.DataFrame, folder: Path, table: str, form: str) -> None:
    """Write one table as ``csv`` or ``parquet``, all fields of the model in their order."""
    whole = frame.reindex(columns=list(FIELDS[table]))
    for field in whole.columns:
        if field.endswith("_id") and field not in ("domain_id", "vocabulary_id", "concept_class_id"):
            whole[field] = whole[field].astype("Int64")
        elif field in NUMBERS:
            whole[field] = whole[field].astype("float64")
        else:
            text = whole[field].astype("object")
            whole[field] = text.where(text.notna() & text.ne(""), None)
    if form == "csv":
        whole.to_csv(folder / f"{table}.csv", index=False, na_rep="", lineterminator="\n")
        return
    for field in whole.columns:
        if whole[field].dtype == object:
            whole[field] = whole[field].astype("string")
    whole.to_parquet(folder / f"{table}.parquet", index=False)
