"""The scenario of a simulation: who is treated, in which arms, for how long. TOML or flags in, a frozen value out.

Everything is checked before anything is integrated, and all problems are told at once: names against what the model
knows, numbers against their bounds, units against what a drug is given in.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from icans.core.errors import ConfigError, Problem
from icans.study.simulate_refusals import ManyRefusedError, Number, RefusedError, name_of, problems_of

#: Longest simulated time, days, and most patients of one arm.
LONGEST_D = 400.0
MOST_PATIENTS = 200_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SimulationSection(_Section):
    """``[simulation]``: what this is, how long it runs (days), how often it is looked at (hours), the seed."""

    name: str = Field("simulation", min_length=1, max_length=80)
    question: str = ""
    days: Number = 30.0
    every_h: Number = 6.0
    seed: int = Field(20240201, ge=0)
    icans_scheme: str = "astct"
    crs_scheme: str = "astct"

    @field_validator("days")
    @classmethod
    def _days(cls, value: float) -> float:
        if not 0 < value <= LONGEST_D:
            raise RefusedError(f"days above 0 and up to {LONGEST_D:g}", "The model is calibrated to the first month.")
        return value

    @field_validator("icans_scheme", "crs_scheme")
    @classmethod
    def _scheme(cls, value: str, info: Any) -> str:
        from icans.study.simulate_names import schemes

        return name_of("grading scheme", value, schemes(info.field_name.removesuffix("_scheme")))

    @field_validator("every_h")
    @classmethod
    def _every(cls, value: float) -> float:
        if not 0.25 <= value <= 24:
            raise RefusedError(
                "hours from 0.25 to 24", "It is the distance between the times that are written, not a step."
            )
        return value


class PatientsSection(_Section):
    """``[patients]``: product, disease and number; what is fixed in all of them; supportive care.

    One patient is the typical one of product and disease unless ``typical`` is false (then the first of the virtual
    population). ``trial``: patients like those of a study to which the population is calibrated. ``covariates`` and
    ``parameters`` hold for every patient.
    """

    product: str = "axi-cel"
    disease: str = "LBCL"
    n: int = Field(1, ge=1, le=MOST_PATIENTS)
    typical: bool | None = None
    care: str = "modern"
    trial: str | None = None
    calibrated: bool = True
    covariates: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("product")
    @classmethod
    def _product(cls, value: str) -> str:
        from icans.study.simulate_names import products

        return name_of("product", value, products())

    @field_validator("disease")
    @classmethod
    def _disease(cls, value: str) -> str:
        from icans.study.simulate_names import diseases

        return name_of("disease", value, diseases())

    @field_validator("care")
    @classmethod
    def _care(cls, value: str) -> str:
        from icans.study.simulate_names import eras

        return name_of("supportive care", value, eras())

    @field_validator("trial")
    @classmethod
    def _trial(cls, value: str | None) -> str | None:
        from icans.study.simulate_names import trials

        return value if value is None else name_of("trial", value, trials())

    @field_validator("covariates")
    @classmethod
    def _covariates(cls, values: dict[str, Any], info: Any) -> dict[str, Any]:
        from icans.study.simulate_names import covariate_problems

        wrong = covariate_problems(values, info.data.get("disease", "LBCL"))
        if wrong:
            raise ManyRefusedError(wrong)
        return values

    @field_validator("parameters")
    @classmethod
    def _parameters(cls, values: dict[str, Any]) -> dict[str, Any]:
        from icans.study.simulate_names import parameter_problems

        wrong = parameter_problems(values)
        if wrong:
            raise ManyRefusedError(wrong)
        return {name: float(value) for name, value in values.items()}

    @model_validator(mode="after")
    def _one(self) -> PatientsSection:
        if self.typical and self.n > 1:
            raise RefusedError("typical = true only with n = 1", "All typical patients are alike: use n = 1.")
        return self

    @property
    def is_typical(self) -> bool:
        """Whether the one patient has the typical parameters."""
        return self.n == 1 if self.typical is None else self.typical


class DoseSection(_Section):
    """``[[arms.doses]]``: one entry of a regimen, at ``day`` or ``time_h`` since infusion of the product."""

    drug: str
    amount: Number
    unit: str
    route: str = Field("iv", validate_default=True)
    day: Number | None = None
    time_h: Number | None = Field(None, validate_default=True)
    duration_h: Number = 0.0
    every_h: Number | None = None
    count: int = Field(1, ge=1, le=10_000)

    @field_validator("drug")
    @classmethod
    def _drug(cls, value: str) -> str:
        from icans.study.simulate_names import drugs

        return name_of("drug", value, drugs())

    @field_validator("amount")
    @classmethod
    def _amount(cls, value: float) -> float:
        if value < 0:
            raise RefusedError("an amount of at least 0", "Give what is administered; a dose cannot be negative.")
        return value

    @field_validator("unit")
    @classmethod
    def _unit(cls, value: str, info: Any) -> str:
        from icans.study.simulate_names import unit_problem

        wrong = unit_problem(value, info.data.get("drug"))
        if wrong:
            raise RefusedError(*wrong)
        return value

    @field_validator("route")
    @classmethod
    def _route(cls, value: str, info: Any) -> str:
        from icans.study.simulate_names import routes

        drug = info.data.get("drug")
        if drug is not None and value not in routes(drug):
            raise RefusedError(f"a route of {drug}: {', '.join(routes(drug))}", "Choose one of these.")
        return value

    @field_validator("time_h")
    @classmethod
    def _when(cls, value: float | None, info: Any) -> float | None:
        if "day" in info.data and (info.data["day"] is None) == (value is None):
            raise RefusedError(
                "exactly one of day and time_h", "Say when it is given, in days or in hours since the infusion."
            )
        return value

    @field_validator("duration_h", "every_h")
    @classmethod
    def _hours(cls, value: float | None, info: Any) -> float | None:
        if info.field_name == "every_h" and value is not None and value <= 0:
            raise RefusedError("hours above 0", "It is the time between two doses.")
        if info.field_name == "duration_h" and value is not None and value < 0:
            raise RefusedError("hours of at least 0", "It is how long an infusion runs; 0: a bolus.")
        return value

    @field_validator("count")
    @classmethod
    def _count(cls, value: int, info: Any) -> int:
        if value > 1 and "every_h" in info.data and info.data["every_h"] is None:
            raise RefusedError("every_h where count is above 1", "Give the hours between doses.")
        return value

    @property
    def start_h(self) -> float:
        """Hours since infusion."""
        return float(self.time_h) if self.time_h is not None else 24.0 * float(self.day or 0.0)


class TriggerSection(_Section):
    """``[[arms.triggers]]``: doses given when a quantity passes a threshold; their times count from then.

    ``quantity`` is a state or definition of the model, e.g. ``TEMP`` (Cel), ``crs_severity``, ``encephalopathy``.
    """

    quantity: str
    above: Number | None = None
    below: Number | None = Field(None, validate_default=True)
    doses: tuple[DoseSection, ...] = Field(min_length=1)
    delay_h: Number = 0.0
    lockout_h: Number = 24.0
    at_most: int = Field(1, ge=1, le=100)

    @field_validator("below")
    @classmethod
    def _one_threshold(cls, value: float | None, info: Any) -> float | None:
        if "above" in info.data and (info.data["above"] is None) == (value is None):
            raise RefusedError("exactly one of above and below", "Give the threshold in the unit of the quantity.")
        return value

    @field_validator("delay_h", "lockout_h")
    @classmethod
    def _hours(cls, value: float) -> float:
        if value < 0:
            raise RefusedError("hours of at least 0", "Correct it.")
        return value


class ArmSection(_Section):
    """``[[arms]]``: one way to treat the same patients: named regimens, doses, triggers; or the product alone.

    ``care`` replaces the supportive care of ``[patients]`` in this arm.
    """

    name: str = Field(min_length=1, max_length=48)
    care: str | None = None
    regimens: tuple[str, ...] = ()
    doses: tuple[DoseSection, ...] = ()
    triggers: tuple[TriggerSection, ...] = ()

    @field_validator("care")
    @classmethod
    def _care(cls, value: str | None) -> str | None:
        from icans.study.simulate_names import eras

        return value if value is None else name_of("supportive care", value, eras())

    @field_validator("regimens")
    @classmethod
    def _regimens(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        from icans.study.simulate_names import regimens

        for value in values:
            name_of("regimen", value, regimens())
        return values


class OutputSection(_Section):
    """``[output]``: of how many patients trajectories are written; quantities beyond the usual; patients shown."""

    patients: int = Field(100, ge=0, le=MOST_PATIENTS)
    quantities: tuple[str, ...] = ()
    shown: int = Field(1, ge=0, le=6)


class Scenario(_Section):
    """A whole scenario. Every section has defaults; without ``[[arms]]`` there is one arm, the product alone."""

    simulation: SimulationSection = SimulationSection()
    patients: PatientsSection = Field(default_factory=PatientsSection)
    arms: tuple[ArmSection, ...] = (ArmSection(name="Product alone"),)
    output: OutputSection = OutputSection()

    @field_validator("arms")
    @classmethod
    def _arms(cls, values: tuple[ArmSection, ...]) -> tuple[ArmSection, ...]:
        names = [a.name for a in values]
        if not names or len(set(names)) < len(names):
            raise RefusedError("arms with names of their own", "Give each arm another name.")
        if len(names) > 7:
            raise RefusedError("at most 7 arms", "Split the comparison.")
        return values

    def as_dict(self) -> dict[str, Any]:
        """The scenario as plain JSON values."""
        return self.model_dump(mode="json")


def read_scenario(path: Path | str) -> Scenario:
    """Read a scenario file.

    Raises
    ------
    ConfigError
        With every problem of the file: where, what was found, what was expected, how to mend it.
    """
    return make_scenario(read_raw(path), file=str(path))


def read_raw(path: Path | str) -> dict[str, Any]:
    """The plain values of a scenario file, not yet checked.

    Raises
    ------
    ConfigError
        The file cannot be read, or is no TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = Problem(str(path), None, None, None, "a readable scenario file", f"{error.strerror}.")
        raise ConfigError([problem]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), None, None, None, "UTF-8 text", "Save the file as UTF-8.")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), None, None, None, "valid TOML", f"{error}.")]) from error


def make_scenario(raw: dict[str, Any], *, file: str = "scenario") -> Scenario:
    """A scenario from plain values, checked; see :func:`read_scenario`."""
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([p for line in error.errors() for p in problems_of(file, line, _settings())]) from error


#: Sections, for the remedy of a misspelt setting.
_SECTIONS = (SimulationSection, PatientsSection, ArmSection, DoseSection, TriggerSection, OutputSection, Scenario)


def _settings() -> list[str]:
    """Every setting of every section."""
    return sorted({name for section in _SECTIONS for name in section.model_fields})
