"""Full Bayes of a population by the No-U-Turn sampler (Hoffman and Gelman 2014, J Mach Learn Res 15:1593).

The sampler is nutpie (MIT), whose mass matrix adapts to draws and gradients. Every gradient is one batched call of the
solver for all subjects. Works as well for a model without random effects: a plain Bayesian model of one subject.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import ModelError, Problem
from icans.core.files import atomic_path
from icans.core.random import stream
from icans.population.fit.distributions import Distribution, bayes_priors
from icans.population.fit.joint import Joint
from icans.population.fit.modes import find_modes
from icans.population.fit.result import Fit, RandomEffects, natural
from icans.population.nlme.likelihood import Bound, bind, log_likelihood, means, phi_of
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Packing, Population, packing, start
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

#: Above this R-hat, or below so many effective draws, quantiles are not to be reported (Vehtari et al. 2021, doi
#: 10.1214/20-BA1221).
MIXED, ENOUGH = 1.01, 400.0
#: SD of the jitter around the start of a chain, on the unconstrained scale.
JITTER = 0.1


@dataclass(frozen=True)
class Sampled:
    """What the sampler gave: ``draws`` (chains, draws, dimensions), and of each draw whether its trajectory
    ``diverged``, whether the tree was ``full`` (cut at the greatest depth), and gradients used, ``steps``.
    """

    draws: Array
    diverged: npt.NDArray[np.bool_]
    full: npt.NDArray[np.bool_]
    steps: npt.NDArray[np.int64]


@dataclass(frozen=True)
class BayesFit:
    """Full Bayes: ``fit`` (posterior means of the packed vector, its covariance, random effects' means and
    covariances); ``table``: one row a draw, ``chain, draw`` and every reported number on its natural scale;
    ``summary``: ``name, mean, sd, q05, q50, q95, r_hat, ess_bulk, ess_tail``; ``sampled``: the draws themselves.
    """

    fit: Fit
    table: pd.DataFrame
    summary: pd.DataFrame
    sampled: Sampled

    def write_draws(self, path: Path | str) -> None:
        """Write the table of draws as Parquet, whole or not at all."""
        with atomic_path(path) as temporary:
            self.table.to_parquet(temporary, index=False)


def sample_density(
    density: Callable[[Array], tuple[float, Array]], starts: Array, seed: int, *, draws: int = 1000, tune: int = 800,
    accept: float = 0.8, depth: int = 10, cores: int | None = None,
) -> Sampled:  # fmt: skip
    """Draw from ``density``, a function to log density and gradient, with one chain from each of ``starts`` (C, D).

    A density of minus infinity ends a trajectory (it counts as diverged); a chain must not start there. The same seed
    gives the same draws, whatever ``cores``.
    """
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    size, chains = starts.shape[1], len(starts)
    initial = _initial(starts)
    model = from_pyfunc(
        size, lambda: density, lambda *_: lambda x: {"x": x}, [np.dtype("float64")], [(size,)], ["x"],
        make_initial_point_fn=initial,
    )  # fmt: skip
    number = int(stream(seed, "nuts").integers(2**31))
    got = nutpie.sample(
        model, draws=draws, tune=tune, chains=chains, cores=cores or min(chains, os.cpu_count() or 1), seed=number,
        target_accept=accept, maxdepth=depth, progress_bar=False, save_warmup=False,
    )  # fmt: skip
    stats = got.sample_stats
    diverged, full = (stats[n].to_numpy().astype(bool) for n in ("diverging", "maxdepth_reached"))
    return Sampled(got.posterior["x"].to_numpy(), diverged, full, stats["n_steps"].to_numpy().astype(np.int64))


def _initial(starts: Array) -> Callable[[int], Array]:
    """Starts by the seed that the sampler gives: any chain may begin at any of them, the same ones every time."""

    def begin(seed: int) -> Array:
        return np.array(starts[seed % len(starts)])

    return begin


def fit_nuts(
    model: NlmeModel, records: Records, seed: int, *, priors: Mapping[str, Distribution] | None = None,
    begin: Population | None = None, chains: int = 4, draws: int = 1000, tune: int = 800, accept: float = 0.8,
    depth: int = 10, centred: bool = False, cores: int | None = None,
) -> BayesFit:  # fmt: skip
    """The posterior of a population and of all its random effects.

    Parameters
    ----------
    priors
        Name -> distribution of the natural value, beside what the model declares; everything else has the weakly
        informative priors of :func:`~icans.population.fit.distributions.bayes_priors`.
    begin
        Where chains begin (an estimate of SAEM or FOCEI); the declared starts if None.
    accept, depth
        Acceptance that the step size is tuned to; greatest depth of a tree.
    centred
        Sample random effects as they are, not whitened: better where every subject has many observations.

    Raises
    ------
    ModelError
        What ``bind`` refuses; a start without a likelihood (subjects are named); too few chains or draws.
    """
    _check(chains, draws, tune)
    bound = bind(model, records)
    population = begin or start(model)
    pack = packing(model, population)
    joint = Joint(bound, pack, bayes_priors(model, priors), centred)
    starts = _starts(joint, population, seed, chains)
    sampled = sample_density(joint, starts, seed, draws=draws, tune=tune, accept=accept, depth=depth, cores=cores)
    table = _table(model, pack, sampled.draws)
    summary = summarise(table)
    settings: dict[str, object] = {
        "chains": chains,
        "draws": draws,
        "tune": tune,
        "accept": accept,
        "centred": centred,
        "seed": seed,
    }
    messages = _messages(joint, sampled, table, summary, accept, depth)
    fit = _fit(joint, sampled, messages, records, settings)
    return BayesFit(fit, table, summary, sampled)


def _check(chains: int, draws: int, tune: int) -> None:
    least = {"chains": (chains, 2), "draws": (draws, 50), "tune": (tune, 50)}
    problems = [Problem("nuts", None, n, str(v), f"{low} or more", "Ask for more.") for n, (v, low) in least.items()
                if v < low]  # fmt: skip
    if problems:
        raise ModelError(problems)


def _starts(joint: Joint, population: Population, seed: int, chains: int) -> Array:
    """Points around the start and the modes of random effects there, with a likelihood."""
    b = np.zeros((len(joint.bound), joint.bound.size))
    if joint.bound.size:
        modes = find_modes(joint.bound, population)
        problems = [
            Problem(f"subject {i}", None, None, why, "a finite likelihood at the start",
                    "Move the starts, mend the records, or give the error a floor.")
            for i, why in modes.failed.items() if not np.isfinite(modes.log_joint[joint.bound.records.ids.index(i)])
        ]  # fmt: skip
        if problems:
            raise ModelError(problems)
        b = modes.mode
    middle = joint.vector(population, b)
    if not np.isfinite(joint(middle)[0]):
        remedy = "Move the starts inside the priors' support, mend the records, or give the error a floor."
        raise ModelError([Problem("start", None, None, "-inf", "a finite joint density at the start", remedy)])
    out = []
    for c in range(chains):
        noise = JITTER * stream(seed, "nuts start", c).standard_normal(len(joint))
        while not np.isfinite(joint(middle + noise)[0]):
            noise = noise / 4.0 if np.abs(noise).max() > 1e-6 else np.zeros(len(joint))
        out.append(middle + noise)
    return np.stack(out)


def _table(model: NlmeModel, pack: Packing, draws: Array) -> pd.DataFrame:
    """Every reported number of every draw."""
    chains, size, _ = draws.shape
    rows = []
    for chain in draws:
        for vector in chain:
            rows.append([x.value for x in natural(model, pack.unpack(vector[: len(pack)]))])
    names = [x.name for x in natural(model, pack.unpack(draws[0, 0, : len(pack)]))]
    out = pd.DataFrame(np.array(rows).reshape(chains * size, len(names)), columns=names)
    out.insert(0, "draw", np.tile(np.arange(size), chains))
    out.insert(0, "chain", np.repeat(np.arange(chains), size))
    return out


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Summary of a table of draws (``chain, draw`` and numbers), with rank-normalised R-hat and effective draws."""
    from arviz_stats.base.array import array_stats

    names = [c for c in table if c not in ("chain", "draw")]
    chains = table["chain"].nunique()
    values = table[names].to_numpy(float).reshape(chains, -1, len(names))
    rows = []
    for j, name in enumerate(names):
        x = values[:, :, j]
        if np.ptp(x) == 0.0:  # what is fixed
            checks: tuple[float, ...] = (np.nan, np.nan, np.nan)
        else:
            checks = tuple(
                float(f(x, chain_axis=0, draw_axis=1, **more)) for f, more in (
                    (array_stats.rhat, {}), (array_stats.ess, {"method": "bulk"}),
                    (array_stats.ess, {"method": "tail", "prob": 0.9}),
                )
            )  # fmt: skip
        rows.append((name, x.mean(), x.std(ddof=1), *np.quantile(x, [0.05, 0.5, 0.95]), *checks))
    return pd.DataFrame(rows, columns=["name", "mean", "sd", "q05", "q50", "q95", "r_hat", "ess_bulk", "ess_tail"])


