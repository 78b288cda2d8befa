"""A structural model whose outputs change their level in time: ``output * exp(drift * ramp(t))``.

``drift`` is an individual parameter on the normal scale: ln of the factor that acts from ``until_h`` on; before
``from_h`` it is 1, between them its logarithm rises evenly. It stands for what makes a patient's level after an episode
differ from the one before and that no equation holds (recovering blood counts, undated treatment, another infection):
variability between two occasions, as Karlsson and Sheiner 1993 (J Pharmacokinet Biopharm 21:735, doi
10.1007/BF01113502) have it for parameters, here for levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.parameters import unknown
from icans.population.nlme.records import Subject
from icans.population.nlme.structural import Solver, Structural

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drifting:
    """``inner`` with drifts: ``drifts`` maps an individual parameter (appended to the inner ones) to an output."""

    inner: Structural
    drifts: Mapping[str, str]
    from_h: float
    until_h: float

    @property
    def parameters(self) -> tuple[str, ...]:
        """The inner parameters, then the drifts."""
        return (*self.inner.parameters, *self.drifts)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The inner outputs."""
        return self.inner.outputs

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: Ints) -> DriftingSolver:
        """As the inner model's."""
        ramp = np.clip((time_h - self.from_h) / (self.until_h - self.from_h), 0.0, 1.0)
        places = [self.outputs.index(o) for o in self.drifts.values()]
        ramps = np.stack([np.where(output == p, np.nan_to_num(ramp), 0.0) for p in places], axis=-1)
        return DriftingSolver(self.inner.bind(subjects, time_h, output), ramps)


def drifting(inner: Structural, drifts: Mapping[str, str], *, from_h: float, until_h: float) -> Drifting:
    """A model with drifts.

    Raises
    ------
    ModelError
        Outputs that the model does not have, names that it has already, a ramp that does not rise: all of them.
    """
    problems = [unknown("output", o, inner.outputs) for o in drifts.values() if o not in inner.outputs]
    problems += [
        Problem("drifts", None, n, n, "a name that no parameter has", "Rename it.")
        for n in drifts if n in inner.parameters
    ]  # fmt: skip
    if not from_h < until_h:
        problems.append(Problem("drifts", None, "until_h", f"{until_h:g}", f"more than {from_h:g} h", "Move it."))
    if problems:
        raise ModelError(problems)
    return Drifting(inner, dict(drifts), float(from_h), float(until_h))


@dataclass(frozen=True)
class DriftingSolver:
    """A model with drifts bound to subjects; ``ramps``: (N, R, drifts), 0 where a request is of another output."""

    inner: Solver
    ramps: Array

    def _factor(self, psi: Array, who: Ints) -> Array:
        """What outputs are multiplied with, (M, R); drifts are those of the first occasion."""
        return np.asarray(np.exp(np.einsum("mrd,md->mr", self.ramps[who], psi[:, 0, -self.ramps.shape[2] :])))

    def values(self, psi: Array, who: Ints) -> Array:
        """Outputs, shape (M, R)."""
        return self.inner.values(psi[..., : -self.ramps.shape[2]], who) * self._factor(psi, who)

    def derivatives(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Outputs (M, R) and their derivatives by ``psi`` (M, R, O, P)."""
        count, factor = self.ramps.shape[2], self._factor(psi, who)
        values, by = self.inner.derivatives(psi[..., :-count], who)
        values = values * factor
        out = np.zeros((*by.shape[:3], psi.shape[2]))
        out[..., :-count] = by * factor[:, :, None, None]
        out[:, :, 0, -count:] = values[:, :, None] * self.ramps[who]
        return values, out
