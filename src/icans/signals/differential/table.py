"""The table of priors and likelihoods (``likelihoods.toml``), checked once when it is read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """One finding: its states and how often each is seen under each diagnosis.

    Attributes
    ----------
    name, label, group
        Findings of one group say partly the same.
    states
        State to likelihoods, shape (diagnoses,).
    sd
        Uncertainty of every log likelihood.
    status, source
        Whether read, recalled or assumed, and where.
    """

    name: str
    label: str
    group: str
    states: dict[str, Array]
    sd: float
    status: str
    source: str


@dataclass(frozen=True)
class Prior:
    """Shares of the diagnoses in one setting before any finding, shape (diagnoses,); 0 where one cannot be."""

    name: str
    label: str
    shares: Array
    sd: float
    status: str
    source: str


@cache
def raw() -> dict:
    """The file as written."""
    return tomllib.loads((resources.files(__package__) / "likelihoods.toml").read_text(encoding="utf-8"))


@cache
def diagnoses() -> tuple[str, ...]:
    """Names of the diagnoses, in the order of every array."""
    return tuple(raw()["diagnoses"])


@cache
def labels() -> dict[str, str]:
    """Diagnoses and answers in words."""
    return {**raw()["labels"], "cannot_tell": "cannot tell"}


@cache
def evidence() -> dict[str, Evidence]:
    """Every finding that counts."""
    found = {}
    for name, entry in raw()["evidence"].items():
        states = {state: _row(shares) for state, shares in entry["states"].items()}
        total = np.sum(list(states.values()), axis=0)
        if not np.allclose(total, 1.0, atol=1e-9):
            raise ValueError(f"likelihoods of {name!r} add up to {total}, not to 1")
        about = {key: entry[key] for key in ("label", "group", "sd", "status", "source")}
        found[name] = Evidence(name=name, states=states, **about)
    return found


@cache
def priors() -> dict[str, Prior]:
    """Priors by setting."""
    found = {}
    for name, entry in raw()["priors"].items():
        shares = _row(entry["shares"])
        if not np.isclose(shares.sum(), 1.0, atol=1e-9):
            raise ValueError(f"priors of {name!r} add up to {shares.sum()}, not to 1")
        about = {key: entry[key] for key in ("label", "sd", "status", "source")}
        found[name] = Prior(name=name, shares=shares, **about)
    return found


def decision(name: str) -> float:
    """A number of the rule that turns shares into an answer."""
    return float(raw()["decision"][name])


def cut(name: str) -> float:
    """A cut that turns a number into a state."""
    return float(raw()["cuts"][name])


def _row(shares: dict[str, float]) -> Array:
    return np.array([float(shares[name]) for name in raw()["diagnoses"]])
