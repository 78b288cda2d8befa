"""``cohort.toml``: what a folder of tables says about itself."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from icans.cohort.safety import DEFAULT_LIMITS, Limits, read_text
from icans.cohort.vocabulary import Analyte, analytes, near
from icans.core.errors import DataError, Problem
from icans.core.provenance import Provenance

FILE = "cohort.toml"
_TEXTS = ("name", "source", "citation", "licence")
_KEYS = (*_TEXTS, "synthetic", "notes", "infusion_day", "analytes", "derived_from")


@dataclass(frozen=True)
class Description:
    """Name, origin and own analytes of a cohort folder."""

    name: str = ""
    source: str = ""
    citation: str = ""
    licence: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    analytes: dict[str, Analyte] = field(default_factory=dict)
    derived_from: dict[str, str] = field(default_factory=dict)


def read_description(folder: Path, limits: Limits = DEFAULT_LIMITS) -> Description:
    """The description of a folder; an empty one where there is no ``cohort.toml``.

    Raises
    ------
    DataError
        With every problem of the file.
    """
    path = folder / FILE
    if not path.exists():
        return Description()
    try:
        content = tomllib.loads(read_text(path, limits).decode("utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError([_problem(None, None, f"valid TOML ({error})", "Correct the file.")]) from error
    problems = _faults(content)
    own, more = _own_analytes(content.get("analytes", {}))
    if problems or more:
        raise DataError(problems + more)
    texts = {key: content.get(key, "") for key in _TEXTS}
    derived = {str(k): str(v) for k, v in content.get("derived_from", {}).items()}
    notes = tuple(content.get("notes", ()))
    return Description(
        **texts, synthetic=content.get("synthetic", False), notes=notes, analytes=own, derived_from=derived
    )


def description_text(name: str, provenance: Provenance, extra: Mapping[str, Analyte] | None = None) -> str:
    """``cohort.toml`` for a cohort: the inverse of :func:`read_description`."""
    lines = [
        "# Time counts in hours from the infusion: the infusion is time 0, on day 0.",
        "infusion_day = 0",
        f"name = {_toml(name)}",
        f"synthetic = {_toml(provenance.synthetic)}",
        f"source = {_toml(provenance.source)}",
        f"citation = {_toml(provenance.citation)}",
        f"licence = {_toml(provenance.licence)}",
        f"notes = {_toml(list(provenance.notes))}",
    ]
    if provenance.inputs:
        lines += ["", "# SHA-256 of the files that this cohort was made from.", "[derived_from]"]
        lines += [f"{_toml(file)} = {_toml(digest)}" for file, digest in provenance.inputs.items()]
    for analyte in (extra or {}).values():
        lines += ["", f"[analytes.{_toml(analyte.name)}]"]
        for item in fields(analyte):
            value = getattr(analyte, item.name)
            if item.name != "name" and value is not None:
                lines.append(f"{item.name} = {_toml(list(value) if isinstance(value, tuple) else value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _faults(content: dict[str, Any]) -> list[Problem]:
    problems = []
    for key in content:
        if key not in _KEYS:
            problems.append(_problem(key, None, f"a key of {', '.join(_KEYS)}", f"Remove it{near(key, _KEYS) or '.'}"))
    for key in _TEXTS:
        if not isinstance(content.get(key, ""), str):
            problems.append(_problem(key, content[key], "text", "Put it in quotation marks."))
    if not isinstance(content.get("synthetic", False), bool):
        problems.append(_problem("synthetic", content["synthetic"], "true or false", "Write true or false."))
    notes = content.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        problems.append(_problem("notes", notes, "a list of texts", 'Write notes = ["..."].'))
    for key in ("analytes", "derived_from"):
        if not isinstance(content.get(key, {}), dict):
            problems.append(_problem(key, content[key], "a table", f"Write [{key}]."))
    day = content.get("infusion_day", 0)
    if isinstance(day, bool) or day != 0:
        remedy = "Shift the times so that time_h is 0 at the infusion (a day 1 of infusion moves by 24 h)."
        problems.append(_problem("infusion_day", day, "0", remedy))
    return problems


def _own_analytes(entries: Any) -> tuple[dict[str, Analyte], list[Problem]]:
    found: dict[str, Analyte] = {}
    problems: list[Problem] = []
    if not isinstance(entries, dict):
        return found, problems
    required = [f.name for f in fields(Analyte) if f.default is MISSING and f.name != "name"]
    known = [f.name for f in fields(Analyte) if f.name != "name"]
    for name, entry in entries.items():
        place = f"analytes.{name}"
        if not isinstance(entry, dict):
            problems.append(_problem(place, entry, "a table", "Write it as a table of its own."))
            continue
        wrong = [key for key in entry if key not in known] + [key for key in required if key not in entry]
        if wrong:
            expected = f"the keys {', '.join(required)} (and {', '.join(set(known) - set(required))} at will)"
            problems.append(_problem(place, ", ".join(wrong), expected, "Add or remove these keys."))
            continue
        try:
            found[name] = _analyte(name, entry)
        except (TypeError, ValueError) as error:
            problems.append(_problem(place, str(entry)[:80], f"an analyte ({error})", "Correct the entry."))
            continue
        if analytes().get(name, found[name]) != found[name]:
            problems.append(_problem(place, name, "a name that the vocabulary does not have", "Choose another name."))
    return found, problems


def _analyte(name: str, entry: dict[str, Any]) -> Analyte:
    from icans.core.errors import UnitError
    from icans.core.units import ucum

    for key in ("label", "unit", "matrix", "group"):
        if not isinstance(entry[key], str):
            raise TypeError(f"{key} is no text")
    for key in ("low", "high", "molar_mass"):
        if isinstance(entry.get(key, 0), bool) or not isinstance(entry.get(key, 0), (int, float)):
            raise TypeError(f"{key} is no number")
    for key in ("log", "catalytic"):
        if not isinstance(entry.get(key, False), bool):
            raise TypeError(f"{key} is neither true nor false")
    for key in ("loinc", "also"):
        if not all(isinstance(text, str) for text in entry.get(key, [])):
            raise TypeError(f"{key} is no list of texts")
    try:
        ucum(entry["unit"])
    except UnitError as error:
        raise ValueError(str(error)) from error
    lists = {key: tuple(entry.get(key, ())) for key in ("loinc", "also")}
    return Analyte(name=name, **{**entry, **lists})


def _problem(key: str | None, value: Any, expected: str, remedy: str) -> Problem:
    return Problem(FILE, None, key, None if value is None else str(value), expected, remedy)
