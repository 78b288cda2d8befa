"""The model at a glance: its modules, what they pass to each other, and where therapies act; read off the equations."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from icans.mechanism.language import names_in
from icans.report import style
from icans.report.figures import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from icans.mechanism.model import PatientModel

#: Place of each module: column and row from above. The syndrome runs along the edge: right, down, left.
PLACES: dict[str, tuple[int, int]] = {
    "cells": (0, 0), "myeloid": (1, 0), "cytokines": (2, 0),
    "acute_phase": (0, 1), "organs": (1, 1), "endothelium": (2, 1),
    "injury": (0, 2), "cns": (1, 2), "barrier": (2, 2),
}  # fmt: skip
#: The way from the infusion to the brain.
MAIN = (
    ("cells", "myeloid"), ("myeloid", "cytokines"), ("cytokines", "endothelium"), ("endothelium", "barrier"),
    ("barrier", "cns"), ("cns", "injury"), ("cytokines", "myeloid"),
)  # fmt: skip
COLUMN, ROW, WIDTH, HEIGHT = 4.1, 3.0, 3.1, 2.1
#: Members of a family of states from which on only their number is told.
FAMILY = 3

Link = tuple[str, str]


def links(model: PatientModel) -> dict[Link, frozenset[str]]:
    """(source module, target module) -> names of the source that equations of the target use.

    Handles are left out: what passes through them comes from drugs (:func:`acts_on`).
    """
    owner = {s.name: s.module for s in model.states} | {d.name: d.module for d in model.definitions}
    drugs = {d.name for d in model.drugs}
    handles = _handles(model)
    found: dict[Link, set[str]] = {}

    def note(target: str, text: str) -> None:
        for name in names_in(text):
            source = owner.get(name, target)
            if source != target and name not in handles and not {source, target} & drugs:
                found.setdefault((source, target), set()).add(name)

    for definition in model.definitions:
        note(definition.module, definition.text)
    for flow in model.flows:
        note(owner[flow.state], flow.text)
    return {link: frozenset(names) for link, names in found.items()}


def acts_on(model: PatientModel) -> dict[str, tuple[str, ...]]:
    """Module -> drugs whose effect enters there: at a handle that it declares, or by flows on its states."""
    owner = {s.name: s.module for s in model.states} | {d.name: d.module for d in model.definitions}
    drugs = [d.name for d in model.drugs]
    found: dict[str, set[str]] = {}
    for definition in model.definitions:
        for name in names_in(definition.text):
            if owner.get(name) in drugs and definition.module not in drugs:
                found.setdefault(definition.module, set()).add(owner[name])
    for flow in model.flows:
        if flow.module in drugs and owner[flow.state] not in drugs:
            found.setdefault(owner[flow.state], set()).add(flow.module)
    return {module: tuple(sorted(names)) for module, names in found.items()}


def _handles(model: PatientModel) -> set[str]:
    """Definitions that are nothing without drugs: 0, or made of a drug's names alone."""
    owner = {s.name: s.module for s in model.states} | {d.name: d.module for d in model.definitions}
    drugs = {d.name for d in model.drugs}
    return {
        d.name
        for d in model.definitions
        if d.module not in drugs
        and (d.text == "0" or any(owner.get(name) in drugs for name in names_in(d.text)))
    }  # fmt: skip


def followed(model: PatientModel, module: str) -> str:
    """States of a module in short: ``TUM, LD, IL15, CAR ×5``."""
    names = [s.name for s in model.states if s.module == module]
    families = Counter(name.split("_")[0] for name in names)
    told = []
    for name in names:
        family = name.split("_")[0]
        told.append(f"{family} ×{families[family]}" if families[family] >= FAMILY else name)
    return ", ".join(dict.fromkeys(told))


