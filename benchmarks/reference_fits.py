"""Population fits against published ones: NONMEM, nlmixr, saemix, pynlme, R nlme, and the truth of simulated sets.

Rows come from :mod:`reference_fits_saem` and :mod:`reference_fits_focei`. Differences and tolerances are in per cent of
the reference where the quantity says so, else in the unit of the quantity.

Run: ``python benchmarks/reference_fits.py`` with ``ICANS_DATA`` set; the tables are
``benchmarks/results/reference_fits.{csv,md}``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import reference_fits_focei  # noqa: E402
import reference_fits_saem  # noqa: E402

from icans.core.files import write_text  # noqa: E402
from icans.core.provenance import package_version  # noqa: E402

HEAD = """# Population fits against published ones

icans {version}, Python {python}. {inside} of {count} rows are inside their tolerance. `difference` and `tolerance` are
in per cent of the reference where the quantity says (%), else in the unit of the quantity. Rows outside are left in.
Made by `benchmarks/reference_fits.py`.

| case | quantity | ours | reference | difference | tolerance | inside | source |
|---|---|---|---|---|---|---|---|
"""


def line(row: pd.Series) -> str:
    """One line of the table."""
    numbers = " | ".join(f"{row[c]:.6g}" for c in ("ours", "reference"))
    gaps = f"{row['difference']:+.3g} | {row['tolerance']:.3g}"
    return f"| {row['case']} | {row['quantity']} | {numbers} | {gaps} | {'yes' if row['inside'] else '**no**'} | " \
           f"{row['source']} |"  # fmt: skip


def main() -> None:
    """Fit everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reference_fits.md")
    parser.add_argument(
        "--only", choices=("saem", "focei"), help="rows of one estimator; the others are kept as they are"
    )
    chosen = parser.parse_args()
    folder = Path(os.environ["ICANS_DATA"])
    table_path = chosen.out.with_suffix(".csv")
    parts = []
    for name, module in (("saem", reference_fits_saem), ("focei", reference_fits_focei)):
        if chosen.only in (None, name):
            parts.append(module.rows(folder).assign(method=name.upper()))
        elif table_path.exists():
            old = pd.read_csv(table_path)
            parts.append(old[old["method"] == name.upper()])
    table = pd.concat(parts, ignore_index=True)
    table["case"] = table["case"].where(table["case"].str.contains(" by "), table["case"] + ", by " + table["method"])
    write_text(table_path, table.to_csv(index=False))
    head = HEAD.format(version=package_version(), python=platform.python_version(), inside=int(table["inside"].sum()),
                       count=len(table))  # fmt: skip
    write_text(chosen.out, head + "\n".join(line(row) for _, row in table.iterrows()) + "\n")
    with pd.option_context("display.width", 180, "display.max_rows", None, "display.max_colwidth", 50):
        print(table.drop(columns=["source", "method"]).to_string())


if __name__ == "__main__":
    main()
