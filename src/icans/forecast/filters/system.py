"""Linear systems in continuous time and what is seen of them at irregular times.

The state follows ``dx = (A x + b) dt + dW``, ``cov(dW) = Q dt``; row j of an observation at time t is
``y_j = H_j x(t) + c_j + e_j``, ``var(e_j) = r_j``. Between two times the step is exact: the matrix exponential for the
mean, Van Loan's integral for the covariance (Van Loan CF, IEEE Trans Autom Control 1978;23:395).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icans.forecast.filters.censored import EXACT

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Sides = NDArray[np.int8]

#: The exponential is taken of steps no longer than this (norm of A times time) and doubled from there, so that a
#: long gap of a fast system does not overflow. Terms of its series: the first left out is below 0.5^16 / 16! = 7e-19.
LONGEST, TERMS = 0.5, 15


@dataclass(frozen=True)
class LinearSystem:
    """A linear Gaussian system in continuous time.

    Attributes
    ----------
    drift, push, diffusion
        A (d, d) per time, b (d,) per time, Q (d, d) per time.
    loading, offset, noise
        H (m, d), c (m,), variances r (m,), positive. Noise that two channels share belongs into the state.
    start, start_cov
        Mean (d,) and covariance (d, d) of the state at each panel's origin.
    """

    drift: Floats
    push: Floats
    diffusion: Floats
    loading: Floats
    offset: Floats
    noise: Floats
    start: Floats
    start_cov: Floats

    def __post_init__(self) -> None:
        d, m = len(self.start), len(self.offset)
        wanted = {
            "drift": (d, d), "push": (d,), "diffusion": (d, d), "loading": (m, d), "noise": (m,), "start_cov": (d, d),
        }  # fmt: skip
        wrong = [
            f"{k} {getattr(self, k).shape}, expected {v}" for k, v in wanted.items() if getattr(self, k).shape != v
        ]
        if wrong:
            raise ValueError("shapes do not fit: " + "; ".join(wrong))
        if not (self.noise > 0).all():
            raise ValueError("noise variances must be positive")

    def step(self, gap: Floats) -> tuple[Floats, Floats, Floats]:
        """Exact step over each gap: transition (n, d, d), shift (n, d), covariance (n, d, d)."""
        d, gap = len(self.start), np.asarray(gap, dtype=float)
        norm = float(np.abs(self.drift).sum(axis=1).max(initial=0.0))
        doublings = np.ceil(np.log2(np.maximum(norm * gap / LONGEST, 1.0))).astype(int)
        short = gap / 2.0**doublings
        block = np.zeros((2 * d, 2 * d))
        block[:d, :d], block[:d, d:], block[d:, d:] = -self.drift, self.diffusion, self.drift.T
        line = np.zeros((d + 1, d + 1))
        line[:d, :d], line[:d, d] = self.drift, self.push
        moved = _series(line[None] * short[:, None, None])
        F, f = moved[:, :d, :d], moved[:, :d, d]
        Q = F @ _series(block[None] * short[:, None, None])[:, :d, d:]
        for k in range(int(doublings.max(initial=0))):
            more = doublings > k
            G, g = F[more], f[more]
            Q[more] = G @ Q[more] @ G.transpose(0, 2, 1) + Q[more]
            f[more] = np.einsum("nij,nj->ni", G, g) + g
            F[more] = G @ G
        return F, f, 0.5 * (Q + Q.transpose(0, 2, 1))

    def observed(self, mean: Floats, cov: Floats) -> tuple[Floats, Floats]:
        """Mean and variance (..., m) of an observation of states with this mean (..., d) and covariance."""
        y = mean @ self.loading.T + self.offset
        return y, np.einsum("ji,...ik,jk->...j", self.loading, cov, self.loading) + self.noise


@dataclass(frozen=True)
class Panel:
    """Observations of N patients at up to T times each.

    Attributes
    ----------
    time
        (N, T), ascending; NaN behind a patient's last time.
    value
        (N, T, m); NaN: not measured. Where censored, the limit.
    side
        (N, T, m): 0 exact, -1 below the limit, 1 above it.
    origin
        (N,): the time at which the start holds, not after the first time.
    """

    time: Floats
    value: Floats
    side: Sides
    origin: Floats

    @classmethod
    def of(
        cls, patient: ArrayLike, time: ArrayLike, channel: ArrayLike, value: ArrayLike, *, patients: int, channels: int,
        side: ArrayLike | None = None, origin: float | ArrayLike | None = None,
    ) -> Panel:  # fmt: skip
        """From rows: patient and channel as positions; rows of one patient and time stand together.

        ``origin`` None: each patient's first time. Of two rows with the same patient, time and channel the last
        counts.
        """
        who, what = np.asarray(patient, dtype=np.intp), np.asarray(channel, dtype=np.intp)
        when, number = np.asarray(time, dtype=float), np.asarray(value, dtype=float)
        sides = np.zeros(len(who), dtype=np.int8) if side is None else np.asarray(side, dtype=np.int8)
        order = np.lexsort((when, who))
        who, what, when, number, sides = who[order], what[order], when[order], number[order], sides[order]
        fresh = np.ones(len(who), dtype=bool)
        fresh[1:] = (np.diff(who) != 0) | (np.diff(when) != 0)
        place = np.cumsum(fresh) - 1
        count = np.bincount(who[fresh], minlength=patients)
        column = place - (np.cumsum(count) - count)[who]
        longest = max(int(count.max(initial=0)), 1)
        times = np.full((patients, longest), np.nan)
        values = np.full((patients, longest, channels), np.nan)
        kinds = np.zeros((patients, longest, channels), dtype=np.int8)
        times[who, column] = when
        values[who, column, what], kinds[who, column, what] = number, sides
        begin = times[:, 0] if origin is None else np.broadcast_to(np.asarray(origin, dtype=float), (patients,))
        begin = np.where(np.isnan(begin), 0.0, begin)
        if (times[:, 0] < begin - 1e-9).any():
            raise ValueError("a row lies before the origin of its patient")
        return cls(times, values, kinds, begin)

    @property
    def gap(self) -> Floats:
        """Time since the row before, (N, T); the first since the origin; 0 behind the last."""
        before = np.concatenate([self.origin[:, None], self.time[:, :-1]], axis=1)
        return np.nan_to_num(np.maximum(self.time - before, 0.0))

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether a row holds a value, censored ones too, (N, T, m)."""
        return ~np.isnan(self.value)

    @property
    def censored(self) -> NDArray[np.bool_]:
        """Whether only a limit is known, (N, T, m)."""
        return self.seen & (self.side != EXACT)

    @property
    def last(self) -> Ints:
        """Position of each patient's last time, (N,); -1 where there is none."""
        return np.asarray((~np.isnan(self.time)).sum(axis=1) - 1, dtype=np.intp)

    def until(self, landmark: float | Floats) -> Panel:
        """The same patients with rows up to a time only."""
        keep = self.time <= np.broadcast_to(np.asarray(landmark, dtype=float), (len(self.time),))[:, None]
        return Panel(
            np.where(keep, self.time, np.nan), np.where(keep[:, :, None], self.value, np.nan),
            np.where(keep[:, :, None], self.side, 0).astype(np.int8), self.origin,
        )  # fmt: skip

    def take(self, patients: Ints) -> Panel:
        """Some patients, by position (repeats allowed)."""
        return Panel(self.time[patients], self.value[patients], self.side[patients], self.origin[patients])


def _series(matrix: Floats) -> Floats:
    """Exponentials of small matrices, (n, k, k), by their power series (Horner's rule)."""
    eye = np.eye(matrix.shape[-1])
    out = np.broadcast_to(eye, matrix.shape)
    for k in range(TERMS, 0, -1):
        out = eye + matrix @ out / k
    return out
