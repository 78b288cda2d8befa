"""Pieces that therapies share: compartments, depots, exposure of the brain, cytochrome P450 3A4.

Amounts are in mg, concentrations (``<prefix>_conc``) in mg/L. States of a drug with the prefix ``toci`` are ``TOCI_C``
(central) and ``TOCI_P`` (peripheral); its parameters ``toci_cl``, ``toci_v1``, ``toci_q``, ``toci_v2``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder
from icans.mechanism.modules.transport import solute

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def one_compartment(m: Builder, prefix: str, label: str, *, volume: str | None = None, cleared: str = "1") -> None:
    """A compartment with linear elimination at ``<prefix>_cl`` times ``cleared``.

    ``volume``: an expression of parameters; ``<prefix>_v`` if None.
    """
    central = f"{prefix.upper()}_C"
    m.state(central, "mg", f"{label}, amount in plasma and what mixes with it")
    m.let(f"{prefix}_conc", f"{central}/({volume or prefix + '_v'})", "mg/L", f"{label} in plasma")
    factor = "" if cleared == "1" else f"*({cleared})"
    m.flow(central, f"-{prefix}_cl{factor}*{prefix}_conc", "elimination")


def two_compartments(m: Builder, prefix: str, label: str, *, cleared: str = "1") -> None:
    """Central and peripheral compartment with linear elimination at ``<prefix>_cl`` times ``cleared``."""
    one_compartment(m, prefix, label, volume=f"{prefix}_v1", cleared=cleared)
    central, peripheral = f"{prefix.upper()}_C", f"{prefix.upper()}_P"
    m.state(peripheral, "mg", f"{label}, amount in tissue")
    m.flow(central, f"{prefix}_q*({peripheral}/{prefix}_v2 - {prefix}_conc)", "exchange with tissue")
    m.flow(peripheral, f"{prefix}_q*({prefix}_conc - {peripheral}/{prefix}_v2)", "exchange with plasma")


def depot(
    m: Builder, prefix: str, label: str, route: str, drug: str, *, rate: str, f: str = "1", lag: str = "0"
) -> None:
    """A place from which a dose is absorbed by first order: gut (``po``), skin (``sc``), muscle (``im``)."""
    state = f"{prefix.upper()}_{route.upper()}"
    place = {"po": "gut", "sc": "skin", "im": "muscle"}[route]
    m.state(state, "mg", f"{label}, not yet absorbed ({place})")
    m.move(state, f"{prefix.upper()}_C", f"{rate}*{state}", "absorption")
    m.input(f"{drug}_{route}", drug, state, "mg", routes=(route,), bioavailable=f, lag_h=lag)


def vein(m: Builder, prefix: str, drug: str) -> None:
    """Doses into plasma: a bolus, or an infusion where the dose has a duration."""
    m.input(f"{drug}_iv", drug, f"{prefix.upper()}_C", "mg", routes=("iv",))


def brain(m: Builder, prefix: str, label: str, options: Options) -> str:
    """Passage of an antibody through the barriers by size, and back by the Fc receptor. Returns the mean's name."""
    solute(m, prefix.upper(), plasma=f"{prefix}_conc", regions=options.regions, unit="mg/L", label=label,
           efflux="igg_efflux")  # fmt: skip
    return f"{prefix.upper()}_brain"


def brain_ratio(m: Builder, prefix: str, label: str) -> str:
    """Brain fluid that follows ``<prefix>_csf`` times plasma at the rate ``<prefix>_ke0``. Returns the state's name."""
    state = f"{prefix.upper()}_CSF"
    m.state(state, "mg/L", f"{label} in cerebrospinal and brain fluid")
    m.flow(state, f"{prefix}_ke0*({prefix}_csf*{prefix}_conc - {state})", "equilibration with plasma")
    return state


def later(m: Builder, state: str, text: str, rate: str, meaning: str) -> None:
    """An effect, share of the largest, that follows ``text`` at ``rate``: genes take time."""
    m.state(state, "1", meaning)
    m.flow(state, f"{rate}*({text} - {state})", "approach to what the concentration calls for")


def antibody(m: Builder, prefix: str, drug: str) -> None:
    """An antibody given into a vein."""
    two_compartments(m, prefix, drug)
    vein(m, prefix, drug)


def cyp3a4(m: Builder, prefix: str) -> str:
    """Clearance relative to that without inflammation, where ``<prefix>_cyp`` of it is by CYP3A4.

    Interleukin 6 holds the enzyme down (Willemin 2024, from talquetamab), and blocking its receptor gives it back.
    The enzyme is declared once, by whichever drug needs it first.
    """
    if not any(s.name == "CYP3A4" for s in m.states):
        m.state("CYP3A4", "1", "activity of CYP3A4 relative to that at baseline", "1")
        m.flow(
            "CYP3A4",
            "cyp_out*((1 - cyp_loss*hill(il6_signal, cyp_half))/(1 - cyp_loss*hill(il6_base, cyp_half)) - CYP3A4)",
            "turnover; less is made under interleukin 6",
        )
    return f"1 - {prefix}_cyp + {prefix}_cyp*CYP3A4"
