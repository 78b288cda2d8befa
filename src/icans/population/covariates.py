"""What is known of a virtual patient before infusion: age, sex, weight, tumour burden, history, first laboratory.

Distributions by disease stand in ``covariates.toml``. Every covariate has a random stream of its own, read from the
start, so that patient i is the same whatever the number of patients and whatever other covariates there are.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from icans.core.errors import ModelError
from icans.core.random import stream
from icans.mechanism.parameters import unknown

Array = npt.NDArray[np.float64]


@cache
def tables() -> dict[str, Any]:
    """The contents of ``covariates.toml``."""
    return tomllib.loads((resources.files(__package__) / "covariates.toml").read_text(encoding="utf-8"))


def diseases() -> tuple[str, ...]:
    """Diseases that have distributions."""
    return tuple(name for name in tables() if name != "default")


@cache
def distribution(disease: str) -> dict[str, dict[str, Any]]:
    """Kinds (``numeric``, ``share``, ``count``) -> covariate -> its distribution in a disease, defaults filled in.

    Raises
    ------
    ModelError
        There is no such disease.
    """
    if disease not in diseases():
        raise ModelError([unknown("disease", disease, diseases())])
    base, own = tables()["default"], tables()[disease]
    found: dict[str, dict[str, Any]] = {}
    for kind in ("numeric", "share", "count"):
        found[kind] = {}
        for name, entry in base[kind].items():
            mine = own.get(kind, {}).get(name)
            found[kind][name] = (
                {**entry, **(mine or {})} if isinstance(entry, dict) else entry if mine is None else mine
            )
    return found


def normals(seed: int, key: str, n: int, attempt: int = 0, first: int = 1) -> Array:
    """Standard normal numbers under a name of n patients numbered from ``first``; each has theirs whatever n is."""
    return stream(seed, "population", key, attempt).standard_normal(first - 1 + n)[first - 1 :]


def draw_covariates(n: int, disease: str, seed: int, first: int = 1) -> pd.DataFrame:
    """Covariates of ``n`` patients numbered from ``first``; and ``z_burden``, the normal number behind the burden.

    Returns
    -------
    One row per patient: numbers in the units of ``covariates.toml``; histories as True or False.

    Raises
    ------
    ModelError
        There is no such disease.
    """
    about = distribution(disease)
    z_burden = normals(seed, "covariate burden", n, first=first)
    columns: dict[str, Any] = {"disease": np.repeat(disease, n)}
    for name, entry in about["numeric"].items():
        shared = entry["burden"]
        own = z_burden if shared == 1.0 else normals(seed, f"covariate {name}", n, first=first)
        z = shared * z_burden + np.sqrt(1.0 - shared**2) * own
        z = _inside(z, entry, seed, name, first)
        columns[name] = _value(z, entry)
        if name == "burden":
            z_burden = z
    for name, share in about["share"].items():
        columns[name] = ndtr(normals(seed, f"covariate {name}", n, first=first)) < share
    for name, entry in about["count"].items():
        beyond = -entry["mean_beyond"] * np.log(ndtr(normals(seed, f"covariate {name}", n, first=first)))
        columns[name] = np.minimum(entry["least"] + np.floor(beyond), entry["most"]).astype(int)
    return pd.DataFrame(columns | {"z_burden": z_burden})


def _value(z: Array, entry: dict[str, Any]) -> Array:
    if entry["scale"] == "log":
        return np.asarray(entry["centre"] * np.exp(entry["sd"] * z))
    return np.asarray(entry["centre"] + entry["sd"] * z)


def _inside(z: Array, entry: dict[str, Any], seed: int, name: str, first: int, attempts: int = 100) -> Array:
    """Draw again where the value is out of its limits."""
    for attempt in range(1, attempts + 1):
        value = _value(z, entry)
        out = (value < entry["low"]) | (value > entry["high"])
        if not out.any():
            return z
        z = np.where(out, normals(seed, f"covariate {name}", len(z), attempt, first), z)
    raise AssertionError(f"the limits of {name} leave no room")  # a mistake in the table, found by its test
