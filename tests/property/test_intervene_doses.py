"""Whatever the steps, infusions deliver what was ordered, and limits are never passed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.intervene.loop.menu import DAY_H, Limits, make_menu
from icans.intervene.world.dosing import Given, events_of_step, nothing

spans = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 30), st.integers(0, 1), st.floats(0.1, 50), st.floats(0.25, 12)),
    min_size=1, max_size=12,
)  # fmt: skip
cuts = st.lists(st.floats(0.5, 7.0), min_size=8, max_size=20)


@settings(max_examples=30, deadline=None)
@given(spans=spans, cuts=cuts)
def test_infusions_deliver_their_amount_over_any_steps(spans, cuts):
    who, time, entry, rate, lasts = (np.array(c) for c in zip(*spans))
    doses = Given(who.astype(np.int64), time, entry.astype(np.int64), rate, lasts)
    delivered, clock = np.zeros((3, 2)), 0.0
    for hours in [*cuts, 60.0]:
        kept = doses.take(doses.time_h < clock + hours - 1e-9)
        kept = kept.take(kept.time_h + kept.duration_h > clock + 1e-9)
        events, parts = events_of_step(nothing(), kept, np.full(3, clock), hours, np.zeros(2, np.int64))
        for p in range(3):
            now, at = np.zeros(2), np.zeros(2)
            for event in events[parts[p, 0] : parts[p, 1]]:
                k = event["place"]
                assert 0.0 <= event["time"] < hours
                delivered[p, k] += now[k] * (event["time"] - at[k])
                now[k], at[k] = event["value"], event["time"]
            delivered[p] += now * (hours - at)
        clock += hours
    wanted = np.zeros((3, 2))
    np.add.at(wanted, (who.astype(int), entry.astype(int)), rate * lasts)
    np.testing.assert_allclose(delivered, wanted, rtol=1e-7, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 9.0), st.tuples(*(st.integers(0, 2),) * 4)), min_size=5, max_size=40))
def test_limits_are_never_passed(asked):
    menu = make_menu(("tocilizumab", "dexamethasone", "methylprednisolone", "anakinra"), None)
    limits, weight, clock, history = Limits.none(1, menu), np.array([82.0]), 0.0, []
    most = [len(i.levels) for i in menu.items]
    for hours, levels in asked:
        clock += hours
        wanted = np.minimum(np.array([levels]), most)
        got, mg = limits.take(menu, wanted, np.array([clock]), weight)
        assert ((got == wanted) | (got == 0)).all()
        history.append((clock, got[0].copy(), mg[0].copy()))
    for k, item in enumerate(menu.items):
        times = [t for t, got, _ in history if got[k]]
        assert len(times) <= item.most_times
        assert all(b - a >= item.lockout_h - 1e-5 for a, b in pairwise(times))
        for start in times:
            total = sum(mg[k] for t, _, mg in history if start - DAY_H + 1e-5 < t <= start)
            assert total <= item.most_day_mg + 1e-5
