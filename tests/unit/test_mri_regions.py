"""MRI: a synthetic head with known lesions through registration, masks and thresholds to rows of measurements."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="needs the extra mri")
pytest.importorskip("nilearn", reason="needs the extra mri")

from scipy.spatial.transform import Rotation

from icans.cohort import schema
from icans.signals.mri.atlas import atlas, regions
from icans.signals.mri.examination import Examination
from icans.signals.mri.measure import measure
from icans.signals.mri.phantom import Spot, phantom
from icans.study.eeg_rows import Placing
from icans.study.mri_rows import mri_rows

SPOTS = (Spot("thalamus", 3.0), Spot("cerebellum", 5.0, "right"))


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
def result(head):
    return measure(Examination(t1=head.t1, flair=head.flair, one_space=True)).result


def test_lesions_have_their_volume_and_their_region(head, result):
    table = result.table.set_index("region")
    truth = head.truth.sum() * head.t1.voxel_ml
    assert table.loc["brain", "flair_ml"] == pytest.approx(truth, rel=0.05)
    for name, ml in head.by_region_ml.items():
        assert table.loc[name, "flair_ml"] == pytest.approx(ml, abs=0.05 * truth)
    assert (table["flair_ml_low"] <= table["flair_ml"]).all()
    assert (table["flair_ml_high"] >= table["flair_ml"]).all()


def test_a_head_without_lesions_has_none(moved):
    clean = phantom((), spacing=3.0, to_mni=moved, seed=4)
    table = measure(Examination(t1=clean.t1, flair=clean.flair, one_space=True, to_mni=moved)).result.table
    assert (table["flair_ml"] == 0.0).all()


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
