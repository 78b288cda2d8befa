"""The calibration: ``python -m icans.population.calibrate`` makes the stored population.

Three passes over rows marked ``calibrate`` (and no other):

1. factors of levers, few and shared between studies, by Gauss-Newton with finite differences on common random numbers,
   all patients of an arm counting alike;
2. cuts of the latent severities, by coordinate search over the courses just simulated;
3. weights of every study that has rows of its own, by exponential tilting.

Growth of products that have kinetics published apart from toxicity is matched to the peak of their comparator.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from icans.population import artefact, fitting, studies
from icans.population.arms import TIMES_H, Arm, Key, run
from icans.population.artefact import Calibration
from icans.population.products import CHAIN, free_levers, lever_factors, product, tables
from icans.population.quantities import Readings, View
from icans.population.readings import readings
from icans.population.targets import Target, read_targets
from icans.population.tilt import tilt

Array = npt.NDArray[np.float64]

SEED = 20260301
#: SD of the prior of ln factors by lever; a small change of growth is a large one of the peak.
PRIOR_SD = {"growth": 0.15, "lag": 0.35, "pyrogen": 0.35, "tempo": 0.35}
OTHER_SD = 0.5
#: Difference in ln for derivatives by a second simulation.
FORWARD = 0.2
#: Cuts that are searched for: path, smallest and largest value.
CUTS = (
    ("crs.1", 0.35, 0.65), ("crs.2", 1.02, 2.4), ("crs.3", 1.6, 3.6), ("crs.4", 2.2, 5.0), ("crs.5", 2.8, 6.0),
    ("penn.1", 0.1, 0.65), ("penn.3", 1.02, 2.6), ("penn.4", 1.5, 5.0),
    ("nt.1", 0.3, 2.0), ("nt.2", 0.8, 3.0), ("nt.3", 1.2, 4.0), ("nt.4", 1.8, 5.5), ("nt.5", 2.5, 6.4),
    ("nt.ctcae.stray", 0.0, 0.3), ("nt.ctcae_broad.stray", 0.2, 0.45), ("nt.fda.stray", 0.35, 0.6),
    ("nt.fda.duration", 4.0, 20.0), ("nt.ctcae.onset", 3.0, 12.0), ("nt.ctcae.duration", 4.0, 20.0),
    ("cut.iechs", 0.02, 0.9), ("cut.imaging", 1.2, 20.0), ("cut.protein_qalb", 0.006, 0.010),
    ("cut.encephalopathy", 0.3, 2.0),
    ("cut.seizure_share", 0.1, 8.0), ("cut.slowing", 0.02, 0.6),
)  # fmt: skip


def expand(cuts: Mapping[str, float]) -> dict[str, float]:
    """Cuts as searched -> paths of :func:`icans.population.readings.readings`: schemes share what is not their own."""
    made: dict[str, float] = {}
    for path, value in cuts.items():
        head, _, grade = path.partition(".")
        if path.startswith("crs."):
            made |= {f"crs.astct.{grade}": value, f"crs.lee.{grade}": value}
            if grade == "5":
                made["crs.penn.5"] = value
        elif head == "penn":
            made[f"crs.penn.{grade}"] = value
            if grade == "3":  # grade 2 of Penn lies midway
                made["crs.penn.2"] = 0.5 * (value + cuts.get("penn.1", 0.5))
        elif head == "nt" and grade.isdigit():
            made |= {f"nt.{s}.{grade}": value for s in ("astct", "cartox", "ctcae", "ctcae_broad", "fda")}
        else:
            made[path] = value
    return made


@dataclass
class Bench:
    """Arms simulated so far, by key and by the factors that they depend on."""

    n: int
    seed: int
    threads: int | None = None
    rtol: float = 1e-3
    most: int = 60
    kept: dict[tuple[Key, tuple[tuple[str, float], ...]], Arm] = field(default_factory=dict)
    runs: int = 0
    memo: dict[Any, Any] = field(default_factory=dict)

    def view(
        self, name: str, factors: Mapping[str, float], now: Readings, tilts: Mapping[str, Array] | None = None
    ) -> View:  # fmt: skip
        """A study's population (see :func:`icans.population.studies.view`)."""
        while len(self.memo) > self.most:
            self.memo.pop(next(iter(self.memo)))
        return studies.view(name, lambda key: self.arm(key, factors, now), now, self.seed, tilts, self.memo)

    def arm(self, key: Key, factors: Mapping[str, float], now: Readings) -> Arm:
        """An arm, simulated unless it has been with the same factors and bedside cuts."""
        levers = lever_factors(key.product, key.disease, factors)
        own = {p: v for p, v in factors.items() if p.startswith("parameter.")}
        bedside = {f"crs{i}": c for i, c in enumerate(now.crs["astct"].cuts)} if key.care != "none" else {}
        bedside |= {f"nt{i}": c for i, c in enumerate(now.nt["astct"].cuts)} if key.care != "none" else {}
        mark = (key, tuple(sorted((levers | own | bedside).items())))
        if mark not in self.kept:
            while len(self.kept) >= self.most:
                self.kept.pop(next(iter(self.kept)))
            self.kept[mark] = run(key, self.n, self.seed, factors, now, rtol=self.rtol, threads=self.threads)
            self.runs += 1
        else:
            self.kept[mark] = self.kept.pop(mark)  # the newest last
        return self.kept[mark]


