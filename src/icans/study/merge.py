"""Parts of an array job to results, whatever job it was."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from icans.core.errors import ConfigError, Problem
from icans.core.shards import Shard, Whole, read_parts

#: Kind of job -> the module whose ``finish(whole, output, overwrite=, command=)`` makes its results.
FINISHERS = {
    "simulate": "icans.study.simulate_shards",
    "strategies": "icans.study.strategies_shards",
    "tissue sweep": "icans.study.tissue_sweep_shards",
}
#: What the folder of parts of ``results/x`` is called: ``results/x.parts``.
SUFFIX = ".parts"


class Told(Protocol):
    """What a command answers with."""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        ...

    def text(self) -> str:
        """For people."""
        ...


@dataclass(frozen=True)
class PartResult:
    """A part that was written, or was there already (``fresh`` is false then), with ``items`` of some ``unit``."""

    folder: Path
    shard: Shard
    items: int
    fresh: bool
    unit: str = "patients"

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {"ok": True, "synthetic": True, "part": str(self.folder), "shard": str(self.shard), "items": self.items,
                "fresh": self.fresh}  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        done = "written" if self.fresh else "was there already"
        return f"SYNTHETIC: part {self.shard}, {self.items} {self.unit}, {done}: {self.folder}"


def parts_of(output: Path) -> Path:
    """The folder of parts of a results folder."""
    return output.with_name(output.name + SUFFIX)


def merge_parts(
    folder: Path | str, *, output: Path | str | None = None, overwrite: bool = False, command: str = ""
) -> Told:
    """Put the parts of a job together and write its results.

    Parameters
    ----------
    folder
        Folder of parts.
    output
        Results folder; by default the name of ``folder`` without ``.parts``.

    Raises
    ------
    DataError
        Parts are missing, twice there, of another job, or damaged; all are named.
    ConfigError
        No output is named and none follows from the folder, or the job is of a kind that is not known.
    FileExistsError
        The results folder exists and must not be replaced.
    """
    folder = Path(folder)
    if output is None:
        if folder.resolve().suffix != SUFFIX:
            remedy = "Name the results folder with --output."
            raise ConfigError([Problem(str(folder), None, None, folder.name, f"a folder named ...{SUFFIX}", remedy)])
        output = folder.resolve().with_suffix("")
    whole: Whole = read_parts(folder)
    if whole.job.kind not in FINISHERS:
        remedy = "These parts are put together in Python: icans.core.shards.read_parts."
        problem = Problem(str(folder), None, "kind", whole.job.kind, f"one of {', '.join(FINISHERS)}", remedy)
        raise ConfigError([problem])
    made: Told = import_module(FINISHERS[whole.job.kind]).finish(
        whole, Path(output), overwrite=overwrite, command=command or f"icans merge {folder}"
    )
    return made


def several_processors(whole: Whole) -> tuple[str, ...]:
    """A sentence where parts come from more than one kind of processor."""
    if len(whole.processors) < 2:
        return ()
    return (f"The parts were made on different processors ({'; '.join(whole.processors)}): numbers may differ in the "
            "last digits from a run on one kind.",)  # fmt: skip
