"""Itacitinib: inhibitor of JAK1, studied as prophylaxis of CRS. Exposure is known to a factor of about two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import brain_ratio, cyp3a4, depot, one_compartment

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("itacitinib", "Itacitinib", "JAK1", "Covington 2020, 10.1016/j.ejphar.2020.173505",
           "Schroeder 2020, Blood Adv 4:1656")  # fmt: skip
    one_compartment(m, "itac", "itacitinib", cleared=cyp3a4(m, "itac"))
    depot(m, "itac", "itacitinib", "po", "itacitinib", rate="itac_ka")
    m.act("inh_jak", "hill(itac_conc, itac_half)")
    m.act("inh_jak_cns", f"hill({brain_ratio(m, 'itac', 'itacitinib')}, itac_fu*itac_half)")
