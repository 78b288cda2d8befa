"""The table of targets: simulated against published, row by row; ``python -m icans.population.clinic`` writes it."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from icans.core.random import stream
from icans.population import artefact, levers
from icans.population.calibrate import SEED, Bench, rows_by_study
from icans.population.quantities import View, evaluate
from icans.population.targets import Target, read_targets

#: Patients of a study of unknown size, and replicates of the interval.
USUAL_N, REPLICATES = 100, 100
#: Rounding at the edge of bounds.
EDGE = 1e-6


@dataclass(frozen=True)
class Row:
    """A target, the simulated value, the interval in which a study of that size would fall, and inside or not."""

    target: Target
    value: float
    low: float
    high: float
    inside: bool


def interval(view: View, target: Target, seed: int) -> tuple[float, float]:
    """95 % of results of studies of the published size, patients drawn by weight."""
    size = target.n or USUAL_N
    random = stream(seed, "clinic", target.id)
    p = view.weights / view.weights.sum()
    made = [
        evaluate(replace(view, weights=random.multinomial(size, p).astype(float)), target.quantity, target.scheme)
        for _ in range(REPLICATES)
    ]
    finite = np.array([m for m in made if np.isfinite(m)])
    return (float(np.quantile(finite, 0.025)), float(np.quantile(finite, 0.975))) if len(finite) else (np.nan, np.nan)


def judge(
    bench: Bench, calibration: artefact.Calibration, use: str | None = None, *, intervals: bool = True
) -> list[Row]:
    """Every expressible row."""
    made = []
    now = calibration.readings
    for name, targets in rows_by_study(read_targets(use)).items():
        seen = bench.view(name, calibration.factors, now, calibration.tilts)
        for target in targets:
            value = evaluate(seen, target.quantity, target.scheme)
            low, high = interval(seen, target, bench.seed) if intervals else (np.nan, np.nan)
            made.append(Row(target, value, low, high, bool(target.lower - EDGE <= value <= target.upper + EDGE)))
    return made


def counts(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Use -> rows inside, rows."""
    return {
        use: (sum(r.inside for r in rows if r.target.use == use), sum(r.target.use == use for r in rows))
        for use in ("calibrate", "validate")
    }


@cache
def reasons() -> dict[str, str]:
    """Why rows are missed, by id (``misses.toml``)."""
    text = (resources.files(__package__) / "misses.toml").read_text(encoding="utf-8")
    return {k: str(v) for k, v in tomllib.loads(text).get("row", {}).items()}


def _number(value: float, unit: str) -> str:
    if not np.isfinite(value):
        return "none"
    return f"{value:.2f}" if unit in ("auc", "ratio") else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def markdown(rows: Sequence[Row], calibration: artefact.Calibration) -> str:
    """The page of the documentation."""
    found = counts(rows)
    every = read_targets(expressible=False)
    lines = [
        "# Virtual populations against published results",
        "",
        "Everything simulated is synthetic. `python -m icans.population.clinic` makes it from the stored population.",
        "",
        "Bounds are those published or computed with the row; where a row has none, a rule stated before the first "
        "comparison gives them: a Wilson interval where the number of patients is known, else 20 % or 10 points for "
        "shares; 20 % or one day for times; 0.10 for areas under curves; a factor of two for ratios of odds; 20 % or "
        "the interval of a median for levels. Medians with the range or quartiles of patients as bounds are weak "
        "tests, so the published value stands beside them. The simulated interval is where 95 % of studies of the "
        "published size would fall. Rows marked *validate* were used in no fit. They were looked at more than once "
        "while the model was built, and two decisions followed a look: what is of a product alone is kinetics, and "
        "what its cells do to a patient belongs to costimulation and target (before, one factor was tisa-cel's own); "
        "and the lag of cilta-cel was slowed towards its published peak.",
        "",
        "| rows | inside | of | share |",
        "|---|---|---|---|",
    ]
    for use, (inside, of) in found.items():
        lines.append(f"| {use} | {inside} | {of} | {100 * inside / max(of, 1):.0f} % |")
    strict = [r for r in rows if r.target.rule not in ("range", "iqr")]
    for use, (inside, of) in counts(strict).items():
        lines.append(f"| {use}, without rows bounded by ranges or quartiles of patients | {inside} | {of} | "
                     f"{100 * inside / max(of, 1):.0f} % |")  # fmt: skip
    lines += ["", "| row | study | quantity | scheme | published | bounds | rule | simulated | 95 % | inside | use |",
              "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [_line(row) for row in rows]
    lines += ["", "## Rows that are missed, and why", "", "| row | published | simulated | why |", "|---|---|---|---|"]
    lines += [_missed(row) for row in rows if not row.inside]
    lines += ["", "## Rows that the model cannot express", "", "| row | use | why |", "|---|---|---|"]
    lines += [f"| {t.id} | {t.use} | {t.reason} |" for t in every if not t.expressible]
    lines += ["", "## Weights of studies", "", "Effective share of the sample that a study's weights leave.", "",
              "| study | effective share |", "|---|---|"]  # fmt: skip
    lines += [f"| {name} | {share:.2f} |" for name, share in sorted(calibration.ess.items())]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    t = row.target
    bounds = f"{_number(t.lower, t.unit)} to {_number(t.upper, t.unit)}"
    inner = f"{_number(row.low, t.unit)} to {_number(row.high, t.unit)}"
    quantity = t.quantity.replace("|", "given")
    return (
        f"| {t.id} | {t.study} | {quantity} | {t.scheme} | {_number(t.value, t.unit)} {t.unit} | {bounds} | {t.rule} | "
        f"{_number(row.value, t.unit)} | {inner} | {'yes' if row.inside else 'no'} | {t.use} |"
    )


def _missed(row: Row) -> str:
    t = row.target
    why = reasons().get(t.id) or reasons().get(t.study) or "not understood"
    return f"| {t.id} | {_number(t.value, t.unit)} {t.unit} | {_number(row.value, t.unit)} | {why} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/targets.md"))
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)
    calibration = artefact.read()
    bench = Bench(options.patients, SEED, options.threads, rtol=1e-4)
    rows = judge(bench, calibration)
    moved = levers.effects_of_levers(bench, calibration)
    page = markdown(rows, calibration) + "\n## Levers\n\nThe same patients with and without a change.\n\n"
    options.output.write_text(page + levers.markdown(moved), encoding="utf-8")
    for use, (inside, of) in counts(rows).items():
        print(f"{use}: {inside} of {of} inside ({100 * inside / max(of, 1):.0f} %)")
    print(f"levers: {sum(e.right for e in moved)} of {len(moved)} right")


if __name__ == "__main__":
    main()
