"""A scenario from the command line: a file, flags, or a file of which flags change parts."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icans.core.errors import ConfigError, Problem
from icans.study.simulate_config import Scenario, make_scenario, read_raw

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf|-inf"
_DOSE = re.compile(
    rf"^(?P<drug>\S+)\s+(?P<amount>{_NUMBER})(?:\s*(?P<unit>[^\s\d]\S*|1e\d+ cells))?"
    rf"(?:\s+(?:on\s+)?day\s+(?P<day>{_NUMBER})|\s+at\s+(?P<time_h>{_NUMBER})\s*h)"
    rf"(?:\s+over\s+(?P<duration_h>{_NUMBER})\s*h)?(?:\s+every\s+(?P<every_h>{_NUMBER})\s*h\s*x\s*(?P<count>\d+))?"
    r"(?:\s+(?P<route>iv|sc|po|im|it))?$"
)
DOSE_FORM = "'tocilizumab 8 mg/kg day 2 [over 1 h] [every 24 h x 3] [iv|sc|po]', or '... at 48 h'"


def scenario_of(
    file: Path | None,
    *,
    simulation: Mapping[str, Any],
    patients: Mapping[str, Any],
    regimens: Sequence[str] = (),
    doses: Sequence[str] = (),
    covariates: Sequence[str] = (),
    parameters: Sequence[str] = (),
) -> Scenario:
    """A scenario; flags that are None leave what the file (or the default) says.

    Parameters
    ----------
    file
        A scenario file, or None.
    simulation, patients
        Settings of these sections.
    regimens
        One arm for each: names of regimens joined by ``+``, or ``none``.
    doses
        As :data:`DOSE_FORM`, given in every arm.
    covariates, parameters
        ``name=value``.

    Raises
    ------
    ConfigError
        With every problem of file and flags.
    """
    raw = read_raw(file) if file is not None else {}
    problems: list[Problem] = []
    for section, given in (("simulation", simulation), ("patients", patients)):
        kept = {k: v for k, v in given.items() if v is not None}
        if kept:
            raw[section] = {**raw.get(section, {}), **kept}
    for key, texts in (("covariates", covariates), ("parameters", parameters)):
        found = _pairs(key, texts, problems)
        if found:
            old = raw.get("patients", {})
            raw["patients"] = {**old, key: {**old.get(key, {}), **found}}
    entries = [e for text in doses if (e := _dose(text, problems)) is not None]
    if regimens or entries:
        if file is not None and raw.get("arms"):
            problems.append(
                Problem("options", None, "--regimen, --dose", None, "no arms in a file and on the command line at once",
                        "Add the arm to the file, or leave the file out.")
            )  # fmt: skip
        raw["arms"] = [_arm(name, entries) for name in regimens or ("none",)]
    where = str(file) if file is not None else "options"
    try:
        made = make_scenario(raw, file=where)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    return made


def _arm(text: str, doses: list[dict[str, Any]]) -> dict[str, Any]:
    names = [part.strip() for part in text.split("+") if part.strip() not in ("none", "")]
    title = " + ".join(n.replace("_", " ") for n in names)
    if not title:
        title = "Product alone" if not doses else "Product and doses"
    return {"name": title[:48], "regimens": names, "doses": doses}


def _pairs(key: str, texts: Sequence[str], problems: list[Problem]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        try:
            if not mark:
                raise ValueError
            found[name.strip()] = tomllib.loads(f"x = {value.strip()}")["x"]
        except ValueError:
            problems.append(Problem("options", None, key, text, "name=value, the value a number, true or false",
                                    "Write for example age_y=71."))  # fmt: skip
    return found


def _dose(text: str, problems: list[Problem]) -> dict[str, Any] | None:
    match = _DOSE.match(text.strip())
    if match is None:
        problems.append(Problem("options", None, "--dose", text, f"a dose as {DOSE_FORM}", "Write it so."))
        return None
    found: dict[str, Any] = {k: v for k, v in match.groupdict().items() if v is not None}
    for name in ("amount", "day", "time_h", "duration_h", "every_h"):
        if name in found:
            found[name] = float(found[name])
    if "count" in found:
        found["count"] = int(found["count"])
    if found.get("unit") in ("day", "at", "on"):  # "tocilizumab 8 day 2": the unit was left out
        del found["unit"]
    return found


def command_line() -> str:
    """What was typed, for the page."""
    return shlex.join(["icans", *sys.argv[1:]])
