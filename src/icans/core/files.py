"""Writing so that a reader never sees half a file, and hashing what was read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block ends without an error.

    The suffix is kept, so that writers that look at it (Parquet, XPT) behave.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends without an error.

    Raises
    ------
    FileExistsError
        ``target`` exists and ``overwrite`` is false. Nothing is written then.
    """
    target = Path(target)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another folder or allow overwriting")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path | str, value: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Write JSON atomically (two-space indent, keys in the given order, no NaN)."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, default=default) + "\n")


def slug(name: str, otherwise: str) -> str:
    """A name as part of a path: small letters and digits, hyphens between; ``otherwise`` where nothing is left."""
    text = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    return "-".join(part for part in text.split("-") if part) or otherwise


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in it."""
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
