"""Dexamethasone: glucocorticoid that reaches the brain in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import brain_ratio, cyp3a4, depot, later, two_compartments, vein

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("dexamethasone", "Dexamethasone", "glucocorticoid receptor", "Krzyzanski 2021, 10.1007/s10928-020-09730-z")
    two_compartments(m, "dexa", "dexamethasone", cleared=cyp3a4(m, "dexa"))
    vein(m, "dexa", "dexamethasone")
    depot(m, "dexa", "dexamethasone", "po", "dexamethasone", rate="dexa_ka_po", f="dexa_f_po")
    depot(m, "dexa", "dexamethasone", "im", "dexamethasone", rate="dexa_ka_im")
    later(m, "DEXA_E", "hill(dexa_conc, dexa_half)", "dexa_delay", "effect of dexamethasone")
    fluid = brain_ratio(m, "dexa", "dexamethasone")
    later(m, "DEXA_EB", f"hill({fluid}, dexa_fu*dexa_half)", "dexa_delay", "effect of dexamethasone in the brain")
    m.act("steroid", "DEXA_E")
    m.act("steroid_cns", "DEXA_EB")
