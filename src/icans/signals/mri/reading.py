"""Image files in: NIfTI through nibabel, DICOM series through pydicom and SimpleITK.

Names of files in messages carry no folder: folders often name a patient.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from icans.core.errors import DataError, Problem
from icans.signals.eeg.flags import Flag
from icans.signals.mri.optional import need
from icans.signals.mri.volume import Volume, short, volume

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
#: Largest image that is loaded, voxels: a head at 0.3 mm has about 5e8.
LARGEST = 600_000_000
#: Qform and sform of one file may differ by this much before it is told, mm.
FORMS_MM = 1.0


def read_volume(path: str | Path, *, series: str | None = None, frame: int | None = None) -> Volume:
    """One volume from a NIfTI file or from a DICOM series.

    Parameters
    ----------
    path
        A NIfTI file, a folder of DICOM files, or one DICOM file (its whole series is then read).
    series
        Series UID, where a folder holds several.
    frame
        Which volume of a 4-D NIfTI file, counted from 0. Without it 4-D is refused: which one is meant is not ours to
        guess.

    Raises
    ------
    DataError
        The file cannot be read, is no volume of a head, or has impossible voxels; every problem is named.
    IcansError
        An optional package is missing.
    FileNotFoundError
        There is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    if path.is_dir() or not path.name.lower().endswith(NIFTI):
        from icans.signals.mri.dicom import read_series

        return read_series(path, series=series)
    return _read_nifti(path, frame)


def _read_nifti(path: Path, frame: int | None) -> Volume:
    nib = need("nibabel")
    name = short(path)
    remedy = "Convert the series again (for example with dcm2niix)."
    try:
        image = nib.load(path)
        shape = tuple(int(n) for n in image.shape)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError([Problem(name, None, None, _said(error), "a NIfTI image", remedy)]) from error
    if int(np.prod(shape[:3])) > LARGEST:
        written = "x".join(map(str, shape))
        raise DataError([Problem(name, None, "size", written, f"at most {LARGEST:.0e} voxels", "Reduce the grid.")])
    problems, flags = _header_checks(image.header, name)
    if problems:
        raise DataError(problems)
    chosen = image.dataobj
    if frame is not None:
        if len(shape) != 4 or not 0 <= frame < shape[3]:
            expected = f"a frame of 0 to {shape[3] - 1}" if len(shape) == 4 else "a 4-D image"
            raise DataError([Problem(name, None, "frame", str(frame), expected, "Choose another frame.")])
        chosen = image.dataobj[..., frame]
    elif len(shape) > 3 and any(n != 1 for n in shape[3:]):
        expected, written = "three dimensions", "x".join(map(str, shape))
        hint = "Choose one with frame=, or average the volumes."
        raise DataError([Problem(name, None, "dimensions", written, expected, hint)])
    try:
        data = np.asarray(chosen)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError([Problem(name, None, "values", _said(error), "a complete file", "Copy it again.")]) from error
    made = volume(data, image.affine, name)
    return replace(made, flags=(*flags, *made.flags))


def _header_checks(header: object, name: str) -> tuple[list[Problem], list[Flag]]:
    """What a NIfTI header says about its position and unit."""
    problems: list[Problem] = []
    flags: list[Flag] = []
    if not hasattr(header, "get_qform"):
        text = "the file is no NIfTI-1 and says nothing about left and right"
        return problems, [Flag("header.orientation", "doubt", text, name)]
    unit = header.get_xyzt_units()[0]  # type: ignore[attr-defined]
    if unit in ("meter", "micron"):
        remedy = "Write millimetres into the header; sizes would be wrong by a factor of a thousand."
        problems.append(Problem(name, None, "unit", unit, "millimetres", remedy))
    codes = int(header["qform_code"]), int(header["sform_code"])  # type: ignore[index]
    if codes == (0, 0):
        remedy = "Convert the series again; left and right, and where the brain lies, are unknown."
        problems.append(Problem(name, None, "orientation", "not recorded", "a qform or sform", remedy))
    elif min(codes) > 0:
        apart = np.abs(header.get_qform() - header.get_sform())  # type: ignore[attr-defined]
        if apart[:3, :3].max() > 0.05 or apart[:3, 3].max() > FORMS_MM:
            text = "the two positions in the header disagree; the sform was taken"
            flags.append(Flag("header.forms", "doubt", text, name))
    return problems, flags


def _said(error: BaseException) -> str:
    """What a library said, without the folder it names."""
    words = str(error).replace("\\", "/").split()
    return f"{type(error).__name__}: " + " ".join(word.rsplit("/", 1)[-1] for word in words)[:160]
