"""pbcseq: the Mayo Clinic trial in cholangitis as the R package survival ships it (days; codes). See ``pbc``."""

from __future__ import annotations

from pathlib import Path

from icans.core.times import HOURS_PER_DAY
from icans.datasets import pbc, tools
from icans.datasets.loading import located
from icans.datasets.tools import Draft


def read_converted(folder: Path) -> Draft:
    """Read ``pbcseq.csv``."""
    path = located(folder, "pbcseq.csv")
    names = pbc.codes()["pbcseq"]
    raw = tools.read_csv(path, ["id", "futime", "day", "status", "trt", "age", "sex", *names])
    times = {"time_h": raw["day"] * HOURS_PER_DAY, "end_h": raw["futime"] * HOURS_PER_DAY}
    return pbc.build(raw.assign(**times, arm=raw["trt"]), names, path)


read_published = read_converted
