"""What every estimator returns: the population, how sure it is, every subject's random effects, what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.files import write_json
from icans.core.provenance import package_version
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Population, packing
from icans.population.nlme.terms import LOG_2PI

Array = npt.NDArray[np.float64]
FORMAT = "icans population fit 1"
#: 97.5 % quantile of the standard normal.
Z = 1.959963984540054


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of N subjects: ``mode`` (or mean) (N, D) and covariance (N, D, D), given data and population.

    ``failed``: subject -> why its effects could not be found; theirs are the population's.
    """

    mode: Array
    covariance: Array
    kind: str = "mode"
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """A fitted population model.

    ``log_likelihood``: constants included; how it was got is ``likelihood`` (``"focei"``, ``"laplace"``,
    ``"importance"``, ...), with its Monte Carlo error ``likelihood_se``. ``covariance``: of the packed vector
    (:class:`~icans.population.nlme.population.Packing`), None where it was not asked for or does not exist.
    ``history``: courses over iterations by name. ``messages``: what was noticed, each with what to do next.
    """

    model: NlmeModel
    method: str
    population: Population
    log_likelihood: float
    likelihood: str
    subjects: tuple[str, ...]
    observations: int
    effects: RandomEffects
    covariance: Array | None = None
    covariance_method: str = ""
    likelihood_se: float = 0.0
    converged: bool = True
    messages: tuple[str, ...] = ()
    history: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str = ""

    @property
    def vector(self) -> Array:
        """The packed estimates."""
        return packing(self.model, self.population).pack(self.population)

    @property
    def objective(self) -> float:
        """Minus twice the log-likelihood, constants included."""
        return -2.0 * self.log_likelihood

    @property
    def objective_nonmem(self) -> float:
        """Minus twice the log-likelihood without ``n ln(2 pi)``: comparable with NONMEM's and nlmixr2's."""
        return self.objective - self.observations * LOG_2PI

    def table(self) -> pd.DataFrame:
        """Estimates on natural scales: ``name, kind, value, se, rse_pct, low95, high95, fixed``."""
        return estimate_table(self.model, self.population, self.covariance)

    def with_covariance(self, covariance: Array | None, method: str) -> Fit:
        """The same with another covariance of the estimates."""
        return replace(self, covariance=covariance, covariance_method=method)


@dataclass(frozen=True, slots=True)
class Natural:
    """One reported number: its value and the scale on which its interval is symmetric (log, normal, fisher, logit)."""

    name: str
    kind: str
    value: float
    interval: str


def natural(model: NlmeModel, population: Population) -> list[Natural]:
    """Everything reported, on natural scales: typical values, effects, SDs, correlations, errors, classes."""
    out: list[Natural] = []
    for p, q in enumerate(model.parameters):
        kind = {"log": "log", "normal": "normal"}.get(q.scale.kind, "scale")
        out.append(Natural(q.name, "typical", float(q.scale.back(population.typical[p])), kind))
    for j, e in enumerate(model.effects):
        out.append(Natural(f"{e.covariate} on {e.parameter}", "effect", float(population.effects[j]), "normal"))
    levels = [("omega", model.varying, population.omega, model.blocks)]
    levels.append(("gamma", model.occasional, population.gamma, model.iov_blocks))
    for word, order, matrix, blocks in levels:
        sd = np.sqrt(np.diag(matrix)) if len(matrix) else np.zeros(0)
        names = [model.parameters[i].name for i in order]
        out += [Natural(f"{word} {n}", "sd", float(s), "log") for n, s in zip(names, sd, strict=True)]
        for i in range(len(names)):
            for j in range(i):
                if matrix[i, j] != 0.0 or any({names[i], names[j]} <= set(b) for b in blocks):
                    r = float(matrix[i, j] / (sd[i] * sd[j]))
                    out.append(Natural(f"corr {word} {names[j]},{names[i]}", "correlation", r, "fisher"))
    pack = packing(model, population)
    for own, number in zip(pack.layout, population.errors, strict=True):
        out.append(Natural(own.name, "observed", float(number), "log" if own.positive else "normal"))
    if model.mixture is not None:
        for word, share in zip(model.mixture.classes, population.shares, strict=True):
            out.append(Natural(f"share {word}", "class", float(share), "logit"))
        for c, place in pack.shifts:
            name = f"{model.mixture.classes[c]} on {model.names[place]}"
            out.append(Natural(name, "class", float(population.shifts[c, place]), "normal"))
    return out


