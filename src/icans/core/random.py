"""Random streams that do not depend on the number of workers or on the order of work.

A stream is named by a seed and any number of keys (patient, replicate, fold ...). The same name gives
the same numbers wherever and whenever it is asked for.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *keys: object) -> np.random.Generator:
    """A generator for one named unit of work.

    Parameters
    ----------
    seed
        The study's seed.
    keys
        What the numbers are for, e.g. ``"bootstrap", 17``. ``str(key)`` must be stable; keys of
        different type are different names (``1`` is not ``"1"``).

    Examples
    --------
    >>> float(stream(1, "fold", 2).random()) == float(stream(1, "fold", 2).random())
    True
    """
    name = "\x1f".join(f"{type(key).__name__}:{key}" for key in keys)
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([seed, *words])))
