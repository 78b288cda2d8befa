"""Names that SDTM limits to eight characters: test codes and qualifiers (``vocabulary/sdtm_codes.toml``)."""

from __future__ import annotations

import re
import tomllib
import zlib
from functools import cache
from importlib import resources
from typing import Any

from icans.cohort import schema, vocabulary

#: SDTM variables and values of this length at most (SDTMIG 3.4, sections 4.1.8 and 4.2.1; XPT version 5).
NAME_LENGTH = 8
TEXT_LENGTH = 200
LABEL_LENGTH = 40

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@cache
def table() -> dict[str, Any]:
    """The whole of ``sdtm_codes.toml``."""
    return tomllib.loads((resources.files("icans.cohort.vocabulary") / "sdtm_codes.toml").read_text(encoding="utf-8"))


def short(name: str) -> str:
    """A test code made of a name alone, for what CDISC has no code for.

    It begins with Z and ends in a check sum of the name, so that it can neither change when the vocabulary grows nor
    be mistaken for a CDISC code (PH, say, is the pH of urine as often as that of blood).
    """
    plain = re.sub(r"[^A-Z0-9]", "", name.upper().encode("ascii", "ignore").decode())
    number, tail = zlib.crc32(name.encode()), ""
    for _ in range(4):
        number, digit = divmod(number, len(_ALPHABET))
        tail += _ALPHABET[digit]
    return f"Z{plain[: NAME_LENGTH - 5]}{tail}"


@cache
def written_codes(domain: str) -> dict[str, str]:
    """The code to write for every analyte (``lb``, ``vs``) or item (``qs``)."""
    if domain == "qs":
        return {name: short(name) for name in vocabulary.items()}
    listed = {name: entry[0] for name, entry in table()[domain].items()}
    return listed if domain == "vs" else {name: listed.get(name, short(name)) for name in vocabulary.analytes()}


@cache
def meanings(domain: str) -> dict[str, str]:
    """Analyte or item by test code."""
    found = {code: name for name, code in written_codes(domain).items()}
    for name, entry in table().get(domain, {}).items():
        found.update({code: name for code in entry})
    return found


@cache
def qualifiers() -> dict[str, str]:
    """Column of the cohort by the QNAM under which it travels in SUPP--."""
    names = {c.name for t in schema.TABLES.values() for c in t.columns} - {"patient_id"}
    found = {
        name.replace("_", "").upper()[:NAME_LENGTH]: name for name in sorted(names) if name != "tumour_burden_unit"
    }
    return {**found, "TUMBURDU": "tumour_burden_unit"}


@cache
def qnam(column: str) -> str:
    """The QNAM of a column."""
    return next(name for name, known in qualifiers().items() if known == column)
