"""The mechanistic block: columns ``mech.<what>`` from the posterior of the patient model at each landmark.

====================================  ================================================================================
``mech.<state>``                      posterior mean of a latent state at the landmark (:data:`.library.STATES`)
``mech.<state>.sd``                   its posterior SD, for the states that matter most
``mech.<state>.72h``                  where the state is expected in three days
``mech.open.0h``, ``.24h``, ``.72h``  P(blood-brain barrier has opened by then): 1 - exp(-cumulative hazard)
``mech.<event>.<hours>h``             log odds of the event ahead, of those without it (``icans_1``, ``icans_3``,
                                      ``crs_2``, ``crs_3``); ``mech.<event>.se`` of ICANS in three days: SD of that
                                      risk, as far as the finite library goes
``mech.<analyte>.peak``, ``.day``     expected height (working scale) and day of the highest level of a cytokine
``mech.ess``, ``mech.power``          ln effective number of members; share of the powers that the row kept
====================================  ================================================================================

For a patient that the block was fitted on, the population is used without what he added to it himself, so that
columns of training and held-out patients are alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort
from icans.core.errors import DataError, Problem
from icans.forecast.mechanistic.evidence import evidence
from icans.forecast.mechanistic.foretold import AHEAD_H, EVENTS, peaks, risk, risk_error
from icans.forecast.mechanistic.library import STATES, Array, Floats, Library, Recipe, library, recipe_key
from icans.forecast.mechanistic.likelihood import Asked, Assay, likelihood
from icans.forecast.mechanistic.population import Population, fit_population
from icans.forecast.mechanistic.posterior import Posterior, Tempering, log_prior, posterior
from icans.forecast.models.parts import Arrays, Meta, Parts, floats
from icans.forecast.ridge import log_odds

#: States whose SD and expected future are columns.
UNCERTAIN = ("activation", "endothelium", "barrier", "neurons")
#: Analytes whose expected peak is a column: the cytokines.
PEAKS = ("il_6", "ifn_g", "il_10", "il_15", "mcp_1", "gm_csf", "tnf", "il_8", "crp", "ferritin")
OPEN_H = (0.0, 24.0, 72.0)
SOON_H = 72.0
#: Risks are kept off 0 and 1 by a thousandth: a library of some thousand members tells no more.
LEAST_RISK = 1e-3
#: Events whose risk in three days comes with an SD.
TOLD = ("icans_1", "icans_3")


@dataclass(frozen=True)
class MechanisticBlock:
    """The block before fitting.

    Parameters
    ----------
    recipe
        The library of virtual patients.
    """

    recipe: Recipe = field(default_factory=Recipe)

    def fit(self, cohort: Cohort, seed: int) -> FittedMechanistic:
        """Learn offsets, residual SDs, population and powers from training patients. Nothing is random: no seed."""
        members = library(self.recipe)
        seen = evidence(cohort)
        return FittedMechanistic(self.recipe, fit_population(members, seen), seen.notes)


@dataclass(frozen=True)
class FittedMechanistic:
    """The block fitted to training patients."""

    recipe: Recipe
    population: Population
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Prefix of the columns."""
        return "mech"

    @cached_property
    def library(self) -> Library:
        """The members."""
        return library(self.recipe)

    def columns(self, cohort: Cohort, plan: pd.DataFrame, at_h: Floats) -> pd.DataFrame:
        """Columns for the rows of ``plan`` as known at ``at_h``; see :class:`icans.forecast.blocks.FittedBlock`."""
        at = np.asarray(at_h, dtype=float)
        found = self.posterior(cohort, plan, at)
        made: dict[str, Floats] = {name: np.full(len(at), np.nan) for name in column_names()}
        for hour in np.unique(at):
            rows = np.flatnonzero(at == hour)
            for name, values in summaries(self.library, found.weights[rows], hour).items():
                made[name][rows] = values
        made["mech.ess"] = np.log(found.ess)
        made["mech.power"] = found.power
        return pd.DataFrame(made)

    def posterior(self, cohort: Cohort, plan: pd.DataFrame, at_h: Floats) -> Posterior:
        """Weights of the library's members for the rows of ``plan``, as known at ``at_h``."""
        seen = replace(evidence(cohort), recorded=self.population.recorded)
        code = pd.Series(range(len(seen.ids)), index=list(seen.ids))
        patient = plan["patient_id"].map(code).to_numpy(dtype=np.intp)
        asked = Asked(patient, np.asarray(at_h, dtype=float))
        known = likelihood(self.library, seen, self.population.assay, asked)
        each = self.population.without(self.library.prior, [seen.marks[k] for k in patient])
        return posterior(log_prior(self.library, seen.group[patient], each), known, self.population.power)

    def to_parts(self) -> Parts:
        """Plain parts (:mod:`icans.forecast.models.parts`). What single training patients added stays behind."""
        p = self.population
        meta: Meta = {
            "kind": "mechanistic_block", "recipe": asdict(self.recipe), "library": recipe_key(self.recipe),
            "analytes": list(p.assay.analytes), "power": asdict(p.power), "strength": p.strength,
            "recorded": list(p.recorded), "notes": list(self.notes),
        }  # fmt: skip
        added = p.own.sum(axis=0, dtype=float)
        return meta, {"offset": p.assay.offset, "sd": p.assay.sd, "added": added, "score": np.array(p.score)}


