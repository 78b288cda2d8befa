"""From :class:`~icans.report.model.ReportData` to one HTML file that needs nothing else.

Style sheet, script and figures are inside; a content security policy in the page forbids every request, and every
script but its own. All text is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from icans.core.execute import Executor, Serial
from icans.core.files import write_text
from icans.core.provenance import package_version
from icans.report import format as fmt
from icans.report import style
from icans.report.model import ReportData, check
from icans.report.page import Builder, Section, numbered
from icans.report.sections import (
    atlas,
    audit,
    behaviour,
    checklists,
    explanation,
    forecasts,
    glance,
    grades,
    individuals,
    limits,
    mechanism,
    missingness,
    patients,
    quality,
    recordings,
    run,
)

#: The chapters by name, in the order in which they are read.
SECTIONS: dict[str, Callable[[Builder], Section]] = {
    "glance": glance.section,
    "patients": patients.section,
    "quality": quality.section,
    "missingness": missingness.section,
    "grades": grades.section,
    "atlas": atlas.section,
    "forecasts": forecasts.section,
    "mechanism": mechanism.section,
    "audit": audit.section,
    "individuals": individuals.section,
    "behaviour": behaviour.section,
    "explanation": explanation.section,
    "recordings": recordings.section,
    "limits": limits.section,
    "checklists": checklists.section,
    "run": run.section,
}


#: Chapters that take longest, begun first so that no worker is left with one at the end.
LONGEST = ("forecasts", "individuals")


def render(data: ReportData, only: Sequence[str] | None = None, executor: Executor | None = None) -> str:
    """The report as HTML.

    Parameters
    ----------
    data
        What was found.
    only
        Names of :data:`SECTIONS` to make (default: all). Texts point to sections by number; a part of a report is for
        looking at, not for handing over.
    executor
        Where chapters are made, each by itself. The page does not depend on it.

    Raises
    ------
    DataError
        A table lacks columns (all problems at once).
    KeyError
        A name of ``only`` is none.
    """
    check(data)
    unknown = set(only or ()) - set(SECTIONS)
    if unknown:
        raise KeyError(f"no sections {sorted(unknown)}; there are {list(SECTIONS)}")
    names = [name for name in SECTIONS if only is None or name in only]
    order = sorted(names, key=lambda name: name not in LONGEST)
    made = dict(zip(order, (executor or Serial()).map(partial(_chapter, data), order, "chapters"), strict=True))
    sections = numbered(made[name] for name in names)
    return html_page(
        sections, title=data.study, kicker="icans report", subtitle=_subtitle(data), synthetic=data.is_synthetic
    )


def _chapter(data: ReportData, name: str) -> Section:
    return SECTIONS[name](Builder(data, part=f"{name}-"))


def html_page(sections: Sequence[Section], *, title: str, kicker: str, subtitle: str, synthetic: bool) -> str:
    """Sections as one HTML file that needs nothing else; ``kicker`` says what kind of page it is."""
    script = _asset("report.js")
    return _environment().get_template("report.html.j2").render(
        title=title,
        kicker=kicker,
        synthetic=synthetic,
        sections=sections,
        subtitle=subtitle,
        version=package_version(),
        css=Markup(_css()),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def write_report(data: ReportData, path: Path | str, executor: Executor | None = None) -> Path:
    """Write the report; a reader never sees half a file. Returns the path."""
    write_text(path, render(data, executor=executor))
    return Path(path)


def _subtitle(data: ReportData) -> str:
    parts = []
    if data.cohort is not None:
        parts.append(fmt.plural(len(data.cohort), "patient"))
    if data.run.finished:
        parts.append(f"run finished {data.run.finished}")
    if data.run.seed is not None:
        parts.append(f"seed {data.run.seed}")
    return " · ".join(parts)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("icans.report", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True, enabled_extensions=("j2", "html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _css() -> str:
    source = _environment().from_string(_asset("report.css"))
    names = ("INK", "SOFT", "FAINT", "PAPER", "PANEL", "ACCENT", "WARM", "CHIPS")
    return source.render({name: getattr(style, name) for name in names})


def _asset(name: str) -> str:
    return (resources.files("icans.report") / "templates" / name).read_text(encoding="utf-8")
