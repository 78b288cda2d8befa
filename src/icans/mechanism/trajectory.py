"""What a simulation gives: courses of many patients, what failed and why, what was triggered; written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError
from icans.core.files import atomic_folder, write_json
from icans.core.provenance import Provenance
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Failure:
    """A patient (number from 0) whose integration ended early: when (h), why, and the state that was worst."""

    patient: int
    time_h: float
    reason: str
    state: str = ""


@dataclass(frozen=True)
class Trajectory:
    """Simulated courses.

    Attributes
    ----------
    times_h
        Hours since infusion, shape (T,).
    names
        What was kept: states and definitions, k of them.
    values
        Shape (patients, T, k); NaN from the failure of a patient on.
    units
        Unit of each name.
    status
        0 for patients that were integrated to the end, shape (patients,).
    failures
        One entry for each other patient.
    steps
        Steps accepted and rejected, shape (patients, 2).
    fired_h
        Times at which triggers fired, NaN where they did not, shape (patients, triggers, most).
    triggers
        Their labels.
    sensitivities
        Derivatives of ``values`` by ``sensitive`` parameters, shape (patients, T, k, j); None if not asked for.
    """

    times_h: Array
    names: tuple[str, ...]
    values: Array
    units: Mapping[str, str]
    status: npt.NDArray[np.int64]
    failures: tuple[Failure, ...] = ()
    steps: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    fired_h: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    triggers: tuple[str, ...] = ()
    sensitivities: Array | None = None
    sensitive: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=lambda: Provenance("icans.mechanism", synthetic=True))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> Array:
        """One quantity, shape (patients, T).

        Raises
        ------
        ModelError
            It was not among the outputs.
        """
        if name not in self.names:
            raise ModelError([unknown("quantity of this trajectory", name, self.names)])
        return self.values[:, :, self.names.index(name)]

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Patients that were integrated to the end, shape (patients,)."""
        return self.status == 0

    def frame(self) -> pd.DataFrame:
        """Tidy rows: patient (from 0), time_h, quantity, value, unit. Synthetic."""
        import pandas as pd

        n, t, k = self.values.shape
        return pd.DataFrame(
            {
                "patient": np.repeat(np.arange(n), t * k),
                "time_h": np.tile(np.repeat(self.times_h, k), n),
                "quantity": np.tile(np.array(self.names, dtype=object), n * t),
                "value": self.values.reshape(-1),
                "unit": np.tile(np.array([self.units.get(name, "1") for name in self.names], dtype=object), n * t),
            }
        )

    def write(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write ``trajectory.json`` and ``values.parquet`` (and what else there is) into a new folder, atomically.

        Raises
        ------
        FileExistsError
            The folder exists and ``overwrite`` is false.
        """
        with atomic_folder(folder, overwrite=overwrite) as place:
            _table(self.values.reshape(-1, len(self.names)), self.names).to_parquet(place / "values.parquet")
            np.savez_compressed(place / "solver.npz", **self._arrays())
            write_json(place / "trajectory.json", self._header())

    @classmethod
    def read(cls, folder: Path | str) -> Trajectory:
        """The inverse of :meth:`write`.

        Raises
        ------
        FileNotFoundError
            The folder holds no trajectory.
        """
        import pandas as pd

        folder = Path(folder)
        header = json.loads((folder / "trajectory.json").read_text(encoding="utf-8"))
        with np.load(folder / "solver.npz") as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        values = pd.read_parquet(folder / "values.parquet").to_numpy(dtype=np.float64)
        names = tuple(header["names"])
        shape = (len(stored["status"]), len(stored["times_h"]), len(names))
        return cls(
            names=names, values=values.reshape(shape), units=header["units"],
            failures=tuple(Failure(**f) for f in header["failures"]), triggers=tuple(header["triggers"]),
            sensitive=tuple(header["sensitive"]), provenance=Provenance.from_dict(header["provenance"]), **stored,
        )  # fmt: skip

    def _arrays(self) -> dict[str, Any]:
        found = {"times_h": self.times_h, "status": self.status, "steps": self.steps, "fired_h": self.fired_h}
        return found if self.sensitivities is None else {**found, "sensitivities": self.sensitivities}

    def _header(self) -> dict[str, Any]:
        return {
            "synthetic": True,
            "names": list(self.names),
            "units": dict(self.units),
            "failures": [asdict(f) for f in self.failures],
            "triggers": list(self.triggers),
            "sensitive": list(self.sensitive),
            "provenance": self.provenance.as_dict(),
        }


def _table(values: Array, names: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(values, columns=list(names))
