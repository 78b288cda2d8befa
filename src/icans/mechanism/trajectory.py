"""What a simulation gives: courses of quantities in simulated (synthetic) patients."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icans.core.files import atomic_folder, write_json
from icans.core.provenance import Provenance
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
FORMAT = "icans trajectory 1"


@dataclass(frozen=True)
class Failure:
    """Why a patient (numbered from 1) has no values after ``time_h``; ``state`` is the one to blame, if any."""

    patient: int
    time_h: float
    reason: str
    state: str | None = None


@dataclass(frozen=True)
class Firing:
    """A trigger that fired."""

    patient: int
    label: str
    time_h: float


@dataclass(frozen=True)
class Trajectory:
    """Courses of ``names`` in n patients.

    ``times_h``: shape (T,), or (n, T) where every patient has his own, padded with NaN. ``values``: shape (n, T, k),
    NaN after a patient's failure. ``status``: shape (n,), 0 where all went well. ``by`` and ``derivatives``, shape
    (n, T, k, parameters): derivatives of the values by parameters, where asked for. ``steps``: shape (n, 2), steps
    taken and repeated. ``end``: shape (n, states), the states at the last time.
    """

    times_h: Array
    names: tuple[str, ...]
    values: Array
    status: npt.NDArray[np.int64]
    failures: tuple[Failure, ...]
    units: dict[str, str]
    fired: tuple[Firing, ...] = ()
    by: tuple[str, ...] = ()
    derivatives: Array | None = None
    steps: npt.NDArray[np.int64] | None = None
    end: Array | None = None
    provenance: Provenance = field(default_factory=lambda: Provenance("simulated", synthetic=True))

    def __getitem__(self, name: str) -> Array:
        """Values of one quantity, shape (n, T)."""
        if name not in self.names:
            raise KeyError(str(unknown("quantity of this trajectory", name, self.names)))
        return self.values[:, :, self.names.index(name)]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.values)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Patients without failure, shape (n,)."""
        return self.status == 0

    def derivative(self, name: str, parameter: str) -> Array:
        """Derivatives of a quantity by a parameter, shape (n, T)."""
        if self.derivatives is None or name not in self.names or parameter not in self.by:
            raise KeyError(f"no derivative of {name!r} by {parameter!r} was asked for")
        return self.derivatives[:, :, self.names.index(name), self.by.index(parameter)]

    def frame(self) -> pd.DataFrame:
        """Tidy: a row per patient (from 1), time and quantity, with unit; marked synthetic."""
        import pandas as pd

        n, T, k = self.values.shape
        times = np.broadcast_to(self.times_h, (n, T))
        made = pd.DataFrame({
            "patient": np.repeat(np.arange(1, n + 1), T * k),
            "time_h": np.repeat(times.ravel(), k),
            "quantity": pd.Categorical.from_codes(np.tile(np.arange(k), n * T), list(self.names)),
            "value": self.values.ravel(),
            "unit": pd.Categorical(np.tile([self.units[name] for name in self.names], n * T)),
            "synthetic": True,
        })  # fmt: skip
        return made[made["time_h"].notna()].reset_index(drop=True) if self.times_h.ndim == 2 else made

    def write(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write to a folder: ``values.parquet``, ``derivatives.parquet`` where there are, ``trajectory.json``.

        Raises
        ------
        FileExistsError
            The folder exists and ``overwrite`` is false.
        """
        n, T, _ = self.values.shape
        about = {
            "format": FORMAT, "synthetic": True, "patients": n, "times": T, "own_times": self.times_h.ndim == 2,
            "names": list(self.names), "units": self.units, "by": list(self.by), "status": self.status.tolist(),
            "steps": None if self.steps is None else self.steps.tolist(),
            "failures": [[f.patient, f.time_h, f.reason, f.state] for f in self.failures],
            "fired": [[f.patient, f.label, f.time_h] for f in self.fired],
            "end": None if self.end is None else [[_plain(v) for v in row] for row in self.end.tolist()],
            "provenance": self.provenance.as_dict(),
        }  # fmt: skip
        with atomic_folder(folder, overwrite=overwrite) as inside:
            _put(inside / "values.parquet", self, self.values.reshape(n * T, -1), self.names)
            if self.derivatives is not None:
                names = [f"{name}|{parameter}" for name in self.names for parameter in self.by]
                _put(inside / "derivatives.parquet", self, self.derivatives.reshape(n * T, -1), names)
            write_json(inside / "trajectory.json", about)


def read_trajectory(folder: Path | str) -> Trajectory:
    """Read what :meth:`Trajectory.write` wrote.

    Raises
    ------
    ValueError
        The folder holds something else.
    """
    import pandas as pd

    folder = Path(folder)
    about = json.loads((folder / "trajectory.json").read_text(encoding="utf-8"))
    if about.get("format") != FORMAT:
        raise ValueError(f"{folder} holds no trajectory of this version (expected {FORMAT!r})")
    n, T, names, by = about["patients"], about["times"], tuple(about["names"]), tuple(about["by"])
    table = pd.read_parquet(folder / "values.parquet")
    times = table["time_h"].to_numpy(float).reshape(n, T)
    derivatives = None
    if by:
        kept = pd.read_parquet(folder / "derivatives.parquet").iloc[:, 2:]
        derivatives = kept.to_numpy(float).reshape(n, T, len(names), len(by))
    end = about["end"]
    return Trajectory(
        times if about["own_times"] else times[0], names, table[list(names)].to_numpy(float).reshape(n, T, len(names)),
        np.array(about["status"], np.int64), tuple(Failure(*f) for f in about["failures"]), about["units"],
        tuple(Firing(*f) for f in about["fired"]), by, derivatives,
        None if about["steps"] is None else np.array(about["steps"], np.int64),
        None if end is None else np.array(end, dtype=float), Provenance.from_dict(about["provenance"]),
    )  # fmt: skip


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _put(path: Path, of: Trajectory, values: Array, names: list[str] | tuple[str, ...]) -> None:
    import pandas as pd

    n, T, _ = of.values.shape
    table = pd.DataFrame(values, columns=list(names))
    table.insert(0, "patient", np.repeat(np.arange(1, n + 1), T))
    table.insert(1, "time_h", np.broadcast_to(of.times_h, (n, T)).ravel())
    table.to_parquet(path, index=False)
