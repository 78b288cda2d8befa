"""Simulating patients: this package beside libRoadRunner, numbalsoda, COPASI, diffrax and the kernel as C++.

One model (tocilizumab and dexamethasone in it), 30 days, 120 outputs of every state, rtol 1e-6, two regimens: 14
boluses, and none. Every peer runs in a process of its own, between two runs of this package in that same process; the
ratio is of CPU seconds per patient. Peers get what depends on parameters alone precomputed, as this package's kernel
does. Error: |y - ref|/(|ref| + 1e-3 max|ref| + 1e-6 size) against this package at rtol 1e-10, with size the typical
initial value (1 where that is 0); outputs at times of doses are left out.

Run: ``python benchmarks/simulate.py``; the table goes to ``benchmarks/results/simulate.md``. Needs numbalsoda and
diffrax beside the extras of development; a peer that is not there is left out.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from icans.core.files import write_text
from icans.core.random import stream
from icans.exchange.sbml import export_sbml
from icans.exchange.sbml_folding import foldable, folded_values
from icans.mechanism.doses import Dose, schedule
from icans.mechanism.engine.simulate import scales, simulate
from icans.mechanism.model import PatientModel
from icans.mechanism.parameters import Parameter, ParameterTable
from icans.mechanism.patient import patient_model

TIMES = np.arange(1, 121) * 6.0
PRODUCT = Dose(0.0, "car_t", 1e8, "cells")
REGIMENS = {
    "14 boluses": [
        PRODUCT, Dose(72.0, "tocilizumab", 560.0, "mg", every_h=12.0, count=2),
        Dose(120.0, "dexamethasone", 10.0, "mg", every_h=6.0, count=12),
    ],
    "none": [PRODUCT],
}  # fmt: skip
OUTPUTS = ("IL6", "CRP", "FERRITIN", "TEMP", "CAR_E", "CAR_M", "IFNG", "IL1B", "ANG2", "VWF", "IL6_sass", "NFL", "GFAP",
           "PLT", "LDH", "MICRO", "ASTRO", "NEURO", "OEDEMA", "SEIZ_HAZ")  # fmt: skip
RTOL, SECONDS, MOST = 1e-6, 20.0, 50
TARGETS = {"libroadrunner": 6.0, "numbalsoda": 4.0, "COPASI": 15.0, "diffrax": 25.0}
PACKAGES = {"libroadrunner": "libroadrunner", "numbalsoda": "numbalsoda", "COPASI": "copasi-basico",
            "diffrax": "diffrax"}  # fmt: skip
#: What a peer's run gives: a function of the patient's number, or of all numbers at once, to states at ``TIMES``.
Run = Callable[[int], np.ndarray]


def model_and_patients() -> tuple[PatientModel, np.ndarray]:
    """The model and 10,000 synthetic patients who vary half as much as the parameter table says."""
    model = patient_model(["tocilizumab", "dexamethasone"])
    rows = model.parameters.rows
    spread = np.array([0.5 * r.iiv if r.transform == "log" else 0.0 for r in rows])
    noise = stream(1, "benchmark", "simulate").normal(size=(10_000, len(rows)))
    values = model.parameters.values_array() * np.exp(spread * noise)
    return model, np.clip(values, [r.lower for r in rows], [r.upper for r in rows])


def folded_model(model: PatientModel) -> PatientModel:
    """The model with definitions that depend on parameters alone as further parameters."""
    names = set(foldable(model))
    extra = [Parameter(n, v, "1", n, "folded") for n, v in folded_values(model).items()]
    kept = tuple(d for d in model.definitions if d.name not in names)
    table = ParameterTable((*model.parameters.rows, *extra))
    return replace(model, definitions=kept, parameters=table)


def folded_rows(model: PatientModel, patients: np.ndarray) -> np.ndarray:
    """Parameters of the folded model."""
    return np.array([[*row, *folded_values(model, row).values()] for row in patients])


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def ours(
    model: PatientModel, patients: np.ndarray, doses: list[Dose], rtol: float = RTOL, **more: object
) -> np.ndarray:
    """States (or other outputs) of patients, shape (n, times, outputs)."""
    outputs = more.pop("outputs", model.state_names)
    return simulate(model, patients, doses, TIMES, outputs=outputs, rtol=rtol, **more).values  # type: ignore[arg-type]


def error(model: PatientModel, found: np.ndarray, reference: np.ndarray, doses: list[Dose]) -> tuple[float, float]:
    """Largest error, and the median over patients of each one's largest."""
    dosed = np.isin(TIMES, np.concatenate([d.times() for d in doses]))
    scale = np.abs(reference) + 1e-3 * np.abs(reference).max(axis=1, keepdims=True) + 1e-6 * scales(model)
    off = np.abs(found - reference) / scale
    worst = off[:, ~dosed].max(axis=(1, 2))
    return float(worst.max()), float(np.median(worst))


