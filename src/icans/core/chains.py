"""Hidden Markov chains over many series at once: forward-backward passes in logarithms.

Baum LE et al., Ann Math Stat 1970;41:164, doi 10.1214/aoms/1177697196; Rabiner LR, Proc IEEE 1989;77:257,
doi 10.1109/5.18626. What a state emits and how states follow each other is the caller's: a pass takes, for every row
but the first of its series, the log weight of each (state before, state now), emission included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Series as columns of a padded grid, the longest first: step k works on the first ``alive[k]`` series.

    ``order``: series in the order of the plan; ``first``: row of the start of each, in that order; ``last``: of its
    end.
    """

    order: Ints
    first: Ints
    last: Ints
    alive: Ints

    @classmethod
    def of(cls, series: Ints) -> Plan:
        """Lay out series given by ascending numbers 0, 1, ..., one a row."""
        count = np.bincount(series)
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        order = np.argsort(-count, kind="stable")
        lengths = count[order]
        alive = np.searchsorted(-lengths, -np.arange(1, lengths.max() + 1), side="right")
        return cls(order, first[order], first[order] + lengths - 1, alive)

    def rows(self, step: int) -> Ints:
        """Rows that stand ``step`` places behind the start of their series."""
        return self.first[: self.alive[step]] + step


@dataclass(frozen=True)
class Passes:
    """What forward-backward passes give.

    ``posterior`` (n, S): of each row's state given the whole series; ``forward`` (n, S): log weights given the rows
    up to it, emission included (they sum to the evidence so far); ``joint`` (groups, S, S): expected numbers of
    transitions, summed over rows of the same group; ``evidence`` (series,): log likelihood of each series.
    """

    posterior: Array
    forward: Array
    joint: Array
    evidence: Array


def forward(start: Array, links: Sequence[Array], plan: Plan, rows: int) -> Array:
    """Log weights of the states given the rows so far, (n, S).

    Parameters
    ----------
    start
        Log weights of the first row of each series (emission included), in the plan's order, (series, S).
    links
        For step k = 1, 2 ...: log weights of (state before, state now), (alive[k], S, S).
    rows
        Number of rows.
    """
    out = np.empty((rows, start.shape[1]))
    out[plan.first] = start
    for k in range(1, len(plan.alive)):
        index = plan.rows(k)
        out[index] = _log_sum(out[index - 1][:, :, None] + links[k - 1], 1)
    return out


def forward_backward(
    start: Array, links: Sequence[Array], plan: Plan, series: Ints, group: Ints | None = None
) -> Passes:
    """Both passes; ``group`` (n,) numbers the rows whose transitions (from the row before) are counted together."""
    ahead = forward(start, links, plan, len(series))
    evidence = np.logaddexp.reduce(ahead[plan.last], axis=1)
    states = start.shape[1]
    joint = np.zeros((1 if group is None else int(group.max()) + 1, states, states))
    backward = np.zeros_like(ahead)
    for k in range(len(plan.alive) - 1, 0, -1):
        index, link = plan.rows(k), links[k - 1]
        after = link + backward[index][:, None, :]
        backward[index - 1] = _log_sum(after, 2)
        pair = np.exp(ahead[index - 1][:, :, None] + after - evidence[: len(index), None, None])
        if group is None:
            joint[0] += pair.sum(axis=0)
        else:
            np.add.at(joint, group[index], pair)
    owner = np.empty(len(evidence))
    owner[plan.order] = evidence
    posterior = np.exp(ahead + backward - owner[series][:, None])
    posterior /= posterior.sum(axis=1, keepdims=True)
    return Passes(posterior, ahead, joint, owner)


def _log_sum(weight: Array, axis: int) -> Array:
    """Logarithm of the sum of exponentials; several times faster than ``np.logaddexp.reduce``."""
    top = weight.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.squeeze(top, axis) + np.log(np.exp(weight - top).sum(axis=axis)))
