"""Features against closed forms and against the libraries that compute the same (synthetic signals)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.signal import windows

import eeg_signals as made
from icans.core.random import stream
from icans.signals.eeg import background, connectivity, prepare, spectral
from icans.signals.eeg.delta_waves import prevalence_class
from icans.signals.eeg.rhythms import regularity
from icans.signals.eeg.suppression import envelope, suppression_features

RATE = prepare.RATE


def all_good(data: np.ndarray) -> np.ndarray:
    return np.ones((len(data), data.shape[1] // RATE), dtype=bool)


def sine(hz: float, amplitude: float = 10.0, seconds: float = 15.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)[None]


@pytest.mark.parametrize(("hz", "band"), [(2.0, "delta"), (6.0, "theta"), (10.0, "alpha"), (20.0, "beta")])
def test_the_power_of_a_sine_is_half_its_amplitude_squared_in_its_band(hz, band):
    data = sine(hz)
    found = spectral.band_features(*spectral.spectra(data, all_good(data)))
    np.testing.assert_allclose(found[f"power_{band}"], 50.0, rtol=0.02)
    assert found[f"rel_{band}"] > 0.98
    assert abs(found["median_frequency"] - hz) < 0.3


def test_spectra_agree_with_mne():
    mne = pytest.importorskip("mne")
    data = made.pink(3, 60, RATE)
    frequency, density = spectral.spectra(data, all_good(data))
    theirs, hz = mne.time_frequency.psd_array_multitaper(
        data, RATE, bandwidth=1.0, adaptive=False, normalization="full", verbose="ERROR"
    )
    for low, high in spectral.BANDS.values():
        ours = spectral.band(frequency, density, low, high)
        whole = theirs[:, (hz >= low) & (hz < high)].sum(axis=1) * (hz[1] - hz[0])
        np.testing.assert_allclose(ours, whole, rtol=0.25)  # theirs is the mean, ours the median over pieces


def test_an_artefact_left_out_changes_nothing_else():
    data = made.pink(2, 30, RATE)
    good = all_good(data)
    clean = spectral.band_features(*spectral.spectra(data, good))
    dirty = data.copy()
    dirty[:, 10 * RATE : 11 * RATE] += 500
    good[:, 10] = False
    kept = spectral.band_features(*spectral.spectra(dirty, good))
    assert all(abs(kept[k] / clean[k] - 1) < 0.25 for k in ("dtabr", "median_frequency", "sef95", "power_alpha"))


@pytest.mark.parametrize("exponent", [0.8, 1.5, 2.5])
def test_the_aperiodic_exponent_is_found_beside_a_rhythm(exponent):
    data = made.pink(6, 120, RATE, exponent=exponent) + 0.5 * sine(10.0, 1.0, 120)
    frequency, density = spectral.spectra(data, all_good(data))
    assert abs(np.median(background.aperiodic(frequency, density)[0]) - exponent) < 0.2
    at, height = background.rhythm(frequency, np.median(density, axis=0))
    assert abs(at - 10.0) < 0.3
    assert height > background.LEAST_HEIGHT


def test_noise_alone_has_no_rhythm():
    data = made.pink(6, 120, RATE)
    frequency, density = spectral.spectra(data, all_good(data))
    assert background.rhythm(frequency, np.median(density, axis=0))[1] < background.LEAST_HEIGHT


def test_permutation_entropy_is_that_of_counted_orders():
    data = made.pink(2, 15, RATE)
    for row, ours in zip(data, background.permutation_entropy(data), strict=True):
        counts = Counter(tuple(np.argsort(row[i : i + 3], kind="stable")) for i in range(len(row) - 2))
        share = np.array(list(counts.values())) / sum(counts.values())
        np.testing.assert_allclose(ours, -(share * np.log(share)).sum() / np.log(6), rtol=1e-9)
    assert background.permutation_entropy(np.arange(100.0)) == 0.0


def test_spectral_entropy_has_its_ends():
    frequency = np.arange(0, 64.25, 0.25)
    flat, peak = np.ones_like(frequency), np.where(frequency == 10, 1.0, 0.0)
    np.testing.assert_allclose(background.spectral_entropy(frequency, np.stack([flat, peak])), [1.0, 0.0], atol=1e-12)


@pytest.fixture(scope="module")
def coupled() -> np.ndarray:
    """Eight channels; the second follows the first by a quarter of an alpha wave (synthetic)."""
    rng = stream(7, "eeg", "coupled")
    data = rng.normal(size=(8, 40 * RATE))
    rhythm = prepare_alpha(rng.normal(size=40 * RATE))
    data[0] += 2 * rhythm
    data[1] += 2 * np.roll(rhythm, RATE // 40)
    data[2:4] += 2 * prepare_alpha(rng.normal(size=40 * RATE))  # shared without delay: volume conduction
    return data


def prepare_alpha(noise: np.ndarray) -> np.ndarray:
    from icans.signals.eeg.filters import band_pass

    wave = band_pass(noise, 8.0, 13.0)
    return wave / wave.std()


def test_coupling_sees_delay_and_not_conduction(coupled):
    alpha = connectivity.couplings(coupled, all_good(coupled)).index()["alpha"]
    assert alpha[0, 1] > 0.6
    assert abs(alpha[2, 3]) < 0.15
    np.testing.assert_allclose(alpha, alpha.T)


def test_coupling_is_that_of_the_published_formula(coupled):
    """Vinck et al. 2011, equation 32 over pairs of epochs, written as sums over pairs rather than squares of sums."""
    data = coupled[:3, : 8 * RATE].reshape(3, 4, 2 * RATE).transpose(1, 0, 2)
    tapers = windows.dpss(2 * RATE, 2.0, spectral.TAPERS)
    spectrum = np.fft.rfft((data - data.mean(axis=2, keepdims=True))[:, :, None] * tapers, axis=3)
    imaginary = (spectrum[:, 0] * spectrum[:, 1].conj()).mean(axis=1).imag
    frequency = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    top = bottom = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                top = top + imaginary[i] * imaginary[j]
                bottom = bottom + np.abs(imaginary[i]) * np.abs(imaginary[j])
    inside = (frequency >= 8) & (frequency < 13)
    ours = connectivity.couplings(coupled[:3, : 8 * RATE], np.ones((3, 8), dtype=bool)).index()["alpha"]
    np.testing.assert_allclose(ours[0, 1], np.mean(top[inside] / bottom[inside]), rtol=1e-9)


def test_sums_of_two_halves_are_those_of_the_whole(coupled):
    half = coupled.shape[1] // 2
    both = connectivity.couplings(coupled[:, :half], all_good(coupled[:, :half]))
    both += connectivity.couplings(coupled[:, half:], all_good(coupled[:, half:]))
    whole = connectivity.couplings(coupled, all_good(coupled))
    assert both.epochs == whole.epochs
    np.testing.assert_allclose(both.index()["alpha"], whole.index()["alpha"], rtol=1e-9)


def test_network_measures_are_those_of_their_definitions():
    """Onnela's clustering as a sum over triangles, efficiency over paths by Floyd and Warshall."""
    rng = stream(5, "eeg", "network")
    weights = np.triu(rng.uniform(0.05, 1, (7, 7)) * (rng.uniform(size=(7, 7)) < 0.8), 1)
    weights = weights + weights.T
    scaled = weights / weights.max()
    clustering = []
    for i in range(7):
        near = [j for j in range(7) if weights[i, j] > 0]
        total = sum(np.cbrt(scaled[i, j] * scaled[j, k] * scaled[k, i]) for j in near for k in near if j != k)
        clustering.append(total / max(len(near) * (len(near) - 1), 1))
    path = np.where(weights > 0, 1 / np.where(weights > 0, weights, 1), np.inf)
    np.fill_diagonal(path, 0)
    for k in range(7):
        path = np.minimum(path, path[:, [k]] + path[[k]])
    found = connectivity.network(weights)
    np.testing.assert_allclose(found["clustering"], np.mean(clustering), rtol=1e-9)
    np.testing.assert_allclose(found["efficiency"], np.mean(1 / path[~np.eye(7, dtype=bool)]), rtol=1e-9)


