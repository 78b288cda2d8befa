"""No observation ever holds what was drawn too late to be back: 100,000 patient-steps of random orders and failures."""

from __future__ import annotations

import numpy as np
import pytest

from icans.intervene.loop.menu import Actions
from icans.intervene.loop.ward import Settings, Ward
from icans.intervene.world import ANALYTES, read_assays


@pytest.mark.parametrize(("step_h", "patients", "steps"), [(1.0, 400, 125), (6.0, 500, 100)])
def test_nothing_is_seen_before_its_turnaround(step_h, patients, steps):
    lab = read_assays(dropped=0.1, wrong_patient=0.1, late_h=3.0 if step_h > 1 else 0.0)
    ward = Ward(Settings(pool=50, step_h=step_h, assays=lab, horizon_d=28.0))
    random = np.random.default_rng(3)
    chart = ward.begin(np.arange(patients) % 50, np.arange(patients) // 50)
    least = lab.turnaround_h[:, 0] + lab.late_h
    drawn_at = [np.zeros((patients, len(ANALYTES)))]  # routine at infusion
    none = np.zeros(patients, dtype=bool)
    newest = np.full((patients, len(ANALYTES)), -np.inf)
    for _ in range(steps):
        time = ward.world.time_h
        orders = random.random((patients, len(ANALYTES))) < 0.25
        _, done = ward.step(Actions(np.zeros((patients, 4), np.int64), orders, none, none, none))
        drawn_at.append(np.where(done.drawn, time, -1.0))
        chart = ward.chart()
        seen = chart.seen
        known = np.isfinite(seen.value)
        drawn = seen.time_h[:, None] - seen.age_h
        assert (seen.age_h[known] >= np.broadcast_to(least, known.shape)[known] - 1e-6).all()
        assert (np.where(known, drawn, -np.inf) >= newest - 1e-6).all()  # never an older result after a newer one
        newest = np.where(known, drawn, newest)
        if time % 24.0 == 0:  # every result seen was ordered then, or is of routine
            routine = np.isfinite(lab.routine_h) & (np.mod(np.where(known, drawn, 0.0) + 1e-6, 24.0) < 1e-3)
            ordered = np.zeros_like(known)
            for hours in drawn_at:
                ordered |= np.abs(np.where(known, drawn, -9.0) - hours) < 1e-6
            assert (ordered | routine)[known].all()
    assert known.any()
