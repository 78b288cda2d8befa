"""Siltuximab: antibody to interleukin 6.

In the brain, neutralising a share of the cytokine is the same as blocking that share of its receptor, which is the
handle there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import antibody, brain

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("siltuximab", "Siltuximab", "interleukin 6", "Nikanjam 2019, 10.1007/s00280-019-03939-7")
    antibody(m, "silt", "siltuximab")
    m.act("inh_il6", "hill(silt_conc, silt_kd)")
    m.act("inh_il6r_cns", f"hill({brain(m, 'silt', 'siltuximab', options)}, silt_kd)")
