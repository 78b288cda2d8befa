"""One patient who has everything, and the comparison that the round trips use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandas.testing as pdt

from icans.cohort import schema
from icans.cohort.cohort import Cohort, make
from icans.core.provenance import Provenance

#: Calendar formats carry times to the microsecond.
TIME_TOLERANCE_H = 1e-9


def rich_tables() -> dict[str, pd.DataFrame]:
    """Two patients: one with every kind of row, one with hardly anything."""
    a, b = "ICX-001", "site 2/ü 7"
    rows = lambda columns, *data: pd.DataFrame(list(data), columns=columns)  # noqa: E731
    return {
        "patients": pd.DataFrame(
            [
                {
                    "patient_id": a,
                    "site": "North",
                    "source": "delivery 3",
                    "age_y": 63.4,
                    "sex": "female",
                    "race": "Asian",
                    "ethnicity": "not stated",
                    "disease": "DLBCL",
                    "product": "axi-cel",
                    "costimulation": "CD28",
                    "dose": 2.0e6,
                    "dose_unit": "{cells}/kg",
                    "lymphodepletion": "Flu/Cy",
                    "tumour_burden": 85.25,
                    "tumour_burden_unit": "mL",
                    "prior_lines": 3,
                    "cns_involvement": False,
                    "comorbidities": "hypertension; diabetes",
                    "baseline_neurology": "seizure 2011",
                    "developmental_delay": pd.NA,
                    "infusion_date": "2021-05-03",
                },
                {"patient_id": b},
            ]
        ),
        "measurements": rows(
            [
                "patient_id",
                "time_h",
                "available_h",
                "analyte",
                "matrix",
                "value",
                "unit",
                "censor",
                "limit",
                "assay",
                "batch",
                "method",
            ],
            (a, -12.0, -11.25, "crp", "serum", 5.0, "mg/L", "left", 5.0, None, "run 1", None),
            (a, 1.5, 2.0, "crp", "serum", 120.5, "mg/L", "none", np.nan, None, "run 2", None),
            (a, 24.0, 48.0, "temperature", "vital", 39.3, "Cel", "none", np.nan, None, None, "daily maximum"),
            (a, 24.0, 25.0, "ferritin", "serum", 100000.0, "ng/mL", "right", 100000.0, "Roche", None, None),
            (a, 30.0, 30.0, "platelets", "blood", 45.0, "K/uL", "none", np.nan, None, None, None),
            (a, 36.123456, 60.0, "il_6", "csf", 812.0, "pg/mL", "none", np.nan, "MSD V-PLEX", "plate 4", None),
            (a, 36.123456, 60.0, "il_6", "plasma", np.nan, "pg/mL", "left", 0.61, "MSD V-PLEX", "plate 4", None),
            (a, 36.123456, 60.0, "gfap", "csf", 0.3, "ng/mL", "left", 0.61, "Simoa", None, "substituted half"),
            (a, 40.0, 41.0, "fibrinogen", "plasma", np.nan, "mg/dL", "none", np.nan, None, None, None),
            (a, 40.0, 41.0, "ang_2", "plasma", 3.25, "ng/mL", "none", 0.05, "ELISA", None, None),
            (a, 41.0, 41.0, "ve_cam_s", "eeg", 3.0, "{score}", "none", np.nan, None, None, None),
            (a, 41.0, 41.0, "sodium", None, 138.0, None, "none", np.nan, None, None, None),
            (a, 41.0, 41.0, "glucose", "serum", 7.2, "furlongs", "none", np.nan, None, None, None),
            (b, 0.1, 0.1, "ldh", "serum", 1e-7, "U/L", "none", np.nan, None, None, None),
        ),
        "treatments": rows(
            ["patient_id", "time_h", "available_h", "duration_h", "drug", "amount", "unit", "route"],
            (a, -120.0, -120.0, 0.5, "fludarabine", 30.0, "mg/m2", "iv"),
            (a, 0.0, 0.0, 0.25, "car_t", 2.0e8, "{cells}", "iv"),
            (a, 30.5, 30.5, 1.0, "tocilizumab", 8.0, "mg/kg", "iv"),
            (a, 50.0, 50.25, 0.0, "dexamethasone", 10.0, "mg", "iv"),
            (a, 56.0, 56.0, np.nan, "dexamethasone", np.nan, None, "po"),
            (b, 3.0, 3.0, np.nan, "Corticosteroid, any", np.nan, None, None),
        ),
        "assessments": rows(
            ["patient_id", "time_h", "available_h", "item", "value", "attributable"],
            (a, 12.0, 12.0, "ice_total", "10", pd.NA),
            (a, 48.0, 48.5, "ice_total", "4", True),
            (a, 48.0, 48.5, "consciousness", "voice", True),
            (a, 48.0, 48.5, "seizure", "none", False),
            (a, 48.0, 48.5, "temperature_max_c", "39.30", pd.NA),
            (a, 60.0, 60.0, "ice_total", None, pd.NA),
        ),
        "grades": rows(
            ["patient_id", "time_h", "available_h", "toxicity", "scheme", "grade", "source", "lower_bound"],
            (a, 0.0, 24.0, "ICANS", "ASTCT", 0.0, "delivered", False),
            (a, 24.0, 48.0, "CRS", "ASTCT", 2.0, "delivered", False),
            (a, 48.0, 72.0, "ICANS", "ASTCT", 2.5, "delivered", False),
            (a, 48.0, 72.0, "ICANS", "CTCAE5", 3.0, "derived", True),
            (a, 72.0, 96.0, "ICANS", "ASTCT", np.nan, "delivered", True),
            (a, 96.0, 96.0, "neurotoxicity", "CARTOX", 1.0, "delivered", pd.NA),
        ),
        "events": rows(
            ["patient_id", "time_h", "available_h", "event", "detail"],
            (a, 200.0, 201.0, "icu_admission", None),
            (a, 400.0, 400.0, "discharge", "to hospice"),
            (a, 500.5, 510.0, "death", "progression"),
            (b, 700.0, 700.0, "last_seen", None),
        ),
        "recordings": rows(
            ["patient_id", "time_h", "available_h", "kind", "path", "sha256"],
            (a, 41.0, 42.0, "eeg", "recordings/icx 001.edf", "ab" * 32),
            (a, 90.0, 90.0, "mri", "recordings/icx001.nii.gz", None),
        ),
    }


def rich_cohort() -> Cohort:
    """The patients of :func:`rich_tables`, labelled synthetic."""
    return make("rich", rich_tables(), provenance=Provenance(source="made for tests", synthetic=True))


def assert_same_patient(got: Cohort, want: Cohort, except_: tuple[str, ...] = ()) -> None:
    """Every table of two cohorts holds the same rows, times to the microsecond.

    ``except_``: what a route honestly cannot carry, as ``"table"`` or ``"table.column"``.
    """
    for name, table in schema.TABLES.items():
        if name in except_:
            continue
        columns = [c.name for c in table.columns if f"{name}.{c.name}" not in except_]
        a, b = (_ordered(c.table(name)[columns], table) for c in (got, want))
        pdt.assert_frame_equal(a, b, check_exact=False, rtol=0, atol=TIME_TOLERANCE_H, obj=name)
        for column in table.columns:
            exact = column.kind == "number" and column.name not in ("time_h", "available_h", "duration_h")
            if exact and column.name in columns:
                pdt.assert_series_equal(a[column.name], b[column.name], check_exact=True)
    if "synthetic" not in except_:
        assert got.synthetic == want.synthetic
    if "name" not in except_:
        assert got.name == want.name


def _ordered(frame: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    keys = frame.copy()
    for column in table.columns:
        if column.name in keys and column.kind == "number" and column.name.endswith("_h"):
            keys[column.name] = keys[column.name].round(6) + 0.0  # no minus zero
    keys = keys.astype("object").where(keys.notna(), "")
    order = keys.astype(str).sort_values(list(keys.columns)).index
    return frame.loc[order].reset_index(drop=True)
