"""The declaration of a population model: parameters and how they vary, covariates, classes, what is observed.

On its own scale (:mod:`~icans.population.nlme.scales`) the parameter p of subject i on occasion o is

    ``phi[i, o, p] = mu[p] + sum_c beta[c] x[c, i] + shift[class of i, p] + eta[i, p] + kappa[i, o, p]``

with ``eta ~ N(0, Omega)`` (between patients, IIV) and ``kappa ~ N(0, Gamma)`` (between occasions, IOV).
Log-normal parameters are thus reported as typical value and SD of ln.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from icans.core.errors import ModelError, Problem
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.scales import KINDS, Scale
from icans.population.nlme.structural import Structural

FORMS = ("linear", "log", "flag")


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal prior on the scale of estimation (``mean``, ``sd``): informative, or shrinkage of an effect to 0."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Individual:
    """An individual parameter.

    ``value``: typical value, natural scale (start of the estimation). ``iiv``, ``iov``: SDs on the parameter's scale
    (starts; 0: does not vary). ``fixed``: the typical value is not estimated; ``iiv_fixed``: nor are ``iiv``, ``iov``.
    ``prior``: on the typical value, on the parameter's scale; ``iiv_prior``: scale of a half-normal prior of the SDs.
    """

    name: str
    value: float
    scale: Scale = field(default_factory=Scale)
    iiv: float = 0.0
    iov: float = 0.0
    fixed: bool = False
    iiv_fixed: bool = False
    unit: str = "1"
    prior: Prior | None = None
    iiv_prior: float | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a covariate does to a parameter, on the parameter's scale.

    ``form`` ``"linear"``: ``value * (x - centre)``; ``"log"``: ``value * ln(x / centre)`` (a power, where the scale is
    log); ``"flag"``: ``value`` where x = 1. ``prior`` shrinks it (normal around 0: ridge).
    """

    parameter: str
    covariate: str
    form: str = "linear"
    value: float = 0.0
    centre: float = 0.0
    fixed: bool = False
    prior: Prior | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """Latent classes of subjects: the first is the reference.

    ``shares``: probabilities (starts), summing to 1. ``shifts``: parameter -> shift of each further class on the
    parameter's scale (starts; one number fewer than classes).
    """

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    shifts: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class NlmeModel:
    """A population model, checked (:func:`nlme_model`).

    ``blocks``: groups of parameters whose ``eta`` are correlated; those in no block vary alone. ``iov_blocks``: the
    same for occasions. ``parameters`` are in the order of ``structural.parameters``.
    """

    structural: Structural
    parameters: tuple[Individual, ...]
    observed: tuple[Observation | Outcome, ...]
    blocks: tuple[tuple[str, ...], ...] = ()
    iov_blocks: tuple[tuple[str, ...], ...] = ()
    effects: tuple[Effect, ...] = ()
    mixture: Mixture | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the individual parameters (P)."""
        return tuple(p.name for p in self.parameters)

    @property
    def varying(self) -> tuple[int, ...]:
        """Places of the parameters that vary between subjects: the order of ``eta``."""
        return tuple(i for i, p in enumerate(self.parameters) if p.iiv > 0.0)

    @property
    def occasional(self) -> tuple[int, ...]:
        """Places of the parameters that vary between occasions: the order of ``kappa``."""
        return tuple(i for i, p in enumerate(self.parameters) if p.iov > 0.0)


def nlme_model(
    structural: Structural, parameters: Sequence[Individual], observed: Sequence[Observation | Outcome], *,
    blocks: Sequence[Sequence[str]] | str = (), iov_blocks: Sequence[Sequence[str]] = (),
    effects: Sequence[Effect] = (), mixture: Mixture | None = None,
) -> NlmeModel:  # fmt: skip
    """A population model; ``blocks="full"`` lets all varying parameters correlate.

    Raises
    ------
    ModelError
        Unknown or missing names (of parameters, outputs, covariate forms), values outside their scale, overlapping
        blocks, observables named twice, shares that do not sum to 1: all of them.
    """
    given = {p.name: p for p in parameters}
    problems = _names(structural, parameters, observed, given)
    ordered = tuple(given[n] for n in structural.parameters if n in given)
    varying = [p.name for p in ordered if p.iiv > 0.0]
    groups = ((tuple(varying),) if blocks == "full" else tuple(tuple(b) for b in blocks)) if varying else ()
    problems += _blocks("blocks", groups, varying)
    occasional = tuple(tuple(b) for b in iov_blocks)
    problems += _blocks("iov_blocks", occasional, [p.name for p in ordered if p.iov > 0.0])
    problems += _values(ordered) + _effects(effects, given) + _mixture(mixture, given)
    if problems:
        raise ModelError(problems)
    return NlmeModel(structural, ordered, tuple(observed), groups, occasional, tuple(effects), mixture)


def _names(
    structural: Structural, parameters: Sequence[Individual], observed: Sequence[Observation | Outcome],
    given: dict[str, Individual],
) -> list[Problem]:  # fmt: skip
    wanted, outputs = set(structural.parameters), structural.outputs
    remedy = f"The structural model has: {', '.join(structural.parameters)}."
    problems = [Problem("parameters", None, n, None, "a typical value", "Declare it.") for n in wanted - set(given)]
    problems += [Problem("parameters", None, n, n, "a parameter of the model", remedy) for n in set(given) - wanted]
    twice = {p.name for p in parameters if sum(q.name == p.name for q in parameters) > 1}
    problems += [Problem("parameters", None, n, n, "one declaration", "Leave one out.") for n in sorted(twice)]
    seen: set[str] = set()
    for o in observed:
        if o.output not in outputs:
            known = f"Outputs are: {', '.join(outputs[:12])}{' ...' if len(outputs) > 12 else ''}."
            problems.append(Problem("observed", None, o.name, o.output, "an output of the model", known))
        if o.name in seen:
            problems.append(Problem("observed", None, o.name, o.name, "a name of its own", "Rename one."))
        seen.add(o.name)
        frailty = getattr(o, "frailty", None)
        if frailty is not None and frailty not in wanted:
            problems.append(Problem("observed", None, o.name, frailty, "a parameter of the model", remedy))
    return problems


def _blocks(name: str, groups: Sequence[Sequence[str]], varying: Sequence[str]) -> list[Problem]:
    members = [n for g in groups for n in g]
    remedy = "Give it an SD above 0, or leave it out of the block."
    problems = [Problem(name, None, n, n, "a varying parameter", remedy) for n in members if n not in varying]
    return problems + [
        Problem(name, None, n, n, "one block", "Blocks do not overlap.")
        for n in sorted(set(members)) if members.count(n) > 1
    ]  # fmt: skip


def _values(parameters: Sequence[Individual]) -> list[Problem]:
    problems = []
    for p in parameters:
        if p.scale.kind not in KINDS:
            problems.append(Problem("parameters", None, p.name, p.scale.kind, f"one of {', '.join(KINDS)}", "Mend it."))
        elif not abs(float(p.scale.forward(p.value))) < float("inf"):
            expected = f"a value inside the {p.scale.kind} scale"
            problems.append(
                Problem("parameters", None, p.name, str(p.value), expected, "Move it, or change the scale.")
            )
        if p.iiv < 0.0 or p.iov < 0.0:
            problems.append(Problem("parameters", None, p.name, str(min(p.iiv, p.iov)), "an SD, 0 or more", "Mend it."))
    return problems


def _effects(effects: Sequence[Effect], given: dict[str, Individual]) -> list[Problem]:
    problems = []
    for e in effects:
        if e.parameter not in given:
            problems.append(Problem("effects", None, e.covariate, e.parameter, "a parameter", "Name one of the model."))
        if e.form not in FORMS:
            problems.append(Problem("effects", None, e.covariate, e.form, f"one of {', '.join(FORMS)}", "Mend it."))
        if e.form == "log" and not e.centre > 0.0:
            problems.append(Problem("effects", None, e.covariate, str(e.centre), "a centre above 0", "Give one."))
    return problems


def _mixture(mixture: Mixture | None, given: dict[str, Individual]) -> list[Problem]:
    if mixture is None:
        return []
    problems = []
    count = len(mixture.classes)
    if count < 2 or len(mixture.shares) != count or abs(sum(mixture.shares) - 1.0) > 1e-9 or min(mixture.shares) <= 0:
        expected = "two classes or more with positive shares that sum to 1"
        problems.append(Problem("mixture", None, "shares", str(mixture.shares), expected, "Mend the shares."))
    for name, shift in mixture.shifts.items():
        if name not in given or len(shift) != count - 1:
            expected = f"a parameter with {count - 1} shifts"
            problems.append(Problem("mixture", None, name, str(shift), expected, "Mend the shifts."))
    return problems
