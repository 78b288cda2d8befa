"""``icans trial``: a design file in; operating characteristics and a page for the protocol out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from icans.core.errors import ConfigError, Problem
from icans.core.execute import Executor, opened
from icans.core.files import atomic_folder, sha256, slug, write_text
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.intervene.trial.assess import Assurance, assurance, historical_drift, power_curve
from icans.intervene.trial.bank import Bank, make_bank
from icans.intervene.trial.design import TrialDesign, line_at, read_design
from icans.intervene.trial.operate import Operating, operate
from icans.intervene.trial.stress import stress
from icans.report.model import RunInfo
from icans.report.trial import TrialPage, sentences, write_trial
from icans.study.folder import check_target, write_mark, write_tables

PAGE = "trial.html"
#: Trials of each point of the curve and of each strain, at most.
SIDE = 2000


@dataclass(frozen=True)
class TrialResult:
    """What a design was found to do. ``folder`` holds page and tables."""

    design: TrialDesign
    found: tuple[Operating, ...]
    belief: Assurance | None
    folder: Path
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": True, "synthetic": True, "name": self.design.trial.name, "kind": self.design.design.kind,
            "scenarios": [one.summary() for one in self.found],
            "assurance": None if self.belief is None else self.belief.value,
            "folder": str(self.folder), "page": str(self.folder / PAGE),
            "seconds": {k: round(v, 2) for k, v in self.seconds.items()},
        }  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        lines = [f"{self.design.trial.name}: {self.design.design.kind.replace('_', ' ')}, simulated (synthetic)"]
        lines += [f"  {line}" for line in sentences(self.found, self.belief)]
        for row in self.found[1].table().itertuples(index=False):
            lines.append(
                f"  {row.hypothesis}: rejected in {100 * row.rejected:.1f} %, estimate {row.estimate_mean:.3f}"
            )
        return "\n".join([*lines, f"page: {self.folder / PAGE}"])


def run_trial(
    path: Path | str, *, output: Path | None = None, overwrite: bool = False, fresh: bool = False,
    workers: int | None = None, executor: Executor | str | None = None, simulations: int | None = None,
    command: str = "",
) -> TrialResult:  # fmt: skip
    """Run a design file and write its results folder.

    Parameters
    ----------
    output
        Results folder; by default ``results/<name of the trial>``.
    fresh
        Forget virtual patients that an interrupted run has simulated.
    workers, executor
        Where the trials run; results do not depend on it.
    simulations
        Trials of each scenario in place of those of the file.

    Raises
    ------
    ConfigError
        Every problem of the file with its line; nobody eligible.
    FileExistsError
        The folder exists and may not be replaced.
    """
    path = Path(path)
    design = read_design(path)
    folder = output or Path("results") / slug(design.trial.name, "trial")
    check_target(folder, overwrite)
    work = folder.parent / f".{folder.name}.unfinished"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    started, clock, seconds = now(), perf_counter(), {}
    bank = make_bank(design.patients, design.arms, design.trial.seed, work) if design.simulated else None
    _eligible(design, bank, path)
    seconds["virtual patients"] = perf_counter() - clock
    clock = perf_counter()
    total = simulations or design.trial.simulations
    with opened(executor, workers) as where, stage("simulating trials"):
        found = tuple(operate(design, bank, executor=where, simulations=total))
        side = min(SIDE, total)
        curve = power_curve(design, bank, executor=where, simulations=side)
        strained = stress(design, bank, where, side)
        belief = assurance(design, bank, where, side) if design.assurance is not None else None
    seconds["trials"] = perf_counter() - clock
    drift = historical_drift(design) if design.design.kind == "single_arm" else None
    info = RunInfo(config=path.read_text(encoding="utf-8"), command=command, seed=design.trial.seed, started=started,
                   finished=now(), versions=versions(), inputs={path.name: sha256(path)}, seconds=seconds)  # fmt: skip
    page = TrialPage(design.trial.name, design, found, curve, strained, belief, drift,
                     0 if bank is None else len(bank.covariates), info)  # fmt: skip
    result = TrialResult(design, found, belief, folder, seconds)
    with stage("writing the results"), atomic_folder(folder, overwrite=overwrite) as temporary:
        _write(temporary, page, result)
    shutil.rmtree(work, ignore_errors=True)
    return result


def _eligible(design: TrialDesign, bank: Bank | None, path: Path) -> None:
    """Tell where in the file the conditions stand that nobody meets."""
    if bank is None:
        return
    try:
        bank.eligible(design.patients.eligible)
    except ConfigError as error:
        from icans.intervene.strategy.lines import lines_of

        line = line_at(("patients", "eligible"), lines_of(path.read_text(encoding="utf-8")))
        raise ConfigError([Problem(str(path), line, p.column, p.value, p.expected, p.remedy)
                           for p in error.problems]) from error  # fmt: skip


def _write(folder: Path, page: TrialPage, result: TrialResult) -> None:
    tables = {
        "scenarios": pd.DataFrame([one.summary() for one in page.found]),
        "hypotheses": pd.concat([one.table() for one in page.found], ignore_index=True),
        "power": page.curve, "strained": page.strained,
    }  # fmt: skip
    write_tables(folder, tables, True)
    write_text(folder / "design.toml", page.run.config)
    write_trial(page, folder / PAGE)
    write_mark(folder, {**result.as_dict(), "design": page.design.as_dict()}, page.run, True)
