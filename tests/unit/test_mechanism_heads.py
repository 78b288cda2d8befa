"""Probability heads of the barrier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from icans.core.errors import ModelError
from icans.mechanism.heads import HazardHead, Head, LogisticHead, QuotientHead, ThresholdHead

TIMES = np.arange(0.0, 97.0, 6.0)


@dataclass(frozen=True)
class Course:
    times_h: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def course() -> Course:
    """Three patients whose score rises by 0, 2 and 4 and falls again."""
    score = -2 + np.array([[0.0], [2.0], [4.0]]) * np.sin(np.pi * TIMES / 96)
    hazard = 0.01 * np.exp(0.9 * score)
    summed = np.concatenate([np.zeros((3, 1)), np.cumsum((hazard[:, 1:] + hazard[:, :-1]) / 2 * 6, axis=1)], axis=1)
    return Course(TIMES, {
        "bbb_score": score, "bbb_logit": 0.5 + 1.5 * score, "BBB_HAZ": summed, "ANG2": 1500 * 2.0 ** (score + 2),
        "qalb_lumbar": 0.006 * np.exp(0.5 * (score + 2)), "qalb_limit": np.full_like(score, 0.008),
    })  # fmt: skip


HEADS = [
    ThresholdHead(cut=-0.5), ThresholdHead(cut=1.0, error=0.0), LogisticHead(), LogisticHead(0.5, 1.5), HazardHead(),
    HazardHead(step_h=24.0), QuotientHead(), QuotientHead(error=0.2),
    ThresholdHead(cut=1.5, markers=("ANG2",), weights=(1.0,), references=(1500.0,)),
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_what_all_heads_share(head: Head) -> None:
    assert isinstance(head, Head)
    assert set(head.needs) <= set(course().names)
    p = head.probability(course())
    assert p.shape == (3, len(TIMES))
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(np.diff(p, axis=1) >= 0), "opened by t never becomes less"
    assert np.all(np.diff(p[:, -1]) >= 0), "a higher score is never less probable"


def test_the_model_s_regression_is_the_given_one() -> None:
    np.testing.assert_allclose(LogisticHead().probability(course()), LogisticHead(0.5, 1.5).probability(course()))


def test_the_hazard_head_is_the_survival_function() -> None:
    p = HazardHead().probability(course())
    np.testing.assert_allclose(-np.log1p(-p[:, -1]), course()["BBB_HAZ"][:, -1])


def test_discrete_time_is_continuous_time_at_the_end_of_steps() -> None:
    whole, steps = HazardHead().probability(course()), HazardHead(step_h=24.0).probability(course())
    ends = np.isin(TIMES, [0, 24, 48, 72, 96])
    np.testing.assert_allclose(steps[:, ends], whole[:, ends])
    np.testing.assert_allclose(steps[:, 1:4], 0.0)
    assert np.all(steps <= whole)


def test_a_threshold_without_error_is_a_step() -> None:
    p = ThresholdHead(cut=1.0, error=0.0).probability(course())
    np.testing.assert_array_equal(p[:, -1], [0, 0, 1])
    assert ThresholdHead(cut=0.0).probability(course())[1, -1] == pytest.approx(0.5)


def test_markers_by_name_give_the_weighted_folds() -> None:
    head = ThresholdHead(cut=2.0, error=0.5, markers=("ANG2",), weights=(1.0,), references=(1500.0,))
    np.testing.assert_allclose(
        head.probability(course()), ThresholdHead(cut=0.0, error=0.5).probability(course()), rtol=1e-12
    )


def test_draws_of_one_patient_are_averaged() -> None:
    each = QuotientHead().probability(course())
    np.testing.assert_array_equal(each[:, -1], [0, 1, 1])
    p = QuotientHead(groups=("a", "b", "a")).probability(course())
    np.testing.assert_allclose(p, [each[[0, 2]].mean(axis=0), each[1]])


def test_bad_heads_name_what_is_wrong() -> None:
    with pytest.raises(ModelError, match="one weight and one reference"):
        ThresholdHead(cut=0, markers=("ANG2", "VWF"), weights=(1.0,), references=(1.0, 2.0))
    with pytest.raises(ModelError, match="levels above 0"):
        ThresholdHead(cut=0, markers=("ANG2",), weights=(1.0,), references=(0.0,))
    with pytest.raises(ModelError, match="an SD of at least 0"):
        ThresholdHead(cut=0, error=-1.0)
    with pytest.raises(ModelError, match="'BBB_HAZ' among the outputs"):
        HazardHead().probability(Course(TIMES, {"bbb_score": np.zeros((1, len(TIMES)))}))
    with pytest.raises(ModelError, match="3 entries"):
        QuotientHead(groups=("a",)).probability(course())