def test_regularity_is_one_for_a_sine_and_low_for_noise():
    height, hz = regularity(sine(2.0, seconds=4.0), 0.5, 4.0)
    assert height[0] > 0.98
    assert abs(hz[0] - 2.0) < 0.05
    noise = stream(3, "eeg", "noise").normal(size=(50, 4 * RATE))
    assert np.median(regularity(noise, 0.5, 4.0)[0]) < 0.3


def test_the_envelope_of_a_sine_is_its_span_whatever_muscle_lies_on_it():
    slow = sine(5.0, 10.0)
    np.testing.assert_allclose(np.median(envelope(slow)), 20.0, rtol=0.03)
    np.testing.assert_allclose(np.median(envelope(slow + sine(35.0, 10.0))), 20.0, rtol=0.05)


def test_bursts_and_silence_are_measured():
    time = np.arange(15 * RATE) / RATE
    on = (time % 5) < 1.5
    data = np.where(on, 40.0, 2.0) * np.sin(2 * np.pi * 6 * time)
    found = suppression_features(np.stack([data] * 4), np.ones((4, 15), dtype=bool))
    assert abs(found["suppression_share"] - 0.7) < 0.07
    assert found["burst_floor_ratio"] > 10
    assert found["voltage_uv"] < 10


def test_classes_of_prevalence_have_their_edges_where_they_should():
    shares = [0.0, 0.009, 0.01, 0.09, 0.1, 0.49, 0.5, 0.89, 0.9, 1.0]
    assert [prevalence_class(s) for s in shares] == [0, 1, 2, 2, 3, 3, 4, 4, 5, 5]