@base.figure
def fig_diagram(model: PatientModel) -> Figure:
    """Boxes for modules, arrows for what their equations use of each other, drugs where their effect enters."""
    titles = {m.name: m.title for m in model.modules}
    places = {name: place for name, place in PLACES.items() if name in titles}
    drugs = {d.name for d in model.drugs}
    strangers = [name for name in titles if name not in places and name not in drugs]
    places |= {name: (k % 3, 3 + k // 3) for k, name in enumerate(strangers)}
    rows = 1 + max((row for _, row in places.values()), default=0)
    fig = base.new(8.6, 2.15 * rows + 0.15)
    ax = fig.subplots()
    for link in sorted(links(model), key=lambda pair: pair in MAIN):
        if link[0] in places and link[1] in places:
            _arrow(ax, places[link[0]], places[link[1]], main=link in MAIN)
    labels = {d.name: f"{d.label} (HYPOTHETICAL)" if d.hypothetical else d.label for d in model.drugs}
    entering = acts_on(model)
    for name, place in places.items():
        _box(ax, place, titles[name], followed(model, name), [labels[d] for d in entering.get(name, ())])
    ax.set_xlim(-0.1, 2 * COLUMN + WIDTH + 0.1)
    ax.set_ylim(-(rows - 1) * ROW - HEIGHT - 0.15, 0.15)
    ax.set_axis_off()
    return fig


def _corner(place: tuple[int, int]) -> tuple[float, float]:
    """Upper left corner of a box."""
    return place[0] * COLUMN, -place[1] * ROW


def _box(ax: Axes, place: tuple[int, int], title: str, states: str, drugs: list[str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = _corner(place)
    ax.add_patch(
        FancyBboxPatch((x, y - HEIGHT), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.12", facecolor=style.PANEL,
                       edgecolor=style.ACCENT, linewidth=1.1, zorder=3)
    )  # fmt: skip
    heading = textwrap.fill(title, 27)
    ax.text(x + 0.14, y - 0.14, heading, fontsize=8.5, fontweight="bold", va="top", zorder=4)
    lines = textwrap.wrap(states, 38)
    shown = lines if len(lines) <= 3 else [*lines[:2], lines[2].rsplit(",", 1)[0] + " …"]
    under = 0.26 + 0.25 * (heading.count("\n") + 1)
    ax.text(x + 0.14, y - under, "\n".join(shown), fontsize=6.6, color=style.SOFT, va="top", zorder=4)
    if drugs:
        told = textwrap.fill(", ".join(drugs), 40)
        ax.text(x + 0.14, y - HEIGHT + 0.12, told, fontsize=6.6, color=style.WARM, va="bottom", zorder=4)


def _arrow(ax: Axes, source: tuple[int, int], target: tuple[int, int], *, main: bool) -> None:
    """From the edge of one box to that of another; arrows between boxes two apart bend round what lies between."""
    from matplotlib.patches import FancyArrowPatch

    (x0, y0), (x1, y1) = _middle(source), _middle(target)
    start, end = _edge(source, (x1, y1)), _edge(target, (x0, y0))
    far = abs(source[0] - target[0]) + abs(source[1] - target[1]) > 1
    straight = source[0] == target[0] or source[1] == target[1]
    bend = 0.32 if far and straight else 0.1
    ax.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13 if main else 8,
                        connectionstyle=f"arc3,rad={bend}", color=style.ACCENT if main else "#a9b4be",
                        linewidth=2.4 if main else 0.9, zorder=2 if main else 1, shrinkA=1, shrinkB=1)
    )  # fmt: skip


def _middle(place: tuple[int, int]) -> tuple[float, float]:
    x, y = _corner(place)
    return x + WIDTH / 2, y - HEIGHT / 2


def _edge(place: tuple[int, int], toward: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a box's middle to a point leaves the box."""
    x, y = _middle(place)
    dx, dy = toward[0] - x, toward[1] - y
    scale = min(WIDTH / 2 / abs(dx) if dx else float("inf"), HEIGHT / 2 / abs(dy) if dy else float("inf"))
    return x + scale * dx, y + scale * dy


def main(output: str) -> None:
    """Write the diagram of the whole model, every therapy in it."""
    from matplotlib import rc_context

    from icans.mechanism.patient import available_drugs, patient_model

    with rc_context(style.RC):
        fig_diagram(patient_model(available_drugs())).savefig(output, dpi=110)


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
