"""The closed loop: speed, latency of observations, incidences without care, and what policies are worth.

    python benchmarks/loop.py [speed] [latency] [incidences] [policies] [robust] [--patients 120]

Everything is synthetic. Speed is told in CPU seconds of one core, which a loaded machine does not change, and in wall
time. Results: ``benchmarks/results/loop.json`` and ``loop.md`` (parts that are not run again are kept).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import icans.intervene.loop  # noqa: F401  (registers the environment)
from icans.intervene.loop.compare import NAMES, Comparison, Teachers, compare, run_policy
from icans.intervene.loop.menu import Actions
from icans.intervene.loop.policies import Guideline, Never
from icans.intervene.loop.ward import Settings, Ward
from icans.intervene.world import ANALYTES, read_assays
from icans.population import arms, artefact
from icans.population.levers import _view
from icans.population.quantities import evaluate

HERE = Path(__file__).parent / "results"
ENVIRONMENT = "icans/ClosedLoop-v0"
#: Products of which incidences are compared.
ARMS = (("axi-cel", "LBCL"), ("tisa-cel", "LBCL"), ("liso-cel", "LBCL"), ("ide-cel", "MM"))
#: Columns of the table of policies.
TOLD = ("policy", "on_front", "loss", "loss_low", "loss_high", "difference", "difference_low", "difference_high",
        "icans_ge1_percent", "icans_ge3_percent", "crs_ge3_percent", "days_icans_ge2", "response_probability",
        "steroid_mg_dex_equivalent", "infection_days", "icu_days", "death_probability", "missed", "false_alarm",
        "cpu_s", "failed")  # fmt: skip


def speed() -> dict[str, Any]:
    """Steps per second of the vector form with 1,000 patients: no action, guideline, and random actions."""
    made: dict[str, Any] = {}
    for name in ("no action", "random actions"):
        env: Any = gymnasium.make_vec(ENVIRONMENT, num_envs=1000, vectorization_mode="vector_entry_point")
        env.reset(seed=1)
        env.action_space.seed(1)
        steps = 112 if name == "no action" else 56
        asked = [env.action_space.sample() for _ in range(8)]
        if name == "no action":
            asked = [{k: np.zeros_like(v) for k, v in asked[0].items()}]
        cpu, wall = time.process_time(), time.perf_counter()
        for k in range(steps):
            env.step(asked[k % len(asked)])
        made[name] = _rate(1000 * steps, time.process_time() - cpu, time.perf_counter() - wall)
    for threads in (1, 2):
        ward = Ward(Settings(pool=1000, threads=threads))
        for policy in (Never(), Guideline()):
            wall = time.perf_counter()
            found = run_policy(ward, policy)
            key = f"{policy.name}, loop alone, 1,000 patients x 28 days, {threads} thread{'s'[: threads - 1]}"
            made[key] = _rate(112_000, found.cpu_s, time.perf_counter() - wall)
    return made


def _rate(steps: int, cpu: float, wall: float) -> dict[str, float]:
    return {"steps": steps, "cpu_s": round(cpu, 2), "steps_per_cpu_s": round(steps / cpu),
            "wall_s": round(wall, 2), "steps_per_wall_s": round(steps / wall)}  # fmt: skip


def tolerance() -> dict[str, float]:
    """How far losses of 400 patients under the guideline are from those at a tolerance of 1e-6."""
    found = {rtol: run_policy(Ward(Settings(pool=400, rtol=rtol)), Guideline()) for rtol in (1e-6, 1e-4, 1e-3)}
    return {f"{rtol:g}": float(np.abs(r.loss - found[1e-6].loss).max()) for rtol, r in found.items() if rtol > 1e-6}


def latency(patients: int = 250, steps: int = 448) -> dict[str, Any]:
    """Observations of random orders at steps of 1 h and 6 h: any from a sample drawn after t minus its turnaround?"""
    least = read_assays().turnaround_h[:, 0]
    count, results, wrong = 0, 0, 0
    for step_h in (1.0, 6.0):
        ward = Ward(Settings(pool=patients, step_h=step_h))
        random = np.random.default_rng(7)
        chart = ward.begin(np.arange(patients))
        for _ in range(steps if step_h == 1.0 else 112):
            orders = random.random((patients, len(ANALYTES))) < 0.3
            no = np.zeros(patients, dtype=bool)
            ward.step(Actions(np.zeros((patients, len(ward.menu.items)), np.int64), orders, no, no, no))
            chart = ward.chart()
            known = np.isfinite(chart.seen.value)
            results += int(known.sum())
            wrong += int((known & ~(chart.seen.age_h >= least - 1e-6)).sum())
            count += patients
    return {"patient_steps": count, "results_seen": results, "violations": wrong}


def incidences(patients: int = 500) -> list[dict[str, Any]]:
    """Never treated in the loop against the calibrated population without care, and with the care of today."""
    known = artefact.read()
    made = []
    for product, disease in ARMS:
        found = run_policy(Ward(Settings(product=product, disease=disease, pool=patients)), Never()).outcomes
        cared = run_policy(Ward(Settings(product=product, disease=disease, pool=patients)), Guideline()).outcomes
        row: dict[str, Any] = {"product": product, "disease": disease}
        for care in ("none", "modern"):
            arm = arms.run(arms.Key(product, disease, care), patients, 1, known.factors, known.readings, threads=1)
            view = _view(arm, known, 1)
            for what in ("nt>=1", "nt>=3", "crs>=1", "crs>=3"):
                row[f"{care} {what}"] = evaluate(view, f"inc {what}", "astct")
        for name, table in (("never", found), ("guideline", cared)):
            for what, column in (("nt", "max_icans_grade"), ("crs", "max_crs_grade")):
                for g in (1, 3):
                    row[f"{name} {what}>={g}"] = 100.0 * float((table[column] >= g).mean())
        made.append(row)
    return made


def policies(patients: int) -> dict[str, Any]:
    """All policies on the same patients."""
    names = [n for n in NAMES if n != "threshold"]
    names[4:4] = ["threshold:0.05", "threshold:0.15", "threshold:0.3"]
    return _told(compare(Settings(), names, patients=patients, told=lambda n: print(n, flush=True)))


def robust(patients: int, names: Sequence[str]) -> dict[str, Any]:
    """The same where the world is another one, the laboratory fails, or treatment may begin only on day 4."""
    base = Settings()
    failing = read_assays(dropped=0.2, wrong_patient=0.05, late_h=24.0)
    cases = {"model mismatch 0.3": replace(base, mismatch=0.3), "failing laboratory": replace(base, assays=failing),
             "treatment from day 4": replace(base, start_h=96.0)}  # fmt: skip
    teachers = Teachers(base)  # made with the calibrated world and a laboratory that works
    made = {}
    for name, settings in cases.items():
        print(name, flush=True)
        made[name] = _told(compare(settings, names, patients=patients, teachers=teachers))
    return made


def _told(found: Comparison) -> dict[str, Any]:
    table = found.table()[list(TOLD)]
    return {"patients": len(found.results[0].loss), "table": json.loads(table.to_json(orient="records")),
            "differences": json.loads(found.differences().to_json(orient="index"))}  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """Results for people."""
    lines = ["# Closed loop", "", "Synthetic patients. `python benchmarks/loop.py` makes it.", ""]
    if "speed" in found:
        lines += ["## Speed", "", "| what | steps | CPU s | steps per CPU s | wall s | steps per wall s |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        lines += [f"| {k} | {v['steps']:,} | {v['cpu_s']} | {v['steps_per_cpu_s']:,} | {v['wall_s']} | "
                  f"{v['steps_per_wall_s']:,} |" for k, v in found["speed"].items()]  # fmt: skip
        lines += ["", "CPU seconds are of one core. Largest error of an episode's loss by tolerance, against 1e-6: "
                  + ", ".join(f"{k}: {v:.2g}" for k, v in found["tolerance"].items()) + ".", ""]  # fmt: skip
    if "latency" in found:
        v = found["latency"]
        lines += ["## Latency", "", f"{v['patient_steps']:,} patient-steps, {v['results_seen']:,} results seen, "
                  f"{v['violations']} drawn later than their turnaround allows.", ""]  # fmt: skip
    if "incidences" in found:
        keys = [k for k in found["incidences"][0] if k not in ("product", "disease")]
        lines += ["## Incidences, percent", "", "`none` and `modern`: the calibrated population without care and with "
                  "today's (its own triggers); `never` and `guideline`: policies in the loop.", "",
                  "| product | " + " | ".join(k.replace(">=", " ≥ ") for k in keys) + " |",
                  "|---" * (len(keys) + 1) + "|"]  # fmt: skip
        lines += [f"| {r['product']}, {r['disease']} | " + " | ".join(f"{r[k]:.1f}" for k in keys) + " |"
                  for r in found["incidences"]]  # fmt: skip
        lines.append("")
    for title, entry in [("Policies, axi-cel in LBCL", found.get("policies")),
                         *((k, v) for k, v in found.get("robust", {}).items())]:  # fmt: skip
        if entry:
            lines += _policies(title, entry)
    return "\n".join(lines) + "\n"


def _policies(title: str, entry: dict[str, Any]) -> list[str]:
    lines = [f"## {title[0].upper()}{title[1:]}", "", f"{entry['patients']} patients, the same under every policy. "
             "Loss by the default weights; in brackets 95 % of the mean; against the guideline: paired. On front: days "
             "with ICANS of grade 2 or more against response.", "",
             "| policy | loss | against guideline | ICANS ≥ 1, ≥ 3, % | days ≥ 2 | response, % | steroid, mg | "
             "infection days | death, % | on front | CPU s |", "|---" * 11 + "|"]  # fmt: skip
    for r in entry["table"]:
        gap = f"{r['difference']:.2f} [{r['difference_low']:.2f}, {r['difference_high']:.2f}]"
        lines.append(
            f"| {r['policy']} | {r['loss']:.2f} [{r['loss_low']:.2f}, {r['loss_high']:.2f}] | {gap} | "
            f"{r['icans_ge1_percent']:.0f}, {r['icans_ge3_percent']:.0f} | {r['days_icans_ge2']:.2f} | "
            f"{100 * r['response_probability']:.1f} | {r['steroid_mg_dex_equivalent']:.0f} | "
            f"{r['infection_days']:.2f} | "
            f"{100 * r['death_probability']:.2f} | {'yes' if r['on_front'] else 'no'} | {r['cpu_s']:.0f} |"
        )  # fmt: skip
    return [*lines, ""]


def main() -> None:
    """Run parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--names", nargs="+", default=("never", "guideline", "anakinra", "threshold:0.15"),
                        help="policies of the part robust")  # fmt: skip
    options = parser.parse_args()
    file = HERE / "loop.json"
    wanted = options.parts or ["speed", "latency", "incidences", "policies", "robust"]
    runs = {
        "speed": speed,
        "latency": latency,
        "incidences": incidences,
        "policies": lambda: policies(options.patients),
        "robust": lambda: robust(options.patients, options.names),
    }
    for part in wanted:
        made = {part: runs[part]()}
        if part == "speed":
            made["tolerance"] = tolerance()
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"synthetic": True}
        found |= made
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (HERE / "loop.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
