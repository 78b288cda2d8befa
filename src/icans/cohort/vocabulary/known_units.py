"""What the libraries say of the vocabulary's units, stored: ``python -m icans.cohort.vocabulary.known_units``.

To start ``pint`` and ``ucumvert`` takes a second, which a single forecast would spend on units that are the same in
every cohort. The file ``core/units_known.json`` holds the codes and conversions that the vocabulary can meet: from
every unit that an analyte names, and from every spelling that is known, to the analyte's own. All others are asked of
the libraries.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import icans.core
from icans.cohort.vocabulary import analytes
from icans.core.errors import UnitError
from icans.core.files import write_text
from icans.core.units import SPELLINGS, as_activity, measured_affine, measured_ucum, ucum

Row = tuple[str, str, float | None, float, float]


def pairs() -> list[tuple[str, str, float | None]]:
    """Source, target and molar mass of the conversions that the vocabulary can meet, sorted."""
    found = set()
    for entry in analytes().values():
        for source in (*entry.also, *SPELLINGS.values()):
            codes = ucum(source), ucum(entry.unit)
            if entry.catalytic:
                codes = as_activity(codes[0]), as_activity(codes[1])
            if codes[0] != codes[1]:
                found.add((*codes, entry.molar_mass))
    return sorted(found, key=lambda row: (row[0], row[1], row[2] or 0.0))


def measured() -> tuple[list[str], list[Row]]:
    """Codes of the vocabulary that are UCUM, and the conversions that exist, from the libraries."""
    named = {unit for entry in analytes().values() for unit in (entry.unit, *entry.also)}
    rows: list[Row] = []
    for source, target, mass in pairs():
        try:
            rows.append((source, target, mass, *measured_affine(source, target, mass)))
        except UnitError:
            continue
    return sorted(code for code in named | set(SPELLINGS.values()) if measured_ucum(code)), rows


def main() -> None:
    """Store them."""
    codes, rows = measured()
    lines = ",\n".join(json.dumps(row) for row in rows)
    path = Path(str(resources.files(icans.core))) / "units_known.json"
    write_text(path, f'{{"codes": {json.dumps(codes)},\n"conversions": [\n{lines}\n]}}\n')
    print(f"{path.name}: {len(codes)} codes, {len(rows)} conversions")


if __name__ == "__main__":
    main()
