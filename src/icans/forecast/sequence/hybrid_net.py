"""The hybrid network: a recurrent encoder gives a patient's random effects, the corrected mechanism gives the hazard.

A universal differential equation (Rackauckas 2020, arXiv 2001.04385) with random effects (as in low-dimensional neural
ODEs for pharmacokinetics: Braem 2023, doi 10.1007/s10928-023-09886-4), in which the effects are read from the record by
an encoder (amortised, as in Qian 2021, arXiv 2106.02875). The loss is that of competing risks plus ``share`` times the
penalised misfit of the measured analytes: what a state is called is what it is fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icans.forecast.models.parts import Meta
from icans.forecast.sequence.cells import Shape, gru
from icans.forecast.sequence.engine import Engine, Params, Tensor, dense, dense_init
from icans.forecast.sequence.heads import competing_loss
from icans.forecast.sequence.network import check_sizes, competing_logits
from icans.forecast.sequence.reduced import DAYS, KEPT, STEP_H, reduced, run

#: Channel of the stream -> kept state that it measures.
OBSERVED = {"lab.ifn_g": "IFNG", "lab.il_6": "IL6", "lab.il_10": "IL10", "lab.crp": "CRP", "lab.ferritin": "FERRITIN"}
#: Units of the network that corrects the gains, and the largest change of a gain (of its logarithm).
CORRECTING, LARGEST = 8, 1.0
#: No random effect goes beyond this many SDs.
LARGEST_EFFECT = 3.0


@dataclass(frozen=True, slots=True)
class HybridNet:
    """Sizes and kind of a hybrid network (hashable: the key of the compiled step).

    Attributes
    ----------
    shape, context, width
        As in :class:`icans.forecast.sequence.network.Network`.
    measured
        Channels that measure a kept state.
    corrected
        Whether a network corrects the gains; without it the equations are those of the patient model.
    share
        Weight of the misfit of the analytes and the penalty of the effects against the loss of the outcome.
    """

    shape: Shape
    context: int
    width: int
    measured: tuple[str, ...]
    corrected: bool
    share: float

    def meta(self) -> Meta:
        """JSON values."""
        return asdict(self)

    def init(self, rng: np.random.Generator, data: dict[str, Any] | None = None) -> Params:
        """Starting parameters: nobody differs from the typical patient much, nothing is corrected."""
        states, effects = len(KEPT), len(reduced().sd)
        outer = dense_init(rng, CORRECTING, states, 0.0)
        seen = states + effects + self.context
        return {
            "cell": gru.init(rng, self.shape),
            "effects": dense_init(rng, self.shape.hidden + self.context, effects, 0.3),
            "correct": {"inner": dense_init(rng, states + 1, CORRECTING, 0.5), "outer": outer},
            "offset": np.zeros(len(self.measured), dtype=np.float32),
            "noise": np.full(len(self.measured), np.log(0.7), dtype=np.float32),
            "dense": dense_init(rng, seen, self.width),
            "out": dense_init(rng, self.width, 2, 0.3),
            "line": {"w": np.zeros((states + self.context, 2), dtype=np.float32)},
        }

    def dropped(self, rng: np.random.Generator, rows: int, share: float) -> NDArray[np.float32]:
        """Factors of dropout for what the effects are read from."""
        kept = rng.random((rows, self.shape.hidden + self.context)) >= share
        return (kept / (1.0 - share)).astype(np.float32)

    def effects(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any = None) -> Tensor:
        """Random effects in units of their SDs, shape (n, effects)."""
        xp = engine.xp
        seen = xp.concatenate([gru.summary(engine, params["cell"], batch), batch["context"]], axis=1)
        seen = seen if dropped is None else seen * dropped
        return LARGEST_EFFECT * xp.tanh(dense(params["effects"], seen) / LARGEST_EFFECT)

    def courses(self, engine: Engine, params: Params, effects: Tensor) -> Tensor:
        """Logarithm of the kept states every ``STEP_H`` hours from the infusion, shape (n, steps + 1, states)."""
        xp = engine.xp
        made = run(engine, reduced(), effects, self._correction(xp, params) if self.corrected else None)
        return xp.swapaxes(xp.log(made), 0, 1)

    def _correction(self, xp: Any, params: Params) -> Callable[[Tensor], Tensor]:
        size = np.r_[reduced().scale, 1.0].astype(np.float32)

        def factors(seen: Tensor) -> Tensor:
            hidden = xp.tanh(dense(params["correct"]["inner"], seen / size))
            return xp.exp(LARGEST * xp.tanh(dense(params["correct"]["outer"], hidden)))

        return factors

    def scores_of(self, engine: Engine, params: Params, batch: dict[str, Tensor], logs: Tensor, eta: Tensor) -> Tensor:
        """Scores of the two causes in each bin from the states at its middle, shape (n, K, 2)."""
        xp = engine.xp
        system = reduced()
        logs = (logs - np.log(system.typical[0])) / system.scale
        at = _between(xp, logs, batch["bins"])
        n, bins, _ = at.shape
        about = [xp.broadcast_to(x[:, None, :], (n, bins, x.shape[1])) for x in (eta, batch["context"])]
        out = dense(params["out"], xp.tanh(dense(params["dense"], xp.concatenate([at, *about], axis=2))))
        return out + xp.concatenate([at, about[1]], axis=2) @ params["line"]["w"]

    def misfit(self, engine: Engine, params: Params, batch: dict[str, Tensor], logs: Tensor) -> Tensor:
        """Minus log-likelihood of the measured analytes of each row (up to a constant), shape (n,)."""
        xp = engine.xp
        states = np.array([KEPT.index(OBSERVED[name]) for name in self.measured])
        expected = _between(xp, logs[:, :, states], batch["seen_at"]) + params["offset"]
        z = (batch["seen"] - expected) * xp.exp(-params["noise"])
        # Near zero a normal, in the tails an exponential: results have typing errors, too.
        each = xp.sqrt(1.0 + z * z) - 1.0 + params["noise"]
        return xp.sum(each * batch["seen_mask"], axis=(1, 2))

    def loss(self, engine: Engine, params: Params, batch: dict[str, Tensor], dropped: Any) -> Tensor:
        """Mean loss of the rows."""
        xp = engine.xp
        eta = self.effects(engine, params, batch, dropped)
        logs = self.courses(engine, params, eta)
        logits = competing_logits(engine, self.scores_of(engine, params, batch, logs, eta), batch["start"])
        outcome = competing_loss(xp, logits, batch["known"], batch["cause"], batch["weight"])
        penalty = self.misfit(engine, params, batch, logs) + 0.5 * xp.sum(eta * eta, axis=1)
        return outcome + self.share * xp.mean(penalty)

    def logits(self, engine: Engine, params: Params, batch: dict[str, Tensor]) -> Tensor:
        """Logits of {none, event, competing} in each bin, shape (n, K, 3)."""
        eta = self.effects(engine, params, batch)
        logs = self.courses(engine, params, eta)
        return competing_logits(engine, self.scores_of(engine, params, batch, logs, eta), batch["start"])


def net_from(meta: Meta) -> HybridNet:
    """The network of :meth:`HybridNet.meta`; ValueError where a size is none of a network's."""
    check_sizes(meta)
    return HybridNet(**(meta | {"shape": Shape(**meta["shape"]), "measured": tuple(meta["measured"])}))


def place(time_h: NDArray[Any]) -> NDArray[np.float32]:
    """Hours since infusion as a place in the courses; before the infusion its start, after their end their end."""
    last = DAYS * 24.0 / STEP_H
    return np.clip(np.asarray(time_h, dtype=float) / STEP_H, 0.0, last - 1e-3).astype(np.float32)


def _between(xp: Any, courses: Tensor, at: Tensor) -> Tensor:
    """Courses (n, G, s) at places (n, k), linear between steps, shape (n, k, s)."""
    lower = xp.floor(at).astype("int32")
    share = (at - lower)[:, :, None]
    first, second = (xp.take_along_axis(courses, (lower + k)[:, :, None], axis=1) for k in (0, 1))
    return (1.0 - share) * first + share * second
