"""The file of a population fit: data, structural model, parameters, what is observed, estimator. TOML in, frozen out.

Everything is checked before anything is estimated; all problems are told at once, with the setting's place.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from icans.core.errors import ConfigError, Problem
from icans.population.nlme.observed import CENSORING, ERRORS, LINKS, OUTCOMES
from icans.population.nlme.scales import KINDS
from icans.study.simulate_refusals import Number, RefusedError, name_of, problems_of

ESTIMATORS = ("saem", "focei", "laplace", "nuts")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FitSection(_Section):
    """``[fit]``: name, question, estimator, seed; what is done beside the estimation."""

    name: str = Field("fit", min_length=1, max_length=80)
    question: str = ""
    method: str = "saem"
    seed: int = Field(20240201, ge=0)
    standard_errors: bool = True
    vpc_replicates: int = Field(300, ge=0, le=5000)
    npde_replicates: int = Field(300, ge=0, le=5000)
    bins: int = Field(8, ge=2, le=40)
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        return name_of("estimator", value, ESTIMATORS)


class DataSection(_Section):
    """``[data]``: a NONMEM-style file (``nonmem``), or a cohort (``cohort``: folder or public data set).

    ``observables``: DVID -> name (NONMEM); one name if there is no DVID. ``covariates``: columns kept. ``ignore``:
    columns set aside. ``compartments``: CMT -> name. ``time_unit``: of TIME. ``analytes``: of the cohort's vocabulary.
    ``cells``: CAR T cells that every patient of the cohort was given. ``until_day``: last day that is used.
    """

    nonmem: Path | None = None
    cohort: str | None = None
    observables: dict[str, str] = Field(default_factory=dict)
    covariates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time_unit: str = "h"
    compartments: dict[str, str] = Field(default_factory=dict)
    analytes: tuple[str, ...] = ()
    cells: Number | None = None
    until_day: Number | None = None
    synthetic: bool = False

    @model_validator(mode="after")
    def _one(self) -> DataSection:
        if (self.nonmem is None) == (self.cohort is None):
            raise RefusedError("exactly one of nonmem and cohort", "Say where the data are.")
        return self


class ModelSection(_Section):
    """``[model]``: ``kind = "compartments"`` (closed form) or ``"patient"`` (the patient model).

    Compartments: ``compartments``, ``absorption``, ``parameterisation``, ``lag``, ``bioavailability``, ``scale``.
    Patient: ``brain``, ``drugs``, ``links`` (individual parameter -> {model parameter: power}), ``rtol``.
    """

    kind: Literal["compartments", "patient"] = "compartments"
    compartments: int = Field(1, ge=1, le=3)
    absorption: str = "none"
    parameterisation: Literal["clearances", "rates"] = "clearances"
    lag: bool = False
    bioavailability: bool = False
    scale: Number = 1.0
    brain: bool = False
    drugs: tuple[str, ...] = ()
    links: dict[str, dict[str, Number]] = Field(default_factory=dict)
    rtol: Number = 1e-5


class PriorSection(_Section):
    """A normal prior: ``mean`` and ``sd`` on the parameter's scale."""

    mean: Number
    sd: Number


class ParameterSection(_Section):
    """``[[parameter]]``: an individual parameter; ``value`` may be left out where the patient model has it."""

    name: str
    value: Number | None = None
    scale: str = "log"
    low: Number = 0.0
    high: Number = 1.0
    power: Number = 1.0
    iiv: Number = 0.0
    iov: Number = 0.0
    fixed: bool = False
    iiv_fixed: bool = False
    unit: str = "1"
    prior: PriorSection | None = None
    iiv_prior: Number | None = None

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: str) -> str:
        return name_of("scale", value, KINDS)


class EffectSection(_Section):
    """``[[effect]]``: a covariate on a parameter."""

    parameter: str
    covariate: str
    form: Literal["linear", "log", "flag"] = "linear"
    value: Number = 0.0
    centre: Number = 0.0
    fixed: bool = False
    prior: PriorSection | None = None


class ObservableSection(_Section):
    """``[[observable]]``: a measured quantity and its error."""

    name: str
    output: str
    error: str = "proportional"
    a: Number = 1.0
    b: Number = 0.1
    df: Number = 4.0
    censoring: str = "M3"
    floor: Number = 0.0
    fixed: bool = False
    batches: tuple[str, ...] = ()
    batch_sd: Number = 0.5
    unit: str = ""

    @field_validator("error")
    @classmethod
    def _error(cls, value: str) -> str:
        return name_of("error model", value, ERRORS)

    @field_validator("censoring")
    @classmethod
    def _censoring(cls, value: str) -> str:
        return name_of("method for censored values", value, CENSORING)


class OutcomeSection(_Section):
    """``[[outcome]]``: a grade, a count or an event."""

    name: str
    output: str
    kind: str = "ordinal"
    cuts: tuple[Number, ...] = (0.0,)
    slope: Number = 1.0
    link: str = "identity"
    floor: Number = 1e-6
    frailty: str | None = None
    memory: Number | None = None
    dispersion: Number | None = None
    start_h: Number = 0.0
    step_h: Number = 12.0
    fixed: bool = False

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        return name_of("kind of outcome", value, OUTCOMES)

    @field_validator("link")
    @classmethod
    def _link(cls, value: str) -> str:
        return name_of("link", value, LINKS)

    @field_validator("cuts")
    @classmethod
    def _cuts(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)):
            raise RefusedError("ascending cuts", "Sort them; no two are equal.")
        return value


class MixtureSection(_Section):
    """``[mixture]``: latent classes."""

    classes: tuple[str, ...]
    shares: tuple[Number, ...]
    shifts: dict[str, tuple[Number, ...]]


class FitConfig(_Section):
    """A whole file."""

    fit: FitSection = FitSection()
    data: DataSection
    model: ModelSection = ModelSection()
    parameter: tuple[ParameterSection, ...] = Field(min_length=1)
    observable: tuple[ObservableSection, ...] = ()
    outcome: tuple[OutcomeSection, ...] = ()
    effect: tuple[EffectSection, ...] = ()
    correlated: tuple[tuple[str, ...], ...] | Literal["full"] = ()
    correlated_occasions: tuple[tuple[str, ...], ...] = ()
    mixture: MixtureSection | None = None

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return self.model_dump(mode="json")


def read_fit_config(path: Path | str) -> FitConfig:
    """Read and check the file of a fit.

    Raises
    ------
    ConfigError
        It cannot be read, is no TOML, or has settings that cannot be: all problems of the file.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = Problem(str(path), None, None, None, "a readable file of a fit", f"{error.strerror}.")
        raise ConfigError([problem]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), None, None, None, "a TOML file", f"{error}.")]) from None
    return make_fit_config(raw, file=str(path))


def make_fit_config(raw: dict[str, Any], file: str = "fit") -> FitConfig:
    """Check plain values (see :func:`read_fit_config`)."""
    try:
        return FitConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([p for line in error.errors() for p in problems_of(file, line, _settings())]) from None


def _settings() -> list[str]:
    sections = (FitConfig, FitSection, DataSection, ModelSection, ParameterSection, EffectSection, ObservableSection,
                OutcomeSection, MixtureSection, PriorSection)  # fmt: skip
    return sorted({name for s in sections for name in s.model_fields})
