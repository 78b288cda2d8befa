"""Targets and weights: bounds by the stated rule, rows kept apart by use, tilting that meets what it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from icans.population import quantities
from icans.population.targets import read_targets, rule_bounds, wilson
from icans.population.tilt import Moment, effective, tilt, weights_of


class TestTargets:
    def test_every_row_is_expressible_or_says_why(self):
        rows = read_targets(expressible=False)
        assert len(rows) == len({t.id for t in rows}) == 382
        for t in rows:
            assert bool(t.quantity) != bool(t.reason), t.id
            assert t.lower <= t.value <= t.upper or t.reason, t.id
            assert t.use in ("calibrate", "validate")

    def test_most_rows_are_expressible(self):
        assert len(read_targets("calibrate")) > 200
        assert len(read_targets("validate")) > 80

    def test_quantities_are_known_words(self):
        for t in read_targets():
            assert t.quantity.split()[0] in quantities._KINDS, t.id

    def test_use_is_checked(self):
        with pytest.raises(ValueError, match="calibrate"):
            read_targets("train")

    def test_wilson_interval_of_the_source_table(self):
        # 94 % of 108 patients: 87.8 to 97.1 as printed with the row
        low, high = wilson(94.0, 108)
        assert (low, high) == pytest.approx((87.9, 97.1), abs=0.3)

    @pytest.mark.parametrize(
        ("value", "unit", "n", "width", "bounds"),
        [
            (30.0, "percent", None, None, (20.0, 40.0)), (95.0, "percent", None, None, (76.0, 100.0)),
            (4.0, "day", None, None, (3.0, 5.0)), (10.0, "day", None, None, (8.0, 12.0)),
            (0.8, "auc", None, None, (0.7, 0.9)), (4.0, "ratio", None, None, (2.0, 8.0)),
            (100.0, "pg/mL", None, None, (80.0, 120.0)), (100.0, "pg/mL", 25, 269.8, (1.69, 198.3)),
        ],
    )  # fmt: skip
    def test_rule(self, value, unit, n, width, bounds):
        assert rule_bounds(value, unit, n, width)[:2] == pytest.approx(bounds, abs=0.5)


class TestTilt:
    def test_a_share_is_met_with_little_loss(self):
        axes = np.random.default_rng(1).standard_normal((4000, 3))
        hit = (axes[:, 0] + axes[:, 1] > 0).astype(float)
        found = tilt(axes, [Moment(hit, np.ones(4000), 0.7, 0.02)])
        assert found.weights.sum() == pytest.approx(1.0)
        assert found.weights @ hit == pytest.approx(0.7, abs=0.03)
        assert found.ess > 0.7
        assert abs(found.coefficients[2]) < 0.05  # an axis without any part in it is left alone

    def test_linear_weights_of_normals_shift_the_mean(self):
        axes = np.random.default_rng(2).standard_normal((200_000, 1))
        w = weights_of(axes, np.array([0.5]))
        assert w @ axes[:, 0] == pytest.approx(0.5, abs=0.02)  # exp(0.5 x) tilts N(0,1) to N(0.5,1)
        assert effective(w) == pytest.approx(np.exp(-0.25), abs=0.02)  # E[w]^2/E[w^2] in closed form

    def test_nothing_to_meet_leaves_equal_weights(self):
        assert tilt(np.zeros((5, 2)), []).weights == pytest.approx(np.full(5, 0.2))

    def test_what_cannot_be_met_does_not_use_up_the_sample(self):
        random = np.random.default_rng(4)
        found = tilt(random.standard_normal((300, 2)), [Moment(random.random(300), np.ones(300), 0.95, 0.01)])
        assert found.ess >= 0.25

    def test_gradient_is_right(self):
        random = np.random.default_rng(3)
        axes = random.standard_normal((300, 2))
        value = 1.0 / (1.0 + np.exp(-axes[:, 0]))
        found = tilt(axes, [Moment(value, (axes[:, 1] > 0).astype(float), 0.6, 0.05)])
        # at the optimum a small step in any direction is no better

        def loss(c):
            w = weights_of(axes, c)
            among = axes[:, 1] > 0
            mean = (w * among) @ value / (w @ among)
            return ((mean - 0.6) / 0.05) ** 2 + 0.25 * w @ np.log(w * 300)

        here = loss(found.coefficients)
        for step in np.vstack([np.eye(2), -np.eye(2)]) * 0.03:
            assert loss(found.coefficients + step) >= here - 1e-6