def rows_by_study(targets: Sequence[Target]) -> dict[str, list[Target]]:
    """Study -> its rows."""
    made: dict[str, list[Target]] = {}
    for target in targets:
        made.setdefault(target.study, []).append(target)
    return made


def core(name: str) -> bool:
    """Whether a study is of one product without prophylaxis: those that factors are fitted to."""
    about = studies.study(name)
    return (
        not about.select
        and not about.like
        and all(not k.regimen for k, _ in about.arms)
        and (len({k.product for k, _ in about.arms}) == 1 and len({k.disease for k, _ in about.arms}) in (1, 3))
    )


def residuals(
    bench: Bench, rows: Mapping[str, Sequence[Target]], factors: Mapping[str, float], now: Readings,
    tilts: Mapping[str, Array] | None = None,
) -> Array:  # fmt: skip
    """Residuals of all rows, in the order of ``rows``."""
    made: list[float] = []
    for name, targets in rows.items():
        seen = bench.view(name, factors, now, tilts)
        made += [fitting.residual(seen, target) for target in targets]
    return np.array(made)


def chain_of(key: Key) -> set[str]:
    """Paths of factors that touch an arm."""
    about = product(key.product)
    owners = dict(zip(CHAIN, ("all", about.costimulation, about.target, key.disease, key.product)))
    return {
        path for path in free_levers() if owners[path.partition(".")[0]] == path.partition(".")[2].rpartition(".")[0]
    }


def misses(
    bench: Bench, rows: Mapping[str, Sequence[Target]], factors: Mapping[str, float], now: Readings,
    kept: Mapping[str, Array] | None = None, path: str = "",
) -> dict[str, Array]:  # fmt: skip
    """Study -> distances of its rows that are means, in half widths (bent); only what ``path`` touches is made anew."""
    made = {}
    for name, targets in rows.items():
        if kept is not None and not any(path in chain_of(key) for key, _ in studies.study(name).arms):
            made[name] = kept[name]
            continue
        seen = bench.view(name, factors, now)
        found = [m for m in (fitting.moment(seen, target) for target in targets) if m is not None]
        made[name] = np.array([fitting.distance(m, seen.weights) for m in found])
    return made


