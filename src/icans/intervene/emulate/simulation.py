"""The same question put to virtual patients: steroids at grade 1 or from grade 2 on, all else alike. Synthetic.

Every patient is simulated under both; they are one until grade 1 is reached. Physicians who treat those who look worse
can be laid over both courses, which gives a synthetic cohort whose answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icans.core.random import stream
from icans.intervene.emulate.courses import Courses, Protocol
from icans.mechanism.regimens import Regimen, parse
from icans.population import arms, artefact
from icans.population import care as cares
from icans.population.observe import first_crossing

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HOURS = 24.0
#: Surface of a typical patient, m2.
TYPICAL_M2 = 1.9


def regimen(grade: int) -> Regimen:
    """Guideline care (Neelapu 2018, doi 10.1038/nrclinonc.2017.148) with dexamethasone for ICANS from a grade."""
    dose = [{"time_h": 0, "drug": "dexamethasone", "amount": 10, "unit": "mg", "every_h": 6, "count": 4}]
    tocilizumab = [{"time_h": 0, "drug": "tocilizumab", "amount": 8, "unit": "mg/kg", "most_mg": 800, "duration_h": 1}]
    return parse(f"steroids_grade_{grade}", {
        "label": f"Dexamethasone from ICANS grade {grade}", "source": "this question", "status": "assumed",
        "rules": [
            {"crs": 2, "delay_h": 2, "lockout_h": 8, "most_times": 3, "give": tocilizumab},
            {"icans": grade, "delay_h": 2, "lockout_h": 24, "most_times": 7, "give": dose},
        ],
    })  # fmt: skip


@dataclass(frozen=True)
class Simulated:
    """Virtual patients who reach the entry grade, under both arms.

    ``worst``: highest ICANS grade from time zero to each day, (2, P, H + 1); ``crs``: grade of CRS at time zero, (P,);
    ``second``: day on which the waiting grade is first seen while waiting, (P,); a large number if never.
    """

    protocol: Protocol
    worst: npt.NDArray[np.int64]
    crs: npt.NDArray[np.int64]
    drawn: int

    @property
    def event(self) -> Mask:
        """Whether the outcome comes within the follow-up, (2, P)."""
        return np.asarray(self.worst[:, :, -1] >= self.protocol.outcome)

    def difference(self, seed: int = 1, resamples: int = 1000) -> tuple[float, float, float]:
        """Early less wait, with an interval over patients (what is not known of the model is not in it)."""
        gap = self.event[0].astype(float) - self.event[1].astype(float)
        rng = stream(seed, "emulate", "model")
        drawn = gap[rng.integers(0, len(gap), (resamples, len(gap)))].mean(axis=1)
        return float(gap.mean()), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))

    def observed(self, seed: int = 1, *, base: float = -0.6, per_crs_grade: float = 0.8) -> Courses:
        """A synthetic cohort in which physicians treat early the more often the higher the grade of CRS (log odds)."""
        log_odds = base + per_crs_grade * (self.crs - 1.0)
        rng = stream(seed, "emulate", "physicians")
        early = rng.random(len(self.crs)) < 1.0 / (1.0 + np.exp(-log_odds))
        row = np.arange(len(early))
        grade = self.worst[np.where(early, 0, 1), row].astype(float)
        start = np.where(early, 0, _first(grade, self.protocol.wait))
        k = np.arange(grade.shape[1])[None, :]
        columns = {
            "grade": grade, "crs": np.broadcast_to(self.crs[:, None].astype(float), grade.shape),
            "other": np.zeros(grade.shape), "day": np.broadcast_to(k.astype(float), grade.shape),
            "first": np.broadcast_to((k == 0).astype(float), grade.shape),
        }  # fmt: skip
        return Courses(
            tuple(f"S{i + 1}" for i in range(len(early))), grade, k >= start[:, None], np.ones(grade.shape, dtype=bool),
            np.stack([columns[name] for name in self.protocol.covariates], axis=2), self.protocol.covariates,
            (("virtual patients drawn", self.drawn), ("reached the entry grade", len(early))),
        )  # fmt: skip


def _first(grade: Array, level: int) -> npt.NDArray[np.int64]:
    reached = grade >= level
    return np.where(reached.any(axis=1), reached.argmax(axis=1), 10_000)


def simulated(product: str, disease: str, n: int, seed: int, protocol: Protocol | None = None) -> Simulated:
    """Simulate both arms.

    Parameters
    ----------
    n
        Virtual patients, of whom those count that reach the entry grade.

    Raises
    ------
    ModelError
        Unknown product or disease.
    """
    from icans.mechanism.engine.simulate import simulate
    from icans.mechanism.patient import patient_model

    protocol = protocol or Protocol()
    calibration = artefact.read()
    nt, crs = calibration.readings.nt["astct"].cuts, calibration.readings.crs["astct"].cuts
    plans = [regimen(protocol.entry), regimen(protocol.wait)]
    model = patient_model(plans[0].drugs, regions=arms.REGIONS)
    people, mine = arms.draw(arms.Key(product, disease), n, seed, calibration.factors, model)
    weights = cares.tables()["typical_weight_kg"]
    outputs = ("encephalopathy", "crs_severity")
    found = []
    for plan in plans:
        triggers = plan.triggers(weights.get(disease, weights["adult"]), TYPICAL_M2, cuts={"icans": nt, "crs": crs})
        solved = simulate(model, mine.values, cares.given(people), arms.TIMES_H, outputs=outputs, rtol=arms.RTOL,
                          triggers=triggers)  # fmt: skip
        found.append({name: np.asarray(solved[name], float) for name in outputs})
    whole = np.logical_and.reduce([np.isfinite(f["encephalopathy"]).all(axis=1) for f in found])
    waiting = np.where(whole[:, None], found[1]["encephalopathy"], 0.0)
    zero = first_crossing(arms.TIMES_H, waiting, nt[protocol.entry - 1])
    kept = np.flatnonzero(np.isfinite(zero))
    times = zero[kept, None] + HOURS * np.arange(protocol.days + 1)[None, :]
    worst = np.stack([_worst(f["encephalopathy"][kept], times, np.asarray(nt)) for f in found])
    worst[:, :, 0] = protocol.entry
    crs_then = np.array([np.interp(t[0], arms.TIMES_H, row) for t, row in zip(times, found[1]["crs_severity"][kept])])
    return Simulated(protocol, worst, np.searchsorted(np.asarray(crs), crs_then, side="right"), n)


def _worst(severity: Array, times: Array, cuts: Array) -> npt.NDArray[np.int64]:
    """Highest grade up to each of a patient's times."""
    top = np.maximum.accumulate(severity, axis=1)
    seen = np.stack([np.interp(t, arms.TIMES_H, row) for t, row in zip(times, top)])
    return np.searchsorted(cuts, seen, side="right")
