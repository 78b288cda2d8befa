"""Features that belong together, so that they are explained together.

The columns of a feature table come in families (newest value, largest value, slope ... of one analyte), and families
move together (cytokines). Taken one by one they share out one another's credit by chance; taken as groups they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

#: Spearman correlation from which analytes are one group.
TOGETHER = 0.7
Groups = dict[str, list[str]]


def feature_groups(columns: Sequence[str]) -> Groups:
    """Columns by what they speak of: one group an analyte, toxicity, drug or score; mechanistic states by name.

    ``lab.crp.last`` and ``lab.crp.max_3d`` are one group, ``lab.crp``; ``static.age_y`` and ``day`` stand alone.
    """
    found: Groups = {}
    for name in columns:
        parts = str(name).split(".")
        found.setdefault(".".join(parts[:2]), []).append(str(name))
    return found


def correlated_groups(
    table: pd.DataFrame, groups: Mapping[str, Sequence[str]] | None = None, *, at: float = TOGETHER
) -> Groups:
    """Groups of :func:`feature_groups` joined where their newest values go together.

    Average-linkage clustering on one less the absolute Spearman correlation of each group's first numeric column, over
    rows where both have a value; groups without a numeric column stay as they are. The joined group carries the names
    of its members.

    Parameters
    ----------
    table
        Feature table; only training rows, when an explanation is made in a fold.
    groups
        Groups to join; default: :func:`feature_groups` of the table.
    at
        Correlation from which two groups are joined.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    plain = {k: list(v) for k, v in (groups or feature_groups(list(table.columns))).items()}
    lead = {name: _lead(table, columns) for name, columns in plain.items() if name.startswith("lab.")}
    names = [name for name, column in lead.items() if column is not None]
    if len(names) < 2:
        return plain
    ranks = pd.DataFrame({name: lead[name] for name in names})
    near = ranks.corr(method="spearman", min_periods=10).abs().fillna(0.0).to_numpy(copy=True)
    np.fill_diagonal(near, 1.0)
    labels = fcluster(linkage(squareform(1 - near, checks=False), "average"), 1 - at, criterion="distance")
    joined: Groups = {}
    for name, columns in plain.items():
        if name not in names:
            joined[name] = columns
            continue
        members = [n for n, label in zip(names, labels, strict=True) if label == labels[names.index(name)]]
        title = "lab." + "+".join(n.removeprefix("lab.") for n in members) if len(members) > 1 else name
        joined.setdefault(title, []).extend(columns)
    return joined


def _lead(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series | None:
    """The newest value where the group has one, else its first numeric column that varies."""
    ordered = sorted(columns, key=lambda c: not str(c).endswith(".last"))
    for name in ordered:
        if pd.api.types.is_numeric_dtype(table[name]) and table[name].nunique() > 1:
            return table[name]
    return None
