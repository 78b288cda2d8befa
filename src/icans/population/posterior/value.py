"""The posterior of patients at a landmark, as a value that is written and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import DataError, Problem
from icans.core.files import atomic_folder, sha256, write_json
from icans.core.provenance import Provenance, package_version
from icans.population.posterior.psis import effective

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORMAT = "icans posterior 1"
#: How the draws of a patient came about.
METHODS = ("prior", "laplace", "importance", "mcmc", "updated", "failed")


@dataclass(frozen=True)
class Posterior:
    """Random effects b of n patients given what was available by a landmark, at fixed population parameters.

    ``names``: of the D random effects. ``draws``: (n, S, D), with normalised ``log_weights`` (n, S), latent ``classes``
    (n, S; 0 without a mixture) and the log-likelihood of each patient's records at each draw, ``log_likelihood`` (n,
    S; NaN where Laplace's method did not need it). ``mode`` (n, D) and ``covariance`` (n, D, D): of the Laplace
    approximation (of the most probable class). ``k_hat``: (n,), Pareto shape of the importance weights (above 0.7: not
    to be trusted), 0 where there are none. ``log_evidence``: (n,), log of the records' marginal probability.
    ``method``: per patient, of :data:`METHODS`.
    ``messages``: per patient what was noticed, with what to do. ``fit_digest``, ``data_digest``: of what it rests on.
    """

    who: tuple[str, ...]
    landmark_h: float
    names: tuple[str, ...]
    draws: Array
    log_weights: Array
    classes: Ints
    log_likelihood: Array
    mode: Array
    covariance: Array
    k_hat: Array
    log_evidence: Array
    method: tuple[str, ...]
    messages: tuple[str, ...]
    fit_digest: str
    data_digest: str
    seed: int
    provenance: Provenance = field(default_factory=Provenance)

    def __len__(self) -> int:
        return len(self.who)

    @property
    def weights(self) -> Array:
        """Weights of the draws, (n, S), each row summing to 1."""
        return np.asarray(np.exp(self.log_weights))

    @property
    def effective(self) -> Array:
        """Effective number of draws of each patient, (n,)."""
        return effective(self.log_weights)

    @property
    def mean(self) -> Array:
        """Posterior means, (n, D)."""
        return np.asarray(np.einsum("ns,nsd->nd", self.weights, self.draws))

    @property
    def sd(self) -> Array:
        """Posterior SDs, (n, D)."""
        away = self.draws - self.mean[:, None, :]
        return np.asarray(np.sqrt(np.einsum("ns,nsd->nd", self.weights, away * away)))

    def quantiles(self, levels: Sequence[float]) -> Array:
        """Weighted quantiles of the effects, (n, levels, D)."""
        return weighted_quantiles(self.draws, self.weights, levels)

    def class_probability(self) -> Array:
        """Probabilities of the latent classes, (n, C)."""
        count = int(self.classes.max(initial=0)) + 1
        return np.stack([np.where(self.classes == c, self.weights, 0.0).sum(axis=1) for c in range(count)], axis=1)

    def subset(self, which: Sequence[int]) -> Posterior:
        """Some patients, by place."""
        at = list(which)
        pick: dict[str, Any] = {n: getattr(self, n)[at] for n in ROWS}
        pick.update({n: tuple(getattr(self, n)[i] for i in at) for n in ("who", "method", "messages")})
        return replace(self, **pick)


ROWS = ("draws", "log_weights", "classes", "log_likelihood", "mode", "covariance", "k_hat", "log_evidence")


def weighted_quantiles(values: Array, weights: Array, levels: Sequence[float]) -> Array:
    """Quantiles (n, levels, K) of values (n, S, K) with weights (n, S), linear between middles of cumulated weight."""
    n, _, k = values.shape
    out = np.empty((n, len(levels), k))
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    w = np.take_along_axis(np.broadcast_to(weights[:, :, None], values.shape), order, axis=1)
    middle = np.cumsum(w, axis=1) - 0.5 * w
    for i in range(n):
        for j in range(k):
            out[i, :, j] = np.interp(levels, middle[i, :, j], ranked[i, :, j])
    return out


def write_posterior(posterior: Posterior, folder: Path | str, *, overwrite: bool = False) -> None:
    """Write ``draws.parquet`` (one row a draw) and ``posterior.json`` into a folder, whole or not at all.

    Raises
    ------
    FileExistsError
        The folder exists and ``overwrite`` is false.
    """
    n, size, d = posterior.draws.shape
    table = pd.DataFrame({
        "id": np.repeat(posterior.who, size), "draw": np.tile(np.arange(size), n),
        "log_weight": posterior.log_weights.ravel(), "class": posterior.classes.ravel(),
        "log_likelihood": posterior.log_likelihood.ravel(),
    })  # fmt: skip
    effects = pd.DataFrame(posterior.draws.reshape(n * size, d), columns=list(posterior.names))
    with atomic_folder(folder, overwrite=overwrite) as place:
        pd.concat([table, effects], axis=1).to_parquet(place / "draws.parquet", index=False)
        write_json(place / "posterior.json", {
            "format": FORMAT, "icans": package_version(), "who": list(posterior.who), "draws": size,
            "landmark_h": _plain(posterior.landmark_h), "names": list(posterior.names),
            "mode": posterior.mode.tolist(), "covariance": posterior.covariance.tolist(),
            "k_hat": [_plain(k) for k in posterior.k_hat], "log_evidence": [_plain(k) for k in posterior.log_evidence],
            "method": list(posterior.method), "messages": list(posterior.messages),
            "fit_digest": posterior.fit_digest, "data_digest": posterior.data_digest, "seed": posterior.seed,
            "provenance": posterior.provenance.as_dict(), "draws_sha256": sha256(place / "draws.parquet"),
        })  # fmt: skip


def read_posterior(folder: Path | str) -> Posterior:
    """The posterior that a folder holds.

    Raises
    ------
    DataError
        Another format; a table of draws that is not the one that was written.
    """
    place = Path(folder)
    got = json.loads((place / "posterior.json").read_text(encoding="utf-8"))
    if got.get("format") != FORMAT:
        found = str(got.get("format"))
        raise DataError([Problem(str(place / "posterior.json"), None, "format", found, FORMAT, "Compute it again.")])
    if sha256(place / "draws.parquet") != got["draws_sha256"]:
        remedy = "The folder was changed after it was written; compute the posterior again."
        raise DataError([Problem(str(place / "draws.parquet"), None, None, None, "the table written with it", remedy)])
    table = pd.read_parquet(place / "draws.parquet")
    n, size, names = len(got["who"]), int(got["draws"]), tuple(got["names"])
    shape = (n, size)
    return Posterior(
        tuple(got["who"]), float(got["landmark_h"]), names,
        table.iloc[:, 5:].to_numpy(float).reshape(n, size, len(names)),
        table["log_weight"].to_numpy(float).reshape(shape), table["class"].to_numpy(np.int64).reshape(shape),
        table["log_likelihood"].to_numpy(float).reshape(shape), np.array(got["mode"], float).reshape(n, len(names)),
        np.array(got["covariance"], float).reshape(n, len(names), len(names)),
        np.array([float(k) for k in got["k_hat"]]), np.array([float(k) for k in got["log_evidence"]]),
        tuple(got["method"]), tuple(got["messages"]), got["fit_digest"], got["data_digest"], int(got["seed"]),
        Provenance.from_dict(got["provenance"]),
    )  # fmt: skip


def _plain(x: float) -> float | str:
    """A number as JSON has it; infinity and NaN as words that ``float`` reads."""
    return float(x) if np.isfinite(x) else str(float(x))
