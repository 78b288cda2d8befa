"""Rimiducid and inducible caspase 9: CAR T cells that carry the switch die when the drug pairs it.

Cells with too little of the transgene survive. Sensitive and resistant cells grow, move and rest alike and the drug
kills the sensitive ones of every pool at one rate, so that one state, the resistant share of all CAR T cells, is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.cells import car_pools
from icans.mechanism.modules.drugs._pk import two_compartments, vein

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("rimiducid", "Rimiducid with iCasp9", "inducible caspase 9 in CAR T cells",
           "Iuliucci 2001, J Clin Pharmacol 41:870", "Zhou 2015, Blood 125:4103")  # fmt: skip
    two_compartments(m, "rimi", "rimiducid")
    vein(m, "rimi", "rimiducid")
    m.let("rimi_death", "rimi_kill*hill(rimi_conc, rimi_half)", "1/h", "death rate of sensitive CAR T cells")
    m.state("RIMI_R", "1", "resistant share of CAR T cells", "rimi_resistant")
    m.flow("RIMI_R", "rimi_death*RIMI_R*(1 - RIMI_R)", "sensitive cells die")
    for pool in car_pools(options):
        m.flow(pool, f"-rimi_death*(1 - RIMI_R)*{pool}", "sensitive cells die")
