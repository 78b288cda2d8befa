"""The whole state of a tissue as arrays: stopped here, taken up there, the same to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from icans.core.errors import DataError, ModelError, Problem
from icans.core.files import atomic_path
from icans.tissue.agents.cells import COLUMNS
from icans.tissue.agents.model import Tissue

#: Raised when what is stored changes.
VERSION = 1


def state_of(tissue: Tissue) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that the rest of a run hangs on.

    Raises
    ------
    ModelError
        The run is between two steps of phenotypes; it can be stopped at those only.
    """
    if tissue.step_count % tissue.every:
        found = f"{tissue.time_min:g} min"
        expected = f"a multiple of {tissue.steps.phenotype_min:g} min"
        raise ModelError([Problem("state", None, "time_min", found, expected, "Stop at a step of phenotypes.")])
    cells = tissue.cells
    state = {f"cells.{name}": cells[name].copy() for name in COLUMNS}
    return state | {
        "behaviour": cells.behaviour[:, : cells.n].copy(),
        "field": tissue.field.values.copy(),
        "field_time_min": np.array(tissue.field.time_min),
        "kills": tissue.kills.copy(),
        "plasma": tissue.plasma.copy(),
        "circulating": tissue.circulating.copy(),
        "counters": np.array([VERSION, tissue.step_count, cells.next_identity, tissue.lost, tissue.seed], np.int64),
    }


def restore(tissue: Tissue, state: dict[str, Any], file: str = "state") -> None:
    """Put a tissue that was built alike into a stored state.

    Raises
    ------
    DataError
        The state is of another version, another seed, other kinds, substances or grid.
    """
    version, step, identity, lost, seed = (int(v) for v in state["counters"])
    n = state["cells.kind"].size
    checks = (
        ("version", version, VERSION),
        ("seed", seed, tissue.seed),
        ("behaviours", state["behaviour"].shape[0], tissue.cells.behaviours),
        ("field", state["field"].shape, tissue.field.values.shape),
        ("kinds", state["circulating"].shape, tissue.circulating.shape),
    )
    problems = [
        Problem(file, None, name, str(found), str(expected), "Remove it to start anew: the run has changed.")
        for name, found, expected in checks
        if found != expected
    ]
    if problems:
        raise DataError(problems)
    cells = tissue.cells
    cells.n = 0
    cells.reserve(n)
    for name in COLUMNS:
        cells.data[name][..., :n] = state[f"cells.{name}"]
    cells.behaviour[:, :n] = state["behaviour"]
    cells.n, cells.next_identity = n, identity
    tissue.field.values[:] = state["field"]
    tissue.field.time_min = float(state["field_time_min"])
    tissue.kills[:], tissue.plasma[:], tissue.circulating[:] = state["kills"], state["plasma"], state["circulating"]
    tissue.step_count, tissue.lost = step, lost


def save_state(tissue: Tissue, path: Path | str) -> None:
    """Write the state to one file (``.npz``), whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, **state_of(tissue))  # type: ignore[arg-type]


def load_state(tissue: Tissue, path: Path | str) -> None:
    """Read the state from a file that :func:`save_state` wrote; see :func:`restore`."""
    with np.load(path, allow_pickle=False) as stored:
        restore(tissue, dict(stored), str(path))
