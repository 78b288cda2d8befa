"""Who the synthetic patients are: site, product, age, sex, disease, tumour burden, history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from icans.datasets.demo_draws import Draws

#: Numbers that a patient's description takes from the stream.
LAYOUT = {
    "site": 1, "product": 1, "age": 1, "sex": 1, "burden": 1, "inflammation": 1, "lines": 1, "cns": 1,
    "bendamustine": 1, "delivery": 1, "weight": 1,
}  # fmt: skip
#: Deliveries of the cytokine assay that each site had.
DELIVERIES = 3


def draw_patients(n: int, sites: int, draws: Draws, numbers: dict[str, Any]) -> pd.DataFrame:
    """One row per patient: columns of the cohort's table, and ``z_*``, ``delivery`` and ``weight_kg`` for the model."""
    about = numbers["patients"]
    products = list(numbers["product"])
    shares = np.cumsum([numbers["product"][name]["share"] for name in products])
    product = np.array(products)[np.searchsorted(shares[:-1], draws.uniform("product"), side="right")]
    entry = {name: np.array([numbers["product"][p][name] for p in product]) for name in
             ("costimulation", "disease", "dose", "dose_unit")}  # fmt: skip
    age = np.clip(about["age_mean"] + about["age_sd"] * draws.normal("age"), about["age_low"], about["age_high"])
    burden = about["burden_median_ml"] * np.exp(about["burden_sd_ln"] * draws.normal("burden"))
    lines = 2 + np.floor(-about["prior_lines_extra"] * np.log1p(-np.minimum(draws.uniform("lines"), 0.999)))
    weight_mean, weight_sd = numbers["care"]["weight_kg"]
    site = np.minimum((draws.uniform("site") * sites).astype(int), sites - 1)
    return pd.DataFrame(
        {
            "patient_id": [f"SYN-{i + 1:04d}" for i in range(n)],
            "site": [f"Site {chr(ord('A') + s)}" for s in site],
            "source": "synthetic",
            "age_y": np.round(age),
            "sex": np.where(draws.uniform("sex") < about["male"], "male", "female"),
            "product": product,
            **entry,
            "lymphodepletion": np.where(draws.uniform("bendamustine") < about["bendamustine"], "Benda", "Flu/Cy"),
            "tumour_burden": np.round(burden, 1),
            "tumour_burden_unit": "mL",
            "prior_lines": np.clip(lines, 2, 12).astype(int),
            "cns_involvement": draws.uniform("cns") < about["cns_involvement"],
            "z_age": draws.normal("age"),
            "z_burden": draws.normal("burden"),
            "z_inflammation": draws.normal("inflammation"),
            "delivery": np.minimum((draws.uniform("delivery") * DELIVERIES).astype(int), DELIVERIES - 1),
            "weight_kg": np.maximum(weight_mean + weight_sd * draws.normal("weight"), 40.0),
        }
    )
