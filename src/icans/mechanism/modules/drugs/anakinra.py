"""Anakinra: the interleukin 1 receptor antagonist, given as a drug.

It is the body's own molecule: what passes the barrier joins the brain's IL1RA and competes with interleukin 1 there
(passive entry; saturable carriers are full at these concentrations). In macaques 0.28 % of serum exposure reaches CSF
(Fox 2010); after subarachnoid haemorrhage 0.4 to 2.5 % (Clark and Gueorguieva 2008; Galea 2011).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import depot, one_compartment, vein
from icans.mechanism.modules.transport import enter

if TYPE_CHECKING:
    from icans.mechanism.patient import Options

#: pg/mL in one mg/L.
PG_PER_ML = "1000000"


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("anakinra", "Anakinra", "interleukin 1 receptor", "Urien 2013, 10.1186/2050-6511-14-40",
           "Fox 2010, PMC2887614")  # fmt: skip
    m.let("anak_cl", "anak_clf*anak_f", "L/h", "clearance of anakinra")
    one_compartment(m, "anak", "anakinra", volume="anak_vf*anak_f")
    depot(m, "anak", "anakinra", "sc", "anakinra", rate="anak_ka", f="anak_f")
    vein(m, "anak", "anakinra")
    m.act("inh_il1", "hill(anak_conc, anak_half)")
    if "IL1RA" in options.solutes:
        m.let("anak_pg", f"{PG_PER_ML}*anak_conc", "pg/mL", "anakinra in plasma, in the unit of IL1RA")
        enter(m, "IL1RA", "anak_pg", options.regions)
