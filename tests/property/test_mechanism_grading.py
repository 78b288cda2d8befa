"""Properties of the observation models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.mechanism.observe import SCHEMES, Latent, bedside, draw, episodes, grade

SCALED = (
    "encephalopathy",
    "seizure_hazard",
    "oedema",
    "icp",
    "temperature",
    "hypotension",
    "hypoxia",
    "creatinine",
    "alt",
)


def course(seed: int, patients: int = 40, days: int = 12) -> Latent:
    rng = np.random.default_rng(seed)

    def values(top: float) -> np.ndarray:
        return rng.uniform(0, top, (patients, days))

    return Latent(np.arange(days), values(6), np.cumsum(values(0.3), axis=1), values(0.8), values(50), 35 + values(6),
                  values(5), values(5), values(9), values(900))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1.0, 3.0), name=st.sampled_from(SCALED))
def test_a_worse_course_never_gives_a_milder_worst_grade(seed: int, factor: float, name: str) -> None:
    """The same patients (the same draws), one latent quantity scaled up."""
    mild = course(seed)
    severe = replace(mild, **{name: getattr(mild, name) * factor})
    draws = draw(len(mild), seed)
    low, high = bedside(mild, draws), bedside(severe, draws)
    for toxicity, names in SCHEMES.items():
        for scheme in names:
            before, after = grade(low, toxicity, scheme), grade(high, toxicity, scheme)
            assert np.all(after.max(axis=1) >= before.max(axis=1))
            if name != "seizure_hazard":  # with more seizures each comes earlier
                assert np.all(after >= before)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_and_number_of_patients_do_not_matter(seed: int) -> None:
    whole = course(seed)
    part = Latent(whole.days, *(getattr(whole, name)[:7] for name in SCALED))
    draws = draw(len(whole), seed)
    few = draw(7, seed)
    np.testing.assert_array_equal(
        grade(bedside(whole, draws), "ICANS", "FDA")[:7], grade(bedside(part, few), "ICANS", "FDA")
    )


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 4), min_size=9, max_size=9), min_size=1, max_size=6),
    gap=st.integers(1, 4), at_least=st.integers(1, 3),
)  # fmt: skip
def test_episodes_equal_a_plain_walk_through_the_days(rows: list[list[int]], gap: int, at_least: int) -> None:
    found = episodes(np.array(rows, dtype=np.int8), np.arange(9), at_least=at_least, gap_days=gap)
    for i, row in enumerate(rows):
        ill = [d for d, g in enumerate(row) if g >= at_least]
        if not ill:
            assert np.isnan(found.onset_day[i])
            assert not found.resolved[i]
            continue
        end = ill[0]
        for d in ill[1:]:
            if d - end <= gap:
                end = d
            else:
                break
        assert found.onset_day[i] == ill[0]
        assert found.duration_d[i] == end - ill[0] + 1
        assert found.recurred[i] == (ill[-1] > end)
        assert found.resolved[i] == (8 - end >= gap)


@pytest.mark.parametrize("scheme", ["ASTCT", "CARTOX", "CTCAE", "FDA"])
def test_labels_are_broader_than_grades_by_findings(scheme: str) -> None:
    """The definition of labels counts everything that CTCAE counts."""
    found = bedside(course(3, 400), draw(400, 3))
    broad = grade(found, "ICANS", "FDA")
    if scheme in ("CTCAE", "FDA"):
        assert np.all(broad >= grade(found, "ICANS", scheme))
    assert grade(found, "ICANS", scheme).max() <= 4
