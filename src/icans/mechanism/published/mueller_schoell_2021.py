"""Mueller-Schoell et al. 2021, Cancers 13:2782: four phenotypes of CAR T cells and the metabolic tumour volume.

Each phenotype grows on tumour, saturating in its own number, and becomes the next; all kill.
"""

from __future__ import annotations

from icans.mechanism.declare import Builder

CHAIN = ("TN", "TCM", "TEM")


def declare(m: Builder) -> None:
    """Declare the model."""
    m.module("mueller_schoell_2021", "Phenotypes and tumour", "Mueller-Schoell 2021, Cancers 13:2782")
    m.let("v_grow", "low*v_low + (1 - low)*v_ref*power(cd4_cd8, ratio_power)", "1", "growth of a typical patient")
    m.let("v_max", "v_grow*(1 + transplant_gain*transplant)", "1", "growth per mL of tumour")
    for name, meaning in (
        ("TN", "naive-like"),
        ("TCM", "central memory"),
        ("TEM", "effector memory"),
        ("TEFF", "effector"),
    ):
        m.state(name, "/uL", f"{meaning} CAR T cells", "cells_0")
    m.state("V", "mL", "metabolic tumour volume", "volume_0")
    for place, name in enumerate(CHAIN, 1):
        m.flow(name, f"v_max*V*hill({name}, k_m)", "growth on tumour")
        m.flow(name, f"k_p{place}*{name}", "homeostatic growth")
        m.flow(name, f"-k_e*{name}", "death")
        m.move(name, (*CHAIN, "TEFF")[place], f"k_{place}{place + 1}*{name}", "differentiation")
    m.flow("TEFF", "-k_e4*TEFF", "death")
    m.flow("V", "k_5*V*(1 - V/volume_max)", "growth")
    for place, name in enumerate((*CHAIN, "TEFF"), 1):
        m.flow("V", f"-kill_{place}*{name}*hill(V, k_m5)", "killing")
    m.let("cart", "TN + TCM + TEM + TEFF", "/uL", "CAR T cells in blood")
