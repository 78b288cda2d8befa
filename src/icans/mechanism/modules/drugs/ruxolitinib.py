"""Ruxolitinib: inhibitor of JAK1 and JAK2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import brain_ratio, cyp3a4, depot, two_compartments

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("ruxolitinib", "Ruxolitinib", "JAK1 and JAK2", "Chen 2013, J Clin Pharmacol 53:721",
           "Appeldoorn 2023, 10.1007/s40262-023-01225-7")  # fmt: skip
    two_compartments(m, "ruxo", "ruxolitinib", cleared=cyp3a4(m, "ruxo"))
    depot(m, "ruxo", "ruxolitinib", "po", "ruxolitinib", rate="ruxo_ka", lag="ruxo_lag")
    m.act("inh_jak", "hill(ruxo_conc, ruxo_half)")
    m.act("inh_jak_cns", f"hill({brain_ratio(m, 'ruxo', 'ruxolitinib')}, ruxo_fu*ruxo_half)")