def _messages(
    joint: Joint, sampled: Sampled, table: pd.DataFrame, summary: pd.DataFrame, accept: float, depth: int
) -> tuple[str, ...]:  # fmt: skip
    """What was noticed, and what to do."""
    out = []
    lost = int(sampled.diverged.sum())
    if lost:
        other = "centred=False" if joint.centred else "centred=True (where subjects have many observations)"
        try_it = f"try {other}, or " if joint.bound.size else ""
        out.append(
            f"{lost} of {sampled.diverged.size} trajectories diverged: raise accept from {accept:g} to "
            f"{0.95 if accept < 0.95 else 0.99:g}, {try_it}give variances and weak parameters informative priors."
        )
    if sampled.full.mean() > 0.01:
        out.append(f"{100 * sampled.full.mean():.0f} % of the trees reached depth {depth}: raise depth, or look for "
                   "parameters that the data do not tell apart.")  # fmt: skip
    poor = summary[(summary["r_hat"] > MIXED) | (summary["ess_bulk"] < ENOUGH) | (summary["ess_tail"] < ENOUGH)]
    if len(poor):
        worst = poor.sort_values("r_hat", ascending=False).iloc[0]
        names = ", ".join(poor["name"].head(8))
        out.append(
            f"Not settled (R-hat above {MIXED} or fewer than {ENOUGH:.0f} effective draws): {names}. Worst: "
            f"{worst['name']}, R-hat {worst['r_hat']:.3f}, {worst['ess_bulk']:.0f} effective draws. Raise draws and "
            "tune; if R-hat stays, chains sit in different places: start them from a FOCEI or SAEM fit."
        )
    for name in summary["name"][summary["name"].str.startswith(("omega ", "gamma "))]:
        x = table[name].to_numpy()
        if np.ptp(x) > 0.0 and np.quantile(x, 0.05) < 0.1 * np.quantile(x, 0.5):
            out.append(f"{name} reaches down to 0: these data do not show that the parameter varies. Leave it out, "
                       "or give its SD an informative prior (iiv_prior).")  # fmt: skip
    return tuple(out)


