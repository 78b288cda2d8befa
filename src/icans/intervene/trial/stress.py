"""What becomes of a trial when the world is less kind than planned: one thing at a time, same patients."""

from __future__ import annotations

import pandas as pd

from icans.core.execute import Executor
from icans.intervene.trial.bank import Bank
from icans.intervene.trial.design import TrialDesign
from icans.intervene.trial.operate import AS_DESIGNED, NULL, operate


def variants(design: TrialDesign) -> dict[str, TrialDesign]:
    """The design as planned and under each strain that can touch it."""
    c, b = design.conduct, design.biomarker
    made = {"as planned": design}

    def conduct(**change: float) -> TrialDesign:
        return design.model_copy(update={"conduct": c.model_copy(update=change)})

    made["15 % more outcomes missing"] = conduct(missing=min(c.missing + 0.15, 0.9))
    half = 0.5 * ((c.missing_with_event if c.missing_with_event is not None else c.missing) + 0.3)
    made["patients with the event go missing"] = conduct(missing_with_event=min(half, 0.9))
    if design.simulated:
        made["readers differ by 25 % more"] = conduct(rater_sd=c.rater_sd + 0.25)
        made["sites differ by 25 % more"] = conduct(site_sd=c.site_sd + 0.25)
    if b is not None:
        failed = b.model_copy(update={"failure": min(b.failure + 0.2, 1.0)})
        made["assay fails in 20 % more"] = design.model_copy(update={"biomarker": failed})
        if design.simulated:
            noisy = b.model_copy(update={"cv": b.cv + 0.3})
            made["assay error 30 % more"] = design.model_copy(update={"biomarker": noisy})
    return made


def stress(
    design: TrialDesign, bank: Bank | None = None, executor: Executor | None = None, simulations: int = 2000
) -> pd.DataFrame:  # fmt: skip
    """Error, power and bias under each strain: columns strain, error, power, estimate, truth."""
    rows = []
    for name, variant in variants(design).items():
        null, real = operate(variant, bank, (NULL, AS_DESIGNED), executor, simulations)
        first = real.table().iloc[0]
        rows.append((name, null.any_rejected, real.any_rejected, first["estimate_mean"], first["truth"]))
    return pd.DataFrame(rows, columns=["strain", "error", "power", "estimate", "truth"])
