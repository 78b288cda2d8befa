"""``icans forecast``: a model file and a cohort in; forecasts, reasons and a page for each patient out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import ConfigError, NotEstimableError, Problem
from icans.core.files import atomic_folder, write_json
from icans.core.progress import stage
from icans.core.provenance import now
from icans.forecast.final import FinalModel
from icans.forecast.forecast import Forecast, to_frame, write_forecasts
from icans.forecast.model_file import read_model
from icans.forecast.outcomes import Horizon
from icans.study.source import study_for

if TYPE_CHECKING:
    from icans.report.forecasts_page import PatientForecasts
from icans.study.preparing import prepare

#: Patients with a section of their own on the page (three figures each); name patients to see others.
PAGES = 12


@dataclass(frozen=True)
class Applied:
    """Forecasts of a cohort by a trained model."""

    forecasts: tuple[Forecast, ...]
    without: pd.DataFrame
    folder: Path | None
    sealed: str
    model: FinalModel

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": True, "folder": None if self.folder is None else str(self.folder), "sealed": self.sealed or None,
            "forecasts": [f.as_dict() for f in self.forecasts],
            "without": self.without.to_dict("records"),
        }  # fmt: skip

    def text(self) -> str:
        """For people: the shortest horizon's forecast of each patient in sentences, then who got none."""
        lines: list[str] = []
        for patient in dict.fromkeys(f.patient_id for f in self.forecasts):
            mine = [f for f in self.forecasts if f.patient_id == patient]
            lines.append(f"Patient {patient}, day {mine[0].landmark_h / 24:g}: " + "; ".join(map(_short, mine)))
            lines += [f"  note: {note}" for note in mine[0].notes]
        lines += [f"Patient {r.patient_id}: no forecast, {r.reason}" for r in self.without.itertuples()]
        if self.folder is not None:
            lines.append(f"page: {self.folder / 'forecasts.html'}")
        if self.sealed:
            lines.append(f"sealed as {self.sealed}")
        return "\n".join([*lines, "Research use only. Not for decisions on the care of a patient."])


def _short(forecast: Forecast) -> str:
    known = not np.isnan(forecast.low)
    spread = f" ({forecast.low:.0%} to {forecast.high:.0%})" if known else ""
    return f"{forecast.risk:.0%}{spread} within {forecast.horizon_h / 24:g} d"


def forecast_cohort(
    model: Path | str,
    target: str,
    *,
    at_d: float | None = None,
    patients: Sequence[str] | None = None,
    output: Path | str | None = None,
    overwrite: bool = False,
    registry: Path | str | None = None,
) -> Applied:
    """Forecast the patients of a cohort.

    Parameters
    ----------
    model
        A file made by ``icans train``.
    target
        The cohort, as for ``icans run``.
    at_d
        Day since infusion at which the forecasts are made; None: for each patient when the newest of his data became
        known.
    patients
        Some of the patients; None: all.
    output
        Folder for tables and the page; None: none is written.
    registry
        A registry in which the forecasts are sealed before they are shown.

    Raises
    ------
    DataError
        The model file or the cohort has problems.
    NotEstimableError
        The landmark lies before the infusion or after every horizon.
    ConfigError
        An unknown patient.
    """
    trained = read_model(model)
    cohort = prepare(study_for(target)).cohort
    ids = _chosen(cohort, patients)
    with stage("forecasting"):
        made, without = _made(trained, cohort, ids, at_d)
    sealed = ""
    if registry is not None and made:
        from icans.evaluate.registry import seal

        data = str(cohort.provenance.as_dict().get("digest", ""))
        sealed = seal(registry, made, model_digest=trained.digest, data_digest=data).digest
    folder = None
    if output is not None:
        folder = Path(output)
        with stage("page"), atomic_folder(folder, overwrite=overwrite) as temporary:
            _write(temporary, trained, cohort, made, without, str(model), target)
    return Applied(tuple(made), without, folder, sealed, trained)


def _chosen(cohort: Cohort, patients: Sequence[str] | None) -> list[str]:
    if patients is None:
        return cohort.patient_ids
    unknown = [p for p in patients if p not in set(cohort.patient_ids)]
    if unknown:
        wanted = f"patients of cohort {cohort.name!r} (e.g. {', '.join(cohort.patient_ids[:3])})"
        raise ConfigError([Problem("forecast", None, "patient", p, wanted, "Check the spelling.") for p in unknown])
    return list(patients)


