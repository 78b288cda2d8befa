"""The likelihood of a population model: of observations given random effects, and of random effects.

The random effects of a subject are one vector ``b = [eta, kappa of occasion 1, kappa of occasion 2, ...]``, shape (D,).
Functions take M of them at once, for the subjects ``who`` (M,), so that chains, quadrature points and subjects are all
solved together. A set that cannot be solved has a log-likelihood of minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from icans.core.errors import ModelError, Problem
from icans.population.nlme.model import Effect, NlmeModel
from icans.population.nlme.observed import Outcome
from icans.population.nlme.population import ErrorParameter, Population, error_layout
from icans.population.nlme.records import Records
from icans.population.nlme.rows import Rows, Selection, make_rows
from icans.population.nlme.structural import Solver
from icans.population.nlme.terms import LOG_2PI, Terms, terms

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bound:
    """A population model bound to N subjects: ready to be evaluated. Made by :func:`bind`.

    ``design``: (N, E), what each effect's coefficient is multiplied by. ``occasions``: O. ``layout``: the parameters
    of what is observed; ``own[k]``: the places of those of ``observed[k]``.
    """

    model: NlmeModel
    records: Records
    rows: Rows
    solver: Solver
    design: Array
    occasions: int
    layout: tuple[ErrorParameter, ...]
    own: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def size(self) -> int:
        """Length D of the vector of random effects."""
        return len(self.model.varying) + self.occasions * len(self.model.occasional)

    @cached_property
    def loading(self) -> Array:
        """What random effects add to ``phi``: shape (O, P, D), of zeros and ones."""
        out = np.zeros((self.occasions, len(self.model.parameters), self.size))
        d = len(self.model.varying)
        for j, p in enumerate(self.model.varying):
            out[:, p, j] = 1.0
        for o in range(self.occasions):
            for j, p in enumerate(self.model.occasional):
                out[o, p, d + o * len(self.model.occasional) + j] = 1.0
        return out

    @cached_property
    def flat_loading(self) -> Array:
        """:attr:`loading` with occasions and parameters as one axis, (OP, D)."""
        return self.loading.reshape(self.occasions * len(self.model.parameters), self.size)

    @cached_property
    def everyone(self) -> Selection:
        """The rows of each subject once."""
        return self.rows.select(np.arange(len(self.records)))

    @cached_property
    def n_rows(self) -> Ints:
        """Observations of each subject that enter the likelihood, shape (N,)."""
        return np.asarray((self.rows.source >= 0).sum(axis=1))


def bind(model: NlmeModel, records: Records, *, empty: bool = False) -> Bound:
    """A model and its records, ready to be evaluated; ``empty``: subjects may be without observations.

    Raises
    ------
    ModelError
        What :func:`~icans.population.nlme.rows.make_rows` and the structural model's ``bind`` refuse; missing
        covariates; a parameter of occasions where no subject has more than one.
    """
    problems: list[Problem] = []
    columns = []
    for e in model.effects:
        x = records.covariate(e.covariate)
        for i in np.flatnonzero(~np.isfinite(x)):
            remedy = "Give it, impute it, or leave the effect out."
            problems.append(Problem(f"subject {records.ids[i]}", None, e.covariate, "nan", "a number", remedy))
        columns.append(_design(e, x))
    occasions = max((len(s.occasions) for s in records.subjects), default=1) if model.occasional else 1
    if model.occasional and occasions < 2 and not empty:
        remedy = "Give `occasions` to the subjects, or set iov to 0."
        problems.append(Problem("records", None, "occasions", str(occasions), "two occasions or more", remedy))
    rows = _gathered(problems, model, records, empty)
    if problems or rows is None:
        raise ModelError(problems)
    solver = model.structural.bind(records.subjects, rows.time_h, rows.output)
    layout = error_layout(model.observed)
    own = tuple(np.array([j for j, e in enumerate(layout) if e.observed == k]) for k in range(len(model.observed)))
    design = np.stack(columns, axis=1) if columns else np.zeros((len(records), 0))
    return Bound(model, records, rows, solver, design, max(1, occasions), layout, own)


def _gathered(problems: list[Problem], model: NlmeModel, records: Records, empty: bool) -> Rows | None:
    try:
        return make_rows(model, records, empty=empty)
    except ModelError as error:
        problems.extend(error.problems)
        return None


def _design(e: Effect, x: Array) -> Array:
    if e.form == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(x / e.centre))
    return x - e.centre if e.form == "linear" else (x == 1.0).astype(float)


def means(bound: Bound, population: Population, cls: int = 0) -> Array:
    """Typical values of every subject on the parameters' scales, shape (N, P), in the class ``cls``."""
    out = np.tile(population.typical + population.shifts[cls], (len(bound), 1))
    for j, e in enumerate(bound.model.effects):
        out[:, bound.model.names.index(e.parameter)] += population.effects[j] * bound.design[:, j]
    return out


def phi_of(bound: Bound, mean: Array, b: Array) -> Array:
    """Individual parameters on their scales, (M, O, P), of means (M, P) and random effects (M, D)."""
    return np.asarray(mean[:, None, :] + np.einsum("opd,md->mop", bound.loading, b))


def psi_of(bound: Bound, phi: Array) -> Array:
    """Natural values of individual parameters, (M, O, P)."""
    out = np.empty_like(phi)
    for p, q in enumerate(bound.model.parameters):
        out[..., p] = q.scale.back(phi[..., p])
    return out


def covariance(bound: Bound, population: Population) -> Array:
    """Covariance of ``b``: Omega, then Gamma once per occasion; (D, D)."""
    if len(population.gamma) == 0:
        return population.omega
    return np.asarray(block_diag(population.omega, *[population.gamma] * bound.occasions)[: bound.size, : bound.size])


