"""Full Bayes beside Stan: three posteriors of posteriordb, our quantiles and those of its 10,000 reference draws.

Run: ``ICANS_DATA=... python benchmarks/posteriordb.py [draws of a chain]`` (Michaelis-Menten: four times as many); the
table goes to ``benchmarks/results/posteriordb.md``. Difference in SDs of the reference (for K_m, whose tail is that of
a Cauchy, in thirds of its 5-95 % range), and in Monte Carlo standard errors of the two runs together: ours from the
effective draws at the quantile, Stan's as of independent draws.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from icans.core.files import write_text
from icans.population.fit.nuts import summarise

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from posteriordb_cases import NAMES, expected, fit_eight_schools, fit_michaelis_menten, sample_mixture

#: Chains; how many times the draws of a chain Michaelis-Menten has; Stan's draws.
CHAINS, LONGER, STAN_DRAWS = 4, 4, 10_000
RENAMED = {"conc a": "sigma", "theta": "mu", "omega theta": "tau"}


def summaries(folder: Path, draws: int) -> dict[str, tuple[pd.DataFrame, float]]:
    """Our summary of each posterior with errors of its quantiles (``se05`` ... ``stan95``), and its CPU seconds."""
    out = {}
    for name in NAMES:
        begin = time.process_time()
        if name == "mixture":
            table = sample_mixture(folder, 7, chains=CHAINS, draws=draws, tune=400)
        elif name == "eight_schools":
            table = fit_eight_schools(
                folder, 5, chains=CHAINS, draws=draws, tune=300, accept=0.9, cores=1
            ).table.rename(columns=RENAMED)  # fmt: skip
        else:
            table = fit_michaelis_menten(
                folder, 4, chains=CHAINS, draws=LONGER * draws, tune=500, accept=0.95, cores=1
            ).table.rename(columns=RENAMED)  # fmt: skip
        out[name] = (with_errors(table), time.process_time() - begin)
        print(name, out[name], flush=True)
    return out


def with_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Summary with Monte Carlo standard errors of the quantiles: of our draws and of Stan's."""
    from arviz_stats.base.array import array_stats

    summary = summarise(table).set_index("name")
    for name in summary.index:
        x = table[name].to_numpy(float).reshape(CHAINS, -1)
        if np.ptp(x) == 0.0:
            continue
        for p in (0.05, 0.5, 0.95):
            own = array_stats.mcse(x, chain_axis=0, draw_axis=1, method="quantile", prob=p)
            low, high = np.quantile(x, [p - 0.02, p + 0.02])
            slope = (high - low) / 0.04  # of the quantile function: 1 / density
            summary.loc[name, f"se{p * 100:02.0f}"] = float(own)
            summary.loc[name, f"stan{p * 100:02.0f}"] = slope * np.sqrt(p * (1.0 - p) / STAN_DRAWS)
    return summary


def rows_of(name: str, table: pd.DataFrame, folder: Path) -> list[tuple[str, bool]]:
    """Lines of a posterior, and whether each is within its tolerance."""
    out = []
    for parameter, row in expected(folder, NAMES[name]).iterrows():
        if parameter not in table.index:
            continue
        mine = table.loc[parameter]
        spread = (row["q95"] - row["q05"]) / 3.0 if parameter == "K_m" else row["sd"]
        for level in ("05", "50", "95"):
            away = mine[f"q{level}"] - row[f"q{level}"]
            errors = mine[f"se{level}"], mine[f"stan{level}"]
            most = 0.3 if (parameter, level) == ("K_m", "95") else 0.15
            good = abs(away / spread) < most
            out.append((
                f"| {name} | {parameter} | {level} % | {mine[f'q{level}']:.4g} | {row[f'q{level}']:.4g} | "
                f"{away / spread:+.3f} | {most:g}{'' if good else ', missed'} | {errors[0] / spread:.3f}, "
                f"{errors[1] / spread:.3f} | {away / np.hypot(*errors):+.1f} | {mine['r_hat']:.3f} | "
                f"{mine['ess_bulk']:.0f}, {mine['ess_tail']:.0f} |", bool(good),
            ))  # fmt: skip
    return out


def main(draws: int) -> None:
    """Run all and write the table."""
    folder = Path(os.environ["ICANS_DATA"]) / "posteriordb_refs"
    lines = [
        "# Full Bayes beside Stan", "", f"No-U-Turn sampling, {CHAINS} chains of {draws} draws after tuning "
        f"(Michaelis-Menten {LONGER * draws}), measured {datetime.now(UTC):%Y-%m-%d}. Reference: posteriordb 28f8d3d "
        "(stan-dev, BSD-3-Clause), 10,000 draws. Command: `python benchmarks/posteriordb.py`. Differences in SDs of "
        "the reference; beside them Monte Carlo standard errors of both runs, and the difference over both together.",
        "",
        "| posterior | parameter | level | ours | Stan | difference, SD | tolerance | errors: ours, Stan's | "
        "difference over errors | R-hat | effective draws: bulk, tail |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    seconds, verdicts = [], []
    for name, (table, cpu) in summaries(folder, draws).items():
        seconds.append(f"{name} {cpu:.0f} s")
        for line, good in rows_of(name, table, folder):
            lines.append(line)
            verdicts.append(good)
    lines += [
        "",
        f"CPU time, all chains: {', '.join(seconds)}. Missed: {verdicts.count(False)} of {len(verdicts)}.",
        "",
    ]
    write_text(Path(__file__).parent / "results" / "posteriordb.md", "\n".join(lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