def from_parts(meta: Meta, arrays: Arrays) -> FittedMechanistic:
    """The block again.

    Raises
    ------
    DataError
        The library of virtual patients is another one (another calibration or other equations): the stored weights
        belong to none of its members.
    """
    recipe = Recipe(
        int(meta["recipe"]["members"]), int(meta["recipe"]["seed"]),
        tuple((str(p), str(d), float(s)) for p, d, s in meta["recipe"]["mix"]),
    )  # fmt: skip
    if recipe_key(recipe) != meta["library"]:
        wanted = "the library of virtual patients that the model was trained with"
        remedy = "Use the version of the package that trained the model, or train it again."
        raise DataError([Problem("model", None, "library", str(meta["library"]), wanted, remedy)])
    assay = Assay(tuple(meta["analytes"]), floats(arrays["offset"]), floats(arrays["sd"]))
    prior, added = library(recipe).prior, floats(arrays["added"])
    total = float(meta["strength"]) * prior + added
    population = Population(
        assay, Tempering(**meta["power"]), float(meta["strength"]), total / total.sum(),
        added[None, :].astype(np.float32), ("",), tuple(bool(r) for r in meta["recorded"]), float(arrays["score"]),
    )  # fmt: skip
    return FittedMechanistic(recipe, population, tuple(meta["notes"]))


def column_names() -> list[str]:
    """Names of the columns, in order."""
    names = [f"mech.{state}" for state in STATES]
    names += [f"mech.{state}.{what}" for state in UNCERTAIN for what in ("sd", "72h")]
    names += [f"mech.open.{hours:g}h" for hours in OPEN_H]
    names += [f"mech.{event}.{hours:g}h" for event in EVENTS for hours in AHEAD_H]
    names += [f"mech.{event}.se" for event in TOLD]
    names += [f"mech.{analyte}.{what}" for analyte in PEAKS for what in ("peak", "day")]
    return [*names, "mech.ess", "mech.power"]


def summaries(members: Library, weights: Array, at_h: float) -> dict[str, Floats]:
    """Columns of rows that are all at one hour, from their weights of shape (rows, J)."""
    made: dict[str, Floats] = {}
    now = np.array([at_h])
    for state in STATES:
        value = members.at(members.states[state], now)[0]
        mean = weights @ value
        made[f"mech.{state}"] = mean.astype(float)
        if state in UNCERTAIN:
            made[f"mech.{state}.sd"] = np.sqrt(np.maximum(weights @ value**2 - mean**2, 0.0)).astype(float)
            made[f"mech.{state}.72h"] = (weights @ members.at(members.states[state], now + SOON_H)[0]).astype(float)
    opened = -np.expm1(-members.at(members.states["hazard"], at_h + np.array(OPEN_H)))
    for k, hours in enumerate(OPEN_H):
        made[f"mech.open.{hours:g}h"] = (weights @ opened[k]).astype(float)
    for event in EVENTS:
        ahead = risk(weights, members, event, at_h, np.array(AHEAD_H))
        for k, hours in enumerate(AHEAD_H):
            made[f"mech.{event}.{hours:g}h"] = log_odds(ahead[:, k], LEAST_RISK)
    for event in TOLD:
        made[f"mech.{event}.se"] = risk_error(weights, members, event, at_h, SOON_H)
    for analyte in PEAKS:
        height, day = peaks(members, analyte)
        made[f"mech.{analyte}.peak"] = (weights @ height).astype(float)
        made[f"mech.{analyte}.day"] = (weights @ day).astype(float)
    return made
