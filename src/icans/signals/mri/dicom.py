"""DICOM series in (headers by pydicom, pixels by SimpleITK), a warning where a file names a person, and stripping.

Messages and flags name elements, never their values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_folder
from icans.signals.eeg.flags import Flag
from icans.signals.mri.optional import need
from icans.signals.mri.volume import Volume, short, volume

#: Slices of one series may lie unevenly by this share of their distance.
UNEVEN = 0.02
#: Most files of one folder that are looked at.
MOST_FILES = 20_000


@cache
def elements() -> dict[str, list[str]]:
    """The lists of ``dicom.toml``: ``personal``, ``kept`` and ``replaced``."""
    return tomllib.loads((resources.files(__package__) / "dicom.toml").read_text(encoding="utf-8"))


def read_series(path: str | Path, *, series: str | None = None) -> Volume:
    """The volume of one series.

    Parameters
    ----------
    path
        A folder, or one file of the series.
    series
        Its series UID, where a folder holds several.

    Raises
    ------
    DataError
        No DICOM, several series, no MR, several volumes in one series, missing slices, or a header without position.
    IcansError
        An optional package is missing.
    """
    path = Path(path)
    headers = _headers(path)
    if path.is_file():
        series = str(headers[path].get("SeriesInstanceUID", ""))
        headers = _headers(path.parent)
    chosen = _one_series(path, headers, series)
    name = short(path)
    problems = _checks(chosen, name)
    if problems:
        raise DataError(problems)
    ordered = sorted(chosen, key=lambda file: _along(chosen[file]))
    problems = _spacing_problems([_along(chosen[file]) for file in ordered], name)
    if problems:
        raise DataError(problems)
    made = _pixels(ordered, name)
    flags = [*personal_flags(chosen.values(), name), *made.flags]
    return Volume(made.data, made.affine, made.name, tuple(flags))


def personal_flags(headers: Iterable[Any], name: str) -> list[Flag]:
    """A flag that lists which elements about a person are filled, and one for marks burned into the picture."""
    headers = list(headers)
    filled = [word for word in elements()["personal"] if any(str(h.get(word, "") or "") for h in headers)]
    private = any(element.tag.is_private for h in headers for element in h)
    flags = []
    if filled or private:
        told = ", ".join([*filled, *(["private elements"] if private else [])])
        text = f"the files hold personal data ({told}); strip_series writes copies without"
        flags.append(Flag("dicom.personal", "doubt", text, name))
    if any(str(h.get("BurnedInAnnotation", "")).upper() == "YES" for h in headers):
        text = "the picture itself may hold a name (burned-in annotation); stripping the header does not remove it"
        flags.append(Flag("dicom.burned_in", "doubt", text, name))
    return flags


def strip_series(path: str | Path, output: str | Path, *, overwrite: bool = False) -> int:
    """Copies of every DICOM file of a folder that keep only what the picture needs; the number of files written.

    New identifiers replace the old ones, dates and free text go, files get plain numbers as names. A face can still be
    rebuilt from a picture of a head: stripping the header does not remove it.

    Raises
    ------
    DataError
        No DICOM file, or one with several frames (its position lies in nested elements; convert it to NIfTI instead).
    FileExistsError
        ``output`` exists and ``overwrite`` is false.
    """
    pydicom = need("pydicom")
    headers = _headers(Path(path))
    framed = [file for file, header in headers.items() if int(header.get("NumberOfFrames", 1) or 1) > 1]
    if framed:
        remedy = "Convert it to NIfTI (for example with dcm2niix), which leaves the names behind."
        problems = [Problem(short(f), None, "NumberOfFrames", None, "one frame a file", remedy) for f in framed[:20]]
        raise DataError(problems)
    fresh: dict[str, str] = {}
    with atomic_folder(output, overwrite=overwrite) as temporary:
        for number, file in enumerate(headers, start=1):
            stripped = _stripped(pydicom, pydicom.dcmread(file), fresh)
            stripped.save_as(temporary / f"{number:05d}.dcm", enforce_file_format=True)
    return len(headers)


def _stripped(pydicom: Any, full: Any, fresh: dict[str, str]) -> Any:
    """A new data set with the kept elements of one; ``fresh`` remembers new identifiers."""
    lists = elements()
    made = pydicom.Dataset()
    for word in lists["kept"]:
        if word in full:
            made[word] = full[word]
    for word in lists["replaced"]:
        if word in made:
            # Random rather than hashed: a hash of an identifier can be undone by whoever holds a list of them.
            old = str(made[word].value)
            made[word].value = fresh.setdefault(old, pydicom.uid.generate_uid())
    made.PatientName, made.PatientID = "", ""
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "elements outside a list of technical ones removed"
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = full.file_meta.MediaStorageSOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = full.file_meta.TransferSyntaxUID
    made.file_meta = meta
    return made


def _headers(path: Path) -> dict[Path, Any]:
    """Headers of the DICOM files at a path, without pixels; other files are passed over."""
    pydicom = need("pydicom")
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    if len(files) > MOST_FILES:
        expected = f"at most {MOST_FILES} files"
        raise DataError([Problem(short(path), None, None, str(len(files)), expected, "Give the folder of one series.")])
    found: dict[Path, Any] = {}
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, KeyError, AttributeError):
            continue
        if "Rows" in header:
            found[file] = header
    if not found:
        expected = "DICOM images or a NIfTI file (.nii, .nii.gz)"
        raise DataError([Problem(short(path), None, None, None, expected, "Check the path and the kind of the file.")])
    return found


def _one_series(path: Path, headers: dict[Path, Any], series: str | None) -> dict[Path, Any]:
    by_uid: dict[str, dict[Path, Any]] = {}
    for file, header in headers.items():
        by_uid.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    if series is not None:
        if series not in by_uid:
            expected = f"one of {len(by_uid)} series of the folder"
            raise DataError([Problem(short(path), None, "series", series, expected, "List them without series=.")])
        return by_uid[series]
    if len(by_uid) > 1:
        told = "; ".join(f"{uid} ({len(files)} files)" for uid, files in sorted(by_uid.items())[:20])
        raise DataError([Problem(short(path), None, "series", told, "one series", "Choose one with series=.")])
    return next(iter(by_uid.values()))


def _checks(headers: dict[Path, Any], name: str) -> list[Problem]:
    """What stops a series from being one MR volume."""
    problems: list[Problem] = []
    kinds = {str(h.get("Modality", "")) for h in headers.values()}
    if kinds != {"MR"}:
        remedy = "Give the series of an MRI examination."
        problems.append(Problem(name, None, "Modality", ", ".join(sorted(kinds)), "MR", remedy))
    if any(int(h.get("NumberOfFrames", 1) or 1) > 1 for h in headers.values()):
        remedy = "Convert it to NIfTI (for example with dcm2niix)."
        problems.append(Problem(name, None, "NumberOfFrames", None, "one frame a file", remedy))
        return problems
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        without = sum(1 for h in headers.values() if not h.get(word))
        if without:
            remedy = "Export the series again; without its position no region can be named."
            problems.append(Problem(name, None, word, f"missing in {without} files", "a value in every file", remedy))
    if problems:
        return problems
    turned = np.array([[float(v) for v in h.ImageOrientationPatient] for h in headers.values()])
    if np.abs(turned - turned[0]).max() > 1e-3:
        remedy = "Give one series (this may be a localiser)."
        problems.append(Problem(name, None, "ImageOrientationPatient", "several", "one for all slices", remedy))
    shapes = {(int(h.Rows), int(h.Columns)) for h in headers.values()}
    if len(shapes) > 1:
        problems.append(Problem(name, None, "Rows", str(sorted(shapes)), "slices of one size", "Give one series."))
    return problems


def _along(header: Any) -> float:
    """Place of a slice along the normal of the slices, mm."""
    turned = np.array([float(v) for v in header.ImageOrientationPatient])
    normal = np.cross(turned[:3], turned[3:])
    return float(normal @ np.array([float(v) for v in header.ImagePositionPatient]))


def _spacing_problems(places: list[float], name: str) -> list[Problem]:
    if len(places) < 2:
        remedy = "Give the whole series."
        return [Problem(name, None, "slices", str(len(places)), "at least two slices", remedy)]
    steps = np.diff(places)
    middle = float(np.median(steps))
    doubles = int((steps < 0.1 * max(middle, 1e-6)).sum())
    if middle <= 1e-3 or doubles:
        written = f"{doubles} of {len(places)} slices lie where another does"
        remedy = "The series holds several volumes (echoes, b values, times): choose or average one of them first."
        return [Problem(name, None, "dimensions", written, "three dimensions", remedy)]
    uneven = int((np.abs(steps - middle) > UNEVEN * middle).sum())
    if uneven:
        written = f"{uneven} uneven gaps, up to {steps.max():.2f} mm where {middle:.2f} mm is usual"
        return [Problem(name, None, "slices", written, "even gaps", "Slices are missing: send the series again.")]
    return []


def _pixels(files: list[Path], name: str) -> Volume:
    sitk = need("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        remedy = "The pixels cannot be decoded: convert the series to NIfTI (for example with dcm2niix)."
        raise DataError(
            [Problem(name, None, "PixelData", type(error).__name__, "pixels that can be read", remedy)]
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError([Problem(name, None, "SamplesPerPixel", "colour", "grey images", "Give the original series.")])
    affine = np.eye(4)
    turn = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = turn * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    # DICOM runs to the left, back and top; here right, front and top.
    return volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, name)
