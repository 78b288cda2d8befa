"""What a scenario may name, asked of the parts of the model that own the names; nothing is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from icans.core.errors import Problem, UnitError
from icans.mechanism.declare import Builder, Input
from icans.mechanism.doses import unit_factor
from icans.mechanism.parameters import unknown
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


def unit_problem(unit: str) -> str:
    """What is wrong with a unit of dose; empty if nothing."""
    from icans.core.units import ucum
    from icans.mechanism.doses import _code

    plain, _ = split_unit(unit.strip())
    if not plain:
        return "a unit"
    try:
        ucum(_code(plain))
    except (UnitError, ValueError):
        return "a unit of dose"
    return ""


def dose_problem(drug: str, unit: str, route: str) -> tuple[str, str] | None:
    """What is wrong with route or unit for a drug that exists: (expected, remedy); None if nothing."""
    offered = inputs(drug)
    routes = sorted({r for i in offered for r in i.routes})
    if route not in routes:
        return f"a route that {drug} has: {', '.join(routes)} (got {route!r})", "Choose one of these."
    target = next(i.unit for i in offered if route in i.routes)
    try:
        unit_factor(split_unit(unit)[0], target)
    except (UnitError, ValueError):
        return f"a unit that converts to {target} (got {unit!r})", f"{drug} is given in {target}, or {target}/kg."
    return None


def covariate_problems(values: Mapping[str, Any], disease: str = "LBCL") -> list[Problem]:
    """Covariates that do not exist or lie outside what the population has."""
    about = population_covariates.distribution(disease)
    known = [name for kind in about.values() for name in kind]
    found = []
    for name, value in values.items():
        if name in about["numeric"]:
            entry = about["numeric"][name]
            if isinstance(value, bool) or not entry["low"] <= value <= entry["high"]:
                expected = f"{name} from {entry['low']:g} to {entry['high']:g} {entry['unit']} (got {value!r})"
                found.append(Problem("covariates", None, name, repr(value), expected, f"Correct {name}."))
        elif name in about["share"]:
            if value not in (0, 1, True, False):
                expected = f"{name} true or false (got {value!r})"
                found.append(Problem("covariates", None, name, repr(value), expected, f"Correct {name}."))
        elif name in about["count"]:
            entry = about["count"][name]
            if isinstance(value, bool) or value != int(value) or not entry["least"] <= value <= entry["most"]:
                expected = f"{name} a whole number from {entry['least']} to {entry['most']} (got {value!r})"
                found.append(Problem("covariates", None, name, repr(value), expected, f"Correct {name}."))
        else:
            remedy = unknown("covariate", name, known).remedy
            expected = f"a covariate of the population (got {name!r}): {', '.join(known)}"
            found.append(Problem("covariates", None, name, repr(value), expected, remedy))
    return found


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