def roadrunner_runs(model: PatientModel, patients: np.ndarray, doses: list[Dose]) -> Run:
    """CVODE on the SBML file, events for doses; one file, parameters set for each patient."""
    import roadrunner

    roadrunner.Logger.setLevel(roadrunner.Logger.LOG_FATAL)
    runner = roadrunner.RoadRunner(export_sbml(model, None, doses, folded=True))
    runner.integrator.relative_tolerance, runner.integrator.absolute_tolerance = RTOL, 1e-8
    runner.integrator.maximum_num_steps = 100_000
    runner.timeCourseSelections = list(model.state_names)
    names, rows = folded_model(model).parameters.names, folded_rows(model, patients)

    def run(i: int) -> np.ndarray:
        for name, value in zip(names, rows[i].tolist()):
            runner[name] = value
        runner.reset()
        return np.array(runner.simulate(times=[0.0, *TIMES.tolist()]))[1:]

    return run


def copasi_runs(model: PatientModel, patients: np.ndarray, doses: list[Dose]) -> Run:
    """LSODA on the SBML file, loaded anew for each patient (loading is not timed)."""
    import basico

    warnings.simplefilter("ignore")
    names = [f"Values[{n}]" for n in model.state_names]
    method = {"name": "Deterministic (LSODA)", "Relative Tolerance": RTOL, "Absolute Tolerance": 1e-8,
              "Max Internal Steps": 1_000_000}  # fmt: skip
    loaded = {}
    for i in range(min(len(patients), 5)):
        loaded[i] = basico.load_model_from_string(export_sbml(model, patients[i], doses, folded=True))
        basico.set_task_settings("Time-Course", {"method": method}, model=loaded[i])

    def run(i: int) -> np.ndarray:
        if i not in loaded:
            raise StopIteration
        times = [0.0, *TIMES.tolist()]
        frame = basico.run_time_course_with_output(names, values=times, start_time=0, model=loaded[i])
        return frame.to_numpy()[1:]

    return run


def numbalsoda_runs(model: PatientModel, patients: np.ndarray, doses: list[Dose]) -> Run:
    """LSODA as a C function, on this package's own compiled rates; restarted at every dose."""
    import ctypes

    import numba
    from numbalsoda import lsoda, lsoda_sig

    from icans.mechanism.engine.kernel import compile_kernel

    kernel = compile_kernel(model, lanes=1)
    n, nq, inputs = kernel.n, kernel.nq, max(len(kernel.inputs), 1)
    rates = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(kernel.address("rhs"))

    @numba.cfunc(lsoda_sig)
    def slope(t, y, dy, data):  # type: ignore[no-untyped-def]
        at = numba.carray(data, (nq + inputs,)).ctypes.data
        rates(numba.carray(y, (n,)).ctypes.data, at, at + 8 * nq, numba.carray(dy, (n,)).ctypes.data)

    def call(name: str, *arrays: np.ndarray) -> None:
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(kernel.address(name))
        function(*[a.ctypes.data for a in arrays])

    def run(i: int) -> np.ndarray:
        p, data, y = patients[i].copy(), np.zeros(nq + inputs), np.zeros(n)
        call("prepare", p, data)
        call("initial", data, y)
        events, found, t = schedule(model, doses, p), np.empty((len(TIMES), n)), 0.0
        for stop in [*np.unique(events.time[events.time > 0]), TIMES[-1]]:
            for at in np.flatnonzero(events.time == t):
                y[events.place[at]] += events.value[at]
            inside = np.flatnonzero((t < TIMES) & (stop >= TIMES))
            grid = np.unique([t, *TIMES[inside], stop])
            values, fine = lsoda(slope.address, y, grid, data, rtol=RTOL, atol=1e-8)
            assert fine
            found[inside] = values[np.searchsorted(grid, TIMES[inside])]
            y, t = values[-1].copy(), float(stop)
        return found

    run.keep = (slope, rates)  # type: ignore[attr-defined]
    return run


