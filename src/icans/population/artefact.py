"""The stored calibration: factors, cuts and coefficients, with the seed and the command that makes them.

``population.json`` is small because patients are drawn again from their seed, bit by bit the same; what is stored is
what was learned: factors of levers, cuts of latent severities, and for every study the coefficients of its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.population.quantities import Readings
from icans.population.readings import readings

FILE = "population.json"
COMMAND = "python -m icans.population.calibrate"


@dataclass(frozen=True)
class Calibration:
    """What was learned from ``calibrate`` rows.

    ``factors``: path -> factor (:func:`icans.population.products.multipliers`); ``cuts``: path -> value
    (:func:`icans.population.readings.readings`); ``axes``: names of the axes of the weights; ``tilts``: study ->
    coefficients on them; ``ess``: study -> effective share of the sample; ``about``: seed, patients, command.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    cuts: Mapping[str, float] = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    tilts: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    ess: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def readings(self) -> Readings:
        """Cuts and stray shares as calibrated."""
        return readings(self.cuts)


def stored() -> Path:
    """Where the stored calibration lies."""
    return Path(str(resources.files(__package__) / FILE))


def write(calibration: Calibration, path: Path | None = None) -> None:
    """Write a calibration, rounded so that the file reads well."""
    document = {
        "synthetic": True,
        "about": dict(calibration.about),
        "factors": {k: round(float(v), 5) for k, v in calibration.factors.items()},
        "cuts": {k: round(float(v), 5) for k, v in calibration.cuts.items()},
        "axes": list(calibration.axes),
        "tilts": {k: [round(float(x), 4) for x in v] for k, v in calibration.tilts.items()},
        "ess": {k: round(float(v), 4) for k, v in calibration.ess.items()},
    }
    (path or stored()).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@cache
def read(path: Path | None = None) -> Calibration:
    """The stored calibration (nothing calibrated if there is no file)."""
    file = path or stored()
    if not file.is_file():
        return Calibration()
    document = json.loads(file.read_text(encoding="utf-8"))
    tilts = {k: np.asarray(v, float) for k, v in document["tilts"].items()}
    return Calibration(document["factors"], document["cuts"], tuple(document["axes"]), tilts, document["ess"],
                       document["about"])  # fmt: skip
