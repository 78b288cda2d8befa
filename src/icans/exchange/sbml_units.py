"""Units of the model (UCUM) as unit definitions of SBML.

SBML Level 3 has no Celsius: a temperature has the unit kelvin there, and its values stay in degrees Celsius as the
notes say (a difference is the same in both).
"""

from __future__ import annotations

import math
import re
from typing import Any

import libsbml

from icans.core.errors import UnitError

#: Kinds of SBML for the root units that pint gives, and what one of pint's root units is in it.
_KINDS = {
    "gram": ("gram", 1.0), "second": ("second", 1.0), "mole": ("mole", 1.0), "kelvin": ("kelvin", 1.0),
    "meter": ("metre", 1.0), "radian": ("radian", 1.0), "candela": ("candela", 1.0), "ampere": ("ampere", 1.0),
    "bit": ("dimensionless", 1.0),
}  # fmt: skip


class Units:
    """The unit definitions of one SBML model, made when first asked for."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ids: dict[str, str] = {}

    def id_of(self, unit: str) -> str | None:
        """The id of a unit's definition; None for a text that is no unit (it then stands in the notes alone)."""
        if unit not in self._ids:
            self._ids[unit] = self._define(unit)
        return self._ids[unit] or None

    def _define(self, unit: str) -> str:
        try:
            parts = factors(unit)
        except UnitError:
            return ""
        if not parts:
            return "dimensionless"
        name = self._name(unit)
        made = self._model.createUnitDefinition()
        made.setId(name)
        made.setName(unit)
        for kind, exponent, multiplier in parts:
            one = made.createUnit()
            one.setKind(libsbml.UnitKind_forName(kind))
            one.setExponent(exponent)
            one.setScale(0)
            one.setMultiplier(multiplier)
        return name

    def _name(self, unit: str) -> str:
        text = unit.replace("/", "_per_").replace("%", "percent").replace("*", "_times_")
        text = "unit_" + re.sub(r"_+", "_", re.sub(r"\W", "_", text)).strip("_")
        while text in self._ids.values():
            text += "_"
        return text


def factors(unit: str) -> list[tuple[str, float, float]]:
    """A unit as a product of (kind of SBML, exponent, multiplier): each part is (multiplier * kind) ** exponent.

    Raises
    ------
    UnitError
        The text is no unit.
    """
    from icans.core.units import quantity

    one = quantity(re.sub(r"\bcells?\b", "1", unit))
    parts: list[tuple[str, float, float]] = []
    for name, exponent in sorted(dict(one.unit_items()).items()):
        factor, root = one._REGISTRY.get_root_units(name)
        dims = dict(root._units)
        if dims == {"meter": 3}:
            parts.append(("litre", float(exponent), _round(factor * 1e3)))
        elif len(dims) <= 1:
            base, power = next(iter(dims.items()), ("dimensionless", 1))
            kind = _KINDS.get(base, (base, 1.0))[0]
            parts.append((kind, float(exponent * power), _round(factor ** (1.0 / float(power)))))
        else:  # a compound such as the enzyme unit: its factor goes with the first part
            for at, (base, power) in enumerate(sorted(dims.items())):
                multiplier = factor ** (1.0 / float(power)) if at == 0 else 1.0
                parts.append((_KINDS.get(base, (base, 1.0))[0], float(exponent * power), _round(multiplier)))
    magnitude = float(one.magnitude)
    if magnitude != 1.0:
        parts.append(("dimensionless", 1.0, magnitude))
    return [p for p in parts if p != ("dimensionless", p[1], 1.0)]


def _round(value: float) -> float:
    """Without the last digits of a product of powers of ten."""
    return value if value == 0 or not math.isfinite(value) else float(f"{value:.12g}")
