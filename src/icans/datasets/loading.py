"""From a name to a cohort: find the local files, read them with the reader of the set, add where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from icans.cohort.cohort import Cohort, make
from icans.core.errors import DataError, Problem
from icans.core.files import sha256
from icans.core.provenance import Provenance
from icans.datasets.download import cache_folder
from icans.datasets.registry import Dataset, dataset
from icans.datasets.tools import Draft

#: Environment variable that names a folder with local copies, one folder a data set.
FOLDER_VARIABLE = "ICANS_DATA"

#: Module that reads each set: ``read_published(files)`` and ``read_converted(files)`` return a Draft.
READERS = {
    "bwh_icans": "bwh",
    "nulisa_cart_lbcl": "nulisa",
    "cd22_car_hlh": "cd22",
    "vecams_eeg_clips": "vecams",
    "ve_icans_eeg": "ve_icans",
    "cinc2012_icu": "cinc",
    "pbc2": "pbc",
    "pbcseq": "pbcseq",
}


def load(name: str, folder: Path | str | None = None) -> Cohort:
    """A public data set as a cohort.

    Parameters
    ----------
    name
        Name in :func:`icans.datasets.catalogue`.
    folder
        Folder with the files, published or converted. Without it, the folder of that set under the one that
        ``ICANS_DATA`` names, else the cache that :func:`icans.datasets.fetch` fills.

    Raises
    ------
    KeyError
        No such data set.
    DataError
        The files are not there, or are not what the catalogue says.
    """
    entry = dataset(name)
    place, converted = find(entry, folder)
    draft = _reader(name, converted)(place)
    provenance = Provenance(
        source=entry.source,
        citation=entry.reference,
        licence=entry.licence,
        inputs={path.name: sha256(path) for path in draft.files},
        notes=entry.traps,
    )
    return make(name, draft.tables, provenance=provenance, changes=draft.all_changes)


def find(entry: Dataset, folder: Path | str | None = None) -> tuple[Path, bool]:
    """The folder that holds the set, and whether it holds the converted tables (else the published files)."""
    places = [Path(folder)] if folder is not None else _places(entry)
    for place in places:
        if all((place / name).is_file() for name in entry.converted):
            return place, True
        if _has_published(place, entry):
            return place, False
    how = entry.by_hand or f"Run `icans datasets {entry.name} --fetch`, or point {FOLDER_VARIABLE} at a local copy."
    looked = ", ".join(str(place) for place in places) or "nowhere"
    expected = f"{' and '.join(entry.converted)}, or the published files"
    raise DataError([Problem(looked, None, None, None, f"data set {entry.name!r}: {expected}", how)])


def located(folder: Path, file_name: str) -> Path:
    """A file of a folder, directly in it or in one of its folders; DataError when it is in neither."""
    if (folder / file_name).is_file():
        return folder / file_name
    found = sorted(folder.rglob(file_name))
    if found:
        return found[0]
    raise DataError([Problem(str(folder), None, None, None, f"the file {file_name}", "Fetch the data set again.")])


def _places(entry: Dataset) -> list[Path]:
    root = os.environ.get(FOLDER_VARIABLE)
    local = [Path(root) / name for name in entry.folders] if root else []
    return [*local, cache_folder() / entry.name]


def _has_published(place: Path, entry: Dataset) -> bool:
    return place.is_dir() and bool(entry.files) and any(place.rglob(entry.files[0].name))


def _reader(name: str, converted: bool) -> Callable[[Path], Draft]:
    module = import_module(f"icans.datasets.{READERS[name]}")
    return module.read_converted if converted else module.read_published
