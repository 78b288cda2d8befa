"""Studies: simulated arms put together as a study saw them, with weights."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.population import care as cares
from icans.population.arms import Arm, Key
from icans.population.observe import first_crossing
from icans.population.quantities import Readings, View
from icans.population.readings import reading_errors
from icans.population.sampling import factor_names
from icans.population.tilt import weights_of

Array = npt.NDArray[np.float64]

#: Own deviations, beside the factors and the burden, on which populations may be weighted.
OWN_AXES = ("eta_car_rho", "eta_car_priming", "eta_vaso_on", "eta_neuro_off")


@cache
def tables() -> dict[str, Any]:
    """The contents of ``studies.toml``."""
    return tomllib.loads((resources.files(__package__) / "studies.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Study:
    """A study: its arms with shares, and how it graded; see ``studies.toml``."""

    name: str
    arms: tuple[tuple[Key, float], ...]
    crs: str
    nt: str
    free: bool
    like: str
    select: str


def study(name: str) -> Study:
    """A study by name."""
    entry = tables()[name]
    regimen = entry.get("regimen", "")
    arms = tuple((Key(p, d, entry["care"], regimen), float(share)) for p, d, share in entry["arm"])
    return Study(name, arms, entry.get("crs", "astct"), entry.get("nt", "astct"), entry.get("free", False),
                 entry.get("like", ""), entry.get("select", ""))  # fmt: skip


def keys(names: list[str]) -> list[Key]:
    """The arms of these studies, each once."""
    return list(dict.fromkeys(key for name in names for key, _ in study(name).arms))


def axis_names() -> tuple[str, ...]:
    """Axes on which studies are weighted, in order."""
    return ("z_burden", *factor_names(), *OWN_AXES)


def axes_of(frame: pd.DataFrame) -> Array:
    """The axes of :func:`axis_names`, shape (n, k)."""
    return np.column_stack([frame[name].to_numpy(float) for name in axis_names()])


def view(
    name: str, arms: Mapping[Key, Arm] | Callable[[Key], Arm], readings: Readings, seed: int,
    tilts: Mapping[str, Array] | None = None, memo: dict[Any, Any] | None = None,
) -> View:  # fmt: skip
    """A study's population: its arms stacked, weighted by shares and by the study's coefficients.

    Parameters
    ----------
    arms
        Simulated arms by key, or what gives them.
    tilts
        Study -> coefficients on :func:`axis_names`. A study that is ``like`` another has the other's.
    memo
        Kept between calls: studies of the same arms share what has been graded.
    """
    about = study(name)
    get = arms if callable(arms) else arms.__getitem__
    parts = [get(key) for key, _ in about.arms]
    memo = {} if memo is None else memo
    mark = (tuple(id(a) for a in parts), id(readings))
    if mark not in memo:  # what is remembered holds the arms and readings, so that no other object has their identity
        memo[mark] = (_stack(parts, readings, seed, about.arms[0][0].care), parts, readings)
    whole: View = memo[mark][0]
    base = np.concatenate([np.where(a.ok, s / max(int(a.ok.sum()), 1), 0.0) for a, (_, s) in zip(parts, about.arms)])
    coefficients = (tilts or {}).get(about.like or name)
    weights = base / base.sum()
    if coefficients is not None:
        weights = weights_of(np.vstack([axes_of(a.individuals.axes) for a in parts]), coefficients, base)
    made = replace(whole, weights=weights, crs_scheme=about.crs, nt_scheme=about.nt)
    return _selected(made, about.select) if about.select else made


def _stack(parts: list[Arm], readings: Readings, seed: int, care: str) -> View:
    """Arms on top of each other, with equal weights."""
    errors = [reading_errors(len(a.patients), seed) for a in parts]
    noise, stray, uniform = ({k: np.concatenate([e[i][k] for e in errors]) for k in errors[0][i]} for i in range(3))
    # who failed has no weight, so what stands in its place does not matter
    series = {k: np.nan_to_num(np.concatenate([a.series[k] for a in parts])) for k in parts[0].series}
    covariates = pd.concat([a.patients for a in parts], ignore_index=True)
    days = parts[0].days
    treated, steroid = _care(care, days, series, readings)
    n = len(covariates)
    return View(days, series, covariates, np.full(n, 1.0 / n), readings, noise, stray, uniform, treated, steroid)


def _care(
    care: str, days: Array, series: Mapping[str, Array], readings: Readings
) -> tuple[Array, npt.NDArray[np.bool_]]:  # fmt: skip
    """Day of the first immunomodulator (NaN: none) and whether steroids were given for neurotoxicity."""
    n = len(series["crs_severity"])
    first, steroid = np.full(n, np.nan), np.zeros(n, dtype=bool)
    for trigger in cares.triggers(care, readings.crs["astct"].cuts, readings.nt["astct"].cuts, typical_kg=70.0):
        reached = first_crossing(days, series[trigger.quantity], trigger.threshold)
        first = np.fmin(first, reached)
        if trigger.quantity == "encephalopathy":
            steroid |= np.isfinite(reached)
    return first, steroid


def _selected(made: View, rule: str) -> View:
    if rule == "intensive care":
        kept = (made.graded("crs").grade >= 2) | (made.graded("nt").grade >= 3)
    elif rule.startswith("not "):
        kept = ~made.covariates[rule.removeprefix("not ")].to_numpy(bool)
    else:
        kept = made.covariates[rule].to_numpy(bool)
    weights = made.weights * kept
    return replace(made, weights=weights / max(weights.sum(), 1e-300))
