"""The optional packages of this part, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icans.core.errors import IcansError

INSTALL = "pip install 'icans[mri]'"


def need(module: str) -> Any:
    """The module called ``module``.

    Raises
    ------
    IcansError
        It is not installed; the message names the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise IcansError(f"reading MRI needs the package {package}, which is not installed: {INSTALL}") from error


def folder_of(package: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises
    ------
    IcansError
        It is not installed.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise IcansError(f"reading MRI needs the package {package}, which is not installed: {INSTALL}")
    return Path(found.origin).parent
