"""An inhibitor of matrix metalloproteinases that moves like doxycycline. Hypothetical in ICANS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import depot, one_compartment

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("mmp_inhibitor", "MMP inhibitor", "matrix metalloproteinase 9", hypothetical=True)
    one_compartment(m, "mmpi", "MMP inhibitor")
    depot(m, "mmpi", "MMP inhibitor", "po", "mmp_inhibitor", rate="mmpi_ka")
    m.act("inh_mmp", "mmpi_max*hill(mmpi_conc, mmpi_half)")
