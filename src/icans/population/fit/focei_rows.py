"""Rows of the likelihood with what the first-order methods need: predictors, their derivatives by ``phi`` up to the
second (third) order, and how each row's log-likelihood bends in its predictor and in its error parameters.

Derivatives of the structural model beyond the first are central differences of exact first derivatives along the random
effects; derivatives of the log-likelihood of a row beyond the first are central differences in the predictor, which
cost no solution of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icans.population.nlme.likelihood import Bound, psi_of
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import Population
from icans.population.nlme.rows import Columns, Selection
from icans.population.nlme.terms import spread, terms

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Step of differences in the predictor, in its SDs.
STEP_U = 1e-4
#: Relative step of differences in error parameters.
STEP_E = 1e-5
#: Largest number of values of derivatives that one call of the solver may return.
MOST_VALUES = 20_000_000


@dataclass(frozen=True)
class Frame:
    """The rows of M sets, and the columns that each observable's terms need. Made by :func:`make_frame`.

    ``mask``: (M, R), which places hold rows; ``widest``: largest number of error parameters of one observable.
    """

    bound: Bound
    chosen: Selection
    columns: tuple[Columns, ...]
    mask: npt.NDArray[np.bool_]
    widest: int

    @property
    def who(self) -> Ints:
        """Whose rows: (M,)."""
        return self.chosen.who


@dataclass(frozen=True)
class Predicted:
    """Predictors of rows, (M, R), and their derivatives by ``phi`` flattened, (M, R, Q); 0 where there is no row."""

    u: Array
    jac: Array


@dataclass(frozen=True)
class RowTerms:
    """Of M sets' rows: log-likelihood, slope and information by the predictor (M, R); slopes by errors (M, R, J)."""

    logp: Array
    slope: Array
    information: Array
    errors: Array


@dataclass(frozen=True)
class Bends:
    """Further derivatives of rows: by the predictor u and by own error parameters e.

    ``second``, ``third``: of the log-likelihood by u (M, R); ``information_u``: (M, R); ``slope_e``, ``second_e``,
    ``information_e``: (M, R, J).
    """

    second: Array
    third: Array
    information_u: Array
    slope_e: Array
    second_e: Array
    information_e: Array


def make_frame(bound: Bound, chosen: Selection) -> Frame:
    """The rows of a selection."""
    widest = max((len(own) for own in bound.own), default=0)
    return Frame(bound, chosen, chosen.columns, bound.rows.observed[chosen.who] >= 0, widest)


def predict(bound: Bound, phi: Array, chosen: Selection) -> Predicted:
    """Predictors at ``phi`` (M, O, P) with derivatives; sets that cannot be solved have NaN predictors."""
    psi = psi_of(bound, phi)
    f, jac = bound.solver.derivatives(psi, chosen.who)
    for p, q in enumerate(bound.model.parameters):
        jac[..., p] *= q.scale.slope(phi[:, None, :, p])
    m, size = len(phi), phi.shape[1] * phi.shape[2]
    flat = jac.reshape(m, f.shape[1], size)
    u = f
    for k, at in enumerate(chosen.places):
        what = bound.model.observed[k]
        if isinstance(what, Observation) or len(at[0]) == 0:
            continue
        if what.link == "log":
            u[at] = np.log(f[at] + what.floor)
            flat[at] *= np.exp(-u[at])[:, None]
        if what.frailty is not None:
            place = bound.model.names.index(what.frailty)
            u[at] += psi[at[0], 0, place]
            flat[at[0], at[1], place] += 1.0
    empty = bound.rows.observed[chosen.who] < 0
    u[empty] = 0.0
    return Predicted(u, np.where(np.isfinite(flat), flat, 0.0))


def row_terms(frame: Frame, population: Population, u: Array, bump: tuple[int, float] | None = None) -> RowTerms:
    """Terms of all rows at predictors ``u`` (M, R).

    ``bump``: place and relative change of one own error parameter of every observable.
    """
    bound = frame.bound
    logp, slope, information = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
    errors = np.zeros((*u.shape, frame.widest))
    for k, at in enumerate(frame.chosen.places):
        if len(at[0]) == 0:
            continue
        own = bound.own[k]
        values = population.errors[own]
        if bump is not None and bump[0] < len(own):
            values = values.copy()
            values[bump[0]] += bump[1] * step_of(values[bump[0]])
        part = terms(bound.model.observed[k], tuple(bound.layout[j] for j in own), values, u[at], frame.columns[k])
        logp[at], slope[at], information[at] = part.logp, part.slope, part.information
        errors[at[0], at[1], : len(own)] = part.errors
    return RowTerms(logp, slope, information, errors)


def step_of(value: float) -> float:
    """Step of a difference in an error parameter."""
    return STEP_E * max(abs(float(value)), 0.01)