def diffrax_runs(model: PatientModel, patients: np.ndarray, doses: list[Dose]) -> Run:
    """Tsit5 under ``vmap`` (all patients at once), segments between doses in a scan."""
    import diffrax
    import jax
    import jax.numpy as jnp

    from icans.mechanism.emit.jax_rhs import jax_initial, jax_rates

    jax.config.update("jax_enable_x64", True)
    small = folded_model(model)
    rates, first = jax_rates(small), jax_initial(small)
    rows = jnp.array(folded_rows(model, patients))
    events = schedule(model, doses, patients[0])
    starts = np.unique([0.0, *events.time])
    adds = np.zeros((len(starts), len(model.states)))
    for at in range(len(events)):
        adds[np.searchsorted(starts, events.time[at]), events.place[at]] += events.value[at]
    stops = np.append(starts[1:], TIMES[-1])
    term = diffrax.ODETerm(lambda t, y, p: rates(y, p, 0.0))
    control = diffrax.PIDController(rtol=RTOL, atol=1e-8)

    def one(p):  # type: ignore[no-untyped-def]
        def leg(y, part):  # type: ignore[no-untyped-def]
            start, stop, add = part
            saved = diffrax.SaveAt(ts=jnp.append(jnp.clip(jnp.array(TIMES), start, stop), stop))
            made = diffrax.diffeqsolve(term, diffrax.Tsit5(), start, stop, 1e-3, y + add, p, saveat=saved,
                                       stepsize_controller=control, max_steps=200_000)  # fmt: skip
            return made.ys[-1], made.ys[:-1]

        _, ys = jax.lax.scan(leg, first(p), (jnp.array(starts), jnp.array(stops), jnp.array(adds)))
        which = np.searchsorted(stops, TIMES)
        return ys[which, np.arange(len(TIMES))]

    solve = jax.jit(jax.vmap(one))
    solve(rows).block_until_ready()  # compiled, not timed
    batch: list[np.ndarray] = []

    def run(i: int) -> np.ndarray:
        if i >= len(rows):
            raise StopIteration
        if i == 0:
            batch[:] = list(np.asarray(solve(rows).block_until_ready()))
        return batch[i]

    return run


RUNS = {"libroadrunner": roadrunner_runs, "numbalsoda": numbalsoda_runs, "COPASI": copasi_runs, "diffrax": diffrax_runs}


def compare(name: str, regimen: str) -> dict[str, object]:
    """One peer and this package on the same patients, in this process."""
    model, patients = model_and_patients()
    patients, doses = patients[:MOST], REGIMENS[regimen]
    ours(model, patients, doses)  # first, so that its kernels lie close together in memory
    start = time.perf_counter()
    run = RUNS[name](model, patients, doses)
    run(0)
    made = time.perf_counter() - start
    before = measured(lambda: ours(model, patients, doses, threads=1))
    found: list[np.ndarray] = []

    def peer() -> None:
        began = time.perf_counter()
        # A peer that solves all of them at once has spent its time by then.
        while len(found) < len(patients) and (name == "diffrax" or time.perf_counter() - began < SECONDS):
            try:
                found.append(run(len(found)))
            except StopIteration:
                return

    wall, cpu = measured(peer)
    after = measured(lambda: ours(model, patients, doses, threads=1))
    n = len(found)
    reference = ours(model, patients[:n], doses, rtol=1e-10)
    own = (before[1] + after[1]) / 2 / len(patients)
    return {"engine": name, "regimen": regimen, "n": n, "ms": 1e3 * wall / n, "cpu_ms": 1e3 * cpu / n,
            "own_ms": 1e3 * own, "ratio": cpu / n / own, "setup": made,
            "error": error(model, np.array(found), reference, doses),
            "own_error": error(model, ours(model, patients[:n], doses), reference, doses)}  # fmt: skip


