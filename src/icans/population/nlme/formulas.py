"""A structural model given by formulas of time, individual parameters and covariates.

Formulas are texts of the model language (:mod:`icans.mechanism.language`). Derivatives are complex steps, exact to
rounding (Squire & Trapp 1998, SIAM Rev 40:110, doi 10.1137/S003614459631241X). Doses mean nothing to it: a subject with
doses is refused, and an amount that a formula needs is a covariate.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.mechanism.language import names_in
from icans.mechanism.parameters import unknown
from icans.population.nlme.records import Subject

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Values = npt.NDArray[Any]

STEP = 1e-30
TIME = "t"


def _positive(x: Values) -> Values:
    return np.where(np.real(x) > 0.0, x, 0.0)


def _power(base: Values, exponent: Values) -> Values:
    """As in the language: 0 for a base that is not positive."""
    inside = np.real(base) > 0.0
    return np.where(inside, np.exp(exponent * np.log(np.where(inside, base, 1.0))), 0.0)


def _hill(x: Values, half: Values, exponent: Values | float = 1.0) -> Values:
    top = _power(x, np.asarray(exponent))
    return top / (_power(half, np.asarray(exponent)) + top)


def _softplus(x: Values) -> Values:
    sign = np.where(np.real(x) > 0.0, -1.0, 1.0)
    return _positive(x) + np.log1p(np.exp(sign * x))


def _expit(x: Values) -> Values:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


#: Functions of the language for complex arrays.
COMPLEX: dict[str, Callable[..., Values]] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "power": _power, "pos": _positive,
    "step": lambda x: np.where(np.real(x) > 0.0, 1.0, 0.0), "hill": _hill, "softplus": _softplus, "expit": _expit,
}  # fmt: skip


@dataclass(frozen=True)
class FormulaModel:
    """Formulas of outputs. Made by :func:`formula_model`."""

    parameters: tuple[str, ...]
    formulas: Mapping[str, str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what can be predicted."""
        return tuple(self.formulas)

    @cached_property
    def covariates(self) -> tuple[str, ...]:
        """Names in the formulas that are neither time nor parameters."""
        used = frozenset().union(*(names_in(text) for text in self.formulas.values()))
        return tuple(sorted(used - {TIME, *self.parameters}))

    def bind(self, subjects: Sequence[Subject], time_h: Array, output: Ints) -> FormulaSolver:
        """Ready for the requests of subjects (see :class:`~icans.population.nlme.structural.Structural`).

        Raises
        ------
        ModelError
            Covariates that are missing, subjects with doses: all of them.
        """
        problems = []
        for s in subjects:
            problems += [
                Problem(f"subject {s.id}", None, c, "nan", "a number (a name in a formula)", "Give the covariate.")
                for c in self.covariates if not np.isfinite(s.covariates.get(c, np.nan))
            ]  # fmt: skip
            if s.doses:
                remedy = "Take a compartment model, or put the dose into a covariate."
                problems.append(Problem(f"subject {s.id}", None, "doses", str(len(s.doses)), "no doses", remedy))
        if problems:
            raise ModelError(problems)
        values = np.array([[float(s.covariates[c]) for c in self.covariates] for s in subjects], dtype=float)
        occasion = np.stack([
            np.searchsorted(np.array(s.occasions[1:], dtype=float), row, side="left")
            for s, row in zip(subjects, time_h, strict=True)
        ])  # fmt: skip
        covariates = {c: values[:, j, None] for j, c in enumerate(self.covariates)}
        return FormulaSolver(self, np.asarray(time_h, dtype=float), output, occasion, covariates)


def formula_model(parameters: Sequence[str], outputs: Mapping[str, str]) -> FormulaModel:
    """A structural model of formulas: ``outputs`` maps a name to a text of ``t`` (hours), parameters and covariates.

    Raises
    ------
    ModelError
        Texts that are not of the model language, parameters that no formula uses or that are called ``t``: all.
    """
    problems: list[Problem] = []
    used: set[str] = set()
    for name, text in outputs.items():
        try:
            used |= names_in(text)
        except ValueError as error:
            problems.append(Problem("outputs", None, name, text, "a text of the model language", str(error)))
    if not problems:
        problems += [unknown("name in the formulas", p, tuple(sorted(used))) for p in parameters if p not in used]
    if TIME in parameters or len(set(parameters)) < len(parameters):
        problems.append(Problem("parameters", None, None, str(list(parameters)), "each name once, none t", "Rename."))
    if problems:
        raise ModelError(problems)
    return FormulaModel(tuple(parameters), dict(outputs))


@dataclass(frozen=True)
class FormulaSolver:
    """Formulas bound to subjects. ``occasion``: (N, R) of each request; ``covariates``: (N, 1) each."""

    model: FormulaModel
    time: Array
    output: Ints
    occasion: Ints
    covariates: Mapping[str, Array]

    @cached_property
    def _codes(self) -> list[CodeType]:
        return [compile(ast.parse(text.strip(), mode="eval"), "<formula>", "eval")
                for text in self.model.formulas.values()]  # fmt: skip

    def values(self, psi: Array, who: Ints) -> Array:
        """Outputs, shape (M, R); NaN where a set cannot be computed."""
        return self._evaluate(self._local(psi, who), who)

    def derivatives(self, psi: Array, who: Ints) -> tuple[Array, Array]:
        """Outputs (M, R) and their derivatives by ``psi`` (M, R, O, P)."""
        own = self._local(psi, who)
        values = self._evaluate(own, who)
        by = np.zeros((*values.shape, *psi.shape[1:]))
        m, r = np.indices(values.shape)
        o = np.minimum(self.occasion[who], psi.shape[1] - 1)
        for j in range(psi.shape[2]):
            moved = own.astype(complex)
            moved[..., j] += 1j * STEP
            by[m, r, o, j] = self._evaluate(moved, who).imag / STEP
        return values, by

    def _local(self, psi: Array, who: Ints) -> Array:
        """Parameters of the occasion of each request, (M, R, P)."""
        o = np.minimum(self.occasion[who], psi.shape[1] - 1)
        return np.asarray(psi[np.arange(len(psi))[:, None], o])

    def _evaluate(self, own: Values, who: Ints) -> Values:
        names: dict[str, Any] = {c: v[who] for c, v in self.covariates.items()}
        names |= {p: own[..., j] for j, p in enumerate(self.model.parameters)}
        names[TIME] = self.time[who]
        out = np.full(own.shape[:2], np.nan, dtype=own.dtype)
        with np.errstate(all="ignore"):
            for k, code in enumerate(self._codes):
                mine = self.output[who] == k
                # Texts of the model language, checked by names_in: no calls but its functions, no attributes.
                found = eval(code, {"__builtins__": {}}, COMPLEX | names)  # noqa: S307
                out[mine] = np.broadcast_to(found, out.shape)[mine]
        return np.where(np.isfinite(out), out, np.nan)
