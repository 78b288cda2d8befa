"""``icans loop``: policies in the closed loop on the same virtual patients; a table, figures and one page out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.files import atomic_folder
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.intervene.loop import menu
from icans.intervene.loop.compare import Comparison, parse
from icans.intervene.loop.compare import compare as run_comparison
from icans.intervene.loop.ward import Settings
from icans.report.loop import LoopPage, write_loop
from icans.report.model import RunInfo
from icans.study.folder import check_target, write_mark, write_tables

PAGE = "loop.html"
#: Policies that are run where none are named: the cheap ones.
USUAL = ("never", "guideline", "anakinra", "steroid", "threshold")


@dataclass(frozen=True)
class LoopReport:
    """What the policies achieved. ``folder`` is None where nothing was written."""

    comparison: Comparison
    table: pd.DataFrame
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        settings = self.comparison.settings
        return {"ok": True, "synthetic": True, "product": settings.product, "disease": settings.disease,
                "seed": settings.seed, "baseline": self.comparison.baseline,
                "policies": self.table.astype(object).where(self.table.notna(), None).to_dict("records"),
                "folder": None if self.folder is None else str(self.folder)}  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        settings, t = self.comparison.settings, self.table
        n = int(t["patients"].iloc[0])
        lines = [f"{settings.product} in {settings.disease}: {n} virtual (synthetic) patients, "
                 f"{settings.horizon_d:g} days in steps of {settings.step_h:g} h"]  # fmt: skip
        width = max(map(len, t["policy"]))
        for row in t.to_dict("records"):
            interval = f"({row['loss_low']:.2f} to {row['loss_high']:.2f})"
            lines.append(
                f"  {row['policy']:{width}}  loss {row['loss']:7.2f} {interval:18}  "
                f"ICANS >= 3 {row['icans_ge3_percent']:5.1f} %  response {100 * row['response_probability']:5.1f} %  "
                f"steroid {row['steroid_mg_dex_equivalent']:5.0f} mg{'  on the front' if row['on_front'] else ''}"
            )
        lines.append("  Research use only; a statement about a model, no advice on treatment.")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def bench_loop(
    settings: Settings, policies: Sequence[str] = USUAL, *, patients: int = 200, output: Path | None = None,
    overwrite: bool = False, command: str = "",
) -> LoopReport:  # fmt: skip
    """Run policies and, with ``output``, write its results folder.

    Raises
    ------
    ModelError
        Policies, drugs or weights that there are not, settings that make no sense: told before anything is computed.
    FileExistsError
        The folder exists and may not be replaced.
    """
    settings.check()
    menu.weights(settings.weights)
    for name in policies:
        parse(name)
    if output is not None:
        check_target(output, overwrite)
    started = now()
    with stage("policies in the loop"):
        found = run_comparison(settings, policies, patients=patients)
    table = found.table()
    done = LoopReport(found, table, output)
    if output is not None:
        with stage("writing the results"):
            _write(done, output, overwrite, started, command)
    return done


def _write(done: LoopReport, output: Path, overwrite: bool, started: str, command: str) -> None:
    settings = done.comparison.settings
    info = RunInfo(command=command, seed=settings.seed, started=started, finished=now(), versions=versions())
    page = LoopPage("Policies in the closed loop", settings.product, settings.disease, done.comparison.baseline,
                    done.table, menu.weights(settings.weights), info)  # fmt: skip
    outcomes = pd.concat([r.outcomes.assign(policy=r.name, loss=r.loss) for r in done.comparison.results])
    with atomic_folder(output, overwrite=overwrite) as temporary:
        changes = done.comparison.differences().reset_index(names="policy")
        write_tables(temporary, {"policies": done.table, "outcomes": outcomes, "differences": changes}, True)
        write_loop(page, temporary / PAGE)
        write_mark(temporary, done.as_dict(), info, True)