def fit_factors(
    bench: Bench, rows: Mapping[str, Sequence[Target]], start: Mapping[str, float], now: Readings, *, steps: int,
    say: Callable[[str], None], free: Sequence[str], begun: Mapping[str, float],
) -> dict[str, float]:  # fmt: skip
    """Pass 1: damped Gauss-Newton steps on common random numbers, derivatives by a second simulation."""
    factors, damping = dict(start), 0.3
    spread = np.array([PRIOR_SD.get(p.rpartition(".")[2], OTHER_SD) for p in free])
    kept = misses(bench, rows, factors, now)
    here = np.concatenate(list(kept.values()))
    for number in range(steps):
        jac = np.empty((len(here), len(free)))
        for column, path in enumerate(free):
            moved = {**factors, path: factors[path] * np.exp(FORWARD)}
            there = misses(bench, rows, moved, now, kept, path)
            jac[:, column] = (np.concatenate(list(there.values())) - here) / FORWARD
        off = np.array([np.log(factors[p] / begun[p]) for p in free])
        for _ in range(3):
            step = fitting.damped_step(here, jac, off, damping, spread)
            trial = {**factors, **{p: factors[p] * float(np.exp(s)) for p, s in zip(free, step)}}
            found = misses(bench, rows, trial, now)
            there_all = np.concatenate(list(found.values()))
            say(f"step {number + 1}: {fitting.total(here):.3f} -> {fitting.total(there_all):.3f} (damping {damping:g})")
            if fitting.total(there_all) < fitting.total(here):
                factors, kept, here, damping = trial, found, there_all, damping / 2
                break
            damping *= 4
        else:
            break
    return factors