def prior_logp(bound: Bound, population: Population, b: Array) -> Array:
    """Log density of random effects (M, D), shape (M,). Minus infinity if the covariance is not positive."""
    if bound.size == 0:
        return np.zeros(len(b))
    matrix = covariance(bound, population)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.full(len(b), -np.inf)
    z = np.linalg.solve(factor, b.T)
    constant = np.log(np.diag(factor)).sum() + 0.5 * bound.size * LOG_2PI
    return np.asarray(-0.5 * (z * z).sum(axis=0) - constant)


def log_likelihood(
    bound: Bound, population: Population, phi: Array, chosen: Selection, *, outputs: Array | None = None
) -> Array:
    """Log-likelihood of the observations of ``chosen`` given ``phi`` (M, O, P), shape (M,).

    ``outputs``: values of the structural model where they are known already, (M, R).
    """
    psi = psi_of(bound, phi)
    f = bound.solver.values(psi, chosen.who) if outputs is None else outputs
    out = np.zeros(len(phi))
    for k, part in _parts(bound, population, psi, chosen, f):
        out += np.bincount(chosen.places[k][0], weights=part.logp, minlength=len(phi))
    return np.where(np.isnan(out), -np.inf, out)


@dataclass(frozen=True)
class Local:
    """The log-likelihood of M sets around their ``phi``.

    ``logp``: (M,). ``score``: derivatives by ``phi``, (M, O, P). ``information``: by ``phi`` (flattened occasions and
    parameters), (M, OP, OP). ``errors``: derivatives by the parameters of what is observed, (M, K). ``outputs``: (M,
    R) and ``jacobian``: of the structural model by ``phi``, (M, R, O, P).
    """

    logp: Array
    score: Array
    information: Array
    errors: Array
    outputs: Array
    jacobian: Array

    def by_b(self, bound: Bound) -> tuple[Array, Array]:
        """Score (M, D) and information (M, D, D) in the random effects."""
        load = bound.flat_loading
        score = self.score.reshape(len(self.score), -1) @ load
        return score, load.T @ self.information @ load


def local(bound: Bound, population: Population, phi: Array, chosen: Selection, *, by_errors: bool = True) -> Local:
    """Log-likelihood of observations with exact first derivatives and the information, at ``phi`` (M, O, P).

    ``by_errors``: whether derivatives by the parameters of what is observed are wanted (0 where they are not).
    """
    psi = psi_of(bound, phi)
    f, jac = bound.solver.derivatives(psi, chosen.who)
    for p, q in enumerate(bound.model.parameters):
        jac[..., p] *= q.scale.slope(phi[:, None, :, p])
    m, size = len(phi), phi.shape[1] * phi.shape[2]
    logp, score = np.zeros(m), np.zeros((m, size))
    information = np.zeros((m, size, size))
    errors = np.zeros((m, len(bound.layout)))
    slopes, weights = np.zeros_like(f), np.zeros_like(f)
    flat = jac.reshape(m, f.shape[1], size)
    for k, part in _parts(bound, population, psi, chosen, f):
        at = chosen.places[k]
        logp += np.bincount(at[0], weights=part.logp, minlength=m)
        link = _link_slope(bound, k, f[at])
        if isinstance(what := bound.model.observed[k], Outcome) and what.frailty is not None:
            _frail(bound, what.frailty, part, at, flat[at] * link[:, None], (score, information))
        else:
            slopes[at], weights[at] = part.slope * link, part.information * link**2
        for j, place in enumerate(bound.own[k] if by_errors else ()):
            errors[:, place] += np.bincount(at[0], weights=part.errors[:, j], minlength=m)
    safe = np.where(np.isfinite(flat), flat, 0.0)
    score += np.einsum("mr,mra->ma", np.nan_to_num(slopes), safe)
    information += np.swapaxes(safe, 1, 2) @ (np.nan_to_num(weights)[:, :, None] * safe)
    bad = ~np.isfinite(logp)
    logp = np.where(np.isnan(logp), -np.inf, logp)
    score[bad], information[bad], errors[bad] = 0.0, 0.0, 0.0
    return Local(logp, score.reshape(phi.shape), information, errors, f, jac)


def _parts(bound: Bound, population: Population, psi: Array, chosen: Selection, f: Array) -> list[tuple[int, Terms]]:
    out = []
    for k, at in enumerate(chosen.places):
        if len(at[0]) == 0:
            continue
        what = bound.model.observed[k]
        mine = tuple(bound.layout[j] for j in bound.own[k])
        u = f[at]
        if isinstance(what, Outcome):
            if what.link == "log":
                with np.errstate(divide="ignore", invalid="ignore"):
                    u = np.log(u + what.floor)
            if what.frailty is not None:
                u = u + psi[at[0], 0, bound.model.names.index(what.frailty)]
        with np.errstate(invalid="ignore"):
            out.append((k, terms(what, mine, population.errors[bound.own[k]], u, chosen.columns[k])))
    return out


def _link_slope(bound: Bound, k: int, f: Array) -> Array:
    what = bound.model.observed[k]
    if isinstance(what, Outcome) and what.link == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1.0 / (f + what.floor))
    return np.ones_like(f)


def _frail(bound: Bound, name: str, part: Terms, at: tuple[Ints, Ints], by: Array, out: tuple[Array, Array]) -> None:
    """Score and information of an outcome whose predictor also holds an individual parameter (normal scale)."""
    direction = by.copy()
    direction[:, bound.model.names.index(name)] += 1.0
    score, information = out
    np.add.at(score, at[0], part.slope[:, None] * direction)
    np.add.at(information, at[0], part.information[:, None, None] * direction[:, :, None] * direction[:, None, :])
