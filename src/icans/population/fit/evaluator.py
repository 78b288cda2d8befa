"""Likelihood of a fixed list of parameter sets (chains x subjects), again and again: everything constant is laid out.

Two ways give the same numbers: a compiled one for normal errors with or without M3 censoring
(:mod:`~icans.population.fit.rows_fast`), and the general one of :mod:`icans.population.nlme.terms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.population.nlme.likelihood import Bound, psi_of
from icans.population.nlme.observed import Observation, Outcome
from icans.population.nlme.population import Population
from icans.population.nlme.records import QUANTIFIED
from icans.population.nlme.rows import Selection
from icans.population.nlme.terms import terms, transformed

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Values = tuple[Array, Array, Array]

FAST_ERRORS = ("additive", "proportional", "combined", "combined1", "lognormal")


@dataclass(frozen=True)
class Scores:
    """Derivatives by the natural error parameters: ``score`` (M, K); ``information`` (K, K), summed over sets.

    ``squares`` (observables,): sums of squared standardised residuals of quantified rows. Information and squares are
    None where the general way went.
    """

    score: Array
    information: Array | None
    squares: Array | None


@dataclass(frozen=True)
class Evaluator:
    """The likelihood of M sets of the subjects ``who`` (M,)."""

    bound: Bound
    who: Ints

    @cached_property
    def chosen(self) -> Selection:
        """Their rows."""
        return self.bound.rows.select(self.who)

    @cached_property
    def _all_log(self) -> bool:
        return all(p.scale.kind == "log" for p in self.bound.model.parameters)

    @cached_property
    def fast(self) -> bool:
        """Whether the compiled way can go."""
        return all(
            isinstance(o, Observation) and o.error in FAST_ERRORS
            and (o.censoring in ("M1", "M3") or (o.censoring == "M4" and o.error == "lognormal"))
            for o in self.bound.model.observed
        )  # fmt: skip

    def psi(self, phi: Array) -> Array:
        """Natural parameters, (M, O, P)."""
        if self._all_log:
            with np.errstate(over="ignore"):
                return np.exp(phi)
        return psi_of(self.bound, phi)

    def outputs(self, phi: Array) -> Array:
        """Outputs of the structural model, (M, R)."""
        return self.bound.solver.values(self.psi(phi), self.who)

    def log_likelihood(self, population: Population, phi: Array, f: Array, values: Values | None = None) -> Array:
        """Log-likelihoods, (M,), of sets with outputs ``f``; minus infinity where there is none.

        ``values``: what :meth:`values` gives for the population, where it is at hand.
        """
        if self.fast:
            from icans.population.fit.rows_fast import sum_rows

            t = self._tables
            a, b, factor = values or self._values(population)
            out = np.empty(len(self.who))
            sum_rows(f, self.who, t["count"], t["observed"], t["role"], t["value"], t["limit"], t["constant"],
                     t["batch"], t["kind"], a, b, t["floor"], factor, out)  # fmt: skip
            return out
        out = np.zeros(len(self.who))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for k, at in enumerate(self.chosen.places):
                if len(at[0]):
                    part = self._terms(k, population, phi, f)
                    out += np.bincount(at[0], weights=part.logp, minlength=len(out))
        return np.where(np.isnan(out), -np.inf, out)

    def scores(self, population: Population, phi: Array, f: Array) -> Scores:
        """Derivatives by the error parameters."""
        m, size = len(self.who), len(self.bound.layout)
        score = np.zeros((m, size))
        if self.fast:
            from icans.population.fit.rows_fast import sum_scores

            t, (a, b, factor) = self._tables, self._values(population)
            information, squares = np.zeros((size, size)), np.zeros(len(self.bound.model.observed))
            sum_scores(f, self.who, t["count"], t["observed"], t["role"], t["value"], t["limit"], t["batch"],
                       t["kind"], a, b, t["floor"], factor, t["at_a"], t["at_b"], t["at_batch"], score, information,
                       squares)  # fmt: skip
            return Scores(score, information, squares)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for k, at in enumerate(self.chosen.places):
                if len(at[0]):
                    part = self._terms(k, population, phi, f)
                    for j, place in enumerate(self.bound.own[k]):
                        score[:, place] += np.bincount(at[0], weights=part.errors[:, j], minlength=m)
        return Scores(np.nan_to_num(score), None, None)

    def values(self, population: Population) -> Values | None:
        """Error parameters laid out for the compiled way; None where the general way goes."""
        return self._values(population) if self.fast else None

    # --- the general way ---------------------------------------------------------------------------------------

    def _terms(self, k: int, population: Population, phi: Array, f: Array) -> Any:
        what, at = self.bound.model.observed[k], self.chosen.places[k]
        mine = tuple(self.bound.layout[j] for j in self.bound.own[k])
        u = f[at]
        if isinstance(what, Outcome):
            if what.link == "log":
                u = np.log(u + what.floor)
            if what.frailty is not None:
                p = self.bound.model.names.index(what.frailty)
                u = u + self.bound.model.parameters[p].scale.back(phi[at[0], 0, p])
        return terms(what, mine, population.errors[self.bound.own[k]], u, self.chosen.columns[k])

    # --- the compiled way --------------------------------------------------------------------------------------

    @cached_property
    def _measured(self) -> tuple[Observation, ...]:
        return tuple(o for o in self.bound.model.observed if isinstance(o, Observation))

    @cached_property
    def _tables(self) -> dict[str, Any]:
        from icans.population.fit.rows_fast import KINDS

        rows, seen = self.bound.rows, self._measured
        order = np.argsort(rows.observed < 0, axis=1, kind="stable")
        assert (order == np.arange(order.shape[1])).all(), "padding comes last"
        value, limit, constant = rows.value.copy(), rows.limit.copy(), np.zeros(len(self.bound))
        for k, o in enumerate(seen):
            at = rows.observed == k
            value[at], limit[at] = transformed(o, rows.value[at]), transformed(o, rows.limit[at])
            if o.error == "lognormal":
                constant -= np.where(at & (rows.role == QUANTIFIED), np.where(at, value, 0.0), 0.0).sum(axis=1)
        places: dict[str, list[int]] = {"a": [-1] * len(seen), "b": [-1] * len(seen), "batch": [-1] * len(seen)}
        for j, e in enumerate(self.bound.layout):
            if e.place == 0:
                places[e.field][e.observed] = j
        return {
            "count": (rows.observed >= 0).sum(axis=1), "observed": rows.observed, "role": rows.role, "value": value,
            "limit": limit, "constant": constant, "batch": rows.batch,
            "kind": np.array([KINDS[o.error] for o in seen]), "floor": np.array([o.floor for o in seen]),
            **{f"at_{n}": np.array(v, dtype=np.int64) for n, v in places.items()},
        }  # fmt: skip

    def _values(self, population: Population) -> Values:
        t, seen = self._tables, self._measured
        errors = np.append(population.errors, 0.0)
        a, b = errors[t["at_a"]], errors[t["at_b"]]
        most = max(len(o.batches) for o in seen)
        factor = np.ones((len(seen), most + 1))
        if most:
            for j, e in enumerate(self.bound.layout):
                if e.field == "batch":
                    factor[e.observed, e.place + 1] = np.exp(population.errors[j])
        return a, b, factor
