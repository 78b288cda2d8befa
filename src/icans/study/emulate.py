"""``icans emulate``: "steroids at grade 1 or wait" in an observed cohort, with its limits, beside the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.files import atomic_folder
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.intervene.emulate import diagnose
from icans.intervene.emulate.courses import Protocol, courses_of
from icans.intervene.emulate.estimate import ARMS, Emulated, emulate
from icans.intervene.emulate.simulation import Simulated, simulated
from icans.report.emulate import EmulatePage, agreement, labels, verdict, write_emulate
from icans.report.model import RunInfo
from icans.study.folder import check_target, write_mark, write_tables
from icans.study.source import read_cohort, study_for

PAGE = "emulate.html"


@dataclass(frozen=True)
class EmulateResult:
    """What the cohort says. ``folder`` is None where nothing was written."""

    name: str
    found: Emulated
    model: Simulated | None
    synthetic: bool
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        value, low, high = self.found.difference
        made: dict[str, Any] = {
            "ok": True, "cohort": self.name, "synthetic": self.synthetic, "protocol": asdict(self.found.protocol),
            "flow": dict(self.found.courses.flow), "verdict": verdict(self.found),
            "risk": {arm: float(self.found.risk[a, -1]) for a, arm in enumerate(ARMS)},
            "difference": {"value": value, "low": low, "high": high}, "limits": diagnose.limits(self.found),
            "naive": {k: {"events": e, "patients": n} for k, (e, n) in self.found.naive.items()},
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip
        if self.model is not None:
            gap, gap_low, gap_high = self.model.difference()
            made["model"] = {"synthetic": True, "difference": gap, "low": gap_low, "high": gap_high,
                             "agreement": agreement(self.found, self.model)}  # fmt: skip
        return made

    def text(self) -> str:
        """The result for people."""
        lines = [f"{self.name}{' (SYNTHETIC)' if self.synthetic else ''}"]
        lines += [f"  {who}: {count}" for who, count in self.found.courses.flow]
        named = labels(self.found)
        for a, arm in enumerate(ARMS):
            low, high = self.found.low[a, -1], self.found.high[a, -1]
            lines.append(f"  {named[arm]}: {100 * self.found.risk[a, -1]:.0f} % ({100 * low:.0f} to {100 * high:.0f})")
        lines += [f"  {verdict(self.found)}", *(f"  limit: {line}" for line in diagnose.limits(self.found))]
        if self.model is not None:
            lines.append(f"  model (SYNTHETIC): {agreement(self.found, self.model)}")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def emulate_cohort(
    cohort: str, protocol: Protocol, *, output: Path | None = None, overwrite: bool = False, seed: int = 20240201,
    resamples: int = 500, virtual: int = 0, product: str = "axi-cel", disease: str = "LBCL", command: str = "",
) -> EmulateResult:  # fmt: skip
    """Emulate the target trial and, with ``output``, write its results folder.

    Parameters
    ----------
    cohort
        A study file, a cohort folder, or the name of a public data set.
    virtual
        Virtual patients for the same question; 0: none.

    Raises
    ------
    DataError
        The cohort lacks what is needed, or nobody is eligible: every reason.
    NotEstimableError
        Nobody did as one of the arms asks.
    FileExistsError
        The folder exists and may not be replaced.
    """
    if output is not None:
        check_target(output, overwrite)
    started = now()
    read = read_cohort(study_for(cohort).cohort, seed)
    with stage("cloning, censoring, weighting"):
        found = emulate(courses_of(read, protocol), protocol, seed, resamples)
    model = None
    if virtual:
        with stage("the same question to virtual patients"):
            model = simulated(product, disease, virtual, seed, protocol)
    result = EmulateResult(read.name, found, model, read.synthetic, output)
    if output is None:
        return result
    inputs = dict(read.provenance.inputs)
    info = RunInfo(command=command, seed=seed, started=started, finished=now(), versions=versions(), inputs=inputs)
    who = f"{virtual} virtual patients, {disease}, {product}"
    title = f"Steroids at grade {protocol.entry}, or wait: {read.name}"
    with stage("writing the results"), atomic_folder(output, overwrite=overwrite) as temporary:
        _write(temporary, EmulatePage(title, found, model, who, info, is_synthetic=read.synthetic), result)
    return result


def _write(folder: Path, page: EmulatePage, result: EmulateResult) -> None:
    found = page.found
    tables: dict[str, pd.DataFrame] = {
        "risks": found.curve(), "weights": diagnose.weights_table(found),
        "positivity": diagnose.positivity(found.courses, found.cloned, found.protocol),
        "balance": diagnose.balance(found.courses, found.cloned),
    }  # fmt: skip
    write_tables(folder, tables, page.is_synthetic)
    write_emulate(page, folder / PAGE)
    write_mark(folder, result.as_dict(), page.run, page.is_synthetic)
