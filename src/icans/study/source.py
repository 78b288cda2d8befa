"""From what a user typed to a cohort: a study file, a data set by name, a folder, a file in any readable format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from icans.core.errors import ConfigError, DataError, Problem
from icans.study.config import (
    CohortSection,
    EvaluateSection,
    ForecastSection,
    Study,
    StudySection,
    make_study,
    read_study,
)

if TYPE_CHECKING:
    from icans.cohort.check import CheckReport
    from icans.cohort.cohort import Cohort
    from icans.datasets import Dataset


def study_for(target: str) -> Study:
    """The study that a target means, with defaults where the target is only a cohort.

    Parameters
    ----------
    target
        A study file (``.toml``), the name of a public data set, a folder of one, or a cohort in any format that
        :func:`icans.cohort.readers.read` reads.

    Raises
    ------
    ConfigError
        There is nothing of that name.
    """
    from icans.datasets import catalogue

    path = Path(target)
    if path.suffix == ".toml":
        return read_study(path)
    if target in catalogue() and not path.exists():
        return make_study({"study": {"name": target}, "cohort": {"dataset": target}})
    if path.exists():
        return make_study({"study": {"name": path.resolve().name}, "cohort": {"path": str(path.resolve())}})
    expected = f"a study file (.toml), an existing path, or a data set ({', '.join(catalogue())})"
    raise ConfigError([Problem(target, None, None, None, expected, "Check the spelling of the path or name.")])


def demo_study(patients: int, seed: int) -> Study:
    """The study behind ``icans demo``: a synthetic cohort, every step of the main job."""
    section = StudySection(
        name="synthetic demo",
        question="Does every step of the main job work on this machine? (Synthetic patients: no clinical meaning.)",
        seed=seed,
    )
    # Fewer landmarks, repeats and resamples than a real study, so that it ends within minutes on two cores.
    return Study(
        study=section,
        cohort=CohortSection(demo_patients=patients),
        forecast=ForecastSection(landmarks_d=(0, 3), horizons_d=(3, 7), repeats=1, leave_out=("site",)),
        evaluate=EvaluateSection(bootstrap=100, optimism=10),
    )


def read_cohort(section: CohortSection, seed: int) -> Cohort:
    """The cohort that ``[cohort]`` names.

    Raises
    ------
    DataError
        With every problem of its files.
    """
    from icans.cohort.readers import read
    from icans.datasets import load

    if section.demo_patients is not None:
        from icans.datasets.demo import demo_cohort  # half a second of imports

        return demo_cohort(n=section.demo_patients, seed=seed)
    if section.dataset is not None:
        return load(section.dataset)
    assert section.path is not None  # the section holds exactly one of the three
    known = _dataset_at(section.path) if section.format == "auto" else None
    if known is not None:
        return load(known.name, folder=section.path)
    kind = None if section.format == "auto" else section.format
    return read(section.path, kind, **section.options)


def check_source(path: Path) -> CheckReport:
    """Every problem of whatever lies at a path."""
    from icans.cohort.check import CheckReport, check
    from icans.cohort.readers import read, recognise
    from icans.cohort.schema import TABLES
    from icans.datasets import load

    known = _dataset_at(path)
    try:
        kind = None if known is not None else recognise(path)
        if kind == "folder":
            return check(path)
        cohort = load(known.name, folder=path) if known is not None else read(path, kind)
    except DataError as error:
        return CheckReport(path=str(path), problems=error.problems)
    return CheckReport(str(path), (), {t: t for t in TABLES}, {t: len(cohort.table(t)) for t in TABLES})


def show_datasets(name: str | None, *, fetch: bool = False) -> tuple[dict[str, Any], str]:
    """The catalogue, or one data set of it (downloaded first when ``fetch``), as JSON values and as text."""
    from icans.datasets import catalogue, describe
    from icans.datasets import fetch as download
    from icans.datasets.registry import dataset

    if name is None:
        lines = [f"{d.name:18} {d.title} [{d.licence}]" for d in catalogue().values()]
        return {n: _as_dict(d) for n, d in catalogue().items()}, "\n".join(lines)
    text = describe(name)
    value = _as_dict(dataset(name))
    if fetch:
        folder = download(name)
        value["folder"] = str(folder)
        text += f"\n  fetched to: {folder}"
    return value, text


def _as_dict(entry: Dataset) -> dict[str, Any]:
    keys = ("name", "title", "reference", "licence", "non_commercial", "source", "row_is", "traps")
    return {key: getattr(entry, key) for key in keys}


def _dataset_at(path: Path) -> Dataset | None:
    """The public data set whose folder this is, by the folder's name and the files in it."""
    from icans.datasets import catalogue
    from icans.datasets.loading import find

    for entry in catalogue().values():
        if path.is_dir() and path.resolve().name in (entry.name, *entry.folders):
            try:
                find(entry, path)
            except DataError:
                continue
            return entry
    return None
