"""What a structural model must offer: values of outputs at times, for individual parameters, and their derivatives.

Two kinds exist: linear compartments in closed form (:mod:`icans.population.nlme.compartments`) and any compiled model
of :mod:`icans.mechanism` (:mod:`icans.population.nlme.ode`). A third party needs no more than the two methods below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from icans.population.nlme.records import Subject

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Solver(Protocol):
    """A structural model bound to the doses and times of N subjects.

    ``psi``: natural individual parameters, shape (M, O, P): M parameter sets, O occasions (1 without inter-occasion
    variability), P parameters. ``who``: shape (M,), whose doses and times each set is meant for; a subject may come
    often. Values have shape (M, R), R the largest number of requests of a subject; NaN where a request is padding, and
    in every place of a set that cannot be solved (nothing is raised: the others go on).
    """

    def values(self, psi: Array, who: Ints) -> Array:
        """Outputs, shape (M, R)."""
        ...

    def derivatives(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Outputs, shape (M, R), and their exact derivatives by ``psi``, shape (M, R, O, P)."""
        ...


class Structural(Protocol):
    """A structural model. ``parameters``: names and order of P; ``outputs``: what can be asked for."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the individual parameters, in the order of the last axis of ``psi``."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what can be predicted."""
        ...

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: Ints) -> Solver:
        """Ready for the requests ``time_h`` (N, R; NaN pads) and ``output`` (N, R; places in ``outputs``, -1 pads).

        A subject's times need not be in order, and may repeat. An observation at the time of a dose is the value
        before the dose.

        Raises
        ------
        ModelError
            Doses that the model cannot take; times that it cannot reach: all of them, by subject.
        """
        ...
