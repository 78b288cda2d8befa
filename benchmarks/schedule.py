"""What a sampling schedule tells about ICANS: the consensus schedule against alternatives, in virtual patients.

The source review asks for common times (baseline, right after infusion, 24 h, 72 h, day 7, day 14). Virtual (synthetic)
axi-cel patients under modern care are measured on these and other schedules; what the measurements tell about ICANS of
grade 2 or more, and 3 or more, within 30 days is the gain of an out-of-fold log score over the outcome's frequency
(:mod:`icans.population.design.value`), a lower bound of the mutual information. Assay error: SD of ln 0.20, the
precision that ICH M10 (2022, section 4.2.2.3) allows ligand-binding assays; 0.10 and 0.40 beside it. The answer is
about the model, not about patients: it says which samples can teach if the model is right.

Run: ``python benchmarks/schedule.py``; tables go to ``benchmarks/results/schedule.{md,csv}``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.core.provenance import now
from icans.population import artefact
from icans.population.arms import Key, run
from icans.population.design.value import Assay, Measured, compare, forward_schedule, measure
from icans.population.observe import Graded, grade
from icans.population.readings import reading_errors

FOLDER = Path(__file__).parent / "results"
ANALYTES = ("IL6", "IFNG", "IL10", "MCP1", "CRP", "FERRITIN", "LDH", "ANG2", "VWF", "NFL", "car_blood")
#: Lower limits of quantification, pg/mL: floors seen in PrCRS (202 patients), see the sources of the parameters.
LIMITS = {"IL6": 2.0, "IFNG": 5.0, "IL10": 4.0}
CONSENSUS = (0.0, 1.0, 24.0, 72.0, 168.0, 336.0)
DAILY = tuple(24.0 * d for d in range(15))
SD, SDS = 0.20, (0.10, 0.20, 0.40)
SEED, PATIENTS = 20261125, 2000
HEAD = "| schedule | draws | measurements | nats | share | AUROC | difference |"


def patients(n: int) -> tuple[dict[str, np.ndarray], np.ndarray, Graded]:
    """Courses of the analytes, hours, and graded ICANS of n virtual patients."""
    known = artefact.read()
    hours = np.unique(np.concatenate([DAILY, CONSENSUS, np.arange(0.0, 30 * 24.0 + 1, 6.0)]))
    names = (*ANALYTES, "encephalopathy", "crs_severity")
    arm = run(Key("axi-cel", "LBCL", "modern"), n, SEED, known.factors, known.readings, outputs=names, times_h=hours)
    noise, stray, _ = reading_errors(n, SEED)
    icans = grade(hours / 24.0, arm.series["encephalopathy"][arm.ok].astype(float), known.readings.nt["astct"],
                  noise["nt"][arm.ok], {k: v[arm.ok] for k, v in stray.items()})  # fmt: skip
    return {a: arm.series[a][arm.ok].astype(float) for a in ANALYTES}, hours, icans


def schedules(m: Measured) -> dict[str, np.ndarray]:
    """Names and columns of what is compared."""
    out = {
        "nothing": m.pick(times_h=()), "baseline": m.pick(times_h=(0.0,)),
        "baseline + 24 h": m.pick(times_h=(0.0, 24.0)),
        "baseline + 24 h + 72 h": m.pick(times_h=(0.0, 24.0, 72.0)), "consensus": m.pick(times_h=CONSENSUS),
    }  # fmt: skip
    day5, crp = m.pick(times_h=(120.0,)), m.pick(("CRP",), DAILY)
    out["consensus + day 5"] = np.union1d(out["consensus"], day5)
    out["consensus + daily CRP"] = np.union1d(out["consensus"], crp)
    out["consensus + day 5 + daily CRP"] = np.union1d(out["consensus + day 5"], crp)
    out["day 5 for day 14"] = np.union1d(m.pick(times_h=CONSENSUS[:-1]), day5)
    out["day 5 for day 14 and right after"] = np.union1d(m.pick(times_h=(0.0, 24.0, 72.0, 168.0)), day5)
    out["daily CRP alone"] = crp
    out["daily to day 7"] = m.pick(times_h=DAILY[:8])
    out["daily to day 14"] = m.pick(times_h=DAILY)
    for t in CONSENSUS:
        out[f"consensus without {_word(t)}"] = m.pick(times_h=[u for u in CONSENSUS if u != t])
    for a in ANALYTES:
        out[f"consensus without {a}"] = m.pick([b for b in ANALYTES if b != a], CONSENSUS)
    return out


def early(m: Measured, day: float) -> dict[str, np.ndarray]:
    """What is known by a landmark day, on the consensus times and daily."""
    until = 24.0 * day
    return {
        "nothing": m.pick(times_h=()), "consensus": m.pick(times_h=[t for t in CONSENSUS if t <= until]),
        "consensus + daily CRP": np.union1d(m.pick(times_h=[t for t in CONSENSUS if t <= until]),
                                            m.pick(("CRP",), [t for t in DAILY if t <= until])),
        "consensus + day 5": m.pick(times_h=[t for t in (*CONSENSUS, 120.0) if t <= until]),
        "daily": m.pick(times_h=[t for t in DAILY if t <= until]),
    }  # fmt: skip


def _word(t: float) -> str:
    names = {0.0: "baseline", 1.0: "right after"}
    return names.get(t, f"{t:g} h" if t < 100 else f"day {t / 24:g}")


def study(n: int) -> pd.DataFrame:
    """All comparisons in one table: ``question, assay_sd`` and the columns of :func:`compare`."""
    courses, hours, icans = patients(n)
    when = sorted({*DAILY, *CONSENSUS})
    parts = []
    for sd in SDS:
        m = measure(courses, hours, {a: Assay(sd, LIMITS.get(a, 0.0)) for a in ANALYTES}, when, SEED)
        for bad in (2, 3):
            wanted = schedules(m) if sd == SD else {k: v for k, v in schedules(m).items() if "without" not in k}
            table = compare(m, wanted, icans.grade >= bad, SEED, reference="consensus")
            parts.append(
                table.assign(question=f"ICANS grade >= {bad} by day 30", assay_sd=sd, patients=len(icans.grade))
            )
        if sd != SD:
            continue
        for day in (1.0, 3.0, 5.0, 7.0):
            free = ~(icans.onset <= day)
            part = Measured(m.values[free], m.columns)
            soon = (icans.onset[free] <= day + 7.0) & np.isfinite(icans.onset[free])
            table = compare(part, early(part, day), soon, SEED, reference="consensus")
            question = f"onset within 7 days, of those free of ICANS on day {day:g}"
            parts.append(table.assign(question=question, assay_sd=sd, patients=int(free.sum())))
        times = np.array(sorted(set(m.columns["time_h"])))
        by_time = np.searchsorted(times, m.columns["time_h"])
        steps = forward_schedule(m, by_time, icans.grade >= 2, 6, SEED)
        parts.append(
            _steps(steps, [_word(times[g]) for g in steps["group"]], "best draws for grade >= 2", len(icans.grade))
        )
        by_analyte = m.columns["analyte"].map({a: i for i, a in enumerate(ANALYTES)}).to_numpy()
        keep = m.pick(times_h=CONSENSUS)
        some = Measured(m.values[:, keep], m.columns.iloc[keep].reset_index(drop=True))
        steps = forward_schedule(some, by_analyte[keep], icans.grade >= 2, 6, SEED)
        named = [ANALYTES[g] for g in steps["group"]]
        parts.append(_steps(steps, named, "best analytes at the consensus times for grade >= 2", len(icans.grade)))
    return pd.concat(parts, ignore_index=True)


def _steps(steps: pd.DataFrame, names: list[str], question: str, n: int) -> pd.DataFrame:
    return steps.assign(schedule=[f"{s}. + {name}" for s, name in zip(steps["step"], names, strict=True)],
                        question=question, assay_sd=SD, patients=n).drop(columns=["step", "group"])  # fmt: skip


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    n = parser.parse_args().patients
    table = study(n)
    lines = ["# What a schedule tells about ICANS (synthetic patients)", "", (__doc__ or "").split("\n\n")[1], "",
             f"{n} virtual patients drawn, seed {SEED}, {now()[:10]}. Information in nats (standard error);"
             " share: part of the outcome's entropy; difference: from the consensus schedule, paired.", ""]  # fmt: skip
    for (question, sd), part in table.groupby(["question", "assay_sd"], sort=False):
        lines += [f"## {question}, assay SD {sd:g} (n = {part['patients'].iloc[0]})", "", HEAD, "|---" * 7 + "|"]
        for r in part.itertuples():
            gap = f"{r.difference:+.4f} ({r.difference_se:.4f})" if np.isfinite(r.difference) else ""
            share = f"{100 * r.share:.0f} %" if np.isfinite(r.share) else ""
            size = [f"{v:.0f}" if np.isfinite(v) else "" for v in (r.samples, r.measurements)]
            cells = (r.schedule, *size, f"{r.nats:.4f} ({r.nats_se:.4f})", share, f"{r.auroc:.3f}", gap)
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    write_text(FOLDER / "schedule.md", "\n".join(lines))
    write_text(FOLDER / "schedule.csv", table.round(5).to_csv(index=False))


if __name__ == "__main__":
    main()
