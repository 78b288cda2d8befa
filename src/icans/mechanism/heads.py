"""Probability that the blood-brain barrier is open by a time: four interchangeable heads.

Each takes a simulated course (synthetic) of many patients or posterior draws and gives P(open by t), shape
(patients, times), non-decreasing in t:

* :class:`ThresholdHead`: weighted biomarkers against a cut, with measurement error;
* :class:`LogisticHead`: regression on the score, as EASIX-like scores are used (Korell 2022: ln 1.72 per doubling);
* :class:`HazardHead`: 1 - exp(-H), H the cumulative hazard that the model integrates, in continuous or discrete time;
* :class:`QuotientHead`: the share of draws in which the lumbar albumin quotient exceeds its limit for the age
  (Reiber: (4 + age/15) 1e-3).

The lumbar quotient also rises where CSF flows slowly (Reiber 2021), which the first three do not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem

Array = npt.NDArray[np.float64]


@runtime_checkable
class Head(Protocol):
    """What the heads share."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the simulation that the head reads."""
        ...

    def probability(self, course: Any) -> Array:
        """P(barrier opened by t), shape (patients, times)."""
        ...


@dataclass(frozen=True)
class ThresholdHead:
    """Weighted biomarkers above a cut: P = Phi((highest score so far - cut) / error).

    Attributes
    ----------
    cut
        Score at which half are called open.
    error
        SD of the score's measurement; 0: a step.
    markers, weights, references
        Biomarkers, each as log2 of its fold of the reference. Empty: the model's own ``bbb_score``.
    """

    cut: float
    error: float = 0.5
    markers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    references: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        problems = []
        if not len(self.markers) == len(self.weights) == len(self.references):
            problems.append(Problem("head", None, "weights", f"{len(self.weights)} and {len(self.references)}",
                                    f"one weight and one reference for each of {len(self.markers)} markers",
                                    "Give as many."))  # fmt: skip
        if not self.error >= 0:
            problems.append(Problem("head", None, "error", repr(self.error), "an SD of at least 0", "Correct it."))
        if any(not r > 0 for r in self.references):
            problems.append(
                Problem("head", None, "references", str(self.references), "levels above 0", "Correct them.")
            )
        if problems:
            raise ModelError(problems)

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the simulation that the head reads."""
        return self.markers or ("bbb_score",)

    def probability(self, course: Any) -> Array:
        """P(barrier opened by t), shape (patients, times)."""
        values = _values(course, self.needs)
        if self.markers:
            folds = [np.log2(np.maximum(v, 1e-300) / r) for v, r in zip(values, self.references, strict=True)]
            score = np.sum([w * f for w, f in zip(self.weights, folds, strict=True)], axis=0)
        else:
            score = values[0]
        highest = np.maximum.accumulate(score, axis=1)
        if self.error == 0:
            return (highest >= self.cut).astype(float)
        from scipy.special import ndtr

        return np.asarray(ndtr((highest - self.cut) / self.error))


@dataclass(frozen=True)
class LogisticHead:
    """Regression: P = expit(intercept + slope * highest score so far).

    With ``intercept`` or ``slope`` None, those of the model are used (parameters ``bbb_logit_a`` and ``bbb_logit_c``).
    """

    intercept: float | None = None
    slope: float | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the simulation that the head reads."""
        return ("bbb_logit",) if self.intercept is None or self.slope is None else ("bbb_score",)

    def probability(self, course: Any) -> Array:
        """P(barrier opened by t), shape (patients, times)."""
        (values,) = _values(course, self.needs)
        logit = values if self.intercept is None or self.slope is None else self.intercept + self.slope * values
        from scipy.special import expit

        return np.asarray(expit(np.maximum.accumulate(logit, axis=1)))


@dataclass(frozen=True)
class HazardHead:
    """1 - exp(-H) with the model's cumulative hazard ``BBB_HAZ``; in discrete time with ``step_h`` hours per step.

    In discrete time the probability of a step is that of the hazard in it, and is credited at the end of the step.
    """

    step_h: float | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the simulation that the head reads."""
        return ("BBB_HAZ",)

    def probability(self, course: Any) -> Array:
        """P(barrier opened by t), shape (patients, times)."""
        (hazard,) = _values(course, self.needs)
        if self.step_h is not None:
            times = np.asarray(course.times_h, dtype=float)
            # The last time at or before the last whole step.
            ended = np.floor((times - times[0]) / self.step_h + 1e-9) * self.step_h + times[0]
            hazard = hazard[:, np.maximum(np.searchsorted(times, ended + 1e-9, side="right") - 1, 0)]
        return -np.expm1(-hazard)


@dataclass(frozen=True)
class QuotientHead:
    """P(lumbar albumin quotient above its limit for the age), over posterior draws or a population.

    Attributes
    ----------
    groups
        The patient that each row of the course belongs to, e.g. ``("a", "a", "b")`` for two draws of one and one of
        another; the result has one row per patient, in order of first appearance. Empty: every row its own, so that P
        is 0 or 1.
    error
        SD of ln(quotient) as measured; smooths the step.
    """

    groups: Sequence[object] = ()
    error: float = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the simulation that the head reads."""
        return ("qalb_lumbar", "qalb_limit")

    def probability(self, course: Any) -> Array:
        """P(barrier opened by t), shape (patients, times)."""
        quotient, limit = _values(course, self.needs)
        over = np.maximum.accumulate(np.log(quotient / limit), axis=1)
        if self.error > 0:
            from scipy.special import ndtr

            each = np.asarray(ndtr(over / self.error))
        else:
            each = (over > 0).astype(float)
        if not self.groups:
            return each
        if len(self.groups) != len(each):
            raise ModelError([Problem("head", None, "groups", str(len(self.groups)), f"{len(each)} entries, one a row",
                                      "Name the patient of every row.")])  # fmt: skip
        order = list(dict.fromkeys(self.groups))
        rows = np.array([order.index(g) for g in self.groups])
        return np.array([each[rows == k].mean(axis=0) for k in range(len(order))])


def _values(course: Any, names: tuple[str, ...]) -> list[Array]:
    missing = [name for name in names if name not in course.names]
    if missing:
        raise ModelError([Problem("trajectory", None, name, None, "an output of the simulation",
                                  f"Simulate with {name!r} among the outputs.") for name in missing])  # fmt: skip
    return [np.atleast_2d(np.asarray(course[name], dtype=float)) for name in names]
