"""The design file of a trial: who, which arms, what is counted, how it runs, how it is analysed. TOML in, frozen out.

Everything is checked before anything is simulated; every problem is told with its line.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from icans.core.errors import ConfigError, Problem
from icans.intervene.strategy.lines import lines_of

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Open = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Kind = Literal["parallel", "single_arm", "stratified", "guided", "adaptive", "group_sequential"]
Boundary = Literal[
    "pocock", "obrien_fleming", "spend_obrien_fleming", "spend_pocock", "spend_hsd", "spend_power"
]  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialSection(_Section):
    """``[trial]``: what this is; simulated trials of every scenario; the seed."""

    name: str = Field(min_length=1, max_length=80)
    question: str = ""
    simulations: int = Field(10_000, ge=100, le=200_000)
    seed: int = Field(20240201, ge=0)


class PatientsSection(_Section):
    """``[patients]``: product and disease of the virtual patients, how many the bank holds, and who is eligible.

    ``eligible``: conditions on covariates at infusion, such as ``age_y <= 75`` or ``prior_cns_disease == false``.
    """

    product: str | None = None
    disease: str | None = None
    bank: int = Field(1000, ge=20, le=200_000)
    eligible: tuple[str, ...] = ()


class ArmSection(_Section):
    """``[[arms]]``: the first is the control. Either a strategy or care and regimen (simulated), or a stated model.

    ``care`` and ``regimen`` are names of ``icans.population``; ``strategy`` one of ``icans.intervene.strategy``.
    ``rate``: chance of the event within the follow-up; ``rate_positive``: of those with the marker; ``hazard``: events
    a day; ``grades``: chances of grades 0, 1, 2 ... (an ordinal endpoint).
    """

    name: str = Field(min_length=1, max_length=60)
    care: str | None = None
    regimen: str = ""
    strategy: str | None = None
    rate: Share | None = None
    rate_positive: Share | None = None
    hazard: Positive | None = None
    grades: tuple[Share, ...] | None = None


class EndpointSection(_Section):
    """``[endpoint]``: what is counted, over how many days.

    ``kind``: ``binary`` (any of ``events``), ``ordinal`` (the highest grade of ``toxicity``), ``time`` (to the first of
    ``events``) or ``competing`` (the same, with ``against`` ending the chance of it). Events: ``icans>=3``, ``crs>=3``,
    ``iechs``, ``death``.
    """

    kind: Literal["binary", "ordinal", "time", "competing"] = "binary"
    events: tuple[str, ...] = ("icans>=3",)
    against: tuple[str, ...] = ()
    against_hazard: float = Field(0.0, ge=0.0)
    toxicity: Literal["icans", "crs"] = "icans"
    days: float = Field(30.0, gt=0, le=35)
    icans_scheme: str = "astct"
    crs_scheme: str = "astct"


class BiomarkerSection(_Section):
    """``[biomarker]``: what divides patients before treatment, and how well it is measured.

    ``name``: a covariate of the bank; ``above``: positive from there. For a stated model ``prevalence``.
    ``cv``: error of the assay, relative; ``failure``: share without a result; ``when_failed``: how those are treated.
    """

    name: str | None = None
    above: float | None = None
    below: float | None = None
    prevalence: Open | None = None
    cv: float = Field(0.0, ge=0.0, le=2.0)
    sensitivity: Share = 1.0
    specificity: Share = 1.0
    failure: Share = 0.0
    when_failed: Literal["negative", "positive"] = "negative"


class DesignSection(_Section):
    """``[design]``: kind and size; what only some kinds need is told by their names in the documentation."""

    kind: Kind = "parallel"
    patients: int = Field(200, ge=4, le=20_000)
    allocation: tuple[int, ...] | None = None
    looks: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.5, 1.0)
    boundary: Boundary = "spend_obrien_fleming"
    parameter: float = -4.0
    futility_below: float | None = None
    events_planned: int | None = Field(None, ge=4)
    p0: Open | None = None
    p1: Open | None = None
    power: Open = 0.8
    method: Literal["simon_optimal", "simon_minimax", "exact"] = "simon_optimal"
    historical_events: int | None = Field(None, ge=0)
    historical_patients: int | None = Field(None, ge=1)
    first_look: int = Field(60, ge=2)
    look_every: int = Field(40, ge=1)
    pipeline: int = Field(0, ge=0)
    superiority: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.99
    inferiority: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.01
    equivalence: Open | None = None
    equivalence_margin: float = Field(0.0, ge=0.0, lt=1.0)
    futility: Open | None = None
    futility_margin: float = Field(0.0, ge=0.0, lt=1.0)
    common_control: bool = True
    fixed_control: Open | None = None
    least_allocation: Share = 0.0
    soften: float = Field(1.0, ge=0.0, le=1.0)
    response_adaptive: bool = True


class ConductSection(_Section):
    """``[conduct]``: sites, enrolment, what goes missing, and how the readers differ.

    ``per_month``: patients a month of one open site (Poisson); ``open_every``: months between openings of sites.
    ``missing``: share whose outcome is never known; ``missing_with_event``: the same of those with the event (None: as
    the others). ``dropout``: hazard a day of leaving, for times to an event. ``rater_sd`` and ``site_sd``: SD of ln
    severity as read, of a reader beyond the calibrated one, and between sites.
    """

    sites: int = Field(5, ge=1, le=500)
    per_month: Positive = 1.0
    open_every: float = Field(0.0, ge=0.0)
    result_lag_days: float = Field(7.0, ge=0.0)
    missing: Share = 0.0
    missing_with_event: Share | None = None
    dropout: float = Field(0.0, ge=0.0)
    rater_sd: float = Field(0.0, ge=0.0, le=2.0)
    site_sd: float = Field(0.0, ge=0.0, le=2.0)


class AnalysisSection(_Section):
    """``[analysis]``: what is written down before the first patient."""

    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    sided: Literal[1, 2] = 2
    multiplicity: Literal["none", "bonferroni", "holm", "hochberg", "fixed_sequence"] = "hochberg"
    missing: Literal["complete", "event", "no_event", "worst"] = "complete"
    by_site: bool = False
    population: str = "All randomised patients, in the arm to which they were randomised."
    intercurrent: str = "Treatment policy: whatever is given after randomisation counts as part of the strategy."


class AssuranceSection(_Section):
    """``[assurance]``: belief about the effect before the trial.

    The share of the simulated effect that is real is drawn from a beta distribution with shapes ``a`` and ``b``; with
    chance ``nothing`` there is no effect at all.
    """

    a: Positive = 4.0
    b: Positive = 2.0
    nothing: Share = 0.2
    points: int = Field(5, ge=2, le=20)


class TrialDesign(_Section):
    """A whole design file."""

    trial: TrialSection
    patients: PatientsSection = PatientsSection()
    arms: tuple[ArmSection, ...] = Field(min_length=1, max_length=8)
    endpoint: EndpointSection = EndpointSection()
    biomarker: BiomarkerSection | None = None
    design: DesignSection = DesignSection()
    conduct: ConductSection = ConductSection()
    analysis: AnalysisSection = AnalysisSection()
    assurance: AssuranceSection | None = None

    @property
    def simulated(self) -> bool:
        """Whether outcomes come from virtual patients (else from stated rates or hazards)."""
        return self.arms[0].care is not None or self.arms[0].strategy is not None

    def as_dict(self) -> dict[str, Any]:
        """The design as plain JSON values."""
        return self.model_dump(mode="json")


def read_design(path: Path | str) -> TrialDesign:
    """Read and check a design file.

    Raises
    ------
    ConfigError
        With every problem: line, what was found, what was expected.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), None, None, None, "a readable design file", f"{error}.")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), None, None, None, "valid TOML", f"{error}.")]) from error
    return make_design(raw, file=str(path), text=text)


