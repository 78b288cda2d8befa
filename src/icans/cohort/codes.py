"""Codes of public terminologies: what a LOINC, ICD-10, ATC or specimen code means here (``vocabulary/codes.toml``)."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from icans.cohort import vocabulary

#: Prefix of the code systems of this package, for everything that has no public code.
LOCAL = "urn:icans:"

#: The generic name under which the cohort keeps the infusion itself.
CELLS = "car_t"


@cache
def table() -> dict[str, Any]:
    """The whole of ``codes.toml``."""
    return tomllib.loads((resources.files("icans.cohort.vocabulary") / "codes.toml").read_text(encoding="utf-8"))


def system(name: str) -> str:
    """The URI of a public code system, e.g. ``system("loinc")``."""
    return table()["systems"][name]


@cache
def loinc_meanings() -> dict[str, tuple[str, str]]:
    """Analyte and matrix by LOINC code."""
    words = vocabulary.analytes()
    found = {code: (name, words[name].matrix) for code, name in vocabulary.by_loinc().items()}
    for code, (name, matrix) in table()["loinc"].items():
        found[code] = (name, matrix or words[name].matrix)
    return found


@cache
def loinc_for(analyte: str, matrix: str | None) -> str | None:
    """The LOINC code of an analyte in a matrix; None where there is none that says just that."""
    known = vocabulary.analytes().get(analyte)
    candidates = list(known.loinc) if known else []
    candidates += [code for code, (name, _) in table()["loinc"].items() if name == analyte]
    return next((code for code in candidates if loinc_meanings().get(code) == (analyte, matrix)), None)


def graded(code: str) -> tuple[str, float] | None:
    """Toxicity and grade of an ICD-10-CM code (NaN: graded without saying how); None when it is no such code."""
    entry = table()["graded"]["codes"].get(_dotted(code))
    return None if entry is None else (entry[0], float(entry[1]) if entry[1] >= 0 else np.nan)


def graded_scheme() -> str:
    """The scheme that the ICD-10-CM grades follow."""
    return table()["graded"]["scheme"]


def toxicity(term: str) -> str | None:
    """The toxicity that an adverse event term names, if it is one of the schema's."""
    return table()["terms"].get(term.strip().lower())


@cache
def toxicity_terms() -> dict[str, str]:
    """The first term of each toxicity, for writing."""
    found: dict[str, str] = {}
    for term, name in table()["terms"].items():
        found.setdefault(name, term)
    return found


def disease(code: str) -> str | None:
    """The disease of an ICD-10-CM code, by its longest known beginning."""
    dotted = _dotted(code)
    matches = [key for key in table()["diseases"] if dotted.startswith(key)]
    return table()["diseases"][max(matches, key=len)] if matches else None


def disease_code(name: str | None) -> str | None:
    """The ICD-10-CM beginning of a disease, if one is known."""
    return next((code for code, known in table()["diseases"].items() if known == name), None)


def product(text: str, code: str | None = None) -> str | None:
    """The short name of a cell product in a text or an ICD-10-PCS code; ``""`` for cells of no known product.

    None when neither speaks of CAR T cells.
    """
    if code is not None and code in table()["infusion_icd10pcs"]:
        return table()["infusion_icd10pcs"][code]
    lowered = text.lower()
    return next((short for name, short in table()["products"].items() if re.search(rf"\b{name}\b", lowered)), None)


def drug(text: str, atc: str | None = None) -> str:
    """The generic name of a drug as the cohort writes it; of a drug unknown here the text in lower case."""
    if atc is not None and atc in table()["atc"]:
        return table()["atc"][atc]
    name = " ".join(text.split()).lower()
    if name == CELLS or product(name) is not None:
        return CELLS
    return next((known for known in table()["atc"].values() if re.match(rf"{known}\b", name)), name)


def atc_for(name: str) -> str | None:
    """The ATC code of a drug, if one is known."""
    return next((code for code, known in table()["atc"].items() if known == name), None)


@cache
def specimens() -> dict[str, str]:
    """Matrix by specimen code or term (SNOMED CT, HL7 0487, CDISC; terms in upper case)."""
    return {word: matrix for matrix, words in table()["specimens"].items() for word in [*words, matrix.upper()]}


def _dotted(code: str) -> str:
    code = code.strip().upper()
    return code if "." in code or len(code) <= 3 else f"{code[:3]}.{code[3:]}"


@cache
def routes() -> dict[str, str]:
    """Short form of a route by SNOMED CT code or CDISC term."""
    return {word: short for short, words in table()["routes"].items() for word in words}
