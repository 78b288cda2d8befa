"""The ladder: the ordered list of rival models that every claim is measured against."""

from __future__ import annotations

from collections.abc import Sequence

from icans.forecast.models.boosting import Boosting
from icans.forecast.models.cox import LandmarkCox
from icans.forecast.models.logistic import LastValueLogistic
from icans.forecast.models.prevalence import Prevalence
from icans.forecast.models.recalibrated import Recalibrated
from icans.forecast.rung import FittedRung, Rung, every_risk
from icans.forecast.scores import SCORES, score

__all__ = ["EARLY_CRS", "FittedRung", "Rung", "every_risk", "ladder", "score_rungs"]


#: The clinical rule that needs no laboratory: CRS comes first, and ICANS follows it by some three days.
EARLY_CRS = Rung(
    "crs_rule",
    "largest CRS grade of days 0-3 (as far as known), recalibrated to the risk set",
    Recalibrated(("grade.CRS.max_d0_3",)),
)


def score_rungs(names: Sequence[str] | None = None) -> tuple[Rung, ...]:
    """A rung for each published score (all by default), recalibrated by intercept and slope in each fold.

    Where a score cannot be computed for most rows its fit says so and the rung is left out of the results.
    """
    return tuple(
        Rung(f"score_{name}", f"{score(name).label}, recalibrated to the risk set", Recalibrated((f"score.{name}",)))
        for name in (SCORES if names is None else names)
    )


def ladder(scores: Sequence[Rung] | None = None, *, names: Sequence[str] | None = None) -> tuple[Rung, ...]:
    """The rungs in order, from the simplest to the most flexible.

    Parameters
    ----------
    scores
        Published scores, put after the incidence by day. None: every one that is known (:func:`score_rungs`).
    names
        Only these, in this order of the ladder; KeyError for an unknown name.
    """
    rungs = (
        Rung("prevalence", "incidence of the risk set on that day (Aalen-Johansen), the same for everybody",
             Prevalence()),
        *(score_rungs() if scores is None else scores),
        EARLY_CRS,
        Rung("logistic_last", "ridge logistic regression on newest values, grades and drugs as known",
             LastValueLogistic()),
        Rung("cox_last", "ridge cause-specific Cox supermodel on the same features, one baseline per landmark",
             LandmarkCox()),
        Rung("cox_supermodel", "the same with effects that may change with the day of the landmark",
             LandmarkCox(interactions=True)),
        Rung("boosting", "gradient-boosted trees on summaries (newest, max, min, mean, slope, area)", Boosting()),
    )  # fmt: skip
    if names is None:
        return rungs
    known = {rung.name: rung for rung in rungs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise KeyError(f"the ladder has no {unknown}; it has {list(known)}")
    return tuple(rung for rung in rungs if rung.name in set(names))
