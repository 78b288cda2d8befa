"""A table of brain regions as rows of ``measurements``: matrix ``mri``, known when the images were read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from icans.cohort import schema, vocabulary
from icans.signals.mri.measure import RegionTable
from icans.study.eeg_rows import Placing

ASSAY = "icans mri"

#: Column of the region table -> what stands between ``mri_`` and the region in the name of the analyte.
REGIONAL = {
    "flair_ml": "flair",
    "adc_low_share": "adc_low",
    "adc_high_share": "adc_high",
    "enhancing_ml": "enhancing",
    "cbf": "cbf",
}


def mri_rows(result: RegionTable, place: Placing) -> pd.DataFrame:
    """Rows of ``measurements`` from one examination.

    Parameters
    ----------
    place
        The patient, the hour of the images, and the hours until they were read. A delay of a few hours is usual; it is
        the caller's to know, as a forecast must not see images before they were read.

    Returns
    -------
    DataFrame
        Shaped as the table; measures without a value have no row; ``method`` says where the lesions come from and
        names the code of every doubt. Ranges stay in the region table: a row holds one number.
    """
    doubts = sorted({flag.code for flag in result.flags if flag.severity == "doubt"})
    suffix = f"; flagged: {', '.join(doubts)}" if doubts else ""
    method = f"lesions by {result.about.get('lesions', 'none')}{suffix}"
    known = vocabulary.analytes()
    rows = []
    for column, word in REGIONAL.items():
        if column in result.table:
            for region, value in result.table.set_index("region")[column].items():
                rows.append((f"mri_{word}_{region}", float(value)))
    rows += [(f"mri_{name}", float(value)) for name, value in result.whole.items()]
    kept = [(name, value) for name, value in rows if name in known and np.isfinite(value)]
    table = pd.DataFrame(kept, columns=["analyte", "value"]).assign(
        unit=[known[name].unit for name, _ in kept],
        patient_id=place.patient_id,
        time_h=place.start_h,
        available_h=place.start_h + place.delay_h,
        matrix="mri",
        censor="none",
        assay=ASSAY,
        method=method,
    )
    return schema.MEASUREMENTS.shape_up(table)
