"""ve_icans_eeg: EEG pages with visual features, the ICANS grade of the time, and expert ranks (Jones et al. 2022).

The pages have no time, yet every row of a cohort needs one: ``time_h`` is the number of the page within the
patient (0, 1, 2 ... in the order of the file). It keeps pages apart and orders nothing; ``changes`` says so
(rule ``time.unknown``). Never read these as times.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from icans.core.errors import DataError, Problem
from icans.datasets import tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft

PUBLISHED = "ImagesDataNewFeatures_deI.xlsx"
FEATURES = (
    "mlv", "elv", "delta <=1Hz", "delta 1<=2Hz", "delta 2<=3Hz", "delta 3<=4Hz", "theta 4<=5Hz", "theta 5<=6Hz",
    "theta 6<=8Hz", "alpha <=8Hz", "alpha 8<=9Hz", "alpha >=10Hz", "pdr present", "any GRDA", "any GPDs", "LRDA",
    "LPDs", "Intermittent brief attenuation", "Burst suppression",
)  # fmt: skip
RANKS = {"Rank1": "expert 1", "Rank2": "expert 2"}
#: Spellings of the grade's column, compared without spaces and in lower case.
GRADE_NAMES = ("icans", "icansgrade", "icansscore", "icans_grade", "grade")


def read_converted(folder: Path) -> Draft:
    """Read ``features_and_grade.csv``."""
    path = folder / "features_and_grade.csv"
    return _draft(tools.read_csv(path, ["SID", *FEATURES, "icans"]), path)


def read_published(folder: Path) -> Draft:
    """Read the published workbook.

    Features and surrogate numbers stand on its first sheet; the grade and the ranks are taken from that sheet or
    from another one with as many rows, whichever has them.
    """
    path = located(folder, PUBLISHED)
    sheets = pd.read_excel(path, sheet_name=None)
    first = next(iter(sheets.values()))
    first = first.rename(columns=lambda name: str(name).strip())
    tools.require(first, ["SID", *FEATURES], path)
    for sheet in sheets.values():
        if len(sheet) == len(first):
            extra = {_grade_name(c): sheet[c].to_numpy() for c in sheet.columns if _grade_name(c) not in first}
            wanted = {name: values for name, values in extra.items() if name == "icans" or name in RANKS}
            first = first.assign(**wanted)
    if "icans" not in first:
        expected = "a column with the ICANS grade on a sheet with as many rows as the first"
        raise DataError([Problem(str(path), None, "icans", None, expected, "Check that it is the published file.")])
    return _draft(first, path)


def _grade_name(column: object) -> str:
    plain = str(column).strip().lower().replace(" ", "")
    if plain in GRADE_NAMES:
        return "icans"
    return {name.lower(): name for name in RANKS}.get(plain, str(column).strip())


def _draft(raw: pd.DataFrame, path: Path) -> Draft:
    draft = Draft({}, files=[path])
    ranks = {name: label for name, label in RANKS.items() if name in raw}
    pages = tools.numbers(raw, ["SID", *FEATURES, "icans", *ranks], path)
    page = pages.groupby("SID").cumcount().astype(float)
    patient_id = "VE-" + pages["SID"].astype(int).astype(str)
    pages = pages.assign(patient_id=patient_id, time_h=page, available_h=page)
    keys = ["patient_id", "time_h", "available_h"]
    features = pages.melt(keys, list(FEATURES), "method", "value").assign(analyte="eeg_feature", unit="1")
    ranked = pages.melt(keys, list(ranks), "method", "value").assign(analyte="eeg_severity_rank", unit="{rank}")
    ranked["method"] = ranked["method"].map(ranks)
    measured = pd.concat([features, ranked] if ranks else [features], ignore_index=True)
    graded = pages.loc[pages["icans"].notna(), [*keys, "icans"]].rename(columns={"icans": "grade"})
    draft.tables = {
        "patients": pd.DataFrame({"patient_id": patient_id.unique()}),
        "measurements": measured.dropna(subset=["value"]).assign(matrix="eeg"),
        "grades": graded.assign(toxicity="ICANS", scheme="ASTCT", source="delivered", lower_bound=False),
    }
    why = "pages carry no time: the number of the page within the patient stands in its place and is not a time"
    draft.log("measurements", "time.unknown", why, column="time_h", rows=len(measured))
    draft.log("grades", "time.unknown", why, column="time_h", rows=len(graded))
    draft.log("grades", "scheme.assumed", "the grade of the chart; the scheme is taken to be ASTCT",
              column="scheme", new="ASTCT", rows=len(graded))  # fmt: skip
    tools.set_aside(draft, "measurements", raw, {"mean rank": "the mean of the two ranks, which are delivered"})
    return draft
