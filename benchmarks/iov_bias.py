"""Is the variance between occasions unbiased? SAEM on replicates of synthetic oral data with two occasions.

40 subjects, two occasions of seven samples, ln CL varying between subjects (SD 0.3) and occasions (SD 0.2), combined
error (tests/nlme_cases.py, ``synthetic_oral``). The bias of every estimate is given with its Monte Carlo standard
error; that of the variances between subjects includes what maximum likelihood loses with 40 subjects (1/40).

Run: ``python benchmarks/iov_bias.py``; tables go to ``benchmarks/results/iov_bias.{csv,md}``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from icans.core.files import write_text  # noqa: E402
from icans.population.fit.result import natural  # noqa: E402
from icans.population.fit.saem import SaemSettings, fit_saem  # noqa: E402
from icans.population.nlme.population import start  # noqa: E402
from nlme_cases import synthetic_oral  # noqa: E402

SUBJECTS, IOV = 40, 0.2
SETTINGS = SaemSettings(importance=0, standard_errors="none", final=1)
HEAD = """# Variance between occasions: bias of SAEM in simulation (synthetic data)

{replicates} replicates of {subjects} subjects with two occasions. Variances where the name says omega or gamma. `z` is
the bias in its Monte Carlo standard errors. Made by `benchmarks/iov_bias.py`.

| quantity | truth | mean of estimates | bias % | its SE % | z |
|---|---|---|---|---|---|
"""


def estimates(model, population) -> dict[str, float]:
    """Typical values as logarithms, variances, error parameters."""
    out = {}
    for n in natural(model, population):
        name = f"{n.name}, variance" if n.kind == "sd" else n.name
        out[name] = n.value**2 if n.kind == "sd" else n.value
    return out


def main() -> None:
    """Simulate, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=40)
    chosen = parser.parse_args()
    got = []
    for replicate in range(chosen.replicates):
        model, records = synthetic_oral(SUBJECTS, 1000 + replicate, iov=IOV)
        fit = fit_saem(model, records, seed=replicate, settings=SETTINGS)
        got.append(estimates(model, fit.population))
        print(replicate, {k: round(v, 4) for k, v in got[-1].items()}, file=sys.stderr, flush=True)
    table = pd.DataFrame(got)
    truth = pd.Series(estimates(model, start(model)))
    bias = 100.0 * (table.mean() / truth - 1.0)
    error = 100.0 * table.std() / truth / np.sqrt(len(table))
    z, mean = bias / error, table.mean()
    lines = [
        f"| {n} | {truth[n]:.4g} | {mean[n]:.4g} | {bias[n]:+.1f} | {error[n]:.1f} | {z[n]:+.1f} |"
        for n in table.columns
    ]
    write_text(HERE / "results" / "iov_bias.csv", table.to_csv(index=False))
    head = HEAD.format(replicates=len(table), subjects=SUBJECTS)
    write_text(HERE / "results" / "iov_bias.md", head + "\n".join(lines) + "\n")
    print(head + "\n".join(lines))


if __name__ == "__main__":
    main()
