"""Onset, peak and duration of a toxicity from daily grades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Days of grade 0 in a row that end an episode.
GAP_DAYS = 3


@dataclass(frozen=True)
class Episodes:
    """One row per patient; NaN where there was no episode.

    Attributes
    ----------
    worst
        Highest grade, shape (patients,), integers.
    onset_day
        First day with the grade asked for (1 unless said otherwise).
    peak_day
        First day of the highest grade.
    duration_d
        Days from onset to the end of the first episode (both counted).
    resolved
        Whether that episode ended within the observation.
    recurred
        Whether another episode followed.
    """

    worst: npt.NDArray[np.int8]
    onset_day: Array
    peak_day: Array
    duration_d: Array
    resolved: npt.NDArray[np.bool_]
    recurred: npt.NDArray[np.bool_]

    def share(self, at_least: int = 1) -> float:
        """Part of patients whose highest grade is at least this."""
        return float((self.worst >= at_least).mean())


def episodes(
    grades: npt.NDArray[np.int8], days: npt.NDArray[np.int64], *, at_least: int = 1, gap_days: int = GAP_DAYS
) -> Episodes:  # fmt: skip
    """Episodes of grades of shape (patients, days).

    Parameters
    ----------
    at_least
        Grade from which a day belongs to an episode.
    gap_days
        So many days below it in a row end the episode.
    """
    ill = grades >= at_least
    any_ill = ill.any(axis=1)
    count, last = ill.shape
    first = ill.argmax(axis=1)
    place = np.arange(last)
    # End of the first episode: the first ill day that no ill day follows within the gap.
    recent = np.where(ill, place, -1)
    later = np.full((count, last), last + gap_days + 1)
    following = np.full(count, last + gap_days + 1)
    for d in range(last - 1, -1, -1):
        later[:, d] = following
        following = np.where(ill[:, d], d, following)
    ends = ill & (later - place > gap_days) & (place >= first[:, None])
    end = ends.argmax(axis=1)
    resolved = any_ill & (last - 1 - end >= gap_days)
    recurred = any_ill & (recent.max(axis=1) > end)
    nan = np.full(count, np.nan)
    return Episodes(
        grades.max(axis=1).astype(np.int8),
        np.where(any_ill, days[first], nan),
        np.where(any_ill, days[grades.argmax(axis=1)], nan),
        np.where(any_ill, days[end] - days[first] + 1, nan),
        resolved, recurred,
    )  # fmt: skip
