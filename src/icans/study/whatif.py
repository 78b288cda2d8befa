"""``icans whatif``: a patient of a cohort and a therapy in; paired courses, outcomes and a page out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icans.cohort.cohort import Cohort
from icans.core.files import atomic_folder
from icans.core.progress import stage
from icans.core.provenance import now, versions
from icans.forecast.mechanistic.library import Recipe
from icans.intervene.strategy.reading import read_strategies, strategies, strategy
from icans.intervene.strategy.strategy import Strategy, drugs_of
from icans.intervene.whatif.draws import library_draws
from icans.intervene.whatif.pairs import STARTS_H, WhatIf, last_useful_h, what_if
from icans.report.model import RunInfo
from icans.report.whatif import WhatIfPage, sentence, write_whatif
from icans.study.folder import check_target, write_mark, write_tables
from icans.study.source import demo_study, read_cohort, study_for

PAGE = "whatif.html"
#: Patients and seed of the synthetic cohort that goes by the name of demo.
DEMO = (120, 20240201)


@dataclass(frozen=True)
class Answer:
    """What a what-if found. ``folder`` is None where nothing was written."""

    found: WhatIf
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        found = self.found
        return {
            "ok": True, "synthetic": True, "patient": found.draws.patient, "landmark_h": found.draws.landmark_h,
            "start_h": found.start_h, "therapy": found.therapy.title, "hypothetical": found.hypothetical,
            "draws": len(found.draws), "effective": found.draws.ess, "power": found.draws.power,
            "effects": found.effects.astype(object).where(found.effects.notna(), None).to_dict("records"),
            "last_useful_h": last_useful_h(found.window) if len(found.window) else None,
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip

    def text(self) -> str:
        """The result for people."""
        found = self.found
        mark = "HYPOTHETICAL. " if found.hypothetical else ""
        lines = [f"{mark}{found.draws.patient}, known by hour {found.draws.landmark_h:g}: {found.therapy.title} from "
                 f"hour {found.start_h:g}; {len(found.draws)} draws, worth {found.draws.ess:.0f}"]  # fmt: skip
        for row in found.effects.itertuples(index=False):
            lines.append(f"  {row.label:<40} {row[2]:9.3g} → {row[3]:9.3g}   {row.difference:+.3g} "
                         f"({row.low:+.3g} to {row.high:+.3g})")  # fmt: skip
        lines.append(f"  {sentence(found)}")
        lines.append("  The future of a model's patient, not of this one; research use only, no advice on treatment.")
        if self.folder is not None:
            lines.append(f"page: {self.folder / PAGE}")
        return "\n".join(lines)


def ask_what_if(
    target: str, patient: str, at_d: float, therapy: str, *, care: str = "present", file: Path | None = None,
    start_d: float | None = None, draws: int = 200, window: bool = True, seed: int = 1, output: Path | None = None,
    overwrite: bool = False, command: str = "", members: int | None = None,
) -> Answer:  # fmt: skip
    """Ask what a therapy would change for a patient.

    Parameters
    ----------
    target
        A study file, a cohort folder, the name of a data set, or ``demo`` (120 synthetic patients).
    therapy, care
        Names of strategies, of the library or of ``file``.
    members
        Of the library of virtual patients; its default if None.

    Raises
    ------
    DataError
        The cohort cannot be read, or has no such patient.
    ModelError
        Unknown strategies, a start before the landmark, a therapy that adds nothing.
    FileExistsError
        The folder exists and may not be replaced; told before anything is read.
    """
    if output is not None:
        check_target(output, overwrite)
    started = now()
    own = read_strategies(file) if file is not None else {}
    given, background = _named(therapy, own), _named(care, own)
    with stage("reading the cohort"):
        cohort = _cohort(target)
    recipe = Recipe() if members is None else Recipe(members)
    with stage("what is known of the patient"):
        mine = library_draws(cohort, patient, 24.0 * at_d, draws=draws, drugs=drugs_of([given, background]), seed=seed,
                             recipe=recipe)  # fmt: skip
    with stage("with and without"):
        found = what_if(mine, given, background, start_h=None if start_d is None else 24.0 * start_d, seed=seed,
                        starts_h=STARTS_H if window else ())  # fmt: skip
    answer = Answer(found, output)
    if output is not None:
        with stage("writing the results"):
            _write(answer, output, overwrite, started, command, seed)
    return answer


def _named(name: str, own: dict[str, Strategy]) -> Strategy:
    return own[name] if name in own and name not in strategies() else own.get(name) or strategy(name)


def _cohort(target: str) -> Cohort:
    """The cohort that a target means; ``demo`` is the synthetic one."""
    study = demo_study(*DEMO) if target == "demo" and not Path(target).exists() else study_for(target)
    return read_cohort(study.cohort, study.study.seed)


def _write(answer: Answer, output: Path, overwrite: bool, started: str, command: str, seed: int) -> None:
    found = answer.found
    info = RunInfo(command=command, seed=seed, started=started, finished=now(), versions=versions())
    with atomic_folder(output, overwrite=overwrite) as temporary:
        write_tables(temporary, {"effects": found.effects, "outcomes": found.outcomes, "window": found.window}, True)
        write_whatif(WhatIfPage(found.draws.patient, found, info), temporary / PAGE)
        write_mark(temporary, answer.as_dict(), info, True)
