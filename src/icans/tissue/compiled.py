"""Compiled kernels are kept on disk; kept code must not outlive what it was made of.

Numba renews kept code when the file of the kernel itself changes. A kernel also holds the constants of other modules
and the kernels that it calls, as they were when it was compiled, so that after a change there it would go on with the
old ones. Here, what is kept goes by every module of the package that has kernels or the constants that they use.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _sources() -> str:
    """A hash of the modules with kernels, and of the names whose places in arrays kernels hold as constants."""
    here = Path(__file__).parent
    made = hashlib.sha256()
    for file in sorted(here.rglob("*.py")):
        text = file.read_bytes()
        if file.name == "names.py" or b"@kernel" in text or b"njit" in text:
            made.update(f"{file.relative_to(here)}\n".encode())
            made.update(text)
    return made.hexdigest()


def renewed(compiled: Any) -> Any:
    """The compiled function, which takes kept code only if no source of the package has changed since."""
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _sources())
    return compiled
