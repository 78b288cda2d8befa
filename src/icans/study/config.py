"""The study file: what to read, what to forecast, how to judge it. TOML in, a frozen configuration out."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from icans.cohort.vocabulary import near
from icans.core.errors import ConfigError, Problem
from icans.core.execute import FORMS, read_choice

Day = Annotated[float, Field(ge=-30, le=90)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudySection(_Section):
    """``[study]``: what this is, and the seed of every random number."""

    name: str = Field("study", min_length=1, max_length=80)
    question: str = ""
    seed: int = Field(20240201, ge=0)


class CohortSection(_Section):
    """``[cohort]``: a public data set by name, a path (relative to the study file), or the synthetic demo.

    ``options`` goes to the reader of the format, e.g. ``anchor`` for FHIR or the meaning of NONMEM columns.
    """

    dataset: str | None = None
    path: Path | None = None
    format: Literal["auto", "folder", "fhir", "omop", "sdtm", "nonmem"] = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    demo_patients: int | None = Field(None, ge=20, le=100_000)

    @model_validator(mode="after")
    def _one_source(self) -> CohortSection:
        given = [name for name in ("dataset", "path", "demo_patients") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of dataset, path, demo_patients is needed; got {given or 'none'}")
        return self


class HarmonizeSection(_Section):
    """``[harmonize]``: from which confidence on a proposal about units is applied (below it, it is only reported)."""

    apply_confidence: float = Field(0.9, gt=0.5, le=1.0)


class OutcomeSection(_Section):
    """``[outcome]``: what counts as the event. ``any_grade`` and ``severe_grade`` are least grades.

    Without ``any_grade`` it is 1, or any positive score where grades come in half steps (means of raters).
    """

    toxicity: str = "ICANS"
    scheme: str | None = None
    any_grade: float | None = Field(None, gt=0, le=5)
    severe_grade: float = Field(3.0, gt=0, le=5)


class ForecastSection(_Section):
    """``[forecast]``: landmarks and horizons in days since infusion, models, and the resampling that judges them.

    ``corrections`` are estimated in each training fold: ``batch`` (ComBat), ``assay`` (factors between platforms).
    ``mechanism``: the standing experiment, the same learner with and without the mechanistic model's columns; on the
    tasks named (``first``: the first that can be judged), or ``off``.
    """

    landmarks_d: tuple[Day, ...] = (0, 1, 2, 3, 5, 7)
    horizons_d: tuple[Annotated[float, Field(gt=0, le=365)], ...] = (1, 3, 5, 7)
    by_day_30: bool = True
    models: tuple[str, ...] | None = None
    folds: int = Field(5, ge=2, le=20)
    repeats: int = Field(3, ge=1, le=50)
    leave_out: tuple[Literal["site", "product", "source", "disease"], ...] = ("site", "product")
    corrections: tuple[Literal["batch", "assay"], ...] = ()
    allow_missingness_features: bool = False
    mechanism: Literal["off", "first", "all"] = "first"

    @field_validator("landmarks_d", "horizons_d")
    @classmethod
    def _increasing(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or any(b <= a for a, b in itertools.pairwise(values)):
            raise ValueError("at least one value, in increasing order, none twice")
        return values


class EvaluateSection(_Section):
    """``[evaluate]``: resamples of intervals and of the optimism correction (0: none); thresholds of curves.

    ``protocol``: how much of the rest of the protocol is run (alarms, groups, drift, latency, instability,
    explanation): none, the declared model (seconds), or every model with Shapley values (minutes).
    """

    bootstrap: int = Field(500, ge=50, le=20_000)
    optimism: int = Field(50, ge=0, le=2_000)
    protocol: Literal["off", "short", "full"] = "short"
    threshold_low: float = Field(0.05, gt=0, lt=1)
    threshold_high: float = Field(0.30, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> EvaluateSection:
        if self.threshold_low >= self.threshold_high:
            raise ValueError("threshold_low must be below threshold_high")
        return self


class ReportSection(_Section):
    """``[report]``: how many patients get a page of their own."""

    patients: int = Field(6, ge=0, le=200)


class ExecuteSection(_Section):
    """``[execute]``: where the work is done (:func:`icans.core.execute.read_choice`); results do not depend on it."""

    executor: str | None = None

    @field_validator("executor")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                read_choice(value)
            except ConfigError as error:
                raise ValueError(f"one of {FORMS}") from error
        return value


class Study(_Section):
    """A whole study file. Every section but ``[cohort]`` has defaults."""

    study: StudySection = StudySection()
    cohort: CohortSection
    harmonize: HarmonizeSection = HarmonizeSection()
    outcome: OutcomeSection = OutcomeSection()
    forecast: ForecastSection = ForecastSection()
    evaluate: EvaluateSection = EvaluateSection()
    report: ReportSection = ReportSection()
    execute: ExecuteSection = ExecuteSection()

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return self.model_dump(mode="json")

    def decides(self) -> dict[str, Any]:
        """What of it decides the results: all but where the work is done."""
        return self.model_dump(mode="json", exclude={"execute"})


def read_study(path: Path | str) -> Study:
    """Read a study file; paths in it are taken relative to it.

    Raises
    ------
    ConfigError
        With every problem of the file: where, what was found, what was expected.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = Problem(str(path), None, None, None, "a readable study file", f"{error.strerror}.")
        raise ConfigError([problem]) from error
    except UnicodeDecodeError as error:
        remedy = "Save the file as UTF-8."
        raise ConfigError([Problem(str(path), None, None, None, "UTF-8 text", remedy)]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), None, None, None, "valid TOML", f"{error}.")]) from error
    return make_study(raw, file=str(path), base=path.parent)


def make_study(raw: dict[str, Any], *, file: str = "study", base: Path | None = None) -> Study:
    """A study from plain values, checked; see :func:`read_study`."""
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_problem(file, line) for line in error.errors()]) from error
    cohort_path = study.cohort.path
    if base is not None and cohort_path is not None and not cohort_path.is_absolute():
        study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"path": base / cohort_path})})
    return study


def _problem(file: str, line: Any) -> Problem:
    where = ".".join(str(part) for part in line["loc"])
    value = None if line["type"] == "missing" else repr(line["input"])
    if line["type"] == "extra_forbidden":
        return Problem(file, None, where, value, "a known setting", "Remove it" + (_suggestion(line["loc"]) or "."))
    remedy = "See the study file page of the documentation."
    return Problem(file, None, where or None, value, line["msg"].removeprefix("Value error, "), remedy)


def _suggestion(loc: tuple[Any, ...]) -> str:
    model: Any = Study
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        model = field.annotation
    return near(str(loc[-1]), getattr(model, "model_fields", {}))
