"""What was known of patients at a landmark: the only door through which records reach a posterior."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from icans.population.fit.result import Fit
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.observed import Outcome
from icans.population.nlme.population import packing
from icans.population.nlme.records import Records, Subject


def known_by(model: NlmeModel, records: Records, landmark_h: float) -> Records:
    """Records as they were at a landmark.

    Observations are those available by then; doses those given by then (a repeated one up to then). A patient whose
    event, or last contact, is recorded later was without the event at the landmark: that is known, and kept as a
    record that ends there.
    """
    events = [o for o in model.observed if isinstance(o, Outcome) and o.kind == "event"]
    return Records(tuple(_subject(s, events, landmark_h) for s in records.subjects))


def _subject(s: Subject, events: list[Outcome], landmark_h: float) -> Subject:
    now = s.until(landmark_h)
    rows = []
    for o in events:
        later = (s.observations["observable"] == o.name).any() and not (now.observations["observable"] == o.name).any()
        if later and np.isfinite(landmark_h) and landmark_h > o.start_h:
            rows.append({"time_h": landmark_h, "observable": o.name, "value": landmark_h, "censor": "right",
                         "limit": np.nan, "batch": "", "available_h": landmark_h})  # fmt: skip
    table = now.observations
    if rows:
        extra = pd.DataFrame(rows)
        table = extra if table.empty else pd.concat([table, extra], ignore_index=True)
    return replace(now, observations=table, doses=doses_by(s.doses, landmark_h))


def doses_by(doses: tuple[Any, ...], landmark_h: float) -> tuple[Any, ...]:
    """Doses, resets and switches that began by a time."""
    out = []
    for dose in doses:
        if dose.time_h > landmark_h:
            continue
        every = getattr(dose, "every_h", None)
        if every:
            given = int(np.floor((landmark_h - dose.time_h) / every)) + 1 if np.isfinite(landmark_h) else dose.count
            dose = replace(dose, count=min(dose.count, given))
        out.append(dose)
    return tuple(out)


def effect_names(model: NlmeModel, occasions: int) -> tuple[str, ...]:
    """Names of the random effects, in order: ``eta <parameter>``, then ``kappa <parameter> <occasion>``."""
    names = [f"eta {model.names[p]}" for p in model.varying]
    for o in range(occasions if model.occasional else 0):
        names += [f"kappa {model.names[p]} {o + 1}" for p in model.occasional]
    return tuple(names)


def fit_digest(fit: Fit) -> str:
    """A fingerprint of the population parameters that a posterior rests on (SHA-256)."""
    pack = packing(fit.model, fit.population)
    text = hashlib.sha256(repr((fit.method, pack.names, fit.model.names, fit.model.observed)).encode())
    for part in ("typical", "effects", "omega", "gamma", "errors", "shares", "shifts"):
        text.update(np.ascontiguousarray(getattr(fit.population, part)).tobytes())
    return text.hexdigest()
