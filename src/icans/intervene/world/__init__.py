"""Virtual patients whose states are hidden: stepped in batches, watched as at the bedside. Everything is synthetic.

::

    patients = cast(n, product, disease, seed=1, drugs=...)       a Cast: parameters, covariates, cells
    world = make_world(patients, drugs=..., seed=1)               regions=("brain",), rtol=1e-4, assays=..., routine=...
    world.step(hours, given)                                      exact; given: a Given, a list of them, or None
    world.give(drug, amount, "mg", who=mask, route="iv",          a Given (amount may be an array (n,)) for step();
               at_h=None, duration_h=0, every_h=None, count=1)    at_h: hours since infusion, by default now
    world.order(mask)                                             draw samples now: (n, analytes) or names
    world.observe() -> Observation                                arrays over patients: crs, icans, ice, value, age_h,
                                                                  pending, below, vitals, eeg ... never what is not back
    world.eeg(mask), world.transfer(mask)                         EEG on or off; to or from intensive care
    world.outcomes() -> DataFrame                                 the outcome vector, a row per patient (outcomes.toml)
    world.branch(rows, numbers=None) -> World                     copies of patients, states and all, to look ahead
    world.time_h, world.clock_h (n,), len(world), world.doses_mg (n, drugs), world.weight_kg, world.surface_m2

    RiskForecast.fit(observations, events) -> .predict(observation)      P(grade >= g within h hours), on others fitted

Doses and results do not depend on how long the steps are: running infusions, depots and lags carry over, outcomes are
read on a fixed grid of hours, samples of routine are drawn on it, and integration goes on with the step size it had.
"""

from icans.intervene.world.assays import ANALYTES, Assays, read_assays
from icans.intervene.world.cast import Cast, cast
from icans.intervene.world.dosing import Given, join
from icans.intervene.world.forecast import RiskForecast, collect
from icans.intervene.world.observation import Observation
from icans.intervene.world.outcomes import meanings
from icans.intervene.world.world import World, make_world

__all__ = [
    "ANALYTES", "Assays", "Cast", "Given", "Observation", "RiskForecast", "World", "cast", "collect", "join",
    "make_world", "meanings", "read_assays",
]  # fmt: skip
