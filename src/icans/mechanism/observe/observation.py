"""From a trajectory to findings, grades and episodes in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from icans.mechanism.observe.bedside import Bedside, Codes, bedside, draw
from icans.mechanism.observe.daily import CRS_BEGINS, ICANS_BEGINS, SOURCES, Latent, daily, rescale
from icans.mechanism.observe.episodes import Episodes, episodes
from icans.mechanism.observe.grades import SCHEMES, grade
from icans.mechanism.observe.tables import Cuts

#: Outputs of the simulation that the observation model reads.
NEEDED = tuple(name for name, _ in SOURCES.values())


@dataclass(frozen=True)
class Observation:
    """Synthetic findings of every patient and day, and what follows from them."""

    latent: Latent
    found: Bedside

    @cached_property
    def grades(self) -> Mapping[tuple[str, str], Codes]:
        """Daily grades by (toxicity, scheme), each of shape (patients, days)."""
        return {(t, s): grade(self.found, t, s) for t, names in SCHEMES.items() for s in names}

    def episodes(self, toxicity: str = "ICANS", scheme: str = "ASTCT", *, at_least: int = 1) -> Episodes:
        """Onset, peak, duration and highest grade of each patient."""
        return episodes(self.grades[toxicity, scheme], self.found.days, at_least=at_least)


def observe(
    course: Any,
    *,
    seed: int = 0,
    cuts: Cuts | None = None,
    icans_begins: Sequence[float] = ICANS_BEGINS,
    crs_begins: Sequence[float] = CRS_BEGINS,
) -> Observation:
    """Findings of simulated patients.

    Parameters
    ----------
    course
        A trajectory with the outputs :data:`NEEDED` (``encephalopathy`` at least), several times a day.
    seed
        Names the random thresholds of the patients.
    icans_begins, crs_begins
        Latent levels at which grades begin, where a calibration found others; see :func:`.daily.rescale`.

    Raises
    ------
    ModelError
        ``encephalopathy`` is not among the outputs, or levels that do not ascend.
    """
    latent = rescale(daily(course), icans=icans_begins, crs=crs_begins)
    return Observation(latent, bedside(latent, draw(len(latent), seed, cuts=cuts), cuts=cuts))
