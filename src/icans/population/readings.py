"""How a latent state is read: the contents of ``schemes.toml`` with what the calibration puts in their place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from icans.population.covariates import normals
from icans.population.observe import Array, Scheme
from icans.population.quantities import Readings


@cache
def schemes() -> dict[str, Any]:
    """The contents of ``schemes.toml``."""
    return tomllib.loads((resources.files(__package__) / "schemes.toml").read_text(encoding="utf-8"))


def readings(changes: Mapping[str, float] | None = None) -> Readings:
    """Cuts and stray shares; ``changes`` replaces values by path.

    Paths: ``crs.<scheme>.<grade>``, ``nt.<scheme>.<grade>``, ``nt.<scheme>.stray``, ``.onset`` or ``.duration``,
    ``cut.<name>``.

    Raises
    ------
    KeyError
        A path that leads nowhere.
    """
    table = schemes()
    made: dict[str, dict[str, Scheme]] = {}
    for toxicity in ("crs", "nt"):
        made[toxicity] = {}
        for name, entry in table[toxicity].items():
            fields = {k: v for k, v in entry.items() if k not in ("source", "status", "cuts")}
            made[toxicity][name] = Scheme(tuple(entry["cuts"]), **fields)
    cut = {name: float(value) for name, value in table["cut"].items() if isinstance(value, (int, float))}
    for path, value in (changes or {}).items():
        _place(made, cut, path.split("."), float(value))
    return Readings(made["crs"], made["nt"], cut)


def _place(made: dict[str, dict[str, Scheme]], cut: dict[str, float], path: list[str], value: float) -> None:
    from dataclasses import replace

    if path[0] == "cut":
        if path[1] not in cut:
            raise KeyError(".".join(path))
        cut[path[1]] = value
        return
    scheme = made[path[0]][path[1]]
    if path[2] == "stray":
        made[path[0]][path[1]] = replace(scheme, stray=value)
    elif path[2] == "onset":
        made[path[0]][path[1]] = replace(scheme, stray_onset_d=value)
    elif path[2] == "duration":
        made[path[0]][path[1]] = replace(scheme, stray_duration_d=value)
    else:
        cuts = list(scheme.cuts)
        cuts[int(path[2]) - 1] = value
        made[path[0]][path[1]] = replace(scheme, cuts=tuple(cuts))


def reading_errors(n: int, seed: int) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Errors of reading, stray events and other chances of patients 1 to n (see :class:`.quantities.View`)."""
    from scipy.special import ndtr

    sd = schemes()["noise"]
    noise = {name: np.asarray(sd[name] * normals(seed, f"reading {name}", n)) for name in ("crs", "nt")}
    stray = {name: np.asarray(ndtr(normals(seed, f"stray {name}", n))) for name in ("any", "mild")}
    stray |= {name: normals(seed, f"stray {name}", n) for name in ("onset", "duration")}
    return noise, stray, {"seizure": np.asarray(ndtr(normals(seed, "chance seizure", n)))}
