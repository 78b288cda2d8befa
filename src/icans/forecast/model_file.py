"""A trained model as one file: JSON and arrays in a ZIP archive, no pickle, nothing in it that can run.

=================  =================================================================================================
``model.json``     format, program version, task, features, horizons, rung, envelope, what was validated, and the
                   structure of the fitted model and its bootstrap refits (:mod:`icans.forecast.models.parts`)
``arrays.npz``     their numbers (read with ``allow_pickle=False``): one row of numbers for each type, in which the
                   arrays lie behind one another; ``arrays`` in ``model.json`` says name, type and shape of each
``digest.txt``     SHA-256 over both
=================  =================================================================================================

A hybrid with its refits has some ten thousand small arrays; a member of the archive for each would take seconds.
Version 1 of the layout did that; it can still be read.

The digest finds damage and careless edits. It is no signature: who can write the file can write the digest, too.
What a file *was* at a time is shown by sealing its digest in a registry (:mod:`icans.evaluate.registry`).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_path
from icans.core.provenance import package_version
from icans.forecast.envelope import Envelope
from icans.forecast.features import FeatureSpec
from icans.forecast.final import FinalModel
from icans.forecast.models.parts import Array, Arrays, Meta, from_parts, horizons_in, horizons_out, to_parts
from icans.forecast.outcomes import Task
from icans.forecast.rung import FittedRung, Rung

#: Name and version of the layout. A reader refuses other versions: a model that is half understood is a wrong model.
FORMAT, BEFORE = "icans-model/2", "icans-model/1"
#: Largest file and largest unpacked size that is read, bytes: a model of a cohort is some megabytes.
MAX_FILE, MAX_UNPACKED = 500_000_000, 2_000_000_000
_NAMES = ("model.json", "arrays.npz", "digest.txt")
#: Time stamp of the archive's members: the same model gives the same bytes.
_STAMP = (1980, 1, 1, 0, 0, 0)


def write_model(model: FinalModel, path: Path | str) -> str:
    """Write a model, atomically. Returns its digest.

    Raises
    ------
    DataError
        A part of the model cannot be saved (all such parts at once).
    """
    path = Path(path)
    values, arrays = _parts(model, str(path))
    names = sorted(arrays)
    values["arrays"] = [[name, arrays[name].dtype.str, list(arrays[name].shape)] for name in names]
    text = json.dumps(values, sort_keys=True, allow_nan=False).encode()
    buffer = io.BytesIO()
    rows: dict[str, list[Array]] = {}
    for name in names:
        rows.setdefault(arrays[name].dtype.str, []).append(arrays[name].ravel())
    kinds = {f"row{k}": np.concatenate(row) for k, row in enumerate(rows.values())}
    np.savez(buffer, allow_pickle=False, **kinds)
    digest = _digest(text, _members(buffer.getvalue()))
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(_NAMES, (text, buffer.getvalue(), digest.encode()), strict=True):
            archive.writestr(zipfile.ZipInfo(name, _STAMP), content, zipfile.ZIP_DEFLATED)
    return digest


def read_model(path: Path | str) -> FinalModel:
    """Read what :func:`write_model` wrote.

    Raises
    ------
    DataError
        Not a model file, of another version of the layout, damaged or changed, or of unknown parts.
    """
    values, arrays, digest = _opened(Path(path))
    file = str(path)
    if values.get("format") not in (FORMAT, BEFORE):
        remedy = f"Read it with the version that wrote it ({values.get('program', 'unknown')}), or train it again."
        raise DataError([Problem(file, None, "format", str(values.get("format")), FORMAT, remedy)])
    try:
        if values["format"] == FORMAT:
            arrays = _apart(values["arrays"], arrays)
        return _model(values, arrays, digest)
    except (KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError([Problem(file, None, None, why, "a whole model", "Train the model again.")]) from error


def model_digest(path: Path | str) -> str:
    """The digest of a model file, after checking it."""
    return _opened(Path(path))[2]


def _parts(model: FinalModel, file: str) -> tuple[Meta, Arrays]:
    problems: list[Problem] = []
    arrays: Arrays = {}
    children: dict[str, Meta] = {}
    items: list[tuple[str, Any]] = [("fitted", model.fitted.model)]
    items += [(f"refit{k}", refit.model) for k, refit in enumerate(model.refits)]
    items += [(f"block{k}", block) for k, block in enumerate(model.blocks)]
    items += [(f"step{k}", step) for k, step in enumerate(model.steps)]
    for name, item in items:
        try:
            children[name], more = to_parts(item)
        except TypeError as error:
            problems.append(Problem(file, None, name, str(error), "a part that can be saved", "Use another model."))
            continue
        arrays |= {f"{name}/{key}": np.asarray(value) for key, value in more.items()}
    if problems:
        raise DataError(problems)
    counts = {"refits": len(model.refits), "blocks": len(model.blocks), "steps": len(model.steps)}
    spec = asdict(model.spec)
    rung = {"name": model.rung.name, "description": model.rung.description, "groups": model.rung.groups}
    return {
        "format": FORMAT, "program": package_version(), "research_use_only": True, "synthetic": model.synthetic,
        "task": asdict(model.task), "spec": spec, "horizons": horizons_out(model.horizons),
        "rung": rung | {"uses_history": model.rung.uses_history}, "training": list(model.training),
        "envelope": model.envelope.as_dict(), "card": model.card, "counts": counts, "parts": children,
    }, arrays  # fmt: skip


def _model(values: Meta, arrays: Arrays, digest: str) -> FinalModel:
    from pydantic import TypeAdapter

    groups = values["rung"]["groups"]
    stands_for = _Stored(bool(values["rung"]["uses_history"]))
    rung = Rung(values["rung"]["name"], values["rung"]["description"], stands_for, groups and tuple(groups))
    mine: dict[str, Arrays] = {name: {} for name in values["parts"]}
    for key, value in arrays.items():
        name, _, rest = key.partition("/")
        mine[name][rest] = value
    part = {name: from_parts(meta, mine[name]) for name, meta in values["parts"].items()}
    count = values["counts"]
    patients, events, training = values["training"]
    return FinalModel(
        task=TypeAdapter(Task).validate_python(values["task"]), rung=rung,
        spec=TypeAdapter(FeatureSpec).validate_python(values["spec"]), horizons=tuple(horizons_in(values["horizons"])),
        fitted=FittedRung(rung, part["fitted"]),
        refits=tuple(FittedRung(rung, part[f"refit{k}"]) for k in range(count["refits"])),
        steps=tuple(part[f"step{k}"] for k in range(count["steps"])),
        blocks=tuple(part[f"block{k}"] for k in range(count["blocks"])),
        training=(int(patients), int(events), str(training)), synthetic=bool(values["synthetic"]),
        envelope=Envelope.from_dict(values["envelope"]), card=values["card"], program=values["program"],
        digest=digest,
    )  # fmt: skip


def _apart(told: list[list[Any]], rows: Arrays) -> Arrays:
    """The arrays that lie in rows of numbers behind one another.

    Raises
    ------
    ValueError
        The rows are not those that the list tells of.
    """
    by_type = {row.dtype.str: row for row in rows.values()}
    used = dict.fromkeys(by_type, 0)
    found: Arrays = {}
    for name, dtype, shape in told:
        start, size = used.get(dtype, 0), math.prod(map(int, shape))
        if size < 0 or dtype not in by_type or start + size > len(by_type[dtype]):
            raise ValueError(f"array {name!r} of type {dtype} and shape {shape} is not there")
        found[str(name)] = by_type[dtype][start : start + size].reshape(shape)
        used[dtype] = start + size
    if any(used[dtype] != len(row) for dtype, row in by_type.items()):
        raise ValueError("there are more numbers than the list of arrays tells of")
    return found


class _Stored:
    """Stands in a rung for the model before fitting, which a file does not hold."""

    def __init__(self, uses_history: bool) -> None:
        self.uses_history = uses_history

    def fit(self, *_: Any, **__: Any) -> Any:
        """Refused: a file holds what was learned, not how to learn it."""
        raise TypeError("a model that was read from a file cannot be fitted again; train a new one")


def _opened(path: Path) -> tuple[Meta, Arrays, str]:
    file = str(path)

    def refused(found: str, wanted: str, remedy: str) -> DataError:
        return DataError([Problem(file, None, None, found, wanted, remedy)])

    if not path.is_file():
        raise refused("no such file", "a model file (.icans)", "Give the path of a file made by `icans train`.")
    if path.stat().st_size > MAX_FILE:
        raise refused(f"{path.stat().st_size} bytes", f"at most {MAX_FILE}", "This is not a model file.")
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted(_NAMES):
                raise refused(", ".join(archive.namelist()[:5]), ", ".join(_NAMES), "This is not a model file.")
            if sum(item.file_size for item in archive.infolist()) > MAX_UNPACKED:
                raise refused("too large when unpacked", f"at most {MAX_UNPACKED} bytes", "This is not a model file.")
            text, packed, digest = (archive.read(name) for name in _NAMES)
            members = _members(packed)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as error:
        raise refused(f"{error}", "a model file (.icans)", "Give a file made by `icans train`.") from error
    if _digest(text, members) != digest.decode(errors="replace"):
        raise refused(
            "the content does not fit its digest", "an unchanged file", "It was damaged or changed: get it anew."
        )
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise refused(str(error), "JSON", "It was damaged: get it anew.") from error
    return values, members, _digest(text, members)


def _members(packed: bytes) -> Arrays:
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _digest(text: bytes, arrays: Arrays) -> str:
    found = hashlib.sha256(text)
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name}|{value.dtype.str}|{value.shape}".encode())
        found.update(value.tobytes() if value.dtype.kind == "U" else value.data)
    return found.hexdigest()


def with_card(model: FinalModel, card: Meta) -> FinalModel:
    """The model with more on its card (plain JSON values: what was validated, what the audit said ...)."""
    return replace(model, card={**model.card, **card})
