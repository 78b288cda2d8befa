"""Frames of a run as PhysiCell output: MultiCellDS XML with ``.mat`` files, as pcdl and PhysiCell Studio read them.

The layout is that of PhysiCell 1.14 as pcdl 4.1 reads it (Friedman et al. 2016, MultiCellDS, DOI 10.1101/090456;
recalled). Our origin is a corner of the box; theirs is kept the same, so that places do not change.
"""

from __future__ import annotations

import xml.etree.ElementTree as Tree
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.provenance import now, package_version
from icans.tissue.run.record import read_zarr

#: Label, size and unit of the rows of the matrix of cells, in order.
ROWS = (
    ("ID", 1, "none"), ("position", 3, "um"), ("total_volume", 1, "um3"), ("cell_type", 1, "none"),
    ("cycle_model", 1, "none"), ("current_phase", 1, "none"), ("elapsed_time_in_phase", 1, "min"),
    ("current_death_model", 1, "none"), ("dead", 1, "none"), ("radius", 1, "um"), ("pressure", 1, "none"),
    ("damage", 1, "none"), ("chemotaxis_index", 1, "none"), ("trait", 1, "none"), ("barrier", 1, "none"),
    ("plugged", 1, "none"),
)  # fmt: skip
#: PhysiCell's codes of a model and its phase, for each of our states: live, apoptosis, necrosis swelling and lysed.
CODES = {0: (5, 14), 1: (100, 100), 2: (101, 101), 3: (101, 102)}
GRAPHS = ("neighbor_graph", "attached_cells_graph", "spring_attached_cells_graph")


def export_multicellds(results: Path | str, folder: Path | str) -> list[Path]:
    """Write every frame of a replicate's Zarr group into a folder; returns the XML files.

    Raises
    ------
    IcansError
        The extra ``tissue`` is not installed.
    """
    from scipy.io import savemat

    arrays, labels = read_zarr(results)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    centres = _centres(labels)
    volume = np.full((1, centres.shape[1]), float(labels["spacing_um"]) ** 3)
    # Levels are wanted as PhysiCell writes them: x runs fastest, then y, then z, which is our order.
    savemat(folder / "initial_mesh0.mat", {"mesh": np.vstack([centres, volume])}, format="4")
    files = []
    for frame in range(len(arrays["time_h"])):
        name = f"output{frame:08d}"
        levels = arrays["fields"][frame].reshape(len(labels["substances"]), -1).astype(float)
        table = np.vstack([centres, volume, levels])
        savemat(folder / f"{name}_microenvironment0.mat", {"multiscale_microenvironment": table}, format="4")
        cells = _cells(arrays, frame)
        savemat(folder / f"{name}_cells.mat", {"cells": cells}, format="4")
        for graph in GRAPHS:
            text = "".join(f"{int(i)}: \n" for i in cells[0])
            (folder / f"{name}_{graph}.txt").write_text(text, encoding="ascii")
        root = _xml(labels, name, float(arrays["time_h"][frame]) * 60)
        path = folder / f"{name}.xml"
        Tree.indent(root)
        Tree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
        files.append(path)
    return files