def _made(
    trained: FinalModel, cohort: Cohort, ids: Sequence[str], at_d: float | None
) -> tuple[list[Forecast], pd.DataFrame]:
    if at_d is not None:
        return trained.forecast(cohort, 24.0 * at_d, ids)
    made: list[Forecast] = []
    without: list[pd.DataFrame] = []
    newest = newest_known(cohort).reindex(list(ids))
    for landmark, group in newest.groupby(newest):
        try:
            some, none = trained.forecast(cohort, float(landmark), [str(p) for p in group.index])
        except NotEstimableError as error:
            some, none = [], pd.DataFrame({"patient_id": group.index.astype(str), "reason": str(error)})
        made += some
        without.append(none)
    never = newest.index[newest.isna()].astype(str)
    without.append(pd.DataFrame({"patient_id": never, "reason": "nothing dated is known of this patient; give --at"}))
    order = {p: k for k, p in enumerate(ids)}
    made.sort(key=lambda f: (order[f.patient_id], f.horizon_h))
    return made, pd.concat(without, ignore_index=True)


def newest_known(cohort: Cohort) -> pd.Series:
    """When the newest row of each patient became known, hours since infusion (not before the infusion)."""
    tables = ("measurements", "treatments", "assessments", "grades")
    frames = [cohort.table(name)[["patient_id", "available_h"]] for name in tables]
    return pd.concat(frames, ignore_index=True).groupby("patient_id")["available_h"].max().clip(lower=0.0)


def _write(
    folder: Path, trained: FinalModel, cohort: Cohort, made: Sequence[Forecast], without: pd.DataFrame, model: str,
    target: str,
) -> None:  # fmt: skip
    from icans.report.forecasts_page import forecasts_page

    write_forecasts(folder / "forecasts.json", made)
    write_forecasts(folder / "forecasts.parquet", made)
    shown = list(dict.fromkeys(f.patient_id for f in made))[:PAGES]
    earlier = _earlier(trained, cohort, {f.patient_id: f.landmark_h for f in made if f.patient_id in set(shown)})
    sections = [_patient(trained, cohort, [f for f in made if f.patient_id == p], earlier) for p in shown]
    data = forecasts_page(trained, cohort, sections, without, total=len({f.patient_id for f in made}))
    (folder / "forecasts.html").write_text(data, encoding="utf-8")
    record = {"model": model, "digest": trained.digest, "cohort": target, "at": now()}
    write_json(folder / "forecast.json", record | {"source": cohort.provenance.as_dict()})


def _earlier(trained: FinalModel, cohort: Cohort, now_h: dict[str, float]) -> list[Forecast]:
    """Forecasts of the main horizon on every day before now, as the model would have given them then."""
    main, made = _main_horizon(trained), []
    first, _ = trained.envelope.landmarks_h
    for hour in np.arange(max(first, 0.0), max(now_h.values(), default=0.0), 24.0):
        asked = [p for p, now in now_h.items() if now > hour]
        some, _ = trained.forecast(cohort, float(hour), asked)
        made += [f for f in some if f.horizon_h == float(main.window(hour))]
    return made


def _patient(
    trained: FinalModel, cohort: Cohort, mine: Sequence[Forecast], earlier: Sequence[Forecast]
) -> PatientForecasts:
    """What the page shows of one patient: the forecast of the declared horizon over time, reasons, what is missing."""
    from icans.evaluate.explain.reasons import reason_sentences
    from icans.forecast.worth import worth_of_missing
    from icans.report.forecasts_page import PatientForecasts

    patient, landmark = mine[0].patient_id, mine[0].landmark_h
    main = _main_horizon(trained)
    lead = min(mine, key=lambda f: abs(f.horizon_h - float(main.window(landmark))))
    course = [f for f in earlier if f.patient_id == patient]
    worth = worth_of_missing(trained, cohort, patient, landmark, main)
    sentences = reason_sentences(lead, missing=[f"{name}.last" for name in worth["input"]])
    known = cohort.subset([patient]).available_by(landmark)
    return PatientForecasts(patient, known, to_frame([*course, lead]), to_frame(mine), lead, sentences, worth)


def _main_horizon(trained: FinalModel) -> Horizon:
    """The horizon that the page follows over time: the window nearest to seven days."""
    windows = [h for h in trained.horizons if not h.until] or list(trained.horizons)
    return min(windows, key=lambda h: abs(h.hours - 168.0))
