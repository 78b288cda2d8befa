"""A library of virtual patients: the support of every patient's posterior.

Members are drawn from the calibrated population (:mod:`icans.population`), some of each product class, and simulated
under present care with the full patient model. Of each member the levels of what a laboratory measures, latent states,
severities and first doses are kept on a common grid. A library depends on its :class:`Recipe`, on the stored
calibration and on the equations, and on nothing else; it is kept on disk under the hash of all three. That of the
default recipe comes with the package (:mod:`icans.forecast.mechanistic.stored`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icans.core.files import atomic_path
from icans.core.provenance import digest
from icans.forecast.mechanistic import stored
from icans.forecast.mechanistic.observed import observables

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

HOURS = 24.0
#: Grid of what is kept, and the finer one of the simulation (severities are daily maxima).
GRID_H = np.arange(0.0, 30 * HOURS + 1, 12.0)
FINE_H = np.arange(0.0, 30 * HOURS + 1, 6.0)
#: Latent states kept: name -> (output of the model, whether its logarithm is kept).
STATES: dict[str, tuple[str, bool]] = {
    "activation": ("MYE_A", True),
    "effectors": ("car_blood", True),
    "engaged": ("engaged", True),
    "endothelium": ("ENDO", False),
    "barrier": ("bar_loss_mean", False),
    "hazard": ("BBB_HAZ", False),
    "exposure": ("IL6_brain", True),
    "glia": ("MICRO", False),
    "neurons": ("NEURO", False),
}
#: Severities, in the order of their axis: toxicity of the cohort -> output of the model.
SEVERITIES = {"CRS": "crs_severity", "ICANS": "encephalopathy"}
#: Drugs that care gives in the simulation: class of the features -> (severity, bedside grade) that brings the first
#: dose four hours later (``care.toml``).
DRUGS = {"tocilizumab": ("CRS", 2), "steroid": ("ICANS", 2)}
DELAY_H = 4.0
CLASSES = ("CD28", "4-1BB")
LEAST = 1e-4


@dataclass(frozen=True)
class Recipe:
    """What a library is made of.

    Parameters
    ----------
    members
        How many virtual patients in all. With 1,000 to 8,000 members forecasts of virtual patients are equally good
        (AUROC 0.81 trained on 200), so that the smaller number is the default.
    seed
        Of their random streams.
    mix
        Product, disease and share of the members. The share within a class is the prior of a patient whose product is
        not known; the fit moves it.
    """

    members: int = 2000
    seed: int = 20261101
    mix: tuple[tuple[str, str, float], ...] = (
        ("axi-cel", "LBCL", 0.5), ("tisa-cel", "LBCL", 0.25), ("liso-cel", "LBCL", 0.25),
    )  # fmt: skip


@dataclass(frozen=True)
class Library:
    """Simulated (synthetic) members on a common grid; J members, T grid times, D days.

    Attributes
    ----------
    grid_h
        Hours since infusion, shape (T,), evenly spaced from 0.
    levels, states
        Name -> shape (T, J): analytes on their working scale, latent states.
    daily
        ln of the largest severity of each day, shape (2, D, J), in the order of :data:`SEVERITIES`.
    highest
        ln of the largest severity so far, shape (2, T, J).
    first_dose_h
        Hours of the first dose of each of :data:`DRUGS`, shape (2, J); inf: none.
    group
        Position in :data:`CLASSES`, shape (J,).
    prior
        Weights before any patient was seen, sum 1.
    cuts
        ln of the severities at which grades 1 to 5 begin, shape (2, 5).
    key
        Names the contents.
    """

    grid_h: Floats
    levels: dict[str, Array]
    states: dict[str, Array]
    daily: Array
    highest: Array
    first_dose_h: Array
    group: NDArray[np.int8]
    prior: Floats
    cuts: Floats
    key: str

    def __len__(self) -> int:
        return len(self.group)

    def at(self, series: Array, hours: Floats) -> Array:
        """A series of shape (T, J) at some hours, shape (hours, J): straight between grid times, level beyond."""
        low, part = self.place(hours)
        below = series[low]
        return np.asarray(below + part.astype(np.float32)[:, None] * (series[low + 1] - below))

    def place(self, hours: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Grid time before each hour and the part of the way to the next one."""
        step = self.grid_h[1] - self.grid_h[0]
        place = np.clip(np.asarray(hours, dtype=float) / step, 0.0, len(self.grid_h) - 1.0)
        low = np.minimum(place.astype(np.intp), len(self.grid_h) - 2)
        return low, place - low

    def only(self, members: NDArray[np.intp]) -> Library:
        """Some members, their prior weights brought to sum 1."""
        prior = self.prior[members]
        return Library(
            self.grid_h, {k: v[:, members] for k, v in self.levels.items()},
            {k: v[:, members] for k, v in self.states.items()}, self.daily[:, :, members], self.highest[:, :, members],
            self.first_dose_h[:, members], self.group[members], prior / prior.sum(), self.cuts,
            digest([self.key, members.tolist()]),
        )  # fmt: skip


