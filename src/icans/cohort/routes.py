"""The ways out of a cohort and back, and what each of them cannot carry.

Every route keeps all rows and all columns of all tables of a patient (:data:`icans.cohort.schema.TABLES`), times to
the microsecond. What is lost is listed here, and the tests hold each list to be exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from icans.cohort.cohort import Cohort


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that does not survive a route, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Route:
    """A way out and back: file name (or folder) to use, writer and reader, and its losses."""

    target: str
    write: Callable[[Cohort, Path], None]
    read: Callable[[Path], Cohort]
    losses: tuple[Loss, ...]


CHANGES = Loss("changes", "the account of earlier changes is no part of a patient's record in these formats")
PROVENANCE = Loss("provenance", "citation, licence and notes; that data are simulated is kept, and so is the name")
BLANKS = Loss("blanks", "SAS transport pads texts with blanks: blanks at the end of a text are lost")


def routes() -> dict[str, Route]:
    """Every route through FHIR, OMOP and SDTM, by name."""
    from icans.cohort.fhir import read_fhir, write_fhir
    from icans.cohort.omop import read_omop, write_omop
    from icans.cohort.sdtm import read_sdtm, write_sdtm

    everywhere = (CHANGES, PROVENANCE)
    found = {
        f"fhir-{kind}": Route("bundle.json", partial(write_fhir, kind=kind), read_fhir, everywhere)
        for kind in ("transaction", "searchset")
    }
    for form in ("csv", "parquet"):
        found[f"omop-{form}"] = Route("omop", partial(write_omop, form=form), read_omop, everywhere)
    for form in ("csv", "csv.gz", "xpt5", "xpt8"):
        losses = (*everywhere, BLANKS) if form.startswith("xpt") else everywhere
        found[f"sdtm-{form}"] = Route("sdtm", partial(write_sdtm, form=form), read_sdtm, losses)
    return found
