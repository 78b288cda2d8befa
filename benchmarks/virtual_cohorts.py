"""Virtual (synthetic) cohorts whose true risks are known, for the benchmarks of forecasting.

Patients are drawn from the calibrated population and simulated with the patient model; what is seen of them is made by
the demonstration cohort (sites, units, limits, deliveries, delays, gaps). A reader's log-normal error turns latent
severity into grades, so that a patient's true risk, given his whole latent course, is a probability: that of the
reader's error carrying the highest severity over the cut within the window, and not before.

Three worlds:

* ``same``: the model that the mechanistic block uses (other patients, other seed);
* ``other``: its parameters moved (each factor of the calibration by a log-normal of SD 0.3), and ICANS from another
  barrier head: severity follows the barrier's permeability and interferon of the day before, times a factor of the
  patient that no marker shows, instead of the chain from glia to neurons. The block knows nothing of it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr

import icans
from icans.cohort.cohort import Cohort
from icans.core.random import stream
from icans.datasets.demo import demo_cohort, numbers
from icans.datasets.demo_course import Course, Episode
from icans.datasets.demo_library import DISEASE, GRID_H, LEVELS
from icans.population import artefact
from icans.population.arms import Key, run
from icans.population.observe import grade

#: SD of a reader's ln error for ICANS and CRS (``schemes.toml``).
READER = {"icans": 0.2, "crs": 0.15}
FINE_H = np.arange(0.0, 30 * 24.0 + 1, 6.0)
SHIFT_SD = 0.3
WORLDS = ("same", "other")


@dataclass(frozen=True)
class World:
    """A harmonised cohort with the truth behind it.

    ``highest``: ln of the highest ICANS severity so far over the cut of grade 1, shape (n, fine hours), patients in the
    order of ``ids``; ``states``: latent states likewise.
    """

    name: str
    cohort: Cohort
    ids: tuple[str, ...]
    highest: np.ndarray
    states: dict[str, np.ndarray]

    def risk(self, ids: pd.Series, at_h: float, ahead_h: float) -> np.ndarray:
        """True P(ICANS within the window | none by its start, the whole latent course)."""
        place = {name: k for k, name in enumerate(self.ids)}
        row = ids.map(place).to_numpy()
        start, end = (ndtr(self.at(self.highest[row], h) / READER["icans"]) for h in (at_h, at_h + ahead_h))
        return np.clip((end - start) / np.maximum(1.0 - start, 1e-9), 0.0, 1.0)

    @staticmethod
    def at(series: np.ndarray, hour: float) -> np.ndarray:
        """A series of shape (n, fine hours) at an hour, between samples by a straight line."""
        place = min(hour / FINE_H[1], len(FINE_H) - 1.000001)
        low = int(place)
        return series[:, low] + (place - low) * (series[:, low + 1] - series[:, low])


def world(name: str, n: int, seed: int, folder: Path) -> World:
    """A world with ``n`` patients, read back from ``folder`` where it has been made before."""
    path = folder / f"world-{name}-{n}-{seed}.pickle"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(_make(name, n, seed)))
    return pickle.loads(path.read_bytes())


def _make(name: str, n: int, seed: int) -> World:
    kept: dict[str, np.ndarray] = {}

    def course(patients: pd.DataFrame, days: np.ndarray, draws, about) -> Course:
        return _course(name, seed, patients, days, draws, kept)

    raw = demo_cohort(n=n, seed=seed, course_model=course)
    raw = replace(raw, name=f"virtual cohort, world '{name}' (synthetic)")
    cohort = icans.harmonize_cohort(raw).cohort
    states = {k: kept[k] for k in ("ENDO", "NEURO", "bar_loss_mean")}
    return World(name, cohort, tuple(raw.patients["patient_id"]), kept["highest"], states)


def _course(name, seed, patients, days, draws, kept) -> Course:
    known = artefact.read()
    factors = dict(known.factors)
    if name == "other":
        random = stream(seed, "other world")
        factors = {k: v * float(np.exp(SHIFT_SD * random.normal())) for k, v in factors.items()}
    n = len(patients)
    found: dict[str, np.ndarray] = {}
    outputs = ("crs_severity", "encephalopathy", "bbb_permeability", "ENDO", "NEURO", "bar_loss_mean", *LEVELS.values())
    for number, product in enumerate(numbers()["product"]):
        mine = np.flatnonzero(patients["product"].to_numpy() == product)
        arm_seed = int(stream(seed, "arm", number).integers(2**31 - 1))
        arm = run(Key(product, DISEASE[product], "modern"), len(mine), arm_seed, factors, known.readings,
                  outputs=tuple(dict.fromkeys(outputs)), times_h=FINE_H, threads=1)  # fmt: skip
        # The heavier the burden of the chart, the heavier that of the course.
        order = np.argsort(arm.individuals.axes["z_burden"].to_numpy(), kind="stable")
        rank = np.argsort(np.argsort(patients["z_burden"].to_numpy()[mine], kind="stable"), kind="stable")
        for output in dict.fromkeys(outputs):
            values = np.nan_to_num(arm.series[output].astype(float))[order][rank]
            found.setdefault(output, np.zeros((n, len(FINE_H))))[mine] = values
    cuts = {"crs": known.readings.crs["astct"], "icans": known.readings.nt["astct"]}
    severity = {"crs": found["crs_severity"], "icans": found["encephalopathy"]}
    if name == "other":
        severity["icans"] = _other_head(found, stream(seed, "head").normal(size=n))
    episodes = {}
    for what, scheme in cuts.items():
        seen = grade(FINE_H / 24.0, severity[what], scheme, READER[what] * draws.normal(f"{what}_own"))
        onset = np.maximum(np.nan_to_num(seen.onset), 0.05)
        peak = np.maximum(np.nan_to_num(seen.peak), onset)
        end = np.maximum(np.nan_to_num(seen.end), peak + 0.1)
        episodes[what] = Episode(np.minimum(seen.grade, 4).astype(int), onset, peak, end)
    ln = np.log(np.maximum(severity["icans"], 1e-4)) - np.log(cuts["icans"].cuts[0])
    kept["highest"] = np.maximum.accumulate(ln, axis=1)
    kept |= {k: found[k] for k in ("ENDO", "NEURO", "bar_loss_mean")}
    given = [_first(severity[k], cuts[k].cuts[1]) for k in ("crs", "icans")]
    levels = {analyte: np.maximum(found[output][:, ::2], 1e-3) for analyte, output in LEVELS.items()}
    zero = np.zeros(n)
    return Course(
        episodes["crs"], episodes["icans"], np.zeros((n, len(days))), zero, zero, levels, GRID_H / 24.0, *given
    )


def _other_head(found: dict[str, np.ndarray], own: np.ndarray) -> np.ndarray:
    """Severity of ICANS in the other world, with the distribution of the highest severity of the model's own."""
    drive = 0.6 * np.log(found["bbb_permeability"]) + 0.4 * np.log(np.roll(found["IFNG"], 4, axis=1))
    drive[:, :4] = drive[:, :1].min()
    top = drive.max(axis=1) + 0.7 * drive.max(axis=1).std() * own
    drive = drive + (top - drive.max(axis=1))[:, None]
    wanted = np.sort(np.log(np.maximum(found["encephalopathy"].max(axis=1), 1e-3)))
    return np.exp(np.interp(drive, np.sort(top), wanted, left=-7.0) + np.minimum(drive - np.sort(top)[0], 0.0))


def _first(severity: np.ndarray, cut: float) -> np.ndarray:
    above = severity >= cut
    return np.where(above.any(axis=1), FINE_H[np.argmax(above, axis=1)] + 4.0, np.inf)


def thinned(cohort: Cohort, share: float, seed: int, *, not_at_random: bool = False) -> Cohort:
    """The cohort with a share of its laboratory values missing.

    Not at random: within each analyte the lower (platelets and fibrinogen: the higher) half of values goes missing
    three times as often as the other, as wards measure those who look ill.
    """
    frame = cohort.measurements
    chance = np.full(len(frame), share)
    if not_at_random:
        value = frame["value"].fillna(frame["limit"])
        rank = value.groupby(frame["analyte"]).rank(pct=True).to_numpy()
        well = np.where(frame["analyte"].isin(["platelets", "fibrinogen"]), rank > 0.5, rank <= 0.5)
        chance = np.where(well, 1.5 * share, 0.5 * share)
    gone = stream(seed, "missing", share).uniform(size=len(frame)) < chance
    return cohort.with_table("measurements", frame[~gone].reset_index(drop=True))