@lru_cache(maxsize=2)
def library(recipe: Recipe | None = None, folder: Path | None = None) -> Library:
    """The library of a recipe: stored with the package, read from disk, or simulated and kept there.

    Parameters
    ----------
    folder
        Where libraries are kept; ``libraries`` in the package's cache if None.
    """
    recipe = recipe or Recipe()
    key = recipe_key(recipe)
    known = stored.read(key)
    if known is not None:
        return from_arrays(known, key)
    path = (folder or _folder()) / f"{key}.npz"
    if not path.is_file():
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **simulate_members(recipe))
    with np.load(path, allow_pickle=False) as file:
        return from_arrays({name: file[name] for name in file.files}, key)


def _folder() -> Path:
    from icans.datasets.download import cache_folder

    return cache_folder().parent / "libraries"


@lru_cache(maxsize=4)
def recipe_key(recipe: Recipe) -> str:
    """Hash of the recipe, the stored calibration, the equations, and what is kept.

    To put the equations together takes half a second; the hash is kept on disk under that of the recipe and of the
    state of the files that the equations come from (:func:`code_state`).
    """
    calibrations = sorted(Path(str(resources.files("icans.population"))).glob("*.json"))
    told = [file.read_text(encoding="utf-8") for file in calibrations]
    path = _folder() / f"{digest([asdict(recipe), code_state(), told])}.key"
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        key = computed_key(recipe)
    with suppress(OSError), atomic_path(path) as temporary:
        temporary.write_text(key, encoding="ascii")
    return key


#: Folders of the package that equations and library come from (of the last three, the files in them alone: estimators
#: in folders below have no part in it).
_SOURCES = ("mechanism", "core", "population", "forecast/mechanistic")


def code_state() -> str:
    """Hash of name, size and time of the last change of the files that equations and library come from.

    To read them all would take longer than the rest of a key; what was changed has another time.
    """
    root = Path(str(resources.files("icans")))
    found = []
    for part in _SOURCES:
        for folder, below, names in os.walk(root / part):
            if part != "mechanism":
                below.clear()
            for name in names:
                if name.endswith((".py", ".toml")):
                    told = os.stat(os.path.join(folder, name))
                    found.append(f"{folder[len(str(root)) :]}/{name} {told.st_size} {told.st_mtime_ns}")
    return digest([str(root), *sorted(found)])


def computed_key(recipe: Recipe) -> str:
    """:func:`recipe_key` from the equations themselves."""
    from icans.mechanism.patient import patient_model
    from icans.population import artefact, care

    known = artefact.read()
    model = patient_model(care.drugs("modern"), regions=("brain",))
    kept = [list(GRID_H), {k: list(v) for k, v in STATES.items()}, {n: asdict(o) for n, o in observables().items()}]
    return digest([asdict(recipe), dict(known.factors), dict(known.cuts), model.key, kept])


