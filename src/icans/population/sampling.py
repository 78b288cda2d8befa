"""Individual parameters: typical values, times what a patient's covariates do, times what nobody knows of the patient.

A parameter varies on its own scale (log, logit or none; ``parameters/*.toml`` of the model) with its SD ``iiv``. Part
of the deviation is shared: ``covariance.toml`` loads parameters on a few factors (inflammation, brain, ...), so that,
say, the production of IL-6, interferon gamma and ferritin rise together; the rest is the parameter's own. A share of
patients belongs to a class of low expanders (Mueller-Schoell 2021, Cancers 13:2782). Values outside a parameter's
bounds are drawn again, the own part first; how often, and what had to be set to a bound after all, is counted and told.

Every parameter and factor has a random stream of its own that is read from the start: patient i is the same whatever
the number of patients, and a new parameter of the model leaves all others as they were.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from icans.core.errors import ModelError, Problem
from icans.mechanism.parameters import Parameter, ParameterTable, unknown
from icans.population.covariates import normals

Array = npt.NDArray[np.float64]

#: Attempts to draw a value inside its bounds before it is set to the nearer bound.
ATTEMPTS = 60
FORMS = ("value", "power", "exponential", "flag")


@dataclass(frozen=True)
class Individuals:
    """Individual parameters of a population.

    ``values``: shape (n, parameters) in the order of the table. ``axes``: one standard normal column per factor, per
    parameter that varies on its own (``eta_<name>``) and ``z_burden``: the space in which populations are weighted.
    ``redrawn`` and ``clipped``: parameter -> how many patients were drawn again, and set to a bound.
    """

    names: tuple[str, ...]
    values: Array
    axes: pd.DataFrame
    low_expander: npt.NDArray[np.bool_]
    redrawn: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)

    def frame(self) -> pd.DataFrame:
        """One row per patient, one column per parameter."""
        return pd.DataFrame(self.values, columns=list(self.names))


@cache
def covariance() -> dict[str, Any]:
    """The contents of ``covariance.toml``: factors, their loadings, the class of low expanders."""
    return tomllib.loads((resources.files(__package__) / "covariance.toml").read_text(encoding="utf-8"))


@cache
def effects() -> tuple[dict[str, Any], ...]:
    """What covariates do to parameters: the entries of ``effects.toml``."""
    text = (resources.files(__package__) / "effects.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["effect"])


def individuals(
    table: ParameterTable, covariates: pd.DataFrame, seed: int, multipliers: Mapping[str, float] | None = None,
    shifts: Mapping[str, float] | None = None, first: int = 1,
) -> Individuals:  # fmt: skip
    """Parameters of the patients of ``covariates``.

    Parameters
    ----------
    table
        The model's parameters.
    covariates
        As of :func:`icans.population.covariates.draw_covariates`, for n patients.
    multipliers
        Parameter -> factor on its typical value (product, disease, calibration). On a logit scale the odds are
        multiplied. Names that the model does not have (a module left out) are ignored if they are parameters at all.
    shifts
        Factor -> how far its mean lies from 0 (in SDs).
    first
        Number of the first of the patients.

    Raises
    ------
    ModelError
        A covariate that is NaN or missing.
    """
    n = len(covariates)
    _check_covariates(covariates)
    factors = {
        name: normals(seed, f"factor {name}", n, first=first) + (shifts or {}).get(name, 0.0) for name in factor_names()
    }
    low = ndtr(normals(seed, "low expander", n, first=first)) < covariance()["low_expander"]["share"]
    values = np.empty((n, len(table)))
    axes: dict[str, Array] = {**factors, "z_burden": covariates["z_burden"].to_numpy(float)}
    redrawn: dict[str, int] = {}
    clipped: dict[str, int] = {}
    for place, row in enumerate(table.rows):
        typical = row.value * (multipliers or {}).get(row.name, 1.0) if row.transform != "logit" else row.value
        middle = _forward(row, np.full(n, typical)) + _log_factor(row, multipliers)
        fixed, middle = _covariate_part(row, covariates, middle)
        class_ = covariance()["low_expander"]["parameter"].get(row.name)
        if class_ is not None:
            middle = middle + np.where(low, np.log(class_), 0.0)
        sd = 0.0 if fixed else row.iiv
        column, own, again, set_ = _vary(row, middle, sd, factors, seed, first)
        values[:, place] = column
        if sd > 0.0:
            axes[f"eta_{row.name}"] = own
        if again:
            redrawn[row.name] = again
        if set_:
            clipped[row.name] = set_
    return Individuals(table.names, values, pd.DataFrame(axes), low, redrawn, clipped)


def factor_names() -> tuple[str, ...]:
    """Shared factors, in the order of ``covariance.toml``."""
    return tuple(covariance()["factor"])


def loadings(parameter: str) -> dict[str, float]:
    """Factor -> loading (a correlation) of a parameter."""
    return {
        name: entry["loading"][parameter]
        for name, entry in covariance()["factor"].items()
        if parameter in entry["loading"]
    }


def _forward(row: Parameter, value: Array) -> Array:
    if row.transform == "log":
        return np.log(value)
    if row.transform == "logit":
        return np.log(value) - np.log1p(-value)
    return value


def _backward(row: Parameter, value: Array) -> Array:
    if row.transform == "log":
        return np.exp(np.minimum(value, 700.0))
    if row.transform == "logit":
        return 1.0 / (1.0 + np.exp(-np.clip(value, -700.0, 700.0)))
    return value


def _log_factor(row: Parameter, multipliers: Mapping[str, float] | None) -> float:
    if row.transform != "logit":
        return 0.0  # already in the typical value
    return float(np.log((multipliers or {}).get(row.name, 1.0)))


def _covariate_part(row: Parameter, covariates: pd.DataFrame, middle: Array) -> tuple[bool, Array]:
    """Whether covariates alone set the parameter, and the centre of every patient on the parameter's scale."""
    fixed = False
    for entry in effects():
        if entry["parameter"] != row.name:
            continue
        known = covariates[entry["covariate"]].to_numpy(float)
        if entry["form"] == "value":
            fixed = True
            middle = _forward(row, (known - entry.get("offset", 0.0)) * entry.get("scale", 1.0))
        elif entry["form"] == "power":
            fixed |= bool(entry.get("alone", False))
            middle = middle + entry["exponent"] * np.log(known / entry["reference"])
        elif entry["form"] == "exponential":
            middle = middle + entry["slope"] * (known - entry["reference"])
        else:
            middle = middle + np.log(entry["factor"]) * known
    return fixed, middle


