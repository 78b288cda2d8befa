"""Published models, written anew in the language of this package: examples of it, and tests of its machinery.

Each is a module with ``declare(m)`` and a parameter file of its own; none is part of the patient model.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, resources

from icans.core.errors import ModelError
from icans.mechanism.declare import Builder
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import read_table, unknown

#: Names of the models.
NAMES = ("dwivedi_2014", "hardiansyah_2019", "kimmel_2021", "mueller_schoell_2021", "stein_2019")


@cache
def published_model(name: str) -> PatientModel:
    """A published model, assembled. Time is in hours, as everywhere here.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    if name not in NAMES:
        raise ModelError([unknown("published model", name, NAMES)])
    m = Builder()
    import_module(f"{__name__}.{name}").declare(m)
    return assemble(m, read_table([resources.files(__package__) / f"{name}.toml"]), name)