def own_rows() -> list[dict[str, object]]:
    """The package at 1, 100, 1,000 and 10,000 patients, and its resident memory."""
    model, patients = model_and_patients()
    rows = []
    for regimen, doses in REGIMENS.items():
        for n in (1, 100, 1_000, 10_000) if regimen != "none" else (1, 100, 1_000):
            some = patients[:n]
            ours(model, some[: min(n, 16)], doses, outputs=OUTPUTS)
            repeats = 3 if n <= 100 else 1
            best = min(measured(lambda s=some, d=doses: ours(model, s, d, outputs=OUTPUTS)) for _ in range(repeats))  # type: ignore[misc]
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append(
                {"regimen": regimen, "n": n, "ms": 1e3 * best[0] / n, "cpu_ms": 1e3 * best[1] / n, "rss": memory}
            )
    return rows


def sensitivity_cost() -> dict[str, float]:
    """Ten parameters, 64 patients: cost beside a plain solve."""
    model, patients = model_and_patients()
    doses, some = REGIMENS["none"], patients[:64]
    names = [r.name for r in model.parameters.rows if r.iiv > 0 and r.transform == "log"][:10]
    cost = []
    for chosen in ((), tuple(names)):
        run = lambda c=chosen: ours(model, some, doses, outputs=OUTPUTS, threads=1, sensitivities=c)  # type: ignore[misc] # noqa: E731
        compiled = measured(run)
        cost.append((compiled[0], min(measured(run)[1] for _ in range(2))))
    return {"plain_ms": 1e3 * cost[0][1] / 64, "ms": 1e3 * cost[1][1] / 64, "ratio": cost[1][1] / cost[0][1]}


def cpp_cost() -> dict[str, float]:
    """The same kernel by g++, through the same solver."""
    from icans.mechanism.emit.cpp import compile_cpp
    from icans.mechanism.engine import kernel as kernels
    from icans.mechanism.engine.simulate import everything

    model, patients = model_and_patients()
    doses, some = REGIMENS["14 boluses"], patients[:200]
    llvm = kernels.compile_kernel(model, lanes=8, outputs=everything(model))
    gcc = compile_cpp(model, lanes=8, outputs=everything(model))
    cost: dict[str, list[float]] = {"llvm": [], "gcc": []}
    values = {}
    for _ in range(3):
        for name, kernel in (("llvm", llvm), ("gcc", gcc)):
            kernels._KERNELS[llvm.key] = kernel
            values[name] = ours(model, some[:16], doses)
            cost[name].append(measured(lambda: ours(model, some, doses, threads=1))[1])
    kernels._KERNELS[llvm.key] = llvm
    same = float(np.array_equal(values["llvm"], values["gcc"], equal_nan=True))
    best = {name: 1e3 * min(times) / len(some) for name, times in cost.items()}
    return {"same": same, "ratio": best["llvm"] / best["gcc"], **best}


def first_call() -> dict[str, float]:
    """Seconds until the first patient is simulated (kernel of one lane and of eight)."""
    model, patients = model_and_patients()
    run = {n: (lambda n=n: ours(model, patients[:n], REGIMENS["none"], outputs=OUTPUTS)) for n in (1, 8)}  # type: ignore[misc]
    return {f"{n} patient{'s' if n > 1 else ''}": measured(work)[0] for n, work in run.items()}


PARTS: dict[str, Callable[[], object]] = {
    "own": own_rows, "sensitivities": sensitivity_cost, "cpp": cpp_cost, "first": first_call,
    **{f"{e}|{r}": (lambda e=e, r=r: compare(e, r)) for e in RUNS for r in REGIMENS},  # type: ignore[misc]
}  # fmt: skip


#: Seconds that one part may take.
LIMIT = 180.0