def _fit(
    joint: Joint, sampled: Sampled, messages: tuple[str, ...], records: Records, settings: dict[str, object]
) -> Fit:
    bound, pack = joint.bound, joint.pack
    flat = sampled.draws.reshape(-1, sampled.draws.shape[2])
    head = flat[:, : len(pack)]
    population = pack.unpack(head.mean(axis=0))
    n, d = len(bound), bound.size
    b = np.stack([joint.effects(v) for v in flat]) if d else np.zeros((len(flat), n, 0))
    mean = b.mean(axis=0)
    away = b - mean
    covariance = np.einsum("snd,sne->nde", away, away) / (len(flat) - 1)
    observed = int(bound.n_rows.sum())
    return Fit(
        bound.model, "nuts", population, _log_likelihood(bound, population), "laplace" if d else "exact", records.ids,
        observed, RandomEffects(mean, covariance, "mean"), np.atleast_2d(np.cov(head.T)), "posterior draws",
        converged=not any(m.startswith("Not settled") for m in messages), messages=messages, settings=settings,
        data_digest=records.digest(),
    )  # fmt: skip


def _log_likelihood(bound: Bound, population: Population) -> float:
    """Log-likelihood at the posterior mean: exact without random effects, else by Laplace (classes summed over)."""
    parts = []
    for c, share in enumerate(population.shares):
        if bound.size:
            parts.append(find_modes(bound, population, cls=c).log_evidence + np.log(share))
        else:
            phi = phi_of(bound, means(bound, population, c), np.zeros((len(bound), 0)))
            parts.append(log_likelihood(bound, population, phi, bound.everyone) + np.log(share))
    return float(np.logaddexp.reduce(np.stack(parts), axis=0).sum())
