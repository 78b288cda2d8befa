"""The offline replay log: every transition of a run in one file, enough to learn or judge a policy from it.

A NumPy archive (``.npz``): what was seen before each step (``seen.<name>``), what was asked for (``action.<name>``),
what was given after the limits (``given_mg``), reward, end and death, patient, step, the truth after the step
(``truth.<name>``); ``about`` tells the settings, as JSON, and that everything is synthetic. Rows are transitions in the
order in which they happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.provenance import package_version
from icans.intervene.loop.menu import Actions, Menu
from icans.intervene.loop.ward import Done, Settings, Ward


class Recorder:
    """Gathers transitions and writes them at the end."""

    def __init__(self, path: str | Path, settings: Settings, menu: Menu) -> None:
        self.path = Path(path)
        told = {k: v for k, v in asdict(settings).items() if k != "assays"}
        self.about = {"synthetic": True, "made_by": f"icans {package_version()}", "settings": told,
                      "items": [i.drug for i in menu.items], "environment": "icans/ClosedLoop-v0"}  # fmt: skip
        self.rows: dict[str, list[npt.NDArray[Any]]] = {}

    def add(
        self, ward: Ward, seen: Mapping[str, npt.NDArray[Any]], actions: Actions, done: Done,
        reward: npt.NDArray[Any], ended: npt.NDArray[Any], died: npt.NDArray[Any],
        kept: npt.NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """One step; rows outside ``kept`` began anew and are no transition."""
        from icans.intervene.loop.spaces import from_actions

        rows = np.arange(len(ward)) if kept is None else np.flatnonzero(kept)
        columns: dict[str, npt.NDArray[Any]] = {f"seen.{k}": v for k, v in seen.items()}
        columns |= {f"action.{k}": v for k, v in from_actions(actions).items()}
        columns |= {f"truth.{k}": v for k, v in ward.truth().items()}
        columns |= {"given_mg": done.mg, "refused": done.refused, "reward": reward, "ended": ended, "died": died,
                    "patient": ward.people.numbers[ward.who], "number": ward.world.numbers,
                    "time_h": ward.world.clock_h}  # fmt: skip
        for name, values in columns.items():
            self.rows.setdefault(name, []).append(np.array(values[rows]))

    def close(self) -> None:
        """Write the file; a second call writes nothing."""
        if not self.rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = {name: np.concatenate(parts) for name, parts in self.rows.items()}
        np.savez_compressed(self.path, about=np.array(json.dumps(self.about)), **made)  # type: ignore[arg-type]
        self.rows = {}


def read_log(path: str | Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What the log is about, and its columns."""
    with np.load(Path(path), allow_pickle=False) as found:
        about: dict[str, Any] = json.loads(str(found["about"]))
        return about, {name: found[name] for name in found.files if name != "about"}
