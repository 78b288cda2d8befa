"""Blood flow by arterial spin labelling.

The single-compartment formula of the consensus paper (Alsop et al. 2015, Magn Reson Med 73:102, 10.1002/mrm.25197), for
pseudo-continuous labelling.
"""

from __future__ import annotations

import numpy as np

from icans.core.errors import DataError, Problem
from icans.signals.mri import thresholds
from icans.signals.mri.atlas import regions
from icans.signals.mri.outline import Outline
from icans.signals.mri.volume import Volume


def blood_flow(
    control: Volume,
    label: Volume,
    calibration: Volume,
    *,
    delay_s: float,
    labelling_s: float,
    blood_t1_s: float | None = None,
) -> Volume:
    """Blood flow, mL/100 g/min.

    Parameters
    ----------
    control, label, calibration
        Mean control and mean labelled image, and the proton-density image, on one grid and with one scale.
    delay_s, labelling_s
        Post-labelling delay and duration of labelling.
    blood_t1_s
        T1 of arterial blood; by default that at 3 T.

    Raises
    ------
    DataError
        Grids differ, or times are impossible.
    """
    problems = []
    for image in (label, calibration):
        if not control.same_grid(image):
            expected = f"the grid of {control.name}"
            problems.append(Problem(image.name, None, "grid", None, expected, "Give images of one series."))
    for name, seconds in (("delay_s", delay_s), ("labelling_s", labelling_s)):
        if not 0 < seconds < 10:
            expected = "seconds, above 0 and below 10"
            problems.append(
                Problem(control.name, None, name, f"{seconds:g}", expected, "Milliseconds? Divide by 1000.")
            )
    if problems:
        raise DataError(problems)
    t1 = thresholds.value("blood_t1_s") if blood_t1_s is None else blood_t1_s
    saturation = 2.0 * thresholds.value("labelling") * t1 * (1.0 - np.exp(-labelling_s / t1))
    factor = 6000.0 * thresholds.value("partition") * np.exp(delay_s / t1) / saturation
    usable = calibration.data > 0.1 * np.percentile(calibration.data, 95)
    flow = factor * (control.data - label.data) / np.where(usable, calibration.data, 1.0)
    return control.with_data(np.where(usable, flow, 0.0), f"CBF of {control.name}")


def flow_columns(image: Volume, found: Outline) -> dict[str, dict[str, float]]:
    """Median blood flow of every region, and the quartiles of its voxels as range."""
    answer: dict[str, dict[str, float]] = {"cbf": {}, "cbf_low": {}, "cbf_high": {}}
    masks = {r.name: found.brain & (found.labels == r.code) for r in regions()}
    for name, mask in {**masks, "brain": found.brain}.items():
        values = image.data[mask]
        quartiles = np.percentile(values, [50, 25, 75]) if values.size else np.full(3, np.nan)
        for column, value in zip(answer, quartiles, strict=True):
            answer[column][name] = float(value)
    return answer
