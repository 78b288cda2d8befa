"""Scales on which individual parameters are normal: log, logit, none, Box-Cox.

``phi`` is the value on the scale, ``psi`` the natural value. A log-normal parameter with typical value 5 and an SD of
0.3 has ``phi`` ~ N(ln 5, 0.3^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[np.float64]

KINDS = ("log", "logit", "normal", "boxcox")


@dataclass(frozen=True, slots=True)
class Scale:
    """One scale: ``kind``; the open interval of a logit; the power of Box and Cox (1964, J R Stat Soc B 26:211)."""

    kind: str = "log"
    low: float = 0.0
    high: float = 1.0
    power: float = 1.0

    def forward(self, psi: Array | float) -> Array:
        """Natural value to the scale; NaN or infinite outside the domain."""
        x = np.asarray(psi, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "log":
                return np.log(x)
            if self.kind == "logit":
                return np.log((x - self.low) / (self.high - x))
            if self.kind == "boxcox":
                return np.log(x) if self.power == 0.0 else (x**self.power - 1.0) / self.power
        return x

    def back(self, phi: Array | float) -> Array:
        """Scale to natural value; NaN where a Box-Cox value has none."""
        x = np.asarray(phi, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == "log":
                return np.exp(x)
            if self.kind == "logit":
                return np.asarray(self.low + (self.high - self.low) * expit(x))
            if self.kind == "boxcox":
                return np.exp(x) if self.power == 0.0 else (1.0 + self.power * x) ** (1.0 / self.power)
        return x

    def slope(self, phi: Array | float) -> Array:
        """Derivative of the natural value by the value on the scale."""
        x = np.asarray(phi, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == "log":
                return np.exp(x)
            if self.kind == "logit":
                part = expit(x)
                return np.asarray((self.high - self.low) * part * (1.0 - part))
            if self.kind == "boxcox":
                return np.exp(x) if self.power == 0.0 else (1.0 + self.power * x) ** (1.0 / self.power - 1.0)
        return np.ones_like(x)
