"""Levers: what a treatment or covariate does to the same virtual patients, against the sign that trials report."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from icans.population.arms import Arm, Key
from icans.population.artefact import Calibration
from icans.population.calibrate import Bench
from icans.population.quantities import View, evaluate
from icans.population.readings import reading_errors

#: A change of a share within so many points is none.
FLAT = 12.0


@dataclass(frozen=True)
class Effect:
    """One expectation of a lever: value before and after, expected sign, and whether it has it."""

    lever: str
    quantity: str
    before: float
    after: float
    expected: str
    published: str
    source: str

    @property
    def right(self) -> bool:
        """Whether the difference has the expected sign."""
        move = self.after - self.before
        if self.expected == "flat":
            return abs(move) <= FLAT
        return bool(move > 0) if self.expected == "up" else bool(move < 0)


@cache
def tables() -> tuple[dict[str, Any], ...]:
    """The entries of ``levers.toml``."""
    return tuple(tomllib.loads((resources.files(__package__) / "levers.toml").read_text(encoding="utf-8"))["lever"])


def _key(parts: Sequence[str], change: Sequence[Sequence[Any]] = ()) -> Key:
    made = tuple((str(n), str(how), float(v)) for n, how, v in change)
    return Key(parts[0], parts[1], parts[2], parts[3] if len(parts) > 3 else "", made)


def _view(arm: Arm, calibration: Calibration, seed: int) -> View:
    noise, stray, uniform = reading_errors(len(arm.patients), seed)
    n = len(arm.patients)
    series = {k: np.nan_to_num(v).astype(float) for k, v in arm.series.items()}
    weights = arm.ok / arm.ok.sum()
    return View(arm.days, series, arm.patients, weights, calibration.readings, noise, stray, uniform,
                np.full(n, np.nan), np.zeros(n, dtype=bool))  # fmt: skip


def effects_of_levers(bench: Bench, calibration: Calibration, names: Sequence[str] | None = None) -> list[Effect]:
    """Every expectation of the levers (or of those named), on the bench's patients; all count alike."""
    made = []
    for entry in tables():
        if names is not None and entry["name"] not in names:
            continue
        keys = _key(entry["base"], entry.get("against", ())), _key(entry["changed"], entry.get("change", ()))
        seen = [_view(bench.arm(k, calibration.factors, calibration.readings), calibration, bench.seed) for k in keys]
        for quantity, sign in entry["expect"]:
            before, after = (evaluate(v, quantity, "astct") for v in seen)
            made.append(Effect(entry["name"], quantity, before, after, sign, entry["published"], entry["source"]))
    return made


def markdown(effects: Sequence[Effect]) -> str:
    """A table for the documentation."""
    lines = ["| lever | quantity | before | after | expected | right | published |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {e.lever} | {e.quantity} | {e.before:.2f} | {e.after:.2f} | {e.expected} | {'yes' if e.right else 'no'} | "
        f"{e.published} |"
        for e in effects
    ]
    return "\n".join(lines) + "\n"
