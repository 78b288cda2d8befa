"""Methylprednisolone: glucocorticoid; clinical doses are near the largest effect, so that duration tells them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import brain_ratio, cyp3a4, depot, later, one_compartment, vein

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("methylprednisolone", "Methylprednisolone", "glucocorticoid receptor",
           "Hong 2007, 10.1007/s11095-006-9232-x")  # fmt: skip
    one_compartment(m, "mpred", "methylprednisolone", cleared=cyp3a4(m, "mpred"))
    vein(m, "mpred", "methylprednisolone")
    depot(m, "mpred", "methylprednisolone", "po", "methylprednisolone", rate="mpred_ka", f="mpred_f")
    later(m, "MPRED_E", "hill(mpred_conc, mpred_half)", "mpred_delay", "effect of methylprednisolone")
    fluid = brain_ratio(m, "mpred", "methylprednisolone")
    later(m, "MPRED_EB", f"hill({fluid}, mpred_fu*mpred_half)", "mpred_delay",
          "effect of methylprednisolone in the brain")  # fmt: skip
    m.act("steroid", "MPRED_E")
    m.act("steroid_cns", "MPRED_EB")
