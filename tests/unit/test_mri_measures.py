"""MRI measures one by one, on small pictures whose answers follow by hand."""

from __future__ import annotations

import numpy as np
import pytest

from icans.core.errors import DataError, NotEstimableError
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import VENTRICLE_CODE, named_nearby
from icans.signals.mri.contrast import enhancing, gain
from icans.signals.mri.diffusion import coefficient, diffusion, in_mm2_s, shares
from icans.signals.mri.fluid import fluid_change, fluid_ml, zones
from icans.signals.mri.focality import focality
from icans.signals.mri.lesions import by_threshold, from_mask, robust_z
from icans.signals.mri.outline import Outline
from icans.signals.mri.perfusion import blood_flow, flow_columns
from icans.signals.mri.volume import Volume

SHAPE = (40, 40, 40)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
WHITE, THALAMUS = 2, 4


def picture(data, name="picture"):
    return Volume(np.asarray(data, dtype=np.float32), AFFINE, name)


@pytest.fixture
def block():
    """A cube of white matter with a cube of thalamus inside, and nothing around."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4:36, 4:36, 4:36] = WHITE
    labels[14:26, 14:26, 14:26] = THALAMUS
    return Outline(labels > 0, labels > 0, labels)


def test_adc_is_the_log_ratio_over_b():
    truth = np.random.default_rng(1).uniform(0.5e-3, 3e-3, SHAPE)
    plain = picture(1000.0 * np.ones(SHAPE))
    weighted = picture(1000.0 * np.exp(-1000.0 * truth))
    np.testing.assert_allclose(coefficient(plain, weighted, 1000.0).data, truth, rtol=1e-3)
    with pytest.raises(DataError) as error:
        coefficient(plain, Volume(weighted.data, AFFINE * 1.1), -1.0)
    assert {p.column for p in error.value.problems} == {"grid", "b"}


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e5, 1e6])
def test_the_unit_of_a_diffusion_map_is_told_by_the_brain(block, factor):
    image, flags = in_mm2_s(picture(0.8e-3 * factor * np.ones(SHAPE)), block.brain)
    np.testing.assert_allclose(image.data, 0.8e-3, rtol=1e-5)
    assert [flag.code for flag in flags] == ([] if factor == 1 else ["adc.unit"])


def test_an_image_that_is_no_diffusion_map_is_refused(block):
    with pytest.raises(DataError, match="ADC"):
        in_mm2_s(picture(np.full(SHAPE, 47.0)), block.brain)


def test_shares_of_low_and_high_diffusion_are_those_put_in(block):
    data = np.full(SHAPE, 0.8e-3)
    data[14:26, 14:26, 14:20] = 0.4e-3  # half of the thalamus
    data[4:36, 4:36, 4:8] = 1.5e-3  # an eighth of the cube
    data[0:4] = 3e-3  # fluid beside it: its neighbours do not count
    seen = diffusion(picture(data), block)
    low = shares(seen.low, thresholds.value("adc_low"), seen.tissue, block)
    high = shares(seen.high, thresholds.value("adc_high"), seen.tissue, block)
    assert low["thalamus"] == (0.5, 0.5, 0.5)
    assert low["subcortical_white_matter"][0] == 0.0
    slab, cube, core = 31 * 32 * 4, 31 * 32 * 32, 12**3
    assert high["subcortical_white_matter"][0] == pytest.approx(slab / (cube - core))
    assert np.isnan(low["cerebellum"][0])


def test_contrast_is_found_beyond_the_gain_of_the_brain(block):
    rng = np.random.default_rng(2)
    before = 100.0 * (1 + 0.01 * rng.standard_normal(SHAPE))
    after = 1.5 * before * (1 + 0.01 * rng.standard_normal(SHAPE))
    after[15:20, 15:20, 15:20] *= 1.4
    relative = gain(picture(before), picture(after), block, np.eye(4))
    masks = enhancing(relative, picture(after), block)
    assert sorted(masks) == list(thresholds.sweep("enhancement_share"))
    truth = np.zeros(SHAPE, dtype=bool)
    truth[15:20, 15:20, 15:20] = True
    np.testing.assert_array_equal(masks[0.25], truth)
    plexus = Outline(block.brain, block.inside, np.where(truth, VENTRICLE_CODE, block.labels).astype(np.uint8))
    assert not enhancing(relative, picture(after), plexus)[0.25].any()
    nothing = Outline(np.zeros(SHAPE, bool), block.inside, block.labels)
    with pytest.raises(NotEstimableError):
        gain(picture(before), picture(after), nothing, np.eye(4))


def test_swelling_presses_fluid_out():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4:36, 4:36, 4:36] = WHITE
    inside = labels > 0
    labels[16:24, 16:24, 16:24] = VENTRICLE_CODE
    before, now = np.full(SHAPE, 100.0), np.full(SHAPE, 100.0)
    before[16:24, 16:24, 16:24] = 20.0
    now[16:24, 16:24, 16:20] = 20.0  # half of it
    before[6:8, 6:34, 6:34], now[6:8, 6:34, 6:34] = 20.0, 20.0
    zone = zones(inside, labels, (2.0, 2.0, 2.0))
    changes = fluid_change(fluid_ml(picture(now), labels, zone), fluid_ml(picture(before), labels, zone))
    assert changes["ventricle"].share == -0.5
    assert changes["ventricle"].before_ml == pytest.approx(8**3 * 0.008)
    assert changes["sulcal"].share == 0.0
    assert -0.5 < changes["fluid"].share < 0
    with pytest.raises(NotEstimableError, match="darker"):
        fluid_ml(picture(np.full(SHAPE, 100.0)), labels, zone)


def test_blood_flow_follows_the_formula_of_the_consensus():
    control, label, m0 = (picture(np.full(SHAPE, v)) for v in (1000.0, 990.0, 1500.0))
    flow = blood_flow(control, label, m0, delay_s=1.8, labelling_s=1.8)
    by_hand = 6000 * 0.9 * 10 * np.exp(1.8 / 1.65) / (2 * 0.85 * 1.65 * 1500 * (1 - np.exp(-1.8 / 1.65)))
    np.testing.assert_allclose(flow.data, by_hand, rtol=1e-5)
    with pytest.raises(DataError, match="Milliseconds"):
        blood_flow(control, label, m0, delay_s=1800, labelling_s=1800)


def test_blood_flow_of_a_region_is_its_median_and_quartiles(block):
    data = np.where(block.labels == THALAMUS, 60.0, 25.0)
    table = flow_columns(picture(data), block)
    assert table["cbf"]["thalamus"] == table["cbf_low"]["thalamus"] == 60.0
    assert table["cbf"]["brain"] == 25.0
    assert np.isnan(table["cbf"]["splenium"])


def test_focality_is_the_share_near_the_tumour_over_that_of_the_brain(block):
    tumour, lesions = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[6:10, 6:10, 6:10] = True
    lesions[6:10, 6:10, 10:12] = True  # 2 to 4 mm away
    near = focality(lesions, tumour, block.brain, picture(np.zeros(SHAPE)))
    assert (near.share, near.share_low) == (1.0, 1.0)
    assert near.index > 20
    assert near.median_mm == 3.0  # half of it 2 mm, half 4 mm away
    spread = block.brain.copy()
    everywhere = focality(spread, tumour, block.brain, picture(np.zeros(SHAPE)))
    assert everywhere.index == everywhere.index_low == everywhere.index_high == 1.0
    with pytest.raises(NotEstimableError, match="too few"):
        focality(np.zeros(SHAPE, bool), tumour, block.brain, picture(np.zeros(SHAPE)))
    with pytest.raises(NotEstimableError, match="empty"):
        focality(lesions, np.zeros(SHAPE, bool), block.brain, picture(np.zeros(SHAPE)))


def test_brightness_is_measured_against_the_own_class_and_noise_alone_is_no_lesion(block):
    rng = np.random.default_rng(3)
    data = np.where(block.labels == THALAMUS, 120.0, 100.0) * (1 + 0.08 * rng.standard_normal(SHAPE))
    score, _ = robust_z(picture(data), block)
    deep = np.zeros(SHAPE, bool)
    deep[17:23, 17:23, 17:23] = True
    assert abs(np.median(score.above[deep])) < 0.2
    assert 1.4826 * np.median(np.abs(score.above[deep] - np.median(score.above[deep]))) == pytest.approx(1, abs=0.25)
    assert not by_threshold(picture(data), block).mask.any()


def test_a_lesion_of_a_third_of_the_reference_does_not_hide_itself(block):
    rng = np.random.default_rng(4)
    data = 100.0 + 3.0 * rng.standard_normal(SHAPE)
    large = np.zeros(SHAPE, bool)
    large[6:16, 6:34, 6:34] = True
    data[large] += 60.0
    found = by_threshold(picture(data), block).mask
    assert (found != large).sum() < 0.01 * large.sum()


def test_too_little_brain_is_not_measured():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:3, :3, :3] = WHITE
    with pytest.raises(NotEstimableError, match="too few"):
        robust_z(picture(np.ones(SHAPE)), Outline(labels > 0, labels > 0, labels))


def test_masks_made_elsewhere_are_carried_and_checked(block):
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = -0.5  # the same space at half the edge
    drawn = np.zeros((80, 80, 80))
    drawn[20:40, 20:40, 20:40] = 1
    image = picture(np.zeros(SHAPE))
    lesions = from_mask(Volume(drawn.astype(np.float32), fine, "drawn"), image)
    assert lesions.mask.sum() * 0.008 == pytest.approx(8.0, rel=1e-6)
    with pytest.raises(DataError, match="binary"):
        from_mask(picture(np.random.default_rng(5).random(SHAPE)), image)
    away = fine.copy()
    away[:3, 3] = 500
    with pytest.raises(DataError, match="one space"):
        from_mask(Volume(drawn.astype(np.float32), away, "drawn"), image)
    assert [flag.code for flag in from_mask(Volume(2 * drawn.astype(np.float32), fine), image).flags] == ["mask.labels"]


@pytest.mark.parametrize("place", ["inside", "at the surface", "at fluid inside"])
def test_a_lesion_is_drawn_to_its_border_against_tissue_and_against_fluid(block, place):
    """A blurred cube of known volume: amid tissue, up to the brain's surface (where none is sought), beside fluid."""
    from scipy.ndimage import gaussian_filter

    start = {"inside": 5, "at the surface": 4, "at fluid inside": 8}[place]
    truth = np.zeros(SHAPE, dtype=bool)
    truth[start : start + 7, 6:13, 6:13] = True
    labels = block.labels.copy()
    if place == "at fluid inside":
        labels[4:8] = VENTRICLE_CODE
    signal = np.where((labels > 0) & (labels < VENTRICLE_CODE), 100.0, 15.0)
    signal[truth] = 190.0
    noise = 3.0 * np.random.default_rng(5).standard_normal(SHAPE)
    image = picture(gaussian_filter(signal, 0.5) + noise)
    brain = labels < VENTRICLE_CODE
    found = by_threshold(image, Outline(block.brain & brain, block.inside, labels)).mask
    assert found.sum() == pytest.approx(truth.sum(), rel=0.05)
    assert (found & truth).sum() > 0.97 * truth.sum()


def test_a_lesion_that_no_region_names_counts_to_the_nearest_one():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:10], labels[13:20], labels[20:] = WHITE, THALAMUS, VENTRICLE_CODE
    where = np.zeros(SHAPE, dtype=bool)
    where[[9, 10, 12, 21, 30], 5, 5] = True
    assert named_nearby(labels, where, (2.0, 2.0, 2.0)).tolist() == [WHITE, WHITE, THALAMUS, THALAMUS, 0]
