"""Where a value comes from: versions, seeds, hashes of inputs."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "lightgbm", "lifelines", "matplotlib")


@dataclass(frozen=True)
class Provenance:
    """What is known of the origin of a value that crosses a border between packages.

    ``inputs`` maps file names to SHA-256. ``synthetic`` is true when any of the data were simulated;
    whatever is derived from them stays synthetic.
    """

    source: str = "unknown"
    synthetic: bool = False
    citation: str = ""
    licence: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The provenance as plain JSON values."""
        return {
            "source": self.source,
            "synthetic": self.synthetic,
            "citation": self.citation,
            "licence": self.licence,
            "inputs": dict(self.inputs),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Provenance:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**value, "notes": tuple(value.get("notes", ()))})


@cache
def package_version() -> str:
    """The version of this package, ``"unknown"`` when it runs from a bare tree."""
    try:
        return metadata.version("icans")
    except metadata.PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the packages that decide the numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "icans": package_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def code_digest() -> str:
    """Hash of this package's own files: work done by other code is not taken up."""
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.toml")]):
        found.update(str(path.relative_to(root)).encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


@cache
def fingerprint() -> str:
    """What decides the numbers apart from inputs: ``name=version`` of interpreter and packages, and the code's hash.

    The machine is left out: it may decide the last bits (see :func:`processor`), but it is not a mistake.
    """
    known = {name: value for name, value in versions().items() if name != "platform"}
    for name in ("numba", "llvmlite", "sympy"):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "absent"
    return ";".join(f"{name}={value}" for name, value in sorted({**known, "code": code_digest()}.items()))


@cache
def processor() -> str:
    """The kind of processor. Kernels are compiled for it: another kind may round the last bit another way."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def now() -> str:
    """The present moment, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest(value: Any) -> str:
    """A short stable hash of a JSON-like value, for naming cached work."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
