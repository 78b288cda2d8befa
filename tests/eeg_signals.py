"""Synthetic EEG for tests: pink noise, rhythms, discharges and bursts on the electrodes of the 10-20 system."""

from __future__ import annotations

import numpy as np

from icans.core.random import stream
from icans.signals.eeg.channels import side
from icans.signals.eeg.montage import STANDARD, neighbour_weights
from icans.signals.eeg.reading import Recording, from_array

NAMES = list(STANDARD)
RATE = 200.0


def pink(count: int, seconds: float, rate: float = RATE, seed: int = 1, exponent: float = 1.5) -> np.ndarray:
    """Noise whose power falls with frequency, standard deviation 1, shape (count, samples)."""
    rng = stream(seed, "eeg", "pink")
    n = int(seconds * rate)
    frequency = np.fft.rfftfreq(n, 1 / rate)
    shape = np.zeros_like(frequency)
    shape[frequency >= 0.4] = frequency[frequency >= 0.4] ** (-exponent / 2)
    spectrum = (rng.normal(size=(count, len(frequency))) + 1j * rng.normal(size=(count, len(frequency)))) * shape
    noise = np.fft.irfft(spectrum, n, axis=1)
    return noise / noise.std(axis=1, keepdims=True)


def scalp(seconds: float, sd_uv: float = 15.0, rate: float = RATE, seed: int = 1) -> np.ndarray:
    """Background in microvolts that neighbours share in part, as they do on a scalp, shape (19, samples)."""
    own = pink(len(NAMES), seconds, rate, seed)
    mixed = own + 1.2 * neighbour_weights(NAMES) @ own
    mixed = mixed + 0.8 * neighbour_weights(NAMES) @ mixed
    return sd_uv * mixed / mixed.std(axis=1, keepdims=True)


def on_sides(wave: np.ndarray, left: float, right: float) -> np.ndarray:
    """One waveform on every electrode, scaled by side; falls off from front to back, so that derivations see it."""
    gradient = {"F": 1.0, "C": 0.6, "T": 0.5, "P": 0.3, "O": 0.1}
    scale = {"left": left, "right": right, "middle": (left + right) / 2}
    return np.stack([wave * scale[side(n)] * gradient[n[0]] for n in NAMES])


def train(seconds: float, every_s: float, width_s: float = 0.08, jitter_s: float = 0.02, seed: int = 2) -> np.ndarray:
    """Sharp waves of height 1 every ``every_s`` seconds."""
    rng = stream(seed, "eeg", "train")
    time = np.arange(int(seconds * RATE)) / RATE
    wave = np.zeros_like(time)
    for at in np.arange(every_s, seconds - 0.3, every_s):
        centre = at + rng.uniform(-jitter_s, jitter_s)
        wave += np.exp(-(((time - centre) / (width_s / 2)) ** 2)) - 0.5 * np.exp(
            -(((time - centre - 0.12) / 0.07) ** 2)
        )
    return wave


def recording(data: np.ndarray, names: list[str] | None = None, rate: float = RATE) -> Recording:
    """The signals as a recording."""
    return from_array(data, rate, names or NAMES, name="synthetic")
