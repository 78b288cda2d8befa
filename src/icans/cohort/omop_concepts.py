"""Concepts: what the concept table says of an id, and the site's own concepts that the writer adds.

OMOP reserves ids from two billion for a site's own concepts. The id of one is made of its vocabulary and code alone, so
that it stays the same in every extract. Standard ids of LOINC and the like are not known here: the writer's concept
table names vocabulary and code, by which a site with the full vocabularies maps them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from icans.cohort import codes
from icans.cohort.omop_files import numbers, words

VOCABULARY = "ICANS"
FIRST_LOCAL = 2_000_000_000
#: Local ids stay within 32 bits signed, the integer of the CDM.
LOCAL_RANGE = 2**31 - 1 - FIRST_LOCAL
EARLIEST, LATEST = "1970-01-01", "2099-12-31"


@dataclass(frozen=True)
class Concepts:
    """Vocabulary, code and name by concept id."""

    table: pd.DataFrame

    @classmethod
    def of(cls, frame: pd.DataFrame | None) -> Concepts:
        """From the CONCEPT table of an extract (None: nothing known)."""
        if frame is None:
            return cls(pd.DataFrame({"vocabulary": [], "code": [], "name": []}, dtype="object"))
        table = pd.DataFrame(
            {"vocabulary": words(frame, "vocabulary_id").str.strip(), "code": words(frame, "concept_code").str.strip(),
             "name": words(frame, "concept_name").str.strip()}
        )  # fmt: skip
        ids = numbers(frame, "concept_id")
        return cls(table.set_axis(ids)[ids.notna().to_numpy() & ~ids.duplicated().to_numpy()])

    def look(self, ids: pd.Series) -> pd.DataFrame:
        """Vocabulary, code and name of each id (empty where unknown), index as ``ids``."""
        return self.table.reindex(ids.to_numpy()).fillna("").set_axis(ids.index)

    def coded(self, frame: pd.DataFrame, stem: str, vocabulary: str) -> pd.Series:
        """The code in a vocabulary of each record: by source concept, by concept, else by the source value itself.

        A source value counts when it is written ``vocabulary:code``, or when no concept is given at all.
        """
        found = pd.Series("", index=frame.index, dtype="object")
        for name in (f"{stem}_source_concept_id", f"{stem}_concept_id"):
            known = self.look(numbers(frame, name))
            mine = found.eq("") & known["vocabulary"].str.upper().eq(vocabulary.upper())
            found = found.mask(mine, known["code"])
        source = words(frame, f"{stem}_source_value").str.strip()
        prefixed = source.str.upper().str.startswith(vocabulary.upper() + ":")
        bare = source.where(~prefixed, source.str.slice(len(vocabulary) + 1).str.strip())
        return found.mask(found.eq(""), bare)


@dataclass
class Registry:
    """The concepts that a written extract uses."""

    rows: dict[int, tuple[str, str, str, str]] = field(default_factory=dict)

    def id(self, vocabulary: str, code: str, name: str, domain: str) -> int:
        """The id of a concept, entered into the table."""
        number = local_id(vocabulary, code)
        self.rows.setdefault(number, (vocabulary, code, name or code, domain))
        return number

    def ids(self, vocabulary: str, values: pd.Series, names: dict[str, str], domain: str) -> pd.Series:
        """Ids of many codes; 0 (no matching concept) where the code is missing."""
        known = {v: self.id(vocabulary, v, names.get(v, v), domain) for v in values.dropna().unique() if v}
        return values.map(known).astype("float64").fillna(0).astype("int64")

    def standard(self, name: str, domain: str) -> int:
        """A standard concept of the table in codes.toml, e.g. ``female`` or ``less``."""
        number = int(codes.table()["omop"][name])
        self.rows.setdefault(number, ("OMOP", str(number), name, domain))
        return number

    def frame(self) -> pd.DataFrame:
        """The CONCEPT table, sorted by id."""
        records = [
            {"concept_id": number, "concept_name": name[:255], "domain_id": domain, "vocabulary_id": vocabulary,
             "concept_class_id": "Undefined", "standard_concept": None, "concept_code": code,
             "valid_start_date": EARLIEST, "valid_end_date": LATEST}
            for number, (vocabulary, code, name, domain) in sorted(self.rows.items())
        ]  # fmt: skip
        return pd.DataFrame(records)


def local_id(vocabulary: str, code: str) -> int:
    """The id of a site concept."""
    return FIRST_LOCAL + zlib.crc32(f"{vocabulary}\x1f{code}".encode()) % LOCAL_RANGE


def standard_ids(*names: str) -> np.ndarray:
    """Ids of standard concepts by their names in codes.toml."""
    return np.array([float(codes.table()["omop"][name]) for name in names])
