"""A PhysiCell configuration (XML and rules CSV) as a run of ours; what has no counterpart is told, never guessed.

Taken over: domain, steps, substrates with Dirichlet faces, and of every cell definition volume, mechanics, motility,
secretion, uptake, cycle as one rate, death, contact (attack, phagocytosis, transformation, damage), the rules, the
positions in a CSV file. PhysiCell 1.14 (Ghaffarizadeh et al. 2018, DOI 10.1371/journal.pcbi.1005991).
"""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as Tree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icans.core.errors import DataError, Problem, UnsafeInputError
from icans.core.files import write_text
from icans.tissue.agents.names import Names
from icans.tissue.agents.rules import read_rules
from icans.tissue.run.spec import Spec, make_spec

#: Largest configuration that is read, bytes.
LARGEST = 20_000_000
_VOLUME = {
    "total": "total_um3", "nuclear": "nuclear_um3", "fluid_fraction": "fluid_fraction",
    "fluid_change_rate": "fluid_rate", "cytoplasmic_biomass_change_rate": "cytoplasm_rate",
    "nuclear_biomass_change_rate": "nuclear_rate",
}  # fmt: skip
_MECHANICS = {
    "cell_cell_adhesion_strength": "cell-cell adhesion", "cell_cell_repulsion_strength": "cell-cell repulsion",
    "relative_maximum_adhesion_distance": "relative maximum adhesion distance",
}  # fmt: skip
_SECRETION = {
    "secretion_rate": "{} secretion", "secretion_target": "{} secretion target", "uptake_rate": "{} uptake",
}  # fmt: skip


@dataclass
class Imported:
    """What was found: the run, numbers of kinds and rules, and notes on what could not be taken over."""

    spec: Spec
    kinds: int
    rules: int
    notes: list[str] = field(default_factory=list)


def import_physicell(config: Path | str, output: Path | str | None = None) -> Imported:
    """Read a configuration; write the run as TOML where ``output`` is given.

    Raises
    ------
    DataError
        It is no PhysiCell configuration, or a file that it names is not there.
    UnsafeInputError
        It is very large or declares entities.
    """
    config = Path(config)
    root = _root(config)
    notes: list[str] = []
    raw: dict[str, Any] = {"tissue": _tissue(root), "domain": _domain(root), "steps": _steps(root)}
    raw["substance"], faces = _substances(root, notes)
    if faces:
        raw["domain"]["faces"] = {"all": faces}
    names = [s["name"] for s in raw["substance"]]
    raw["cell"] = [_cell(each, names, notes) for each in root.iterfind("cell_definitions/cell_definition")]
    raw["rule"] = _rules(root, config, notes, Names(tuple(names), tuple(cell["name"] for cell in raw["cell"])))
    _positions(root, config, raw, notes)
    spec = make_spec(raw, str(config))
    if output is not None:
        write_text(Path(output), _toml(raw, config.name, notes))
    return Imported(spec, len(raw["cell"]), len(raw["rule"]), notes)


def _root(config: Path) -> Tree.Element:
    text = config.read_text(encoding="utf-8", errors="replace")
    place = str(config)
    if len(text) > LARGEST or "<!ENTITY" in text or "<!DOCTYPE" in text:
        expected = "a configuration without entities, below 20 MB"
        raise UnsafeInputError([Problem(place, None, None, None, expected, "Remove the declaration.")])
    try:
        root = Tree.fromstring(text)  # noqa: S314 - entities and size are refused above
    except Tree.ParseError as error:
        raise DataError([Problem(place, error.position[0], None, str(error), "well-formed XML", "Mend it.")]) from None
    if root.tag != "PhysiCell_settings":
        raise DataError([Problem(place, 1, None, root.tag, "a PhysiCell_settings file", "Choose the configuration.")])
    return root


def _number(node: Tree.Element, path: str, otherwise: float) -> float:
    text = node.findtext(path)
    return otherwise if text is None or not text.strip() else float(text)


def _on(node: Tree.Element | None, attribute: str = "enabled") -> bool:
    return node is not None and (node.get(attribute) or node.text or "").strip().lower() == "true"


def _tissue(root: Tree.Element) -> dict[str, Any]:
    every = _number(root, "save/full_data/interval", 60.0) / 60
    seed = root.findtext("options/random_seed") or "0"
    return {"name": "from PhysiCell", "hours": _number(root, "overall/max_time", 1440.0) / 60, "every_h": every,
            "seed": int(float(seed)) if seed.strip().isdigit() else 0}  # fmt: skip


def _domain(root: Tree.Element) -> dict[str, Any]:
    h = _number(root, "domain/dx", 20.0)
    sides = [round((_number(root, f"domain/{a}_max", 0) - _number(root, f"domain/{a}_min", 0)) / h) for a in "zyx"]
    flat = (root.findtext("domain/use_2D") or "").strip().lower() == "true"
    return {"shape": sides[1:] if flat else sides, "spacing_um": h}


