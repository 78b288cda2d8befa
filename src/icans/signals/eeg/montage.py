"""Derivations of a set of electrodes: longitudinal bipolar chains, average reference, regions and neighbours."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from icans.signals.eeg.channels import side

Array = npt.NDArray[np.float64]

STANDARD = ("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8", "P7", "P3", "Pz", "P4", "P8",
            "O1", "O2")  # fmt: skip
#: The longitudinal bipolar montage (American Clinical Neurophysiology Society 2016, LB-18.1; recalled).
CHAINS = (
    ("Fp1", "F7", "T7", "P7", "O1"),
    ("Fp2", "F8", "T8", "P8", "O2"),
    ("Fp1", "F3", "C3", "P3", "O1"),
    ("Fp2", "F4", "C4", "P4", "O2"),
    ("Fz", "Cz", "Pz"),
)
POSTERIOR = ("O1", "O2", "P3", "P4", "Pz", "P7", "P8")
FRONTAL = ("Fp1", "Fp2", "F3", "F4", "F7", "F8", "Fz")
#: Fewer referential channels than this give no average reference worth the name.
AVERAGE_NEEDS = 6


@dataclass(frozen=True)
class Derivation:
    """Signals made from electrodes: ``names`` and the matrix (derivations, channels) that makes them."""

    names: tuple[str, ...]
    matrix: Array

    def of(self, data: Array) -> Array:
        """Signals, shape (derivations, samples), of ``data``, shape (channels, samples)."""
        return self.matrix @ data

    def sides(self) -> Array:
        """-1 left, 0 midline, +1 right, one a derivation."""
        return np.array([{"left": -1.0, "middle": 0.0, "right": 1.0}[side(name)] for name in self.names])


def bipolar(names: Sequence[str]) -> Derivation:
    """Longitudinal bipolar derivations of the electrodes that are there.

    Channels that are derivations in the file stay as they are. Where no chain can be made (one or two leads), the
    channels themselves are the derivations.
    """
    made: list[tuple[str, dict[str, float]]] = [(n, {n: 1.0}) for n in names if "-" in n]
    for chain in CHAINS:
        made += [(f"{a}-{b}", {a: 1.0, b: -1.0}) for a, b in pairwise(chain) if a in names and b in names]
    if not made:
        made = [(name, {name: 1.0}) for name in names]
    return _derivation(dict(made), names)


def average(names: Sequence[str]) -> Derivation:
    """Every referential channel against the mean of all; as they are where there are too few, or derivations."""
    referential = [name for name in names if "-" not in name]
    if len(referential) < AVERAGE_NEEDS:
        return _derivation({name: {name: 1.0} for name in names}, names)
    share = 1.0 / len(referential)
    weights = {name: {other: (other == name) - share for other in referential} for name in referential}
    return _derivation(weights, names)


def _derivation(weights: dict[str, dict[str, float]], names: Sequence[str]) -> Derivation:
    matrix = np.zeros((len(weights), len(names)))
    place = {name: i for i, name in enumerate(names)}
    for row, parts in enumerate(weights.values()):
        for name, weight in parts.items():
            matrix[row, place[name]] = weight
    return Derivation(tuple(weights), matrix)


@cache
def positions() -> dict[str, tuple[float, float, float]]:
    """Unit vectors of the electrodes on the head (x right, y front, z up), from ``positions.toml``."""
    raw = tomllib.loads((resources.files(__package__) / "positions.toml").read_text(encoding="utf-8"))
    return {name: (x, y, z) for name, (x, y, z) in raw.items()}


def neighbour_weights(names: Sequence[str], count: int = 4) -> Array:
    """Weights (channels, channels) that predict each channel from its ``count`` nearest ones, by inverse distance.

    Channels without a known place get a row of zeros.
    """
    places = positions()
    known = [name for name in names if name in places]
    weights = np.zeros((len(names), len(names)))
    if len(known) < count + 1:
        return weights
    xyz = np.array([places[name] for name in known])
    index = [list(names).index(name) for name in known]
    distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    for row, i in enumerate(index):
        nearest = np.argsort(distance[row])[:count]
        strength = 1.0 / distance[row, nearest] ** 2
        weights[i, [index[j] for j in nearest]] = strength / strength.sum()
    return weights
