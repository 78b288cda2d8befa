"""Lenzilumab: antibody to GM-CSF. Its own pharmacokinetics were not found; a typical antibody stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.drugs._pk import antibody, brain

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def declare(m: Builder, options: Options) -> None:
    """Declare the therapy."""
    m.drug("lenzilumab", "Lenzilumab", "GM-CSF", "Dirks and Meibohm 2010, 10.2165/11535960-000000000-00000")
    antibody(m, "lenz", "lenzilumab")
    m.act("inh_gmcsf", "hill(lenz_conc, lenz_kd)")
    m.act("inh_gmcsf_cns", f"hill({brain(m, 'lenz', 'lenzilumab', options)}, lenz_kd)")
