"""Any patient goes out through FHIR, OMOP and SDTM and comes back the same."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from icans.cohort import schema, vocabulary
from icans.cohort.cohort import Cohort, make
from icans.cohort.routes import routes
from icans.core.provenance import Provenance

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from rich_patient import assert_same_patient

WORDS = st.sampled_from(
    ["NA", "nan", "None", "<5", "=1+1", "1e5", "0010", "true", "a|b", 'say "x"', "x,y\nz", "µg/dl", "é"]
)
LETTERS = st.text("abcXYZ 019,;'\"\\/{}[]<>&%äß中-", min_size=1, max_size=12).filter(lambda s: s.strip() == s)
TEXT = st.one_of(WORDS, LETTERS)
NUMBER = st.one_of(
    st.floats(1e-9, 1e12), st.integers(0, 10**6).map(float), st.sampled_from([0.1, 1 / 3, 5e-7, 0.0, 100.0])
)
HOURS = st.one_of(st.integers(-500, 5000).map(float), st.floats(-2000, 20000))


def column(
    name: str, kind: str, allowed: tuple[str, ...] | None, low: float | None, high: float | None
) -> st.SearchStrategy:
    """Values that the schema allows."""
    if allowed:
        return st.sampled_from(allowed)
    if kind == "yesno":
        return st.booleans()
    if kind == "integer":
        return st.integers(int(low or 0), int(high or 50))
    if name.endswith("_h"):
        return HOURS.map(abs) if low == 0 else HOURS
    if kind == "number" and high is not None:
        return st.floats(low or 0, high)
    return NUMBER if kind == "number" else TEXT


SPECIAL = {
    "analyte": st.sampled_from(sorted(vocabulary.analytes())),
    "item": st.sampled_from(sorted(vocabulary.items())),
    "unit": st.one_of(st.sampled_from(["mg/L", "K/uL", "10*9/L", "GI/L", "Cel", "degC", "%", "furlong", "NA"]), TEXT),
    "drug": st.one_of(st.sampled_from(["tocilizumab", "car_t", "dexamethasone", "Dexamethasone 4 mg"]), TEXT),
    "route": st.one_of(st.sampled_from(["iv", "po", "it", "INTRAVENOUS"]), TEXT),
    "disease": st.one_of(st.sampled_from(["DLBCL", "B-ALL"]), TEXT),
    "infusion_date": st.sampled_from(["2021-05-03", "1999-12-31", "2024-02-29"]),
    "grade": st.integers(0, 10).map(lambda i: i / 2),
}


@cache
def rows(table: schema.Table, least: int, most: int) -> st.SearchStrategy[list[dict]]:
    """Rows of one table, without the patient."""
    cells = {}
    for c in table.columns[1:]:
        values = SPECIAL[c.name] if c.name in SPECIAL else column(c.name, c.kind, c.allowed, c.low, c.high)
        cells[c.name] = values if c.required else st.one_of(st.none(), values)
    return st.lists(st.fixed_dictionaries(cells), min_size=least, max_size=most)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """One or two patients with a few rows in every table."""
    names = draw(st.lists(TEXT, min_size=1, max_size=2, unique=True))
    frames = {}
    for key, table in schema.TABLES.items():
        least, most = (1, 1) if key == "patients" else (0, 3)
        found = [{"patient_id": name, **row} for name in names for row in draw(rows(table, least, most))]
        columns = {c.name: pd.Series([r[c.name] for r in found], dtype=schema.DTYPES[c.kind]) for c in table.columns}
        frames[key] = pd.DataFrame(columns)
    return make("any", frames, provenance=Provenance(synthetic=draw(st.booleans())))


#: Reproducible examples, not shrunk: a failure names its cohort, and shrinking tables takes minutes.
QUICK = settings(max_examples=5, derandomize=True, phases=[Phase.explicit, Phase.generate], database=None)


@pytest.mark.parametrize("name", sorted(routes()))
def test_any_patient_survives_every_route(name: str) -> None:
    route = routes()[name]

    @QUICK
    @given(cohorts())
    def check(cohort: Cohort) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / route.target
            route.write(cohort, path)
            assert_same_patient(route.read(path), cohort)

    check()