def make_design(raw: dict[str, Any], *, file: str = "design", text: str = "") -> TrialDesign:
    """A design from plain values, checked; see :func:`read_design`."""
    from icans.intervene.trial.checks import problems_of

    lines = lines_of(text)
    try:
        design = TrialDesign.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_problem(file, line, lines) for line in error.errors()]) from error
    found = problems_of(design)
    if found:
        raise ConfigError([_placed(p, file, lines) for p in found])
    return design


def _problem(file: str, error: Any, lines: dict[tuple[str, ...], int]) -> Problem:
    path = tuple(str(part + 1) if isinstance(part, int) else str(part) for part in error["loc"])
    value = None if error["type"] == "missing" else repr(error["input"])
    line = line_at(path, lines)
    if error["type"] == "extra_forbidden":
        from icans.cohort.vocabulary import near

        known = _fields(path[:-1])
        return Problem(
            file, line, ".".join(path), value, "a known setting", "Remove it" + (near(path[-1], known) or ".")
        )
    return Problem(file, line, ".".join(path) or None, value, error["msg"].removeprefix("Value error, "),
                   "See the page on trials in the documentation.")  # fmt: skip


def _fields(path: tuple[str, ...]) -> dict[str, Any]:
    sections: dict[str, Any] = {
        "trial": TrialSection, "patients": PatientsSection, "arms": ArmSection, "endpoint": EndpointSection,
        "biomarker": BiomarkerSection, "design": DesignSection, "conduct": ConductSection,
        "analysis": AnalysisSection, "assurance": AssuranceSection,
    }  # fmt: skip
    found = sections.get(path[0]) if path else TrialDesign
    return dict(getattr(found, "model_fields", {}))


def line_at(path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> int | None:
    """Line of a key, or of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _placed(problem: Problem, file: str, lines: dict[tuple[str, ...], int]) -> Problem:
    path = tuple((problem.column or "").split("."))
    return Problem(file, line_at(path, lines), problem.column, problem.value, problem.expected, problem.remedy)