def fit_cuts(
    bench: Bench, rows: Mapping[str, Sequence[Target]], factors: Mapping[str, float], start: Mapping[str, float],
    bedside: Readings, *, rounds: int = 2, points: int = 7, tilts: Mapping[str, Array] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Pass 2: one cut after the other over a shrinking grid. Courses stay those under the bedside cuts given."""
    base = {name: bench.view(name, factors, bedside, tilts) for name in rows}
    pairs = [(name, target) for name, targets in rows.items() for target in targets]

    def look(cuts: Mapping[str, float], which: Sequence[int], before: Array) -> Array:
        now = readings(expand(cuts))
        if any(list(s.cuts) != sorted(s.cuts) for s in (*now.crs.values(), *now.nt.values())):
            return np.full(len(pairs), np.inf)
        shared: dict[int, dict[str, Any]] = {}  # studies of the same arms share what is graded
        views = {
            name: replace(base[name], readings=now, cache=shared.setdefault(id(base[name].series), {}))
            for name in {pairs[i][0] for i in which}
        }
        made = before.copy()
        for i in which:
            made[i] = fitting.residual(views[pairs[i][0]], pairs[i][1])
        return made

    cuts = dict(start)
    best = look(cuts, range(len(pairs)), np.zeros(len(pairs)))
    for turn in range(rounds):
        for path, low, high in CUTS:
            which = [i for i, (_, target) in enumerate(pairs) if _reads(target, path)]
            width = (high - low) / 2 ** (turn + 1)
            grid = np.clip(cuts[path] + np.linspace(-width, width, points), low, high)
            for value in np.unique(grid) if which else ():
                trial = look({**cuts, path: float(value)}, which, best)
                if fitting.total(trial) < fitting.total(best) - 1e-9:
                    best, cuts = trial, {**cuts, path: float(value)}
    return cuts


def _reads(target: Target, path: str) -> bool:
    """Whether a row can depend on a cut (it may look at both toxicities without naming them)."""
    words = target.quantity
    both = words.startswith(("either", "first", "free", "marker", "odds", "given"))
    if path.startswith(("crs.", "penn.")):
        right = (target.scheme == "penn") == path.startswith("penn.") or path == "crs.5"
        return both or ("crs" in words and (right or target.scheme not in ("lee", "astct", "penn")))
    if path.startswith("nt."):
        stray = path.endswith(("stray", "onset", "duration"))
        named = "nt" in words or words.startswith("regraded")
        return both or (named and (not stray or target.scheme in path.split(".") or not words.startswith("inc")))
    word = {"iechs": "iec", "protein_qalb": "protein", "seizure_share": "seizure"}
    return word.get(path.removeprefix("cut."), path.removeprefix("cut.")) in words


def fit_tilts(
    bench: Bench, rows: Mapping[str, Sequence[Target]], factors: Mapping[str, float], now: Readings
) -> tuple[dict[str, Array], dict[str, float]]:
    """Pass 3: coefficients and effective sample sizes of the studies that have weights of their own."""
    tilts: dict[str, Array] = {}
    ess: dict[str, float] = {}
    for name, targets in rows.items():
        about = studies.study(name)
        if not about.free:
            continue
        seen = bench.view(name, factors, now)
        axes = np.vstack([studies.axes_of(bench.arm(key, factors, now).individuals.axes) for key, _ in about.arms])
        moments = [m for m in (fitting.moment(seen, t) for t in targets) if m is not None]
        found = tilt(axes, moments, seen.weights)
        tilts[name], ess[name] = found.coefficients, found.ess
    return tilts, ess


def start_factors() -> dict[str, float]:
    """Priors of the factors that may move."""
    made = {}
    for path in free_levers():
        part, _, rest = path.partition(".")
        owner, _, lever = rest.rpartition(".")
        made[path] = float(tables()[part][owner].get("prior", {}).get(lever, 1.0))
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the stored population."""
    from icans.population.kinetics import match_peaks

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=400, help="patients per arm while factors are fitted")
    parser.add_argument("--final", type=int, default=1000, help="patients per arm for cuts and weights")
    parser.add_argument("--steps", type=int, default=4, help="Gauss-Newton steps per turn")
    parser.add_argument("--turns", type=int, default=2, help="turns of factors and cuts")
    parser.add_argument("--from-stored", action="store_true", help="start at the stored calibration")
    parser.add_argument("--threads", type=int, default=None)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    began = time.time()

    def say(text: str) -> None:
        print(f"{time.time() - began:7.1f} s  {text}", flush=True)

    known = artefact.read() if options.from_stored else Calibration()
    rows = rows_by_study(read_targets("calibrate"))
    core_rows = {name: targets for name, targets in rows.items() if core(name)}
    free = free_levers()
    factors = {**start_factors(), **{k: v for k, v in known.factors.items() if k in free}}
    cuts = {**start_cuts(), **dict(known.about.get("cuts", {}))}
    bench = Bench(options.patients, SEED, options.threads)
    for turn in range(options.turns):
        now = readings(expand(cuts))
        factors |= match_peaks(options.patients, SEED, factors, now, threads=options.threads)
        cuts = fit_cuts(bench, core_rows, factors, cuts, now)
        now = readings(expand(cuts))
        say(f"turn {turn + 1}: cuts {fitting.total(residuals(bench, core_rows, factors, now)):.3f}")
        factors = fit_factors(bench, core_rows, factors, now, steps=options.steps, say=say, free=free,
                              begun=start_factors())  # fmt: skip
        bench.kept.clear()
        bench.memo.clear()
    now = readings(expand(cuts))
    cuts = fit_cuts(bench, rows, factors, cuts, now)
    now = readings(expand(cuts))
    factors |= match_peaks(options.patients, SEED, factors, now, threads=options.threads)
    say(f"{bench.runs} arms simulated; weights of studies")
    bench.kept.clear()
    bench.memo.clear()
    final = Bench(options.final, SEED, options.threads, rtol=1e-4)
    tilts, ess = fit_tilts(final, rows, factors, now)
    command = shlex.join([*artefact.COMMAND.split(), *given])
    about = {"command": command, "seed": SEED, "patients": options.final, "times": len(TIMES_H), "cuts": cuts}
    artefact.write(Calibration(factors, expand(cuts), studies.axis_names(), tilts, ess, about))
    say(f"written; smallest effective share {min(ess.values()):.2f}")


def start_cuts() -> dict[str, float]:
    """Cuts as searched, at their priors."""
    prior = readings()
    made = {f"crs.{g}": prior.crs["astct"].cuts[g - 1] for g in range(1, 6)}
    made |= {f"penn.{g}": prior.crs["penn"].cuts[g - 1] for g in (1, 3, 4)}
    made |= {f"nt.{g}": prior.nt["astct"].cuts[g - 1] for g in range(1, 6)}
    made |= {f"nt.{s}.stray": prior.nt[s].stray for s in ("ctcae", "ctcae_broad", "fda")}
    made |= {f"nt.{s}.duration": prior.nt[s].stray_duration_d for s in ("fda", "ctcae")}
    made["nt.ctcae.onset"] = prior.nt["ctcae"].stray_onset_d
    return made | {path: prior.cut[path.removeprefix("cut.")] for path, _, _ in CUTS if path.startswith("cut.")}


if __name__ == "__main__":
    main()
