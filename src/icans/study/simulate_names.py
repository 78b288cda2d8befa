"""What a scenario may name, asked of the parts of the model that own the names; nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from icans.core.errors import UnitError
from icans.mechanism.declare import Builder, Input
from icans.mechanism.doses import unit_factor
from icans.mechanism.parameters import read_parameters, unknown
from icans.mechanism.patient import Options, available_drugs
from icans.mechanism.regimens import regimens as therapy_regimens
from icans.mechanism.therapies import therapies
from icans.population import care as population_care
from icans.population import covariates as population_covariates
from icans.population import products as population_products
from icans.population import studies
from icans.population.quantities import CRS_SCHEMES, NT_SCHEMES

#: Units of dose per body size, and the covariate that they are multiplied by.
PER_BODY = {"/kg": "weight_kg", "/m2": "bsa_m2"}


def products() -> tuple[str, ...]:
    """Names of the products."""
    return population_products.products()


def diseases() -> tuple[str, ...]:
    """Names of the diseases."""
    return population_covariates.diseases()


def eras() -> tuple[str, ...]:
    """Names of the eras of supportive care."""
    return tuple(population_care.tables()["care"])


def trials() -> tuple[str, ...]:
    """Names of the studies of which a population can be made."""
    return tuple(studies.tables())


def regimens() -> tuple[str, ...]:
    """Names of the regimens: those of therapies, and those that give the cells in another way."""
    return tuple(dict.fromkeys([*therapy_regimens(), *cell_regimens()]))


def cell_regimens() -> dict[str, Any]:
    """Regimens that give the product in fractions, by name."""
    about = population_care.tables()["regimen"]
    return {name: entry for name, entry in about.items() if "cells" in entry}


def schemes(toxicity: str) -> tuple[str, ...]:
    """Grading schemes of ``icans`` or ``crs``."""
    return NT_SCHEMES if toxicity == "icans" else CRS_SCHEMES


def drugs() -> tuple[str, ...]:
    """Names of the drugs of the model, and ``car_t``, the product."""
    return ("car_t", *available_drugs())


@cache
def inputs(drug: str) -> tuple[Input, ...]:
    """Where its doses go in."""
    builder = Builder()
    module = "cells" if drug == "car_t" else f"drugs.{drug}"
    import_module(f"icans.mechanism.modules.{module}").declare(builder, Options())
    return tuple(i for i in builder.inputs if i.drug == drug)


def split_unit(unit: str) -> tuple[str, str]:
    """``mg/kg`` as ``("mg", "/kg")``; units that do not count body size as they are."""
    for tail in PER_BODY:
        if unit.endswith(tail):
            return unit.removesuffix(tail), tail
    return unit, ""


def routes(drug: str) -> tuple[str, ...]:
    """Routes by which a drug can be given."""
    return tuple(sorted({route for entry in inputs(drug) for route in entry.routes}))


def unit_problem(unit: str, drug: str | None = None) -> tuple[str, str] | None:
    """What is wrong with a unit of dose (of a drug), as (expected, remedy); None if nothing."""
    from icans.core.units import ucum

    plain, _ = split_unit(unit.strip())
    targets = [entry.unit for entry in inputs(drug)] if drug is not None else []
    form = f"a unit that converts to {targets[0]}" if targets else "a unit of dose"
    remedy = "Say what the amount is in, for example mg, mg/kg or 1e6 cells; no unit is guessed."
    if not plain:
        return form, remedy
    if not targets:
        try:
            ucum(plain)
        except (UnitError, ValueError):
            if not plain.endswith("cells"):
                return form, remedy
        return None
    try:
        unit_factor(plain, targets[0])
    except (UnitError, ValueError):
        return form, remedy
    return None


Entry = tuple[str, Any, str, str]


def parameter_problems(values: Mapping[str, Any]) -> list[Entry]:
    """Parameters that do not exist, are no numbers, or lie outside their bounds: (name, value, expected, remedy)."""
    table = read_parameters()
    found: list[Entry] = []
    for name, value in values.items():
        if name not in table:
            found.append((name, value, "the name of a parameter", unknown("parameter", name, table.names).remedy))
            continue
        row = table[name]
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (good and row.lower <= value <= row.upper):
            found.append((name, value, f"a number from {row.lower:g} to {row.upper:g} {row.unit}",
                          f"It is the {row.meaning}."))  # fmt: skip
    return found


def covariate_problems(values: Mapping[str, Any], disease: str = "LBCL") -> list[Entry]:
    """Covariates that do not exist or lie outside what the population has: (name, value, expected, remedy)."""
    about = population_covariates.distribution(disease)
    known = [name for kind in about.values() for name in kind]
    found: list[Entry] = []
    for name, value in values.items():
        if name not in known:
            found.append((name, value, "the name of a covariate", unknown("covariate", name, known).remedy))
            continue
        wrong = _covariate_problem(name, value, about)
        if wrong:
            found.append((name, value, wrong, f"Give {name.replace('_', ' ')} as it can be in {disease}."))
    return found


def _covariate_problem(name: str, value: Any, about: Mapping[str, Mapping[str, Any]]) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in about["numeric"]:
        entry = about["numeric"][name]
        inside = number and entry["low"] <= value <= entry["high"]
        unit = "years" if entry["unit"] == "a" else entry["unit"]
        return "" if inside else f"a number from {entry['low']:g} to {entry['high']:g} {unit}"
    if name in about["share"]:
        return "" if isinstance(value, bool) else "true or false"
    entry = about["count"][name]
    inside = number and value == value and value == int(value) and entry["least"] <= value <= entry["most"]
    return "" if inside else f"a whole number from {entry['least']} to {entry['most']}"


def listing() -> dict[str, Any]:
    """Everything that can be named, for people: products, diseases, eras, regimens, drugs."""
    about = population_products.tables()["product"]
    cases = population_covariates.tables()
    return {
        "products": {name: about[name]["label"] for name in products()},
        "diseases": {name: cases[name]["label"] for name in diseases()},
        "care": {name: population_care.tables()["care"][name]["source"] for name in eras()},
        "regimens": {name: entry.title for name, entry in therapy_regimens().items()}
        | {name: entry["source"] for name, entry in cell_regimens().items()},
        "drugs": {name: f"{entry.title}: {entry.target}" for name, entry in therapies().items()},
    }


def listing_text() -> str:
    """:func:`listing` for a terminal."""
    lines = []
    for kind, entries in listing().items():
        wide = max((len(name) for name in entries), default=0)
        lines += [f"{kind}:", *(f"  {name:<{wide}}  {about}" for name, about in entries.items()), ""]
    return "\n".join(lines).rstrip()
