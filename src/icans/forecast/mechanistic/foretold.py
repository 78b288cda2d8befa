"""What each member of the library foretells at an hour: the event by a later hour, latent states, peaks."""

from __future__ import annotations

import numpy as np

from icans.forecast.mechanistic.library import HOURS, SEVERITIES, Array, Floats, Library
from icans.forecast.mechanistic.likelihood import READING_SD
from icans.forecast.mechanistic.normal import ndtr

#: Events whose probabilities are columns: name -> (toxicity, grade).
EVENTS = {"icans_1": ("ICANS", 1), "icans_3": ("ICANS", 3), "crs_2": ("CRS", 2), "crs_3": ("CRS", 3)}
#: Hours ahead of the landmark at which they are given.
AHEAD_H = (24.0, 72.0, 120.0, 168.0)


def reached(library: Library, event: str, hours: Floats) -> Array:
    """Probability that a reader has seen the event by some hours, shape (hours, J)."""
    toxicity, grade = EVENTS[event]
    axis = list(SEVERITIES).index(toxicity)
    highest = library.at(library.highest[axis], hours)
    return ndtr((highest - np.float32(library.cuts[axis][grade - 1])) / np.float32(READING_SD[axis]))


def risk(weights: Array, library: Library, event: str, at_h: float, ahead_h: Floats) -> Floats:
    """P(event within each span after ``at_h`` | not by then), shape (rows, spans).

    Parameters
    ----------
    weights
        Posterior weights of rows that are all at ``at_h``, shape (rows, J).
    ahead_h
        Hours ahead, shape (spans,).
    """
    by = reached(library, event, np.concatenate([[at_h], at_h + np.asarray(ahead_h, dtype=float)]))
    free = weights @ (1.0 - by[0])
    hit = weights @ (by[1:] - by[0]).T
    return np.asarray(np.clip(hit / np.maximum(free, 1e-6)[:, None], 0.0, 1.0), dtype=float)


def risk_error(weights: Array, library: Library, event: str, at_h: float, ahead_h: float) -> Floats:
    """SD of :func:`risk` as an estimate from so many effective members (delta method), shape (rows,)."""
    by = reached(library, event, np.array([at_h, at_h + ahead_h]))
    p = risk(weights, library, event, at_h, np.array([ahead_h]))[:, 0]
    free = weights @ (1.0 - by[0])
    apart = (by[1] - by[0])[None, :] - p.astype(np.float32)[:, None] * (1.0 - by[0])[None, :]
    return np.asarray(np.sqrt(np.square(weights * apart).sum(axis=1)) / np.maximum(free, 1e-6), dtype=float)


def peaks(library: Library, analyte: str) -> tuple[Array, Array]:
    """Height (working scale) and day of each member's highest level, shape (J,) each."""
    course = library.levels[analyte]
    place = np.argmax(course, axis=0)
    return course[place, np.arange(len(library))], (library.grid_h[place] / HOURS).astype(np.float32)