def _centres(labels: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Centres of voxels (3, voxels), x fastest; a flat tissue lies in the middle of one layer."""
    h, shape = float(labels["spacing_um"]), list(labels["shape"])
    z, y, x = ([np.array([0.0])] if len(shape) == 2 else []) + [(np.arange(n) + 0.5) * h for n in shape]
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    return np.stack([xx.ravel(), yy.ravel(), zz.ravel()])


def _cells(arrays: dict[str, Any], frame: int) -> np.ndarray[Any, Any]:
    """The matrix of cells (rows, cells) of a frame."""
    part = slice(int(arrays["first"][frame]), int(arrays["first"][frame + 1]))
    get = {k.removeprefix("cells/"): v[..., part].astype(float) for k, v in arrays.items() if k.startswith("cells/")}
    state = get["state"].astype(int)
    model, phase = np.array([CODES[s] for s in range(4)]).T[:, state]
    none = np.zeros(state.size)
    columns = {
        "ID": get["identity"], "total_volume": 4 / 3 * np.pi * get["radius"] ** 3, "cell_type": get["kind"],
        "cycle_model": model, "current_phase": phase, "elapsed_time_in_phase": none,
        "current_death_model": np.where(state >= 2, 1, 0), "dead": (state > 0).astype(float), "radius": get["radius"],
        "pressure": get["pressure"], "damage": get["damage"], "chemotaxis_index": none, "trait": get["trait"],
        "barrier": get["barrier"], "plugged": get["plugged"],
    }  # fmt: skip
    return np.vstack([get["x"] if name == "position" else columns[name][None, :] for name, _, _ in ROWS])


def _xml(labels: dict[str, Any], name: str, minutes: float) -> Tree.Element:
    root = Tree.Element("MultiCellDS", version="2", type="snapshot/simulation")
    meta = Tree.SubElement(root, "metadata")
    software = Tree.SubElement(meta, "software")
    _text(software, "name", "icans")
    _text(software, "version", package_version())
    _text(meta, "note", str(labels.get("origin", "simulated")))
    _text(meta, "current_time", f"{minutes:g}", units="min")
    _text(meta, "current_runtime", "0", units="sec")
    _text(meta, "created", now())
    domain = Tree.SubElement(Tree.SubElement(root, "microenvironment"), "domain", name="microenvironment")
    _mesh(domain, labels)
    variables = Tree.SubElement(domain, "variables")
    for number, substance in enumerate(labels["substances"]):
        each = Tree.SubElement(variables, "variable", name=substance, units="pg/mL", ID=str(number))
        physical = Tree.SubElement(each, "physical_parameter_set")
        diffusion, decay = (labels.get(what, [0.0] * 99)[number] for what in ("diffusion_um2_min", "decay_per_min"))
        _text(physical, "diffusion_coefficient", f"{diffusion:g}", units="micron^2/min")
        _text(physical, "decay_rate", f"{decay:g}", units="1/min")
    _text(Tree.SubElement(domain, "data", type="matlab"), "filename", f"{name}_microenvironment0.mat")
    population = Tree.SubElement(
        Tree.SubElement(Tree.SubElement(root, "cellular_information"), "cell_populations"), "cell_population",
        type="individual",
    )  # fmt: skip
    custom = Tree.SubElement(population, "custom")
    data = Tree.SubElement(custom, "simplified_data", type="matlab", source="PhysiCell", data_version="2")
    kinds = Tree.SubElement(data, "cell_types")
    for number, kind in enumerate(labels["kinds"]):
        _text(kinds, "type", kind, ID=str(number), type=str(number))
    rows, index = Tree.SubElement(data, "labels"), 0
    for label, size, unit in ROWS:
        _text(rows, "label", label, index=str(index), size=str(size), units=unit)
        index += size
    _text(data, "filename", f"{name}_cells.mat")
    for graph in GRAPHS:
        _text(Tree.SubElement(custom, graph, type="text", source="PhysiCell"), "filename", f"{name}_{graph}.txt")
    return root


def _mesh(domain: Tree.Element, labels: dict[str, Any]) -> None:
    h, shape = float(labels["spacing_um"]), list(labels["shape"])
    mesh = Tree.SubElement(domain, "mesh", type="Cartesian", uniform="true", regular="true", units="micron")
    nz, ny, nx = ([1] if len(shape) == 2 else []) + shape
    low = -h / 2 if len(shape) == 2 else 0.0
    box = [0.0, 0.0, low, nx * h, ny * h, low + nz * h]
    _text(mesh, "bounding_box", " ".join(f"{v:g}" for v in box), type="axis-aligned", units="micron")
    for axis, count, first in (("x", nx, h / 2), ("y", ny, h / 2), ("z", nz, low + h / 2)):
        places = " ".join(f"{first + h * k:.10g}" for k in range(count))
        _text(mesh, f"{axis}_coordinates", places, delimiter=" ")
    voxels = Tree.SubElement(mesh, "voxels", type="matlab")
    _text(voxels, "filename", "initial_mesh0.mat")


def _text(parent: Tree.Element, tag: str, text: str, **attributes: str) -> None:
    Tree.SubElement(parent, tag, attributes).text = text
