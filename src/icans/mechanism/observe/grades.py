"""Grades of each patient and day under a scheme: the worst over its items, by ``schemes.toml``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError
from icans.mechanism.observe.bedside import Bedside, Codes
from icans.mechanism.observe.tables import Scheme, read_schemes
from icans.mechanism.parameters import unknown

#: Schemes by toxicity.
SCHEMES: dict[str, tuple[str, ...]] = {
    "ICANS": ("ASTCT", "CARTOX", "mCRES", "CTCAE", "FDA"),
    "CRS": ("ASTCT", "Lee2014", "Penn"),
}


def schemes(toxicity: str) -> dict[str, Scheme]:
    """Schemes of a toxicity by name, with source and status."""
    return {name: scheme for (of, name), scheme in read_schemes().items() if of == toxicity}


def grade(found: Bedside, toxicity: str, scheme: str = "ASTCT") -> Codes:
    """Grades 0 to 4, shape (patients, days). Synthetic.

    Raises
    ------
    ModelError
        No such scheme.
    """
    rule = read_schemes().get((toxicity, scheme))
    if rule is None:
        known = [f"{of}/{name}" for of, name in read_schemes()]
        raise ModelError([unknown("grading scheme", f"{toxicity}/{scheme}", known)])
    worst: Codes = np.zeros(next(iter(found.codes.values())).shape, dtype=np.int8)
    for item, table in rule.worth.items():
        worth = np.array([table[word] for word in found.words[item]], dtype=np.int8)
        np.maximum(worst, worth[found.codes[item]], out=worst)
    if rule.entry is not None:
        entered: npt.NDArray[np.bool_] = np.maximum.accumulate(found.codes[rule.entry] > 0, axis=1)
        worst = np.where(entered, worst, 0).astype(np.int8)
    return worst
