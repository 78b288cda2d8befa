"""A long job cut into shards, each run on its own (an array job), and put together again.

A job's items are numbered 0 to total - 1 (patients, sweeps, data sets). Shard i of n holds a run of neighbours, the
same wherever it is asked for. It writes one *part*: a folder with the tables (Parquet) and arrays (npy) of its items,
in order, and ``part.json`` with the job's key. :func:`read_parts` refuses what does not make exactly the whole, and
gives the tables and arrays as if one process had made them.

For whoever adds a job::

    job = Job("strategies", {"product": "axi-cel", "seed": 1, ...}, total=100_000)
    shard = read_shard("3/50")
    if not have_part(folder, job, shard):                        # a shard that was run before is not run again
        rows = shard.rows(job.total)                             # slice of items
        write_part(folder, job, shard, tables={"outcomes": frame}, arrays={})
    ...
    whole = read_parts(folder)                                   # DataError names every part that is wrong
    whole.job.spec, whole.tables["outcomes"]

The rows of a table follow the items: all rows of the shard's first item, then of its second ... A table of other rows
(arm by arm, say) is one table for each arm. Times, host and seconds are kept beside, not in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ConfigError, DataError, Problem
from icans.core.files import atomic_folder, sha256, write_json
from icans.core.provenance import digest, fingerprint, now, processor

#: What a part says of itself.
ABOUT = "part.json"


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` (from 1) of ``count``."""

    number: int
    count: int

    def rows(self, total: int) -> slice:
        """The items of this shard: neighbours, sizes differ by one at most; empty where there are too few items."""
        return slice((self.number - 1) * total // self.count, self.number * total // self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def read_shard(text: str, *, file: str = "options", name: str = "--shard") -> Shard:
    """Read ``i/n``, 1 <= i <= n.

    Raises
    ------
    ConfigError
        It is something else.
    """
    number, mark, count = text.strip().partition("/")
    if mark and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return Shard(int(number), int(count))
    remedy = "Write for example 3/8; an array job counts from 1."
    raise ConfigError([Problem(file, None, name, text, "i/n with 1 <= i <= n", remedy)])


@dataclass(frozen=True)
class Job:
    """What is cut into shards.

    Attributes
    ----------
    kind
        Which program part made it, e.g. ``"simulate"``; ``icans merge`` goes by it.
    spec
        Everything that decides the numbers (configuration, seed, hashes of inputs), as plain JSON values.
    total
        Number of items.
    made_by
        Versions and code; parts of other versions are not merged.
    """

    kind: str
    spec: Mapping[str, Any]
    total: int
    made_by: str = field(default_factory=fingerprint)

    @property
    def key(self) -> str:
        """Hash of all of it."""
        return digest([self.kind, self.spec, self.total, self.made_by])


@dataclass(frozen=True)
class Whole:
    """All parts of a job: tables and arrays over all items in order.

    ``seconds``: sum of what the shards said they took; ``processors``: kinds on which they ran (where there is more
    than one, the last bits of the numbers may differ from a run on one kind).
    """

    job: Job
    count: int
    tables: Mapping[str, pd.DataFrame]
    arrays: Mapping[str, npt.NDArray[Any]]
    seconds: float
    processors: tuple[str, ...]


def part_folder(folder: Path | str, shard: Shard) -> Path:
    """Where the part of a shard lies."""
    width = len(str(shard.count))
    return Path(folder) / f"part-{shard.number:0{width}d}-of-{shard.count}"


def write_part(
    folder: Path | str, job: Job, shard: Shard, *, tables: Mapping[str, pd.DataFrame],
    arrays: Mapping[str, npt.NDArray[Any]] | None = None, seconds: float = 0.0,
) -> Path:  # fmt: skip
    """Write the part of a shard; it appears whole or not at all.

    Raises
    ------
    FileExistsError
        There is a part of this shard already (see :func:`have_part`).
    """
    target = part_folder(folder, shard)
    rows = shard.rows(job.total)
    with atomic_folder(target) as temporary:
        for name, frame in tables.items():
            frame.to_parquet(temporary / f"{name}.parquet", index=False)
        for name, array in (arrays or {}).items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        files = {p.name: sha256(p) for p in sorted(temporary.iterdir())}
        write_json(temporary / ABOUT, {
            "kind": job.kind, "key": job.key, "spec": job.spec, "total": job.total, "made_by": job.made_by,
            "shard": shard.number, "of": shard.count, "first": rows.start, "items": rows.stop - rows.start,
            "files": files, "seconds": round(seconds, 3), "processor": processor(), "written": now(),
        })  # fmt: skip
    return target


def have_part(folder: Path | str, job: Job, shard: Shard) -> bool:
    """Whether the part of a shard is there, whole, and of this job.

    Raises
    ------
    DataError
        A part is there, but it is of another job or damaged: it is not overwritten silently.
    """
    target = part_folder(folder, shard)
    if not target.exists():
        return False
    found, problem = _about(target)
    if problem is None and found["key"] != job.key:
        problem = _foreign(target, found, _as_found(job), "this command")
    if problem is not None:
        raise DataError([problem])
    return True


def read_parts(folder: Path | str) -> Whole:
    """All parts of a folder, put together.

    Raises
    ------
    DataError
        Parts are missing, twice there, of another job, or damaged; all of them are named at once.
    """
    folder = Path(folder)
    entries = (
        sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []
    )
    if not entries:
        raise DataError([Problem(str(folder), None, None, None, "a folder with parts", "Run the shards first.")])
    problems: list[Problem] = []
    found: list[tuple[Path, dict[str, Any]]] = []
    for entry in entries:
        about, problem = _about(entry)
        if problem is None:
            found.append((entry, about))
        else:
            problems.append(problem)
    own, complaints = _one_job(folder, found)
    problems += complaints
    if problems:
        raise DataError(problems)
    first = own[0][1]
    job = Job(first["kind"], first["spec"], first["total"], first["made_by"])
    names = sorted({name for _, about in own for name in about["files"]})
    paths = {name: [path / name for path, about in own if name in about["files"]] for name in names}
    return Whole(
        job, first["of"],
        tables={n.removesuffix(".parquet"): _joined(p) for n, p in paths.items() if n.endswith(".parquet")},
        arrays={n.removesuffix(".npy"): np.concatenate([np.load(q, allow_pickle=False) for q in p])
                for n, p in paths.items() if n.endswith(".npy")},
        seconds=float(sum(about["seconds"] for _, about in own)),
        processors=tuple(sorted({about["processor"] for _, about in own})),
    )  # fmt: skip


def _joined(paths: Sequence[Path]) -> pd.DataFrame:
    frames = [pd.read_parquet(path) for path in paths]
    full = [frame for frame in frames if len(frame)]  # an empty frame would change the types of columns
    return pd.concat(full or frames[:1], ignore_index=True)


def _about(path: Path) -> tuple[dict[str, Any], Problem | None]:
    """What a part says of itself, and what is wrong with it."""
    again = "Remove the folder and run this shard again."
    try:
        about: dict[str, Any] = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        number, count, total = about["shard"], about["of"], about["total"]
        files = {str(k): str(v) for k, v in about["files"].items()}
        told = digest([about["kind"], about["spec"], total, about["made_by"]])
        sound = 1 <= number <= count and told == about["key"] and about["seconds"] >= 0 and about["processor"]
        rows = Shard(number, count).rows(total)
        sound = sound and (about["first"], about["items"]) == (rows.start, rows.stop - rows.start)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, Problem(str(path), None, None, None, f"a part with its {ABOUT}", again)
    if not sound:
        return {}, Problem(str(path), None, None, None, f"a {ABOUT} that agrees with itself", again)
    for name, known in files.items():
        target = path / name
        if Path(name).name != name or not target.is_file() or sha256(target) != known:
            return {}, Problem(str(path), None, name, None, "the file as it was written", again)
    return about, None


def _one_job(
    folder: Path, found: list[tuple[Path, dict[str, Any]]]
) -> tuple[list[tuple[Path, dict[str, Any]]], list[Problem]]:
    """The parts of the job that most parts are of, by shard; and every reason why they are not the whole."""
    if not found:
        return [], []
    sort = [(about["key"], about["of"]) for _, about in found]
    main = max(dict.fromkeys(sort), key=sort.count)
    reference = next(about for _, about in found if (about["key"], about["of"]) == main)
    own: dict[int, tuple[Path, dict[str, Any]]] = {}
    problems = []
    for path, about in found:
        if (about["key"], about["of"]) != main:
            problems.append(_foreign(path, about, reference, "the other parts"))
        elif about["shard"] in own:
            remedy = f"{own[about['shard']][0].name} is the same shard: remove one of the two."
            problems.append(Problem(str(path), None, None, f"{about['shard']}/{about['of']}", "a shard once", remedy))
        else:
            own[about["shard"]] = (path, about)
    missing = [k for k in range(1, reference["of"] + 1) if k not in own]
    if missing:
        have = f"{len(own)} of {reference['of']} shards"
        wanted = f"all shards; missing: {', '.join(str(k) for k in missing)}"
        problems.append(Problem(str(folder), None, None, have, wanted, "Run these shards, with the same command."))
    return [own[k] for k in sorted(own)], problems


def _foreign(path: Path, about: Mapping[str, Any], reference: Mapping[str, Any], whose: str) -> Problem:
    """Why a part is not of a job."""
    differs = [name for name in ("kind", "of", "total") if about[name] != reference.get(name, about[name])]
    if digest(about["spec"]) != digest(reference["spec"]):
        differs += [f"spec.{name}" for name in sorted({*about["spec"], *reference["spec"]})
                    if digest(about["spec"].get(name)) != digest(reference["spec"].get(name))]  # fmt: skip
    if about["made_by"] != reference["made_by"]:
        pairs = zip(about["made_by"].split(";"), reference["made_by"].split(";"), strict=False)
        differs += [f"version ({a} instead of {b})" for a, b in pairs if a != b]
    remedy = f"It differs in {', '.join(differs) or 'its key'}: move it elsewhere, or run this shard again."
    return Problem(
        str(path), None, None, f"{about['shard']}/{about['of']}", f"a part of the same job as {whose}", remedy
    )


def _as_found(job: Job) -> dict[str, Any]:
    return {"kind": job.kind, "spec": json.loads(json.dumps(job.spec)), "total": job.total, "made_by": job.made_by}
