"""Declared units: every value and limit into the canonical unit of its analyte, each conversion recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import change_rows, stack
from icans.core.errors import UnitError
from icans.core.units import ucum
from icans.harmonize.findings import FINDINGS, finding

#: D-dimer units (DDU) to fibrinogen-equivalent units (FEU): about two, and it depends on the assay, so that it is
#: proposed and never applied unasked. Source: Favaloro EJ, Thachil J. Clin Chem Lab Med 2020;58:1191-9.
DDU_TO_FEU = 2.0
#: Significant digits kept after a conversion: removes the noise of binary fractions, nothing that was measured.
DIGITS = 12


@dataclass(frozen=True)
class Declared:
    """Measurements in canonical units where a unit was declared; ``declared`` says which rows declared one."""

    table: pd.DataFrame
    declared: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.object_]
    changes: pd.DataFrame
    findings: pd.DataFrame


def convert_declared(table: pd.DataFrame, *, ddu_factor: float | None = None) -> Declared:
    """Convert declared units to canonical ones, aggregated record per (analyte, unit).

    Parameters
    ----------
    table
        Measurements.
    ddu_factor
        Factor from DDU to FEU for D-dimer; None: such rows stay as they are and a finding proposes the factor.

    Notes
    -----
    Rows whose unit cannot be converted keep value and unit and get a finding ``unit.unconvertible``. Rows
    without a unit get the canonical unit, recorded as ``unit.assumed``.
    """
    value, limit = table["value"].to_numpy().copy(), table["limit"].to_numpy().copy()
    names, units = table["analyte"].astype("category"), table["unit"].astype("category")
    name_code, unit_code = names.cat.codes.to_numpy(), units.cat.codes.to_numpy()
    out, labels = units.to_numpy(dtype=object), units.to_numpy(dtype=object)
    pairs, inverse = np.unique(np.stack([name_code, unit_code], axis=1), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    changes, found = [], []
    for k, (n, u) in enumerate(pairs):
        rows = inverse == k
        name, unit = names.cat.categories[n], (units.cat.categories[u] if u >= 0 else None)
        if name not in vocabulary.analytes():
            found.append(_unknown(name, rows, unit))
            continue
        step = _one(vocabulary.analyte(name), unit, value[rows], limit[rows], int(rows.sum()), ddu_factor)
        value[rows], limit[rows] = step.value, step.limit
        out[rows] = step.unit
        changes.extend(step.changes)
        found.extend(step.findings)
    table = table.assign(value=value, limit=limit, unit=pd.array(out, dtype=schema.TEXT))
    return Declared(table, unit_code >= 0, labels, stack(schema.CHANGES, changes), _frame(found))


@dataclass(frozen=True)
class _Step:
    value: npt.NDArray[np.float64]
    limit: npt.NDArray[np.float64]
    unit: str
    changes: list[pd.DataFrame]
    findings: list[dict[str, object]]


def _one(
    analyte: vocabulary.Analyte, unit: str | None, value: npt.NDArray[np.float64], limit: npt.NDArray[np.float64],
    count: int, ddu_factor: float | None,
) -> _Step:  # fmt: skip
    if unit is None:
        why = "no unit was declared; taken as the canonical unit unless a finding says otherwise"
        note = change_rows(
            "measurements", "unit.assumed", why, item=analyte.name, column="unit", new=analyte.unit, rows=count
        )
        return _Step(value, limit, analyte.unit, [note], [])
    try:
        if _counts_ddu(analyte, unit):
            return _ddu(analyte, unit, value, limit, count, ddu_factor)
        moved = [analyte.convert(x, unit) for x in (value, limit)]
    except UnitError as error:
        problem = finding(analyte.name, "unit.unconvertible", proposal=f"declare one that converts to {analyte.unit}",
                          n_rows=count, confidence=1.0, evidence=str(error))  # fmt: skip
        return _Step(value, limit, unit, [], [problem])
    if unit == analyte.unit:
        return _Step(value, limit, unit, [], [])
    one = float(analyte.convert(1.0, unit))
    why = f"declared unit converted to the canonical one, 1 {unit} = {one:.8g} {analyte.unit}"
    note = change_rows("measurements", "unit.declared", why, item=analyte.name, column="unit", old=unit,
                       new=analyte.unit, rows=count)  # fmt: skip
    return _Step(tidy(moved[0]), tidy(moved[1]), analyte.unit, [note], [])


def _counts_ddu(analyte: vocabulary.Analyte, unit: str) -> bool:
    return "{FEU}" in analyte.unit and "{DDU}" in ucum(unit)


def _ddu(
    analyte: vocabulary.Analyte, unit: str, value: npt.NDArray[np.float64], limit: npt.NDArray[np.float64],
    count: int, factor: float | None,
) -> _Step:  # fmt: skip
    note = "the ratio of FEU to DDU depends on the assay; about 2 is usual"
    if factor is None:
        proposal = f"multiply by {DDU_TO_FEU:g} if the assay's maker agrees (setting ddu_factor)"
        problem = finding(analyte.name, "unit.ddu", proposal=proposal, factor=DDU_TO_FEU, n_rows=count, confidence=0.5,
                          evidence=f"declared {unit}: {note}")  # fmt: skip
        return _Step(value, limit, unit, [], [problem])
    plain = ucum(unit).replace("{DDU}", "{FEU}")
    moved = [factor * analyte.convert(x, plain) for x in (value, limit)]
    record = change_rows("measurements", "unit.ddu", f"factor {factor:g} as set; {note}", item=analyte.name,
                         column="value", old=unit, new=analyte.unit, rows=count)  # fmt: skip
    return _Step(tidy(moved[0]), tidy(moved[1]), analyte.unit, [record], [])


def _unknown(name: str, rows: npt.NDArray[np.bool_], unit: str | None) -> dict[str, object]:
    near = vocabulary.near(name, vocabulary.analytes())
    return finding(
        name, "analyte.unknown", proposal="map it to the vocabulary", n_rows=int(rows.sum()), confidence=1.0,
        evidence=f"the vocabulary has no {name!r}{near}; unit {unit} left as it is",
    )  # fmt: skip


def _frame(found: list[dict[str, object]]) -> pd.DataFrame:
    return FINDINGS.shape_up(pd.DataFrame(found)) if found else FINDINGS.empty()


def tidy(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values rounded to :data:`DIGITS` significant digits."""
    array = np.asarray(values, dtype=float)
    magnitude = np.where(np.isfinite(array) & (array != 0), np.abs(array), 1.0)
    places = 10.0 ** (DIGITS - 1 - np.floor(np.log10(magnitude)))
    return np.where(np.isfinite(array), np.round(array * places) / places, array)
