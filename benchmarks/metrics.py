"""Bootstrap intervals of time-dependent metrics: vectorised resampling here, scikit-survival in a loop.

Same data, same resamples, same process; accuracy is the largest difference of a value between the two.
Run: ``python benchmarks/metrics.py``; the table goes to ``benchmarks/results/metrics.md``.
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sksurv.metrics import brier_score, cumulative_dynamic_auc
from sksurv.util import Surv

from icans.core.files import write_text
from icans.core.random import stream
from icans.evaluate.brier import ipcw_brier
from icans.evaluate.discrimination import cumulative_dynamic_auc as own_auc

RESAMPLES, HORIZON_H = 200, 168.0
SIZES = (120, 480, 1920)


def data(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulated times (hours), event codes and risks of n patients."""
    rng = stream(1, "benchmark", n)
    score = rng.normal(size=n)
    event_time = rng.exponential(150.0 * np.exp(-score))
    censored = rng.uniform(60.0, 600.0, n)
    time_h = np.minimum(event_time, censored) + 1e-3
    return time_h, (event_time <= censored).astype(int), 1 / (1 + np.exp(-score))


def peer(time_h: np.ndarray, event: np.ndarray, risk: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AUC and Brier score of every resample by scikit-survival, shape (B, 2)."""
    found = []
    for count in counts:
        rows = np.repeat(np.arange(len(risk)), count)
        outcome = Surv.from_arrays(event[rows].astype(bool), time_h[rows])
        auc = cumulative_dynamic_auc(outcome, outcome, risk[rows], [HORIZON_H])[0][0]
        found.append((auc, brier_score(outcome, outcome, 1 - risk[rows, None], [HORIZON_H])[1][0]))
    return np.array(found)


def ours(time_h: np.ndarray, event: np.ndarray, risk: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The same by this package, all resamples at once."""
    weights = counts.astype(float)
    auc = own_auc(time_h, event, risk, HORIZON_H, weights)
    return np.column_stack([auc, ipcw_brier(time_h, event, risk, HORIZON_H, weights)])


def main() -> None:
    """Time both at each size and write the table."""
    lines = [
        "# Bootstrap of AUC(t) and Brier score",
        "",
        f"{RESAMPLES} resamples of patients, horizon {HORIZON_H:g} h, synthetic survival times. "
        "Command: `python benchmarks/metrics.py`.",
        f"Machine: {platform.machine()}, Python {platform.python_version()}, {datetime.now(UTC).date()}.",
        "",
        "| patients | icans, s | scikit-survival, s | ratio | largest difference |",
        "|---:|---:|---:|---:|---:|",
    ]
    for n in SIZES:
        time_h, event, risk = data(n)
        counts = stream(1, "resamples", n).multinomial(n, np.full(n, 1 / n), RESAMPLES)
        seconds, values = [], []
        for method in (ours, peer):
            start = time.perf_counter()
            values.append(method(time_h, event, risk, counts))
            seconds.append(time.perf_counter() - start)
        gap = np.abs(values[0] - values[1]).max()
        lines.append(f"| {n} | {seconds[0]:.3f} | {seconds[1]:.3f} | {seconds[1] / seconds[0]:.1f} | {gap:.1e} |")
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(Path(__file__).parent / "results" / "metrics.md", text)


if __name__ == "__main__":
    main()
