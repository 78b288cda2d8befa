"""A synthetic cohort that imitates published incidences and times, for trying the package without any data.

Its courses are those of the patient model (:mod:`icans.datasets.demo_simulated`); what is seen of them is made here.

Nothing in it is a patient. Everything says so: the name of the cohort, the provenance, the patients' numbers
(``SYN-0001`` ...) and a row of ``changes``. What it imitates, and from where, stands in ``demo.toml``; what is a
choice of the demonstration is marked there, too. It has the troubles of real deliveries on purpose: one site
reports temperature in Fahrenheit and CRP in mg/dL without declaring it, one declares units of its own, IL-6 has
limits of quantification, one delivery of the cytokine assay reads high, results become known late, patients are
discharged when they are well, and some findings are missing.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icans.cohort.cohort import Cohort, change_rows, make
from icans.core.provenance import Provenance
from icans.datasets import demo_care, demo_course, demo_patients, demo_results
from icans.datasets.demo_course import CourseModel
from icans.datasets.demo_draws import Draws
from icans.datasets.demo_simulated import simulated_course

#: Most sites that the demonstration can have (they are named by letters).
MOST_SITES = 26
NAME = "demo (synthetic)"


@cache
def numbers() -> dict[str, Any]:
    """The numbers of ``demo.toml``."""
    return tomllib.loads((resources.files(__package__) / "demo.toml").read_text(encoding="utf-8"))


def demo_cohort(
    n: int = 240, seed: int = 20260101, sites: int = 3, course_model: CourseModel = simulated_course
) -> Cohort:
    """A synthetic cohort.

    Parameters
    ----------
    n
        Number of patients, at least 1. Patient i is the same whatever n is.
    seed
        Seed of the patients' random streams.
    sites
        Number of centres, 1 to 26. With three or more, the third has undeclared units of its own.
    course_model
        What happens to the patients; see :class:`icans.datasets.demo_course.CourseModel`.

    Raises
    ------
    ValueError
        ``n`` or ``sites`` out of range.
    """
    if n < 1 or not 1 <= sites <= MOST_SITES:
        raise ValueError(f"n must be at least 1 and sites 1 to {MOST_SITES}; got n={n}, sites={sites}")
    values = numbers()
    days = np.arange(values["cohort"]["first_day"], values["cohort"]["days"])
    draws = Draws(_layout(len(days)), n, seed)
    people = demo_patients.draw_patients(n, sites, draws, values)
    course = course_model(people, days, draws, values)
    where = demo_care.stay(course, days, draws, values)
    ids = people["patient_id"].to_numpy()
    given, toci_h = demo_care.treatments(people, course, where, days, draws, values)
    bedside = demo_care.assessments(ids, people["site"].to_numpy(), course, where, days, draws, values)
    hidden = [c for c in people.columns if c.startswith("z_")] + ["delivery", "weight_kg"]
    tables = {
        "patients": people.drop(columns=hidden),
        "measurements": demo_results.measurements(people, course, where, toci_h, days, draws, values),
        "treatments": given,
        "assessments": pd.concat([bedside, demo_care.crs_findings(ids, course, where, days)], ignore_index=True),
        "grades": demo_care.grades(ids, course, where, days),
        "events": demo_care.events(ids, where, days),
    }
    return make(NAME, tables, provenance=_provenance(seed), changes=_label(n))


def write_demo(folder: Path | str, *, overwrite: bool = False, **options: Any) -> Cohort:
    """Write :func:`demo_cohort` (with ``options``) as a folder of CSV files and return it.

    Raises
    ------
    FileExistsError
        The folder exists and ``overwrite`` is false.
    """
    from icans.cohort.folder import write_folder

    cohort = demo_cohort(**options)
    write_folder(cohort, folder, overwrite=overwrite)
    return cohort


def _layout(days: int) -> dict[str, int]:
    return (
        demo_patients.LAYOUT
        | demo_course.LAYOUT
        | demo_care.layout(days)
        | demo_results.layout(days, numbers())
    )  # fmt: skip


def _provenance(seed: int) -> Provenance:
    return Provenance(
        source=f"icans.datasets.demo, seed {seed}",
        synthetic=True,
        citation="simulated; the published figures that it imitates are listed in icans/datasets/demo.toml",
        licence="Apache-2.0",
        notes=(
            "Synthetic: no row comes from a patient. Not evidence of anything.",
            "Courses were simulated with the patient model and chosen to match published incidences.",
        ),
    )


def _label(n: int) -> pd.DataFrame:
    return change_rows("patients", "synthetic", "every row of this cohort was simulated", rows=n)
