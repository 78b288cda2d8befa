"""Long runs that can be stopped and taken up again.

A run is a list of named steps. Each finished step is stored under a key made of everything that decides
its result (configuration, input hashes, versions); a second run with the same key reads it back.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from icans.core.files import atomic_path
from icans.core.provenance import digest

R = TypeVar("R")


@dataclass(frozen=True)
class Checkpoints:
    """Finished steps of one run, in a folder of its own.

    The files are pickles written by this program for itself; do not read a folder from elsewhere.
    ``key`` is what every step depends on. A step that cannot be read back is done again.
    """

    folder: Path
    key: Any

    def step(self, name: str, work: Callable[[], R], depends: Any = None) -> R:
        """The stored result of step ``name``, or ``work()`` and then its stored result."""
        path = self._path(name, depends)
        if path.exists():
            try:
                with open(path, "rb") as handle:
                    return pickle.load(handle)  # noqa: S301 - written by this program, see the class docstring
            except (pickle.UnpicklingError, EOFError, AttributeError, ImportError):
                path.unlink()
        result = work()
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            pickle.dump(result, handle, protocol=pickle.HIGHEST_PROTOCOL)
        return result

    def has(self, name: str, depends: Any = None) -> bool:
        """Whether step ``name`` is stored."""
        return self._path(name, depends).exists()

    def _path(self, name: str, depends: Any) -> Path:
        return self.folder / f"{name}-{digest([self.key, depends])}.pickle"

    def done(self) -> list[str]:
        """Names of the steps that are stored, sorted."""
        return sorted({p.stem.rsplit("-", 1)[0] for p in self.folder.glob("*.pickle")})
