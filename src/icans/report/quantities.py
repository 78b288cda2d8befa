"""Quantities of the patient model as people name them, in the groups in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from icans.report import format as fmt


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity in figures: its name in the model, a short label, whether its axis is logarithmic.

    ``span``: what the axis shows at least, so that what does not matter does not fill the panel.
    """

    name: str
    label: str
    log: bool = False
    span: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Quantities shown together, with one sentence on what they are."""

    name: str
    title: str
    lead: str
    quantities: tuple[Quantity, ...]


GROUPS: tuple[Group, ...] = (
    Group("cells", "CAR T cells and tumour", "Expansion, contraction and memory in blood; what they are after.", (
        Quantity("car_blood", "CAR T cells in blood", True),
        Quantity("TUM", "Tumour burden (1: typical)", True),
        Quantity("IL15", "IL-15", span=(0.0, 20.0)),
    )),
    Group("inflammation", "Inflammation", "Activated myeloid cells, cytokines in plasma and the acute phase.", (
        Quantity("MYE_A", "Activated myeloid cells", span=(0.0, 0.2)),
        Quantity("IL6", "IL-6", True),
        Quantity("IFNG", "Interferon gamma", True),
        Quantity("IL1B", "IL-1β", True),
        Quantity("IL10", "IL-10", True),
        Quantity("GMCSF", "GM-CSF", True),
        Quantity("TNF", "TNF", True),
        Quantity("MCP1", "MCP-1", True),
        Quantity("CRP", "CRP", True),
        Quantity("FERRITIN", "Ferritin", True),
        Quantity("TEMP", "Temperature", span=(36.5, 39.0)),
    )),
    Group("endothelium", "Endothelium", "Activation of the vessel wall and what it sheds.", (
        Quantity("ENDO", "Endothelial activation", span=(0.0, 0.3)),
        Quantity("ANG2", "Angiopoietin-2", True),
        Quantity("ANG1", "Angiopoietin-1", True),
        Quantity("VWF", "Von Willebrand factor", span=(100.0, 250.0)),
        Quantity("VCAM1", "Soluble VCAM-1", True),
        Quantity("PLT", "Platelets", span=(0.0, 150.0)),
    )),
    Group("brain", "Barrier and brain", "Permeability of the barrier; what reaches or arises in the brain.", (
        Quantity("bbb_permeability", "Barrier permeability", span=(0.0, 5.0)),
        Quantity("qalb_lumbar", "Lumbar albumin quotient", True),
        Quantity("IL6_brain", "IL-6 in brain fluid", True),
        Quantity("IL6_sass", "IL-6 in lumbar CSF", True),
        Quantity("MICRO", "Microglial activation", span=(0.0, 0.2)),
        Quantity("GFAP", "GFAP in plasma", True),
        Quantity("NFL", "Neurofilament in plasma", True),
    )),
    Group("clinic", "At the bedside", "What is seen: confusion, slowing of the EEG, systemic severity.", (
        Quantity("ice_expected", "ICE score (expected)", span=(0.0, 10.0)),
        Quantity("encephalopathy", "Neurological severity (latent)", span=(0.0, 2.0)),
        Quantity("eeg_slowing", "EEG slowing", span=(0.0, 1.0)),
        Quantity("crs_severity", "Systemic severity (latent)", span=(0.0, 2.0)),
    )),
)  # fmt: skip

#: Quantities of the panel of one patient, from above.
PANEL: tuple[str, ...] = (
    "car_blood", "IL6", "CRP", "TEMP", "ANG2", "bbb_permeability", "IL6_sass", "GFAP", "ice_expected",
)  # fmt: skip

BY_NAME: dict[str, Quantity] = {q.name: q for g in GROUPS for q in g.quantities}

#: Prefix of the states that hold the integrity of the barrier by region.
BARRIER = "BAR_"


def known(names: Iterable[str]) -> tuple[Group, ...]:
    """The groups with only those quantities that a model has; empty groups are left out."""
    have = set(names)
    kept = [
        Group(g.name, g.title, g.lead, tuple(q for q in g.quantities if q.name in have)) for g in GROUPS
    ]  # fmt: skip
    return tuple(g for g in kept if g.quantities)


def label(name: str, units: Mapping[str, str]) -> str:
    """``IL-6, pg/mL``; quantities without dimension have their label alone."""
    quantity = BY_NAME.get(name, Quantity(name, name))
    unit = units.get(name, "1")
    return quantity.label if unit in ("1", "") else f"{quantity.label}, {fmt.unit(unit)}"


def arm_label(arm: str, hypothetical: Iterable[str]) -> str:
    """The arm's name, in one line; an arm without human data for what it gives says so, loudly."""
    return f"{arm} (HYPOTHETICAL)" if arm in set(hypothetical) else arm
