"""Observation models: from a simulated patient to what is found at the bedside, day by day, and its grades.

``observe`` does it all: worst values of each day (:mod:`daily`), bedside findings by patient-level random cuts
(:mod:`bedside`), grades under every scheme (:mod:`grades`), onset, duration, peak (:mod:`episodes`).
"""

from icans.mechanism.observe.bedside import Bedside, Draws, bedside, draw
from icans.mechanism.observe.daily import Latent, daily, rescale
from icans.mechanism.observe.episodes import Episodes, episodes
from icans.mechanism.observe.grades import SCHEMES, grade, schemes
from icans.mechanism.observe.observation import NEEDED, Observation, observe

__all__ = [
    "NEEDED", "SCHEMES", "Bedside", "Draws", "Episodes", "Latent", "Observation", "bedside", "daily", "draw",
    "episodes", "grade", "observe", "rescale", "schemes",
]  # fmt: skip
