"""What weight, sex, albumin and the like do to the pharmacokinetics of therapies (``drug_covariates.toml``)."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from icans.core.errors import ModelError, Problem
from icans.mechanism.parameters import unknown


@dataclass(frozen=True, slots=True)
class Effect:
    """A parameter is multiplied by ``(covariate/reference)^exponent``, or by ``factor`` where the covariate is true.

    ``unit`` is that of the covariate; empty where it is true or false.
    """

    parameter: str
    covariate: str
    form: str
    source: str
    status: str
    exponent: float = 0.0
    reference: float = 1.0
    unit: str = ""
    factor: float = 1.0

    def of(self, value: float) -> float:
        """The factor for a value of the covariate."""
        if self.form == "flag":
            return self.factor if value else 1.0
        return float((value / self.reference) ** self.exponent)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((resources.files(__package__) / "drug_covariates.toml").read_text(encoding="utf-8"))


@cache
def effects() -> tuple[Effect, ...]:
    """Every documented effect."""
    return tuple(Effect(**entry) for entry in _table()["effect"])


def correlations() -> dict[tuple[str, str], float]:
    """Published correlations of parameters between patients, on the scale on which they vary."""
    return {(e["parameters"][0], e["parameters"][1]): float(e["value"]) for e in _table()["correlation"]}


def factors(covariates: Mapping[str, float]) -> dict[str, float]:
    """Factor of every parameter on which these covariates act; those that are not given stay at their reference.

    Parameters
    ----------
    covariates
        For example ``{"weight_kg": 92, "female": True, "albumin": 31}`` in the units of ``drug_covariates.toml``.

    Raises
    ------
    ModelError
        A covariate of which no effect is known, or a value that is not above 0.
    """
    known = {e.covariate: e for e in effects()}
    problems = [unknown("covariate of a therapy", name, known) for name in covariates if name not in known]
    for name, value in covariates.items():
        if name in known and known[name].form == "power" and not (math.isfinite(value) and value > 0):
            problems.append(Problem("covariates", None, name, repr(value), f"a number above 0 {known[name].unit}",
                                    "Correct it, or leave it out."))  # fmt: skip
    if problems:
        raise ModelError(problems)
    made: dict[str, float] = {}
    for effect in effects():
        if effect.covariate in covariates:
            made[effect.parameter] = made.get(effect.parameter, 1.0) * effect.of(covariates[effect.covariate])
    return made
