"""Fits from several starts, and which optima they find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.core.errors import IcansError, ModelError, NotEstimableError, Problem
from icans.core.execute import Executor, Serial
from icans.core.random import stream
from icans.population.fit.focei import FoceiSettings, fit_focei
from icans.population.fit.result import Fit, natural
from icans.population.nlme.model import NlmeModel
from icans.population.nlme.population import Population, packing, start
from icans.population.nlme.records import Records

Array = npt.NDArray[np.float64]

#: Objectives that differ by less, with natural estimates that differ by less (relative), are one optimum.
SAME_OBJECTIVE, SAME_VECTOR = 0.05, 0.05


@dataclass(frozen=True)
class MultiStart:
    """``best``: the fit with the lowest objective. ``starts``: ``start, objective, rise, converged, optimum, why``.

    Optima are numbered from the lowest objective on (1); a start that failed has none (0). ``optima``: packed estimates
    of each, (k, n).
    """

    best: Fit
    starts: pd.DataFrame
    optima: Array

    @property
    def messages(self) -> tuple[str, ...]:
        """How sure one can be of the best optimum, and what to do."""
        hits = int((self.starts["optimum"] == 1).sum())
        failed = int((self.starts["optimum"] == 0).sum())
        out = [f"{hits} of {len(self.starts)} starts came to the lowest objective; {len(self.optima)} optima, {failed} "
               "failed."]  # fmt: skip
        if hits < 2:
            out.append("Only one start found the lowest objective: try more starts, or a wider spread.")
        if len(self.optima) > 1:
            rise = float(self.starts.loc[self.starts["optimum"] == 2, "rise"].min())
            out.append(f"The next optimum is {rise:.2f} higher: report the lowest, and say that others exist.")
        return tuple(out)


def multi_start(
    model: NlmeModel, records: Records, *, starts: int = 10, spread: float = 0.5, seed: int,
    settings: FoceiSettings | None = None, executor: Executor | None = None,
) -> MultiStart:  # fmt: skip
    """Fits from the declared start and from jittered ones.

    Parameters
    ----------
    spread
        SD of the jitter: of logarithms (log and logit parameters, SDs, errors), or of the SD between patients (other
        scales; the value's size without one).

    Raises
    ------
    ModelError
        Fewer than one start.
    NotEstimableError
        No start led to a fit (the reason of the first).
    """
    if starts < 1:
        raise ModelError([Problem("multi_start", None, "starts", str(starts), "1 or more", "Ask for some 10.")])
    chosen = settings or FoceiSettings()
    work = OneStart(model, records, replace(chosen, covariance="none"), spread, seed)
    done = (executor or Serial()).map(work, list(range(starts)), "starts")
    fits = [f for f, _ in done if f is not None]
    if not fits:
        raise NotEstimableError(f"no start led to a fit: {done[0][1]}")
    best = min(fits, key=lambda f: f.objective)
    frame, optima = _sorted(done, best)
    if chosen.covariance != "none":
        best = fit_focei(model, records, settings=chosen, begin=best.population)
    return MultiStart(best, frame, optima)


@dataclass(frozen=True)
class OneStart:
    """Fits from one start; picklable."""

    model: NlmeModel
    records: Records
    settings: FoceiSettings
    spread: float
    seed: int

    def __call__(self, number: int) -> tuple[Fit | None, str]:
        """The fit from start ``number`` (0: the declared one), or None and why."""
        begin = jittered(self.model, self.spread, self.seed, number) if number else start(self.model)
        try:
            got = fit_focei(self.model, self.records, settings=self.settings, begin=begin)
        except (IcansError, np.linalg.LinAlgError) as error:
            return None, str(error)
        return got, "" if got.converged else "; ".join(got.messages[:1])


def jittered(model: NlmeModel, spread: float, seed: int, number: int) -> Population:
    """A start near the declared one."""
    declared = start(model)
    pack = packing(model)
    vector = pack.pack(declared)
    size = np.ones(len(vector))
    for j, p in enumerate(pack.typical):
        own = model.parameters[int(p)]
        if own.scale.kind not in ("log", "logit"):
            size[j] = own.iiv or max(abs(float(declared.typical[p])), 1.0)
    return pack.unpack(vector + spread * size * stream(seed, "multi start", number).standard_normal(len(vector)))


def _sorted(done: list[tuple[Fit | None, str]], best: Fit) -> tuple[pd.DataFrame, Array]:
    order = sorted((i for i, (f, _) in enumerate(done) if f is not None), key=lambda i: _objective(done[i][0]))
    optima: list[tuple[float, Array]] = []
    number = np.zeros(len(done), dtype=np.int64)
    for i in order:
        fit = done[i][0]
        assert fit is not None
        for k, (value, vector) in enumerate(optima):
            if abs(fit.objective - value) < SAME_OBJECTIVE and _same(fit, vector):
                number[i] = k + 1
                break
        else:
            if fit.converged or not optima:
                optima.append((fit.objective, fit.vector))
                number[i] = len(optima)
    rows = [(i, _objective(f), _objective(f) - best.objective, f is not None and f.converged, int(number[i]), why)
            for i, (f, why) in enumerate(done)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["start", "objective", "rise", "converged", "optimum", "why"])
    return frame, np.stack([v for _, v in optima])


def _same(fit: Fit, vector: Array) -> bool:
    """Whether natural values agree: collapsed SDs do, whatever their logarithms."""
    here, there = (
        np.array([n.value for n in natural(fit.model, p)])
        for p in (fit.population, packing(fit.model, fit.population).unpack(vector))
    )
    return bool((np.abs(here - there) < SAME_VECTOR * np.maximum(np.abs(there), 0.1)).all())


def _objective(fit: Fit | None) -> float:
    return float("nan") if fit is None else fit.objective