def scale_of_u(frame: Frame, population: Population, u: Array) -> Array:
    """The predictor's own yardstick in each row: the SD of the value in its units, or one unit of log odds; (M, R)."""
    out = np.ones_like(u)
    for k, at in enumerate(frame.chosen.places):
        if len(at[0]) == 0:
            continue
        what, values = frame.bound.model.observed[k], population.errors[frame.bound.own[k]]
        if isinstance(what, Outcome):
            slope = abs(float(values[len(what.cuts)]))
            out[at] = 1.0 / slope if slope > 1e-3 else 1.0
            continue
        k_spread = spread(what, values, u[at])
        with np.errstate(divide="ignore", invalid="ignore"):
            out[at] = k_spread.s / np.abs(k_spread.m_f)
    return np.where(np.isfinite(out) & (out > 0.0), out, 1.0)


def bends(frame: Frame, population: Population, u: Array, here: RowTerms) -> Bends:
    """Further derivatives of rows at predictors ``u``, where the terms are ``here``."""
    h = STEP_U * scale_of_u(frame, population, u)
    up, down = row_terms(frame, population, u + h), row_terms(frame, population, u - h)
    wide = h[..., None]
    information_e = np.zeros_like(here.errors)
    for j in range(frame.widest):
        more, less = (row_terms(frame, population, u, (j, s)).information for s in (1.0, -1.0))
        width = np.ones_like(u)
        for k, at in enumerate(frame.chosen.places):
            own = frame.bound.own[k]
            if j < len(own):
                width[at] = 2.0 * step_of(population.errors[own[j]])
        information_e[..., j] = (more - less) / width
    return Bends(
        second=(up.slope - down.slope) / (2.0 * h),
        third=(up.slope - 2.0 * here.slope + down.slope) / h**2,
        information_u=(up.information - down.information) / (2.0 * h),
        slope_e=(up.errors - down.errors) / (2.0 * wide),
        second_e=(up.errors - 2.0 * here.errors + down.errors) / wide**2,
        information_e=information_e,
    )


def sum_errors(frame: Frame, values: Array) -> Array:
    """Sums over rows of values by own error parameter (M, R, J), at the places of all error parameters: (M, K)."""
    out = np.zeros((len(values), len(frame.bound.layout)))
    observed = frame.bound.rows.observed[frame.who]
    for k, own in enumerate(frame.bound.own):
        mine = (observed == k).astype(np.float64)
        for j, place in enumerate(own):
            out[:, place] += np.einsum("mr,mr->m", mine, values[..., j])
    return out


def steps_of_b(bound: Bound, phi: Array, spread_b: Array, step: float) -> Array:
    """Steps along each random effect, (M, D): ``step`` in units of a scale (log, logit 1; normal: the value)."""
    out = np.empty((len(phi), bound.size))
    for d in range(bound.size):
        o, p = np.argwhere(bound.loading[:, :, d] > 0.0)[0]
        if bound.model.parameters[p].scale.kind in ("log", "logit"):
            out[:, d] = step
        else:
            out[:, d] = step * np.maximum(np.abs(phi[:, o, p]), max(float(spread_b[d]), 1e-6))
    return out


def second_derivatives(
    frame: Frame, phi: Array, step: Array, directions: Array | None = None, centre: Predicted | None = None
) -> Array:  # fmt: skip
    """Differences of the exact derivatives of predictors along directions of ``b``: (M, R, Q, D).

    First central differences along each random effect (steps (M, D)); with ``directions`` (M, D, D; columns) and
    ``centre``, second differences along those instead, with steps (M, 1).
    """
    bound = frame.bound
    m, d = len(phi), bound.size
    r, q = frame.mask.shape[1], phi.shape[1] * phi.shape[2]
    out = np.empty((m, r, q, d))
    load = bound.flat_loading
    at_once = max(1, min(d, MOST_VALUES // max(1, 2 * m * r * q)))
    for low in range(0, d, at_once):
        these = range(low, min(d, low + at_once))
        moves = np.empty((len(these), m, q))
        for j, k in enumerate(these):
            moves[j] = step[:, k, None] * load[:, k] if directions is None else step * (directions[:, :, k] @ load.T)
        moved = np.concatenate([moves, -moves]).reshape(-1, m, *phi.shape[1:]) + phi
        chosen = repeated(frame.chosen, len(moved))
        jac = predict(bound, moved.reshape(-1, *phi.shape[1:]), chosen).jac.reshape(2, len(these), m, r, q)
        for j, k in enumerate(these):
            if centre is None:
                out[..., k] = (jac[0, j] - jac[1, j]) / (2.0 * step[:, k])[:, None, None]
            else:
                out[..., k] = (jac[0, j] - 2.0 * centre.jac + jac[1, j]) / (step**2)[:, :, None]
    return out


def repeated(chosen: Selection, times: int) -> Selection:
    """The same sets, ``times`` times one after the other."""
    m = len(chosen.who)
    shift = np.repeat(np.arange(times) * m, 1)
    places = tuple(
        ((a[None, :] + shift[:, None]).ravel(), np.tile(b, times)) if len(a) else (a, b) for a, b in chosen.places
    )
    return replace(chosen, who=np.tile(chosen.who, times), places=places)
