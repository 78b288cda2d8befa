"""A CAR with a degron: a small molecule breaks the receptor down while it is there, then it comes back. Hypothetical.

Shown for lenalidomide in cells and mice (Jan 2021); never in patients, and the molecule's own effects on T cells and
tumour are left out. What is not given changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import depot, one_compartment

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("switchable_car", "Switchable CAR (off by lenalidomide)", "CAR on the cell surface",
           "Jan 2021, 10.1126/scitranslmed.abb6295", hypothetical=True)  # fmt: skip
    one_compartment(m, "swit", "off-switch molecule")
    depot(m, "swit", "off-switch molecule", "po", "switchable_car", rate="swit_ka")
    m.state("SWIT_CAR", "1", "CAR on the surface, share of normal", "1")
    m.flow("SWIT_CAR", "swit_back*(1 - SWIT_CAR)", "new receptor")
    m.flow("SWIT_CAR", "-swit_break*hill(swit_conc, swit_half)*SWIT_CAR", "breakdown of marked receptor")
    for handle in ("inh_car_function", "inh_car_growth"):
        m.act(handle, "1 - SWIT_CAR")
