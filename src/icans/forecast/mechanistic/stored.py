"""The library of the default recipe as a file of the package: ``python -m icans.forecast.mechanistic.stored`` makes it.

With it the mechanistic block needs neither a compiler nor a minute on a new machine. The file holds the key of its
recipe, calibration and equations (:func:`icans.forecast.mechanistic.library.recipe_key`); where the key is another one
it is not used, and the members are simulated. All members are synthetic.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = "library.npz"


def read(key: str) -> dict[str, NDArray[Any]] | None:
    """The stored members if they are those of the key, arrays by name; None if they are not."""
    with (resources.files(__package__) / FILE).open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        if str(file["key"]) != key:
            return None
        return {name: file[name] for name in file.files if name != "key"}


def main() -> None:
    """Simulate the members of the default recipe and store them."""
    from icans.forecast.mechanistic.library import Recipe, recipe_key, simulate_members

    recipe = Recipe()
    path = Path(str(resources.files(__package__) / FILE))
    made = simulate_members(recipe)
    np.savez_compressed(path, allow_pickle=False, key=np.array(recipe_key(recipe)), **made)
    print(f"{path.name}: {len(made['group'])} members, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