def _steps(root: Tree.Element) -> dict[str, Any]:
    return {"mechanics_min": _number(root, "overall/dt_mechanics", 0.1),
            "phenotype_min": _number(root, "overall/dt_phenotype", 6.0), "fluid_share": 1.0}  # fmt: skip


def _substances(root: Tree.Element, notes: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    found, outside, velocity = [], {}, {}
    for each in root.iterfind("microenvironment_setup/variable"):
        name = str(each.get("name"))
        found.append({
            "name": name, "diffusion_um2_min": _number(each, "physical_parameter_set/diffusion_coefficient", 0.0),
            "decay_per_min": _number(each, "physical_parameter_set/decay_rate", 0.0),
            "start": _number(each, "initial_condition", 0.0),
        })  # fmt: skip
        held = each.find("Dirichlet_boundary_condition")
        outside[name] = float(held.text or 0) if held is not None and _on(held) else 0.0
        velocity[name] = 1e6 if _on(held) else 0.0
        if any(_on(node) for node in each.iterfind("Dirichlet_options/boundary_value")):
            notes.append(f"{name}: levels given for single faces are not taken over; all faces are alike")
    held_any = any(velocity.values())
    return found, {"kind": "exchange", "outside": outside, "velocity_um_min": velocity} if held_any else None


def _cell(node: Tree.Element, substances: list[str], notes: list[str]) -> dict[str, Any]:
    name, phenotype = str(node.get("name")), node.find("phenotype")
    behaviours: dict[str, float] = {}
    cell: dict[str, Any] = {"name": name, "behaviours": behaviours, "volumes": {}}
    if phenotype is None:
        notes.append(f"{name}: no phenotype; it stands still and does nothing")
        return cell
    _cycle(phenotype, name, behaviours, notes)
    for model, behaviour in (("apoptosis", "apoptosis"), ("necrosis", "necrosis")):
        behaviours[behaviour] = _number(phenotype, f"death/model[@name='{model}']/death_rate", 0.0)
    for theirs, ours in _VOLUME.items():
        if phenotype.find(f"volume/{theirs}") is not None:
            cell["volumes"][ours] = _number(phenotype, f"volume/{theirs}", 0.0)
    for theirs, ours in _MECHANICS.items():
        if phenotype.find(f"mechanics/{theirs}") is not None:
            behaviours[ours] = _number(phenotype, f"mechanics/{theirs}", 0.0)
    affinities = phenotype.findall("mechanics/cell_adhesion_affinities/cell_adhesion_affinity")
    if any(float(a.text or 1) != 1 for a in affinities):
        notes.append(f"{name}: adhesion affinities other than 1 are not taken over")
    _motility(phenotype, name, behaviours, notes)
    for each in phenotype.iterfind("secretion/substrate"):
        for theirs, ours in _SECRETION.items():
            if each.get("name") in substances:
                behaviours[ours.format(each.get("name"))] = _number(each, theirs, 0.0)
        if _number(each, "net_export_rate", 0.0):
            notes.append(
                f"{name}: net export of {each.get('name')} is in their units; taken as 1e-12 of them in pg/min"
            )
            behaviours[f"{each.get('name')} export"] = _number(each, "net_export_rate", 0.0) * 1e-12
    _interactions(phenotype, name, behaviours, notes)
    return cell


def _cycle(phenotype: Tree.Element, name: str, behaviours: dict[str, float], notes: list[str]) -> None:
    durations = [float(d.text or 0) for d in phenotype.iterfind("cycle/phase_durations/duration")]
    rates = [float(r.text or 0) for r in phenotype.iterfind("cycle/phase_transition_rates/rate")]
    durations += [1 / r for r in rates if r > 0]
    total = sum(durations)
    endless = (bool(rates) and min(rates) == 0) or total > 9e8 or total == 0
    behaviours["cycle entry"] = 0.0 if endless else 1 / total
    if len(durations) > 1 and not endless:
        notes.append(f"{name}: {len(durations)} phases of the cycle became one, with the same mean of {total:g} min")


def _motility(phenotype: Tree.Element, name: str, behaviours: dict[str, float], notes: list[str]) -> None:
    motility = phenotype.find("motility")
    if motility is None or not _on(motility.find("options/enabled")):
        return
    behaviours["migration speed"] = _number(motility, "speed", 0.0)
    behaviours["migration persistence time"] = _number(motility, "persistence_time", 1.0)
    behaviours["migration bias"] = _number(motility, "migration_bias", 0.0)
    simple, advanced = motility.find("options/chemotaxis"), motility.find("options/advanced_chemotaxis")
    if simple is not None and _on(simple.find("enabled")):
        behaviours[f"chemotactic response to {simple.findtext('substrate')}"] = _number(simple, "direction", 1.0)
    elif advanced is not None and _on(advanced.find("enabled")):
        for each in advanced.iterfind("chemotactic_sensitivities/chemotactic_sensitivity"):
            behaviours[f"chemotactic response to {each.get('substrate')}"] = float(each.text or 0)
        if not _on(advanced.find("normalize_each_gradient")):
            notes.append(f"{name}: gradients are made of length 1 before they are weighted and added, here always")
    else:
        behaviours["migration bias"] = 0.0


def _interactions(phenotype: Tree.Element, name: str, behaviours: dict[str, float], notes: list[str]) -> None:
    for each in phenotype.iterfind("cell_interactions/attack_rates/attack_rate"):
        behaviours[f"attack {each.get('name')}"] = float(each.text or 0)
    behaviours["attack damage rate"] = _number(phenotype, "cell_interactions/attack_damage_rate", 0.0)
    duration = _number(phenotype, "cell_interactions/attack_duration", 0.0)
    behaviours["cell detachment rate"] = 1 / duration if duration > 0 else 0.0
    behaviours["phagocytose dead cell"] = _number(phenotype, "cell_interactions/apoptotic_phagocytosis_rate", 0.0)
    for each in phenotype.iterfind("cell_transformations/transformation_rates/transformation_rate"):
        if each.get("name") != name:
            behaviours[f"transform to {each.get('name')}"] = float(each.text or 0)
    behaviours["damage rate"] = _number(phenotype, "cell_integrity/damage_rate", 0.0)
    behaviours["damage repair rate"] = _number(phenotype, "cell_integrity/damage_repair_rate", 0.0)
    for what in ("fusion_rates/fusion_rate", "live_phagocytosis_rates/phagocytosis_rate"):
        if any(float(each.text or 0) > 0 for each in phenotype.iterfind(f"cell_interactions/{what}")):
            notes.append(f"{name}: {what.split('/')[0].replace('_', ' ')} are not taken over")
    if _number(phenotype, "mechanics/attachment_rate", 0.0) > 0:
        notes.append(f"{name}: spontaneous springs between cells are not taken over")


def _rules(root: Tree.Element, config: Path, notes: list[str], names: Names) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for ruleset in root.iterfind("cell_rules/rulesets/ruleset"):
        if not _on(ruleset):
            continue
        file = _beside(config, str(ruleset.findtext("folder") or ""), str(ruleset.findtext("filename") or ""))
        if not str(ruleset.get("version", "3.0")).startswith("3"):
            notes.append(f"{file.name}: rules of version {ruleset.get('version')}; read as version 3")
        for rule in read_rules(file):
            known = rule.signal in names.signals and names.behaviour(rule.behaviour) is not None
            if known and rule.cell in names.kinds:
                found.append(dict(vars(rule)))
            else:
                notes.append(f"rule left out, for a name that has no counterpart here: {rule}")
    return found


def _positions(root: Tree.Element, config: Path, raw: dict[str, Any], notes: list[str]) -> None:
    node = root.find("initial_conditions/cell_positions")
    if node is None or not _on(node):
        notes.append("cells that a program of their own puts into the tissue are not known: add [[cell.place]]")
        return
    file = _beside(config, str(node.findtext("folder") or ""), str(node.findtext("filename") or ""))
    low = [_number(root, f"domain/{axis}_min", 0.0) for axis in "xyz"][: len(raw["domain"]["shape"])]
    places: dict[str, list[list[float]]] = {}
    with open(file, newline="", encoding="utf-8") as handle:
        for row in csv.reader(handle):
            if row and row[0].strip().lower() not in ("x", "") and not row[0].startswith("//"):
                point = [float(v) - start for v, start in zip(row, low, strict=False)]
                places.setdefault(row[3].strip() if len(row) > 3 else raw["cell"][0]["name"], []).append(point)
    for number, cell in enumerate(raw["cell"]):
        points = places.get(cell["name"], []) + places.get(str(number), [])
        if points:
            cell["place"] = [{"pattern": "points", "points_um": points}]


def _beside(config: Path, folder: str, name: str) -> Path:
    """A file that a configuration names: in its own folder, or where its folders lead from the one above."""
    for place in (config.parent / name, config.parent.parent / folder / name, config.parent / folder / name):
        if place.is_file():
            return place
    raise DataError([Problem(str(config), None, None, name, "a file beside the configuration", "Put it there.")])


def _toml(raw: dict[str, Any], source: str, notes: list[str]) -> str:
    """The run as TOML text."""
    lines = [f"# Made from {source}. Simulated, no measured data.", *(f"# Note: {note}." for note in notes)]
    for section in ("tissue", "domain", "steps"):
        lines += ["", f"[{section}]", *(f"{_key(k)} = {_value(v)}" for k, v in raw[section].items())]
    for section in ("substance", "cell", "rule"):
        for each in raw[section]:
            lines += ["", f"[[{section}]]"]
            lines += [f"{_key(k)} = {_value(v)}" for k, v in each.items() if k != "place"]
            for place in each.get("place", ()):
                lines += ["", "[[cell.place]]", *(f"{_key(k)} = {_value(v)}" for k, v in place.items())]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)
