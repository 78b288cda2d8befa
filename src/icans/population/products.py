"""Products, diseases and the levers by which their cells and patients differ from the model's typical ones.

``products.toml`` says what a product is and gives prior factors; a calibration (:mod:`icans.population.artefact`) puts
its own in their place by path: ``costimulation.4-1BB.lag``, ``product.tisa-cel.growth``, ``disease.FL.brain`` ...
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from icans.core.errors import ModelError
from icans.mechanism.parameters import unknown
from icans.population.covariates import draw_covariates, normals

#: Parts of the chain of factors, in order.
CHAIN = ("global", "costimulation", "target", "disease", "product")


@cache
def tables() -> dict[str, Any]:
    """The contents of ``products.toml``."""
    return tomllib.loads((resources.files(__package__) / "products.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Product:
    """A CAR T product as the population knows it; see ``products.toml``."""

    name: str
    label: str
    costimulation: str
    target: str
    entry: Mapping[str, Any]

    def cells(self, disease: str, weight_kg: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """CAR T cells infused in all, of every patient."""
        per_kg = self.entry.get("cells_per_kg_in", {}).get(disease, self.entry.get("cells_per_kg"))
        flat = self.entry.get("cells", np.nan)
        amount = np.full(len(weight_kg), flat) if per_kg is None else per_kg * weight_kg
        return np.asarray(np.minimum(amount, self.entry.get("most_cells", np.inf)))

    @property
    def parts(self) -> tuple[tuple[float, float], ...]:
        """Hours after the first infusion and share of the dose, for every infusion."""
        return tuple((float(h), float(s)) for h, s in self.entry.get("split", [[0.0, 1.0]]))


def products() -> tuple[str, ...]:
    """Names of the products."""
    return tuple(tables()["product"])


@cache
def product(name: str) -> Product:
    """A product by name.

    Raises
    ------
    ModelError
        There is none of that name; the nearest are told.
    """
    if name not in products():
        raise ModelError([unknown("product", name, products())])
    entry = tables()["product"][name]
    return Product(name, entry["label"], entry["costimulation"], entry["target"], entry)


def free_levers() -> tuple[str, ...]:
    """Paths of the factors that a calibration may move."""
    return tuple(
        f"{part}.{name}.{lever}"
        for part in CHAIN
        for name, entry in tables()[part].items()
        for lever in entry.get("fit", ())
    )


def lever_factors(name: str, disease: str, fitted: Mapping[str, float] | None = None) -> dict[str, float]:
    """Lever -> factor of a product in a disease."""
    about = product(name)
    found = dict.fromkeys(tables()["lever"], 1.0)
    for part, key in zip(CHAIN, ("all", about.costimulation, about.target, disease, name)):
        entry = tables()[part].get(key, {})
        for lever in found:
            path = f"{part}.{key}.{lever}"
            found[lever] *= float((fitted or {}).get(path, entry.get("prior", {}).get(lever, 1.0)))
    matched = (fitted or {}).get(f"kinetics.{name}.{disease}")
    if matched is not None:  # matched to a published peak: relative to the comparator, in place of the chain
        like = tables()["product"][name]["kinetics"]["like"]
        found["growth"] = float(matched) * lever_factors(str(like[0]), str(like[1]), fitted)["growth"]
    return found


def multipliers(name: str, disease: str, fitted: Mapping[str, float] | None = None) -> dict[str, float]:
    """Parameter -> factor on its typical value, for a product in a disease.

    Parameters
    ----------
    fitted
        Calibrated factors by path; factors on single parameters by ``parameter.<name>``.
    """
    made: dict[str, float] = {}
    for lever, factor in lever_factors(name, disease, fitted).items():
        for parameter in tables()["lever"][lever]["parameters"]:
            made[parameter] = made.get(parameter, 1.0) * factor
    for path, value in (fitted or {}).items():
        if path.startswith("parameter."):
            parameter = path.removeprefix("parameter.")
            made[parameter] = made.get(parameter, 1.0) * float(value)
    return made


def draw_patients(n: int, name: str, disease: str, seed: int, first: int = 1) -> pd.DataFrame:
    """Covariates of n patients, numbered from ``first``, who get a product.

    They are those of the disease, and product, target, dose, lymphodepletion.
    """
    about = product(name)
    table = draw_covariates(n, disease, seed, first)
    without = ndtr(normals(seed, "covariate without_fludarabine", n, first=first)) < about.entry.get(
        "without_fludarabine", 0.0
    )
    return table.assign(
        product=name, costimulation=about.costimulation, target=about.target,
        without_fludarabine=without, bendamustine_lymphodepletion=False,
        cells=about.cells(disease, table["weight_kg"].to_numpy()),
    )  # fmt: skip