def part(name: str, limit: float, cache: str | None = None) -> object:
    """One part in a process of its own; the reason as text if it did not finish."""
    environment = os.environ | ({"ICANS_CACHE": cache} if cache else {})
    command = [sys.executable, __file__, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished in {limit:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1][:160]
    return json.loads(done.stdout.strip().splitlines()[-1])


def versions() -> str:
    """Versions of everything compared."""
    found = []
    for package in ("numpy", "numba", "llvmlite", "libroadrunner", "numbalsoda", "copasi-basico", "jax", "diffrax"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} absent")
    return ", ".join(found)


def report(results: dict[str, object]) -> str:
    """The table."""
    model = patient_model(["tocilizumab", "dexamethasone"])
    lines = [
        "# Simulating patients", "",
        f"{len(model.states)} states, {len(model.parameters)} parameters, 30 days, 120 outputs of every state, rtol "
        "1e-6; synthetic patients. Command: `python benchmarks/simulate.py`.",
        f"Machine: {platform.machine()}, {os.cpu_count()} processors (shared while measuring), Python "
        f"{platform.python_version()}, {datetime.now(UTC).date()}; {versions()}.", "",
        "## Beside other programs", "",
        "CPU ms per patient, the peer between two runs of this package (one thread) in one process. Ratio: the peer's "
        "over this package's. Error: largest / median over patients, relative to |ref| + 1e-3 max|ref| + 1e-6 size.",
        "",
        "| program | regimen | patients | ms | icans, ms | ratio | target | error | error of icans | load, s |",
        "|---|---|---:|---:|---:|---:|---:|---|---|---:|",
    ]  # fmt: skip
    for name, row in results.items():
        if "|" not in name:
            continue
        engine, regimen = name.split("|")
        if isinstance(row, str):
            lines.append(f"| {engine} | {regimen} | {row} | | | | {TARGETS[engine]:g} | | | |")
            continue
        lines.append(
            f"| {engine} | {regimen} | {row['n']} | {row['cpu_ms']:.1f} | {row['own_ms']:.2f} | {row['ratio']:.1f} | "
            f"{TARGETS[engine]:g} | {row['error'][0]:.1e} / {row['error'][1]:.1e} | "
            f"{row['own_error'][0]:.1e} / {row['own_error'][1]:.1e} | {row['setup']:.0f} |"
        )  # type: ignore[index]
    lines += [
        "",
        "libRoadRunner and numbalsoda make their Jacobian by differences and factor it densely. diffrax takes explicit "
        "steps, which suits a model whose fastest rate is about 5 per hour. COPASI ran few patients, as each is slow.",
    ]
    lines += ["", "## By number of patients", "", f"{len(OUTPUTS)} outputs, all processors.", "",
              "| regimen | patients | wall ms per patient | CPU ms per patient | largest memory so far, MB |",
              "|---|---:|---:|---:|---:|"]  # fmt: skip
    own = results.get("own", "not run")
    if isinstance(own, list):
        lines += [
            f"| {r['regimen']} | {r['n']} | {r['ms']:.2f} | {r['cpu_ms']:.2f} | {r['rss']:.0f} |" for r in own
        ]  # fmt: skip
    lines += ["", "## Other costs", ""]
    lines += [f"- {title}: {_said(results.get(key, 'not run'))}" for key, title in TITLES.items()]
    return "\n".join(lines) + "\n"


TITLES = {
    "sensitivities": "Sensitivities by 10 parameters, beside a plain solve (CPU ms per patient; target 8)",
    "cpp": "The same kernel by g++, through the same solver (CPU ms per patient; ratio LLVM over g++, target 2; "
    "same bits: 1)",
    "cold": "First call with an empty cache, s (1 patient: one lane; 8 patients: eight lanes)",
    "cached": "First call of a process with a full cache, s",
}


def _said(value: object) -> str:
    return ", ".join(f"{k} {v:.3g}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def main() -> None:
    """Run every part and write the table."""
    chosen = sys.argv[1:]
    if len(chosen) == 1 and chosen[0] in PARTS:
        print(json.dumps(PARTS[chosen[0]]()))
        return
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("own", "cpp", "sensitivities", "cold", "cached", *(p for p in PARTS if "|" in p)):
            results[name] = part("first", LIMIT, folder) if name in ("cold", "cached") else part(name, LIMIT)
            print(name, results[name], flush=True)
            write_text(Path(__file__).parent / "results" / "simulate.md", report(results))


if __name__ == "__main__":
    main()
