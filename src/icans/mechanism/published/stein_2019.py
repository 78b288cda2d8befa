"""Stein et al. 2019, 10.1002/psp4.12388: tisagenlecleucel in blood, growth to a time of maximum and two declines.

The published form is piecewise in time. Here the phase is a parameter, ``growing``, that a switch sets to 0 at the time
of maximum (:class:`icans.mechanism.doses.Switch`); :func:`turn` makes that switch.
"""

from __future__ import annotations

from collections.abc import Mapping

from icans.mechanism.declare import Builder
from icans.mechanism.doses import Switch


def declare(m: Builder) -> None:
    """Declare the model."""
    m.module("stein_2019", "Tisagenlecleucel kinetics", "Stein 2019, 10.1002/psp4.12388")
    m.let("rho", "log(fold)/tmax", "1/h", "rate of growth")
    m.state("E", "{copies}/ug", "effector cells", "cmax/fold")
    m.state("M", "{copies}/ug", "memory cells")
    m.let("copies", "E + M", "{copies}/ug", "transgene in blood")
    m.flow("E", "growing*rho*E", "growth")
    m.flow("E", "-(1 - growing)*alpha*E", "contraction")
    m.flow("M", "(1 - growing)*share*(alpha - beta)*E", "part of the contraction that becomes memory")
    m.flow("M", "-beta*M", "slow decline")
    m.observe("copies", "car_t_copies", "{copies}/ug", "blood")


def turn(values: Mapping[str, float]) -> Switch:
    """The end of growth for these parameter values."""
    return Switch(values["tmax"], "growing", 0.0)