def estimate_table(model: NlmeModel, population: Population, covariance: Array | None) -> pd.DataFrame:
    """Estimates with standard errors by the delta method and 95 % intervals symmetric on each number's own scale."""
    pack = packing(model, population)
    rows = natural(model, population)
    values = np.array([r.value for r in rows])
    by = np.zeros((len(rows), len(pack)))
    vector = pack.pack(population)
    for j in range(len(pack)):
        step = np.zeros(len(pack))
        step[j] = 1e-5
        high, low = (np.array([r.value for r in natural(model, pack.unpack(vector + s * step))]) for s in (1, -1))
        by[:, j] = (high - low) / 2e-5
    free = np.abs(by).max(axis=1, initial=0.0) > 0.0
    se = np.full(len(rows), np.nan)
    if covariance is not None:
        se[free] = np.sqrt(np.maximum(np.einsum("rj,jk,rk->r", by, covariance, by), 0.0))[free]
    low, high = np.array([_interval(r, s) for r, s in zip(rows, se, strict=True)]).reshape(-1, 2).T
    with np.errstate(divide="ignore", invalid="ignore"):
        rse = 100.0 * se / np.abs(values)
    return pd.DataFrame({
        "name": [r.name for r in rows], "kind": [r.kind for r in rows], "value": values, "se": se, "rse_pct": rse,
        "low95": low, "high95": high, "fixed": ~free,
    })  # fmt: skip


def _interval(row: Natural, se: float) -> tuple[float, float]:
    value = row.value
    if not np.isfinite(se):
        return np.nan, np.nan
    if row.interval == "log" and value > 0.0:
        return value * np.exp(-Z * se / value), value * np.exp(Z * se / value)
    if row.interval == "fisher" and abs(value) < 1.0:
        half = Z * se / (1.0 - value**2)
        return float(np.tanh(np.arctanh(value) - half)), float(np.tanh(np.arctanh(value) + half))
    if row.interval == "logit" and 0.0 < value < 1.0:
        middle, half = np.log(value / (1.0 - value)), Z * se / (value * (1.0 - value))
        return float(1.0 / (1.0 + np.exp(half - middle))), float(1.0 / (1.0 + np.exp(-half - middle)))
    return value - Z * se, value + Z * se


def write_fit(fit: Fit, path: Path | str) -> None:
    """Write a fit as JSON (atomically); the structural model is named, not written."""
    p = fit.population
    write_json(Path(path), {
        "format": FORMAT, "icans": package_version(), "method": fit.method, "likelihood": fit.likelihood,
        "log_likelihood": fit.log_likelihood, "likelihood_se": fit.likelihood_se, "subjects": list(fit.subjects),
        "observations": fit.observations, "converged": fit.converged, "messages": list(fit.messages),
        "names": list(packing(fit.model, p).names), "covariance_method": fit.covariance_method,
        "covariance": None if fit.covariance is None else fit.covariance.tolist(),
        "population": {n: getattr(p, n).tolist() for n in PARTS},
        "effects": {"mode": fit.effects.mode.tolist(), "covariance": fit.effects.covariance.tolist(),
                    "kind": fit.effects.kind, "failed": dict(fit.effects.failed)},
        "history": {k: np.asarray(v).tolist() for k, v in fit.history.items()}, "settings": dict(fit.settings),
        "data_digest": fit.data_digest,
    })  # fmt: skip


PARTS = ("typical", "effects", "omega", "gamma", "errors", "shares", "shifts")


def read_fit(path: Path | str, model: NlmeModel) -> Fit:
    """A written fit of ``model``.

    Raises
    ------
    ModelError
        Another format, or estimates of another model (names that differ are told).
    """
    got = json.loads(Path(path).read_text(encoding="utf-8"))
    if got.get("format") != FORMAT:
        raise ModelError([Problem(str(path), None, "format", str(got.get("format")), FORMAT, "Fit again.")])
    shape = (len(model.varying), len(model.varying)), (len(model.occasional), len(model.occasional))
    parts = {n: np.array(got["population"][n], dtype=float) for n in PARTS}
    population = Population(**{**parts, "omega": parts["omega"].reshape(shape[0]),
                               "gamma": parts["gamma"].reshape(shape[1])})  # fmt: skip
    names = list(packing(model).names)
    if names != got["names"]:
        different = ", ".join(sorted(set(names) ^ set(got["names"]))) or "their order"
        raise ModelError([Problem(str(path), None, "names", different, "the parameters of the model", "Fit again.")])
    effects = got["effects"]
    own = RandomEffects(np.array(effects["mode"]), np.array(effects["covariance"]), effects["kind"], effects["failed"])
    cov = None if got["covariance"] is None else np.array(got["covariance"])
    return Fit(model, got["method"], population, got["log_likelihood"], got["likelihood"], tuple(got["subjects"]),
               got["observations"], own, cov, got["covariance_method"], got["likelihood_se"], got["converged"],
               tuple(got["messages"]), {k: np.array(v) for k, v in got["history"].items()}, got["settings"],
               got["data_digest"])  # fmt: skip
