"""``icans strategies``: a comparison in; tables, figures and one page out. All of it is synthetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from icans.core.execute import Choice, Executor, opened
from icans.core.files import atomic_folder
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.intervene.compare.results import StrategyResults
from icans.intervene.compare.running import Group, run_strategies
from icans.intervene.compare.sensitivity import ASSUMED, outcome_sensitivity, tornado
from icans.intervene.compare.summary import differences, pareto, summary
from icans.intervene.compare.value import Decision, decision_curve, latency_sweep
from icans.intervene.strategy.reading import strategies
from icans.report import format as fmt
from icans.report.model import RunInfo
from icans.report.strategies import StrategiesPage, write_strategies
from icans.study.folder import check_target, write_mark, write_tables
from icans.study.strategies_config import Comparison

PAGE = "strategies.html"
#: Patients of the extra questions where the file does not say.
FEW, SOME = 300, 500


@dataclass(frozen=True)
class Compared:
    """What a comparison found. ``folder`` is None where nothing was written."""

    comparison: Comparison
    results: StrategyResults
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    folder: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        kept = self.tables["differences"].query("measure in ['icans_3', 'response', 'icu_days', 'death']")
        return {
            "ok": True, "synthetic": True, "name": self.comparison.name, "reference": self.comparison.reference,
            "patients": self.comparison.patients, "seed": self.comparison.seed,
            "strategies": {n: s.title for n, s in self.comparison.strategies.items()},
            "per_1000": kept.to_dict("records"), "pareto": self.tables["pareto"].to_dict("records"),
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        lines = [f"{self.comparison.name}: {self.comparison.patients} virtual (synthetic) patients, "
                 f"against {self.comparison.strategies[self.comparison.reference].title}"]  # fmt: skip
        told = self.tables["differences"].set_index(["strategy", "measure"])
        for name, one in self.comparison.strategies.items():
            if name == self.comparison.reference:
                continue
            parts = []
            for measure, word in (("icans_3", "severe ICANS"), ("icu_days", "ICU days"), ("death", "deaths"),
                                  ("response", "responses")):  # fmt: skip
                row = told.loc[(name, measure)]
                value, low, high = (float(row[c]) for c in ("difference", "low", "high"))
                parts.append(f"{word} {value:+.1f} ({low:+.1f} to {high:+.1f})")
            lines.append(f"  {one.title}: per 1,000 patients {', '.join(parts)}")
        lines.append("  Research use only; a statement about a model, no advice on treatment.")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def compare_strategies(
    comparison: Comparison, *, output: Path | None = None, overwrite: bool = False, workers: int | None = 1,
    executor: Executor | str | None = None, command: str = "",
) -> Compared:  # fmt: skip
    """Run a comparison and, with ``output``, write its results folder.

    Parameters
    ----------
    workers
        Processes of this machine; None: every core. The results do not depend on it.
    executor
        Where the work is done instead (:func:`icans.core.execute.opened`).

    Raises
    ------
    ModelError
        Strategies that are not for a product.
    FileExistsError
        The folder exists and may not be replaced; told before anything is computed.
    """
    if output is not None:
        check_target(output, overwrite)
    started = now()
    if executor is None:
        chosen: Executor | Choice | str = Choice("serial") if workers == 1 else Choice("processes", workers)
    else:
        chosen = executor
    with opened(chosen) as where:
        with stage("simulating the strategies"):
            found = run_strategies(comparison.groups, comparison.strategies, comparison.seed, executor=where)
        return conclude(comparison, found, where, output=output, overwrite=overwrite, started=started, command=command)


def conclude(
    comparison: Comparison, found: StrategyResults, executor: Executor, *, output: Path | None, overwrite: bool,
    started: str, command: str,
) -> Compared:  # fmt: skip
    """The tables of a comparison from the outcomes of its patients, its extra questions, and its results folder."""
    tables = {
        "summary": summary(found), "differences": differences(found, comparison.reference),
        "by_group": differences(found, comparison.reference, ["product", "disease", "risk"]),
        "pareto": pareto(found, seed=comparison.seed),
    }  # fmt: skip
    tables |= _extra(comparison, executor)
    done = Compared(comparison, found, tables, output)
    if output is not None:
        with stage("writing the results"):
            _write(done, output, overwrite, started, command)
    return done


def _extra(comparison: Comparison, executor: Executor) -> dict[str, pd.DataFrame]:
    made: dict[str, pd.DataFrame] = {}
    reference = comparison.strategies[comparison.reference]
    first = comparison.groups[0]

    def group(asked: Any, otherwise: int) -> Group:
        return Group(first.product, first.disease, int(asked.get("patients", min(first.n, otherwise))))

    if comparison.latency:
        asked = comparison.latency
        with stage("latency"):
            made["latency"] = latency_sweep(group(asked, SOME), asked["strategy"], reference, comparison.seed,
                                            latencies_h=asked["hours"], executor=executor)  # fmt: skip
    if comparison.decision:
        asked = comparison.decision
        decision = Decision(asked["treat"], reference, tuple(asked["results"]), float(asked.get("at_h", 72.0)),
                            int(asked.get("grade", 3)))  # fmt: skip
        with stage("decision"):
            made["decision"] = decision_curve(group(asked, SOME), decision, comparison.seed,
                                              latencies_h=asked["hours"], executor=executor)  # fmt: skip
    if comparison.sensitivity:
        asked = comparison.sensitivity
        with stage("sensitivity"):
            parts = [tornado(group(asked, FEW), s, reference, comparison.seed, factor=float(asked.get("factor", 2.0)),
                             statuses=tuple(asked.get("statuses", ASSUMED)), executor=executor).assign(strategy=s.name)
                     for s in asked["strategies"]]  # fmt: skip
            also = [outcome_sensitivity(group(asked, FEW), s, reference, comparison.seed,
                                        factor=float(asked.get("factor", 2.0))).assign(strategy=s.name)
                    for s in asked["strategies"] if not s.forecasts]  # fmt: skip
        made["sensitivity"] = pd.concat(parts, ignore_index=True)
        if also:
            made["outcome_sensitivity"] = pd.concat(also, ignore_index=True)
    return made


def _write(done: Compared, output: Path, overwrite: bool, started: str, command: str) -> None:
    info = RunInfo(config=done.comparison.text, command=command, seed=done.comparison.seed, started=started,
                   finished=now(), versions=versions())  # fmt: skip
    page = StrategiesPage(done.comparison.name, done.comparison.question, done.comparison.reference,
                          done.comparison.strategies, done.comparison.groups, done.tables, info)  # fmt: skip
    with atomic_folder(output, overwrite=overwrite) as temporary:
        write_tables(temporary, {**done.tables, "outcomes": done.results.table}, True)
        write_strategies(page, temporary / PAGE)
        write_mark(temporary, done.as_dict(), info, True)


def listing() -> dict[str, Any]:
    """Every strategy of the library, in words."""
    return {name: {"title": s.title, "kind": s.kind, "hypothetical": s.hypothetical, "words": s.describe(),
                   "evidence": s.evidence, "source": s.source, "status": s.status}
            for name, s in strategies().items()}  # fmt: skip


def listing_text() -> str:
    """The same for people: name, kind and label."""
    width = max(map(len, strategies()))
    return "\n".join(f"{name:{width}}  {s.kind:12}  {s.title}" for name, s in strategies().items())


def words(names: list[str]) -> str:
    """Plain words of some strategies, with evidence and source."""
    from icans.intervene.strategy.reading import strategy

    parts = []
    for name in names:
        one = strategy(name)
        told = f"Seen: {one.evidence} " if one.evidence else ""
        parts.append(f"{name}\n{one.describe()}\n{told}Source ({one.status}): {one.source}.")
    return "\n\n".join(parts)


def count(n: int) -> str:
    """Patients, for people."""
    return fmt.plural(n, "patient")
