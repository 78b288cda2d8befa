"""The words of a cohort: every unit converts, every range and name is sound."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from icans.cohort import schema
from icans.cohort.codes import routes
from icans.cohort.sdtm_codes import table
from icans.cohort.vocabulary import analyte, analytes, by_loinc, by_synonym, drugs, extended, items, near
from icans.core.errors import UnitError
from icans.core.units import convert, ucum


@pytest.mark.parametrize("name", sorted(analytes()))
def test_units_of_an_analyte_convert_to_its_canonical_unit(name):
    entry = analytes()[name]
    assert ucum(entry.unit) == entry.unit
    for unit in entry.also:
        moved = entry.convert([1.0, 3.0], unit)
        back = entry.convert(moved, entry.unit, unit)
        assert np.all(np.isfinite(moved))
        np.testing.assert_allclose(back, [1.0, 3.0], rtol=1e-9)


@pytest.mark.parametrize("name", sorted(analytes()))
def test_an_analyte_is_sound(name):
    entry = analytes()[name]
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert entry.low < entry.high
    assert entry.matrix in schema.MATRICES
    assert not (entry.log and entry.low < 0)
    assert entry.loinc_checked in ({"none"} if not entry.loinc else {"catalogue", "component"})
    for code in entry.loinc:
        digits = [int(d) for d in reversed(code.split("-")[0])]
        doubled = [sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits)]
        assert (10 - sum(doubled) % 10) % 10 == int(code[-1]), f"check digit of {code}"


def test_ferritin_and_creatinine_convert_as_known():
    ferritin, creatinine = analyte("ferritin"), analyte("creatinine")
    np.testing.assert_allclose(convert(1.0, "mg/L", ferritin.unit), 1000.0)
    umol = convert(88.4, "umol/L", creatinine.unit, molar_mass_g_mol=creatinine.molar_mass)
    np.testing.assert_allclose(umol, 1.0, rtol=1e-3)  # the factor 88.4 of clinical chemistry


@pytest.mark.parametrize("name", ["ldh", "ast", "alt", "alkaline_phosphatase", "creatine_kinase"])
def test_enzymes_may_come_in_international_units(name):
    np.testing.assert_allclose(analyte(name).convert([40.0, np.nan], "IU/L"), [40.0, np.nan])


def test_international_units_of_anything_but_an_enzyme_do_not_convert():
    assert {a.name for a in analytes().values() if a.catalytic} == {
        a.name for a in analytes().values() if a.unit == "U/L"
    }
    interferon = dataclasses.replace(analyte("ifn_g"), name="ifn_iu", unit="[IU]/mL", also=(), molar_mass=None)
    np.testing.assert_allclose(interferon.convert(1000.0, "IU/L"), 1.0)
    for entry, unit in ((interferon, "U/mL"), (analyte("ifn_g"), "IU/mL"), (analyte("platelets"), "IU/mL")):
        with pytest.raises(UnitError):
            entry.convert(1.0, unit)


def test_routes_and_units_of_terminologies_mean_what_their_releases_say():
    assert routes()["420719007"] == routes()["INTRAVENTRICULAR"] == "icv"  # intracerebroventricular
    assert "418821007" not in routes()  # intracameral: into the eye
    written = table()["units"]
    assert all(ucum(unit) == unit for unit in written.values())
    np.testing.assert_allclose(convert(2.0, written["10^6/L"], "/uL"), 2.0)
    np.testing.assert_allclose(convert(70.0, written["in"], "cm"), 177.8)
    np.testing.assert_allclose(convert(0.4, written["fraction of 1"], "%"), 40.0)


def test_items_are_sound():
    for name, item in items().items():
        assert item.kind in {"integer", "number", "yesno", "choice"}, name
        assert (item.kind == "choice") == bool(item.allowed), name
        if item.kind in {"integer", "number"}:
            assert item.low is not None
            assert item.high is not None
            assert item.low < item.high


def test_drugs_have_one_meaning_per_word():
    words = [w.lower() for d in drugs().values() for w in (d.name, *d.synonyms)]
    assert len(words) == len(set(words))
    assert all(d.name == d.name.lower() for d in drugs().values())
    assert by_synonym()["actemra"] == "tocilizumab"
    assert by_synonym()["kineret"] == "anakinra"
    assert {"tocilizumab", "siltuximab", "dexamethasone", "corticosteroid", "anakinra", "car_t"} <= set(drugs())


def test_loinc_codes_find_their_analyte():
    assert by_loinc()["26881-3"] == "il_6"
    assert by_loinc()["48065-7"] == "d_dimer"
    assert by_loinc()["48066-5"] == "d_dimer_ddu"


def test_extended_adds_without_registering():
    own = dataclasses.replace(analyte("crp"), name="my_drug", label="Study drug")
    assert extended({"my_drug": own})["my_drug"] is own
    assert "my_drug" not in analytes()
    assert extended() == analytes()
    with pytest.raises(ValueError, match="calls itself"):
        extended({"other": own})
    with pytest.raises(ValueError, match="another definition"):
        extended({"crp": dataclasses.replace(analyte("crp"), unit="mg/dL")})


def test_near_misses():
    assert near("feritin", analytes()) == "; did you mean 'ferritin'?"
    assert near("zzzzzz", analytes()) == ""
    with pytest.raises(KeyError, match="did you mean 'crp'"):
        analyte("crpp")
