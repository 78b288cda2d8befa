"""Full Bayes beside Stan: three posteriors of posteriordb, our quantiles and those of its 10,000 reference draws.

Run: ``ICANS_DATA=... python benchmarks/posteriordb.py [draws of a chain]``; the table goes to
``benchmarks/results/posteriordb.md``. Difference in SDs of the reference (for K_m, whose tail is that of a Cauchy, in
thirds of its 5-95 % range).
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from icans.core.files import write_text
from icans.population.fit.nuts import summarise

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from posteriordb_cases import NAMES, expected, fit_eight_schools, fit_michaelis_menten, sample_mixture

RENAMED = {"conc a": "sigma", "theta": "mu", "omega theta": "tau"}


def summaries(folder: Path, draws: int) -> dict[str, tuple[pd.DataFrame, float]]:
    """Our summary of each posterior, and the CPU seconds it took."""
    out = {}
    for name in NAMES:
        begin = time.process_time()
        if name == "mixture":
            table = summarise(sample_mixture(folder, 7, chains=4, draws=draws, tune=400)).set_index("name")
        elif name == "eight_schools":
            got = fit_eight_schools(folder, 5, chains=4, draws=draws, tune=300, accept=0.9)
            table = got.summary.set_index("name").rename(RENAMED)
        else:
            table = fit_michaelis_menten(folder, 4, chains=4, draws=draws, tune=300, accept=0.95).summary.set_index(
                "name"
            )
            table = table.rename({"conc a": "sigma"})
        out[name] = (table, time.process_time() - begin)
        print(name, out[name], flush=True)
    return out


def main(draws: int) -> None:
    """Run all and write the table."""
    folder = Path(os.environ["ICANS_DATA"]) / "posteriordb_refs"
    lines = [
        "# Full Bayes beside Stan", "", f"No-U-Turn sampling, {draws} draws a chain after tuning, measured "
        f"{datetime.now(UTC):%Y-%m-%d}. Reference: posteriordb 28f8d3d (stan-dev, BSD-3-Clause), 10,000 draws. "
        "Command: `python benchmarks/posteriordb.py`.", "",
        "| posterior | parameter | level | ours | Stan | difference, SD | tolerance | R-hat | effective draws |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    seconds = []
    for name, (table, cpu) in summaries(folder, draws).items():
        seconds.append(f"{name} {cpu:.0f} s")
        for parameter, row in expected(folder, NAMES[name]).iterrows():
            if parameter not in table.index:
                continue
            mine = table.loc[parameter]
            spread = (row["q95"] - row["q05"]) / 3.0 if parameter == "K_m" else row["sd"]
            for level in ("q05", "q50", "q95"):
                off = (mine[level] - row[level]) / spread
                most = 0.3 if (parameter, level) == ("K_m", "q95") else 0.15
                lines.append(
                    f"| {name} | {parameter} | {level[1:]} % | {mine[level]:.4g} | {row[level]:.4g} | {off:+.3f} | "
                    f"{most:g}{'' if abs(off) < most else ', missed'} | {mine['r_hat']:.3f} | {mine['ess_bulk']:.0f} |"
                )
    lines += ["", f"CPU time, all chains: {', '.join(seconds)}.", ""]
    write_text(Path(__file__).parent / "results" / "posteriordb.md", "\n".join(lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500)