def from_arrays(arrays: dict[str, NDArray[Any]], key: str) -> Library:
    """A library from what :func:`simulate_members` made."""
    parts: dict[str, dict[str, Array]] = {"level": {}, "state": {}}
    for name, values in arrays.items():
        kind, _, what = name.partition(" ")
        if kind in parts:
            parts[kind][what] = values.astype(np.float32)
    return Library(
        arrays["grid_h"], parts["level"], parts["state"], arrays["daily"].astype(np.float32),
        arrays["highest"].astype(np.float32), arrays["first_dose_h"], arrays["group"], arrays["prior"], arrays["cuts"],
        key,
    )  # fmt: skip


def simulate_members(recipe: Recipe) -> dict[str, NDArray[Any]]:
    """Draw and simulate the members of a recipe; arrays by name."""
    from icans.core.random import stream
    from icans.population import artefact
    from icans.population.arms import Key, run
    from icans.population.products import product

    known = artefact.read()
    outputs = tuple(dict.fromkeys(
        [*SEVERITIES.values(), *(o for o, _ in STATES.values()), *(o.output for o in observables().values())]
    ))  # fmt: skip
    arms = []
    for number, (name, disease, share) in enumerate(recipe.mix):
        count = round(recipe.members * share)
        seed = int(stream(recipe.seed, "library", number).integers(2**31 - 1))
        arm = run(Key(name, disease, "modern"), count, seed, known.factors, known.readings,
                  outputs=outputs, times_h=FINE_H, threads=1)  # fmt: skip
        series = {k: v[arm.ok].astype(float) for k, v in arm.series.items()}
        group = CLASSES.index(product(name).costimulation)
        arms.append(_kept(series) | {"group": np.full(int(arm.ok.sum()), group, dtype=np.int8)})
    made = {name: np.concatenate([arm[name] for arm in arms], axis=-1) for name in arms[0]}
    cuts = np.log([known.readings.crs["astct"].cuts, known.readings.nt["astct"].cuts])
    made["first_dose_h"] = _first_doses(made.pop("fine"), cuts)
    count = len(made["group"])
    return made | {"grid_h": GRID_H, "cuts": cuts, "prior": np.full(count, 1.0 / count)}


def _kept(series: dict[str, Floats]) -> dict[str, NDArray[Any]]:
    """Levels, states and severities of an arm, members last."""
    every = slice(None, None, round((GRID_H[1] - GRID_H[0]) / FINE_H[1]))
    made: dict[str, NDArray[Any]] = {}
    for name, entry in observables().items():
        made[f"level {name}"] = entry.working(series[entry.output][:, every].T).astype(np.float16)
    for name, (output, log) in STATES.items():
        values = series[output][:, every].T
        made[f"state {name}"] = (np.log(np.maximum(values, LEAST)) if log else values).astype(np.float16)
    severity = np.log(np.maximum(np.stack([series[o].T for o in SEVERITIES.values()]), LEAST))
    days = int(FINE_H[-1] // HOURS)
    per_day = int(HOURS / FINE_H[1])
    # The last sample of a day is the first of the next: both ends belong to the day.
    ends = [severity[:, d * per_day : (d + 1) * per_day + 1].max(axis=1) for d in range(days)]
    made["daily"] = np.stack(ends, axis=1).astype(np.float16)
    made["highest"] = np.maximum.accumulate(severity, axis=1)[:, every].astype(np.float16)
    made["fine"] = severity.astype(np.float32)
    return made


def _first_doses(severity: NDArray[np.float32], cuts: Floats) -> Array:
    """Hours of the first dose of each drug, from severities of shape (2, fine, J)."""
    made = []
    for toxicity, grade in DRUGS.values():
        axis = list(SEVERITIES).index(toxicity)
        above = severity[axis] >= cuts[axis][grade - 1]
        first = FINE_H[np.argmax(above, axis=0)] + DELAY_H
        made.append(np.where(above.any(axis=0), first, np.inf))
    return np.stack(made).astype(np.float32)
