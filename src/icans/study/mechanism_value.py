"""Does mechanism help? The same learners with clinical columns only, with mechanistic ones only, with both.

A stage of a study: every task goes through cross-validation with the mechanistic block, and the paired differences are
told over all judged cells together, with intervals over patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import NotEstimableError
from icans.core.execute import Executor, Serial
from icans.evaluate.pooled import pooled
from icans.forecast.crossval import CrossValidation, Design, cross_validate
from icans.forecast.features import FeatureSpec
from icans.forecast.ladder import ladder
from icans.forecast.mechanistic.block import MechanisticBlock
from icans.forecast.mechanistic.rungs import mechanistic_rungs
from icans.study.tasks import StudyTask

#: What is compared: (model, reference).
PAIRS = (
    ("logistic_both", "logistic_clinical"),
    ("logistic_mechanistic", "logistic_clinical"),
    ("boosting_both", "boosting_clinical"),
    ("boosting_mechanistic", "boosting_clinical"),
    ("mechanistic", "logistic_clinical"),
    ("mechanistic", "crs_rule"),
)
#: Rungs that tell where the learners stand.
REFERENCES = ("prevalence", "crs_rule")


@dataclass(frozen=True)
class MechanismValue:
    """Results of the standing experiment.

    Attributes
    ----------
    performance
        task, model, metric, value, low, high: averaged over the judged cells of the task.
    differences
        task, model, reference_model, metric, difference, low, high, better.
    cells
        Landmarks and horizons of every task with counts, and why one was not judged.
    predictions
        The prediction table behind it all.
    notes
        Tasks that could not be forecast, and why.
    """

    performance: pd.DataFrame
    differences: pd.DataFrame
    cells: pd.DataFrame
    predictions: pd.DataFrame
    notes: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each task: what adding mechanism to the linear learner changed."""
        said = []
        rows = self.differences
        rows = rows[(rows["model"] == "logistic_both") & (rows["metric"] == "auc_within_fold")]
        for row in rows.itertuples():
            word = {"yes": "helps", "no": "harms", "unclear": "makes no clear difference"}[str(row.better)]
            said.append(
                f"{row.task}: adding the mechanistic columns to the clinical ones {word}: AUROC changes by "
                f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f}), averaged over the judged cells."
            )
        return (*said, *self.notes)


def mechanism_value(
    cohort: Cohort, tasks: Sequence[StudyTask], *, seed: int = 1, folds: int = 5, repeats: int = 1, n_boot: int = 200,
    boosting: bool = True, block: MechanisticBlock | None = None, spec: FeatureSpec | None = None,
    executor: Executor | None = None, folder: Path | str | None = None,
) -> MechanismValue:  # fmt: skip
    """Run the experiment.

    Parameters
    ----------
    cohort
        Harmonised.
    tasks
        What is forecast (:func:`icans.study.tasks.study_tasks`).
    seed, folds, repeats, n_boot
        Of the cross-validation and of the intervals.
    boosting
        Also the trees (slower).
    block, spec
        Settings of the mechanistic block; clinical features.
    executor, folder
        See :func:`icans.forecast.crossval.cross_validate`.
    """
    rungs = (*ladder(names=list(REFERENCES)), *mechanistic_rungs(boosting))
    results: list[CrossValidation] = []
    notes = []
    for study_task in tasks:
        design = Design(study_task.landmarks_h, study_task.horizons, folds=folds, repeats=repeats, seed=seed)
        try:
            results.append(
                cross_validate(
                    cohort, study_task.task, rungs, design, spec=spec, blocks=[block or MechanisticBlock()],
                    executor=executor or Serial(), folder=folder,
                )
            )  # fmt: skip
        except NotEstimableError as error:
            notes.append(f"{study_task.label}: not estimable: {error}")
    return of_results(results, tuple(notes), n_boot=n_boot, seed=seed)


def of_results(
    results: Sequence[CrossValidation], notes: tuple[str, ...] = (), *, n_boot: int = 200, seed: int = 1
) -> MechanismValue:
    """The tables of cross-validations that have been run with :func:`mechanistic_rungs`."""
    if not results:
        none = pd.DataFrame()
        return MechanismValue(none, pd.DataFrame(columns=["task", "model", "metric", "better"]), none, none, notes)
    predictions = pd.concat([r.predictions for r in results], ignore_index=True)
    found = pooled(predictions, n_boot=n_boot, seed=seed)
    cells = pd.concat([r.cells for r in results], ignore_index=True)
    return MechanismValue(found.table(), found.differences(PAIRS), cells, predictions, notes)
