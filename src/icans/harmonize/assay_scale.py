"""Factors between assays or platforms of one analyte, estimated from patients measured on both, or supplied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icans.cohort import schema
from icans.cohort.cohort import change_rows, stack
from icans.core.errors import NotEstimableError, NotFittedError
from icans.harmonize.units import tidy

Array = npt.NDArray[np.float64]

#: Patients in whom two assays must overlap before a factor between them is estimated.
PATIENTS = 3


@dataclass(frozen=True)
class AssayScale:
    """Multiplicative factors between assays: ``value on the reference = value / factor``.

    Fit on training rows, apply anywhere. Within a patient and a time window, the logarithms of values on
    different assays differ by the assays' log factors plus noise; a two-way least squares fit (window effect, assay
    effect) uses every window with at least two assays. Standard errors are clustered by patient.

    Parameters
    ----------
    window_h
        Values of one patient within a window of this width are taken as measurements of one state.
    reference
        Assay of each analyte that stays as it is; default: the one with most rows.
    unknown
        Assays without a factor: ``"error"`` or ``"identity"``.
    """

    window_h: float = 24.0
    reference: dict[str, str] = field(default_factory=dict)
    unknown: Literal["error", "identity"] = "error"
    factors: pd.DataFrame | None = None

    def fit(self, table: pd.DataFrame) -> AssayScale:
        """Estimate the factors of every analyte with more than one assay.

        Raises
        ------
        NotEstimableError
            Two assays that no chain of at least :data:`PATIENTS` overlapping patients joins.
        """
        rows = table[table["assay"].notna() & table["value"].gt(0) & (table["censor"] == "none")]
        parts = [self._one(str(name), part) for name, part in rows.groupby("analyte", sort=True)]
        columns = ["analyte", "assay", "reference", "factor", "se_log", "n_patients"]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        return AssayScale(self.window_h, self.reference, self.unknown, frame)

    @classmethod
    def supplied(cls, factors: pd.DataFrame, unknown: Literal["error", "identity"] = "error") -> AssayScale:
        """Factors from elsewhere: ``analyte, assay, factor`` (reference and standard error optional)."""
        if not {"analyte", "assay", "factor"} <= set(factors.columns) or not (factors["factor"] > 0).all():
            raise ValueError("factors needs the columns analyte, assay and factor, all factors positive")
        return cls(unknown=unknown, factors=factors.reset_index(drop=True))

    def transform(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table on the reference assays, and rows for ``changes``."""
        if self.factors is None:
            raise NotFittedError("fit the assay scale, or supply factors, before transform")
        known = self.factors.set_index(["analyte", "assay"])["factor"]
        keys = pd.MultiIndex.from_arrays([table["analyte"].to_numpy(object), table["assay"].to_numpy(object)])
        factor = known.reindex(keys).to_numpy(dtype=float)
        named = table["assay"].notna().to_numpy() & table["analyte"].isin(self.factors["analyte"]).to_numpy()
        lost = named & np.isnan(factor)
        if lost.any() and self.unknown == "error":
            pairs = sorted(set(keys[lost]))
            raise NotFittedError(f"no factor for {pairs}; fit with these assays, supply one, or set unknown='identity'")
        factor = np.where(np.isnan(factor), 1.0, factor)
        moved = factor != 1.0
        out = table.assign(
            value=np.where(moved, tidy(table["value"].to_numpy() / factor), table["value"]),
            limit=np.where(moved, tidy(table["limit"].to_numpy() / factor), table["limit"]),
        )
        notes = [
            change_rows("measurements", "assay.scaled", f"divided by the factor {f:.6g} of assay {assay!r}", item=name,
                        column="value", rows=len(part))
            for (name, assay, f), part in table[moved].assign(f=factor[moved]).groupby(["analyte", "assay", "f"])
        ]  # fmt: skip
        return out, stack(schema.CHANGES, notes)

    def _one(self, name: str, part: pd.DataFrame) -> pd.DataFrame:
        assays = part["assay"].value_counts()
        base = self.reference.get(name, str(assays.index[0]))
        others = sorted(str(a) for a in assays.index if a != base)
        window = np.floor(part["time_h"] / self.window_h)
        cells = part.assign(y=np.log(part["value"]), w=window).groupby(["patient_id", "w", "assay"])["y"].mean()
        wide = cells.unstack("assay")
        wide = wide[wide.notna().sum(axis=1) >= 2]
        if others:
            _connected(name, base, others, wide)
        estimate, error = _two_way(wide, base, others)
        patients = [int(wide.loc[wide[a].notna()].index.get_level_values(0).nunique()) for a in others]
        return pd.DataFrame(
            {
                "analyte": name, "assay": [base, *others], "reference": base, "factor": np.exp([0.0, *estimate]),
                "se_log": [0.0, *error], "n_patients": [part["patient_id"].nunique(), *patients],
            }
        )  # fmt: skip


def _connected(name: str, base: str, others: list[str], wide: pd.DataFrame) -> None:
    reached, grown = {base}, True
    while grown:
        grown = False
        for assay in others:
            if assay in reached or assay not in wide:
                continue
            both = wide[assay].notna() & wide[sorted(reached & set(wide.columns))].notna().any(axis=1)
            if wide[both].index.get_level_values(0).nunique() >= PATIENTS:
                reached.add(assay)
                grown = True
    lost = [a for a in others if a not in reached]
    if lost:
        raise NotEstimableError(
            f"{name}: assays {lost} share fewer than {PATIENTS} patients with {base!r}; supply their factors"
        )


def _two_way(wide: pd.DataFrame, base: str, others: list[str]) -> tuple[Array, Array]:
    """Log factors against the base, windows swept out, and their patient-clustered standard errors."""
    if not others:
        return np.zeros(0), np.zeros(0)
    long = wide.stack().rename("y").reset_index()
    design = np.stack([(long["assay"] == a).to_numpy(float) for a in others], axis=1)
    cell = long.groupby(["patient_id", "w"], sort=False).ngroup().to_numpy()
    size = np.bincount(cell)

    def swept(x: Array) -> Array:
        return x - (np.bincount(cell, x) / size)[cell]

    y = swept(long["y"].to_numpy())
    x = np.stack([swept(design[:, k]) for k in range(design.shape[1])], axis=1)
    inverse = np.linalg.pinv(x.T @ x)
    beta = inverse @ x.T @ y
    score = x * (y - x @ beta)[:, None]
    patient = pd.factorize(long["patient_id"])[0]
    clustered = np.stack([np.bincount(patient, score[:, k]) for k in range(score.shape[1])], axis=1)
    clusters = patient.max() + 1
    meat = clustered.T @ clustered * clusters / max(clusters - 1, 1)
    return beta, np.sqrt(np.diag(inverse @ meat @ inverse))
