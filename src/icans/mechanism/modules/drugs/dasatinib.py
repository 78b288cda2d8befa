"""Dasatinib: stops the kinases below the CAR, at once and only while it is there (Mestermann 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import cyp3a4, depot, two_compartments

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("dasatinib", "Dasatinib", "LCK (CAR signalling)", "Hassouneh 2024, 10.3390/ph17060671",
           "Mestermann 2019, 10.1126/scitranslmed.aau5907")  # fmt: skip
    two_compartments(m, "dasa", "dasatinib", cleared=cyp3a4(m, "dasa"))
    depot(m, "dasa", "dasatinib", "po", "dasatinib", rate="dasa_ka", lag="dasa_lag")
    for handle in ("inh_car_function", "inh_car_growth"):
        m.act(handle, "hill(dasa_conc, dasa_half, dasa_steep)")
