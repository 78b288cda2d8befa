"""``icans/ClosedLoop-v0``: one patient (:class:`ClosedLoop`) or many in step (:class:`ClosedLoopVector`).

The reward of a step is what the weighted loss fell by, so that an episode's return is the negative loss of its outcome
vector (up to its value at infusion). ``info`` holds the ground truth: for judging and for learning offline, not for
acting.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from icans.intervene.loop.replay import Recorder
from icans.intervene.loop.spaces import action_space, arrays, observation_space, to_actions
from icans.intervene.loop.ward import Settings, Ward, settings_from
from icans.intervene.world import Cast

Array = npt.NDArray[np.float64]


def _information(ward: Ward, row: int | None = None) -> dict[str, Any]:
    """Outcome vector, ground truth and patient numbers; of one row as plain numbers, of all as arrays."""
    truth = {k: v if row is None else float(v[row]) for k, v in ward.truth().items()}
    found = {k: v if row is None else float(v[row]) for k, v in ward.world.outcome_columns().items()}
    numbers = ward.people.numbers[ward.who]
    return {"truth": truth, "outcome": found, "patient": numbers if row is None else int(numbers[row])}


class ClosedLoop(gymnasium.Env[dict[str, Any], dict[str, Any]]):
    """One virtual patient per episode. Arguments: those of :class:`.ward.Settings`.

    ``patient``: row of the pool for every episode (drawn anew each time if None); ``patients``: a pool of one's own.
    ``options={"patient": row}`` of :meth:`reset` chooses one, too.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self, *, patient: int | None = None, patients: Cast | None = None, render_mode: str | None = None,
        log: str | None = None, **arguments: Any,
    ) -> None:  # fmt: skip
        self.settings: Settings = settings_from(arguments)
        self.ward = Ward(self.settings, patients)
        self.patient, self.render_mode, self.episode = patient, render_mode, 0
        self.observation_space = observation_space(self.ward.menu, len(self.ward.world.drugs))
        self.action_space = action_space(self.ward.menu)
        self.recorder = Recorder(log, self.settings, self.ward.menu) if log else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A patient at infusion."""
        super().reset(seed=seed)
        chosen = (options or {}).get("patient", self.patient)
        drawn, episode = self.np_random.integers(0, [len(self.ward.people), 2**31], dtype=np.int64)
        row = int(drawn) if chosen is None else int(chosen)
        chart = self.ward.begin(np.array([row]), episode)
        self._seen = arrays(chart)
        return self._one(self._seen), _information(self.ward, 0)

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out an action and go on for a step."""
        actions = to_actions(action, 1)
        reward, done = self.ward.step(actions)
        before, self._seen = self._seen, arrays(self.ward.chart())
        info = _information(self.ward, 0) | {"refused": int(done.refused[0]), "given_mg": done.mg[0].copy()}
        over, died = bool(self.ward.over()[0]), bool(self.ward.died()[0])
        if self.recorder is not None:
            self.recorder.add(self.ward, before, actions, done, reward, np.array([over or died]), np.array([died]))
        return self._one(self._seen), float(reward[0]), died, over and not died, info

    @staticmethod
    def _one(batch: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        return {name: values[0] for name, values in batch.items()}

    def render(self) -> str | None:
        """The chart in a line."""
        if self.render_mode != "ansi":
            return None
        seen = self._one(self._seen)
        return (f"day {seen['time_h'][0] / 24.0:.2f} CRS {seen['grades'][0]} ICANS {seen['grades'][1]} "
                f"ICE {seen['ice'][0]} temperature {seen['vitals'][0]:.1f} (synthetic)")  # fmt: skip

    def close(self) -> None:
        """Write the log, if there is one."""
        if self.recorder is not None:
            self.recorder.close()


class ClosedLoopVector(VectorEnv[dict[str, Any], dict[str, Any], npt.NDArray[Any]]):
    """Many virtual patients in step; the patient after an episode's end comes with the next step.

    Arguments: ``num_envs``, and those of :class:`ClosedLoop`. In order of the pool, if ``in_order``.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self, num_envs: int = 1, *, patients: Cast | None = None, in_order: bool = False, truth: bool = True,
        log: str | None = None, **arguments: Any,
    ) -> None:  # fmt: skip
        self.num_envs = num_envs
        self.settings: Settings = settings_from({"pool": max(256, num_envs), **arguments})
        self.ward = Ward(self.settings, patients)
        self.in_order, self.truth = in_order, truth
        self.single_observation_space = observation_space(self.ward.menu, len(self.ward.world.drugs))
        self.single_action_space = action_space(self.ward.menu)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.ended = np.zeros(num_envs, dtype=bool)
        self.recorder = Recorder(log, self.settings, self.ward.menu) if log else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Patients at infusion."""
        super().reset(seed=seed)
        rows, episodes = self._draw(self.num_envs)
        self._seen = arrays(self.ward.begin(rows, episodes))
        self.ended[:] = False
        return self._seen, _information(self.ward) if self.truth else {}

    def _draw(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        pool = len(self.ward.people)
        if self.in_order:
            return np.arange(n, dtype=np.int64) % pool, np.zeros(n, dtype=np.int64)
        rows = self.np_random.permutation(pool)[:n] if n <= pool else self.np_random.integers(0, pool, n)
        return rows.astype(np.int64), self.np_random.integers(0, 2**31, n)

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:  # fmt: skip
        """Carry out actions; rows whose episode had ended begin anew instead, with reward 0."""
        new = self.ended.copy()
        if new.all():
            rows, episodes = self._draw(self.num_envs)
            self._seen = arrays(self.ward.begin(rows, episodes))
            self.ended[:] = False
            zero = np.zeros(self.num_envs)
            none = np.zeros(self.num_envs, dtype=bool)
            return self._seen, zero, none, none.copy(), _information(self.ward) if self.truth else {}
        taken = to_actions(actions, self.num_envs)
        reward, done = self.ward.step(taken)
        if new.any():
            rows, episodes = self._draw(int(new.sum()))
            self.ward.replace(new, rows, episodes)
            reward = np.where(new, 0.0, reward)
        before, self._seen = self._seen, arrays(self.ward.chart())
        died = self.ward.died() & ~new
        over = self.ward.over() & ~died & ~new
        self.ended = died | over
        info = {}
        if self.truth:
            info = _information(self.ward) | {"refused": done.refused, "given_mg": done.mg}
        if self.recorder is not None:
            self.recorder.add(self.ward, before, taken, done, reward, self.ended, died, ~new)
        return self._seen, reward, died, over, info

    def close_extras(self, **_: Any) -> None:
        """Write the log, if there is one."""
        if self.recorder is not None:
            self.recorder.close()