def _vary(
    row: Parameter, middle: Array, sd: float, factors: Mapping[str, Array], seed: int, first: int
) -> tuple[Array, Array, int, int]:
    """Values within bounds, the own deviations, how many were drawn again, how many were set to a bound."""
    n = len(middle)
    if sd <= 0.0:
        value = _backward(row, middle)
        out = (value < row.lower) | (value > row.upper)
        return np.clip(value, row.lower, row.upper), np.zeros(n), 0, int(out.sum())
    mine = loadings(row.name)
    shared = sum((load * factors[name] for name, load in mine.items()), np.zeros(n))
    rest = np.sqrt(1.0 - sum(load**2 for load in mine.values()))
    own = normals(seed, f"eta {row.name}", n, first=first)
    value = _backward(row, middle + sd * (shared + rest * own))
    out = (value < row.lower) | (value > row.upper)
    again = int(out.sum())
    for attempt in range(1, ATTEMPTS + 1):
        if not out.any():
            break
        own = np.where(out, normals(seed, f"eta {row.name}", n, attempt, first), own)
        value = np.where(out, _backward(row, middle + sd * (shared + rest * own)), value)
        out = (value < row.lower) | (value > row.upper)
    return np.clip(value, row.lower, row.upper), own, again, int(out.sum())


def _check_covariates(covariates: pd.DataFrame) -> None:
    wanted = {entry["covariate"] for entry in effects()} | {"z_burden"}
    problems = [unknown("covariate", name, covariates.columns) for name in sorted(wanted - set(covariates.columns))]
    for name in sorted(wanted & set(covariates.columns)):
        column = covariates[name].to_numpy(float)
        for patient in np.flatnonzero(~np.isfinite(column))[:3]:
            problems.append(
                Problem("covariates", int(patient) + 1, name, repr(float(column[patient])), "a number",
                        "Give the patient's value; none is guessed.")
            )  # fmt: skip
    if problems:
        raise ModelError(problems)


def check_tables(table: ParameterTable) -> list[Problem]:
    """Problems of ``effects.toml`` and ``covariance.toml`` against a model's parameters."""
    problems = []
    for entry in effects():
        if entry["parameter"] not in table:
            problems.append(unknown("parameter", entry["parameter"], table.names))
        if entry["form"] not in FORMS:
            problems.append(
                Problem("effects.toml", None, entry["parameter"], entry["form"], f"one of {FORMS}", "Choose.")
            )
        elif entry["form"] != "value" and getattr(table.get(entry["parameter"]), "transform", "") == "none":
            remedy = "The parameter varies on its own scale, where factors have no meaning."
            problems.append(Problem("effects.toml", None, entry["parameter"], entry["form"], "form 'value'", remedy))
    named = {p for entry in covariance()["factor"].values() for p in entry["loading"]}
    problems += [unknown("parameter", name, table.names) for name in sorted(named - set(table.names))]
    for name in sorted(named):
        total = sum(load**2 for load in loadings(name).values())
        if total > 1.0:
            expected = "loadings whose squares add to at most 1"
            problems.append(Problem("covariance.toml", None, name, f"{total:g}", expected, "Lower them."))
    return problems
