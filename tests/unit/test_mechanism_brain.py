"""Barrier, brain fluids and injury as parts of the patient model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icans.mechanism.declare import Builder
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.modules.transport import FLUIDS, enter, fluids, solute
from icans.mechanism.parameters import read_parameters
from icans.mechanism.patient import REGIONS, patient_model
from icans.mechanism.reference import initial, rates, solve

MODULES = ("barrier", "cns", "injury", "solutes")
SMALL = ("IL6", "IL1B", "IL1RA", "TNF", "IFNG", "GMCSF", "IL10", "ALB")


@pytest.fixture(scope="module")
def model() -> PatientModel:
    return patient_model(regions=("brain",), solutes=SMALL)


def brain_states(model: PatientModel) -> list[int]:
    return [i for i, s in enumerate(model.states) if s.module in MODULES and s.name not in ("BBB_HAZ", "SEIZ_HAZ")]


# --- health ------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_health_is_a_steady_state_for_any_parameters(seed: int) -> None:
    model = patient_model(regions=("cortex", "thalamus"), solutes=("IL6", "IL1B", "IL1RA", "IL10", "ALB"))
    rng, values = np.random.default_rng(seed), {}
    for row in model.parameters.rows:
        if row.module in MODULES:
            value = row.value * rng.lognormal(0, 0.4) if row.transform == "log" else row.value + rng.normal(0, 0.1)
            values[row.name] = float(np.clip(value, row.lower, row.upper))
    values |= {name: float(rng.integers(0, 2)) for name in ("cov_htn", "cov_dm", "cov_cns")}
    y = initial(model, values)
    slope = rates(model, y, values)
    for i in brain_states(model):
        assert abs(slope[i]) <= 1e-10 * max(1.0, abs(y[i])), model.state_names[i]


def test_health_is_health(model: PatientModel) -> None:
    rest = dict(zip(model.state_names, initial(model), strict=True))
    for name in ("MICRO", "ASTRO", "EXCITO", "NEURO", "AXON", "PLUG", "OEDEMA", "BBB_HAZ", "SEIZ_HAZ"):
        assert rest[name] == 0
    assert rest["BAR_brain"] == pytest.approx(1.0, abs=1e-3)
    assert rest["GFAP"] == pytest.approx(100, rel=0.02)
    for name, low, high in (("IL6", 1, 5), ("MCP1", 200, 600), ("IL8", 10, 60), ("IL1RA", 50, 220)):
        assert low < patient_start(f"{name}_sass") < high


def patient_start(name: str) -> float:
    whole = patient_model(regions=("brain",))
    return dict(zip(whole.state_names, initial(whole), strict=True))[name]


@pytest.mark.parametrize("covariate", ["cov_htn", "cov_dm", "cov_cns"])
def test_covariates_loosen_the_barrier(model: PatientModel, covariate: str) -> None:
    def integrity(value: float) -> float:
        return float(initial(model, {covariate: value, "bbb_b0": -2.0})[model.state_names.index("BAR_brain")])

    assert integrity(1.0) < integrity(0.0) == pytest.approx(1.0, abs=1e-3)


# --- regions -----------------------------------------------------------------------------------------------------


def test_one_region_is_the_mean_of_equal_ones() -> None:
    whole, parts = patient_model(regions=("brain",), solutes=("IL6", "ALB")), patient_model(solutes=("IL6", "ALB"))
    equal = {f"bbb_w_{r}": 1.0 for r in REGIONS}
    y = initial(parts, equal)
    place = parts.state_names.index
    z = initial(whole, {"bbb_w_brain": 1.0})
    for r in REGIONS:
        y[place(f"BAR_{r}")], y[place(f"IL6_isf_{r}")] = 0.4, 80.0
    z[whole.state_names.index("BAR_brain")], z[whole.state_names.index("IL6_isf_brain")] = 0.4, 80.0
    a, b = rates(parts, y, equal), rates(whole, z, {"bbb_w_brain": 1.0})
    for name in ("IL6_lv", "IL6_sass", "ALB_sass", "NEURO", "MICRO", "GFAP", "BBB_HAZ"):
        assert a[place(name)] == pytest.approx(b[whole.state_names.index(name)], rel=1e-9, abs=1e-15)
    for r in REGIONS:
        assert a[place(f"BAR_{r}")] == pytest.approx(b[whole.state_names.index("BAR_brain")], rel=1e-9)
        assert a[place(f"IL6_isf_{r}")] == pytest.approx(b[whole.state_names.index("IL6_isf_brain")], rel=1e-9)


def test_volumes_add_up() -> None:
    table = read_parameters()
    assert table["vol_brain"].value == sum(table[f"vol_{r}"].value for r in REGIONS)
    mean = sum(table[f"vol_{r}"].value * table[f"bbb_w_{r}"].value for r in REGIONS) / table["vol_brain"].value
    assert table["bbb_w_brain"].value == pytest.approx(mean, rel=1e-3)
    assert [len(patient_model(regions=r).states) for r in (("brain",), REGIONS)] == sorted(
        len(patient_model(regions=r).states) for r in (("brain",), REGIONS)
    )


def test_the_more_vulnerable_region_opens_more(model: PatientModel) -> None:
    parts = patient_model(regions=("cortex", "thalamus"), solutes=("ALB",))
    y = initial(parts)
    y[parts.state_names.index("ANG2")] *= 30
    course = solve(parts, times=[24.0], y_start=y, outputs=["BAR_cortex", "BAR_thalamus"])
    assert course["BAR_thalamus"][0] < course["BAR_cortex"][0] < 1


# --- no second steady state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [0.2, 1.0])
def test_a_burning_brain_in_a_healthy_body_comes_to_rest(model: PatientModel, micro: float) -> None:
    """What glia make only amplifies what comes from outside: no self-sustaining inflammation."""
    y = initial(model, {})
    for name, value in {"MICRO": micro, "ASTRO": 1.0, "EXCITO": 2.0, "NEURO": 0.9}.items():
        y[model.state_names.index(name)] = value
    for name in ("IL6", "IL1B", "TNF"):
        y[model.state_names.index(f"{name}_isf_brain")] = 2000.0
    names = ["MICRO", "ASTRO", "EXCITO", "NEURO", "encephalopathy", "ice_expected"]
    course = solve(model, times=[0.0, 24.0 * 10, 24.0 * 40], y_start=y, outputs=names)
    assert course["encephalopathy"][0] > 3
    assert course["encephalopathy"][1] < 0.1
    assert np.all(course.values[-1, :5] < 0.02)
    assert course["ice_expected"][-1] == pytest.approx(10)


# --- handles -----------------------------------------------------------------------------------------------------


def inflamed(model: PatientModel) -> np.ndarray:
    """A patient at the height of the inflammation, with an ill brain."""
    y = initial(model)
    place = model.state_names.index
    for name, value in {"IL6": 1000.0, "IFNG": 300.0, "GMCSF": 20.0, "TNF": 15.0, "IL1B": 4.0, "MYE_A": 0.3,
                        "ENDO": 0.6, "ANG2": 6000.0, "VCAM1": 500.0, "BAR_brain": 0.5, "IL6_isf_brain": 200.0,
                        "IL1B_isf_brain": 4.0, "IFNG_isf_brain": 8.0, "GMCSF_isf_brain": 4.0,
                        "MICRO": 0.2, "NEURO": 0.3, "EXCITO": 0.8, "ASTRO": 0.2}.items():  # fmt: skip
        y[place(name)] = value
    return y


def with_effect(handle: str, effect: str) -> PatientModel:
    from importlib import import_module

    from icans.mechanism import patient

    options = patient.Options((), ("brain",), "one", SMALL)
    builder = Builder()
    for name in patient.MODULES:
        import_module(f"icans.mechanism.modules.{name}").declare(builder, options)
    builder.act(handle, effect)
    return assemble(builder, read_parameters())


@pytest.mark.parametrize(
    ("handle", "state"),
    [
        ("inh_il6r_cns", "MICRO"), ("inh_il1_cns", "MICRO"), ("inh_ifng_cns", "MICRO"), ("inh_gmcsf_cns", "MICRO"),
        ("inh_jak_cns", "MICRO"), ("steroid_cns", "MICRO"), ("steroid_cns", "IL6_isf_brain"),
        ("inh_seizure", "SEIZ_HAZ"), ("inh_tnf", "BBB_HAZ"), ("inh_il1", "BBB_HAZ"),
        ("inh_il6r", "BBB_HAZ"), ("tie2_support", "BBB_HAZ"),
    ],
)  # fmt: skip
def test_a_handle_slows_what_it_should(model: PatientModel, handle: str, state: str) -> None:
    treated = with_effect(handle, "0.9")
    y, place = inflamed(model), model.state_names.index(state)
    assert treated.state_names == model.state_names
    before, after = rates(model, y)[place], rates(treated, y)[place]
    assert after < before


@pytest.mark.parametrize("handle", ["inh_mmp", "s1p_support", "tie2_support"])
def test_handles_of_the_barrier_spare_it(model: PatientModel, handle: str) -> None:
    y, place = inflamed(model), model.state_names.index("BAR_brain")
    assert rates(with_effect(handle, "0.9"), y)[place] > rates(model, y)[place]


def test_prior_cns_disease_needs_inflammation(model: PatientModel) -> None:
    """Elwood 2017: systemic inflammation loosens the barrier where the brain was ill before."""
    y, place = inflamed(model), model.state_names.index("BAR_brain")
    alone = rates(model, y, {"bbb_cov_cns": 0.0, "cov_cns": 0.0})[place]
    assert rates(model, y, {"bbb_cov_cns": 0.0, "cov_cns": 1.0})[place] < alone
    rest = initial(model)
    assert rates(model, rest, {"bbb_cov_cns": 0.0, "cov_cns": 1.0})[place] == pytest.approx(0, abs=1e-12)


# --- transport as drugs use it -----------------------------------------------------------------------------------


def carried(**kwargs: object) -> PatientModel:
    """A drug in a brain with a healthy barrier; plasma is a parameter."""
    m = Builder()
    m.module("cns", "test")
    m.let("bar_loss_mean", "0")
    m.let("bar_loss_mean_0", "0")
    for end in ("", "_0"):
        m.let(f"bar_loss_brain{end}", "0")
        m.let(f"glymphatic{end}", "cns_glymphatic")
    m.let("share_brain", "1")
    fluids(m, ("brain",))
    solute(m, "DRUG", plasma="alb_plasma", regions=("brain",), relative="0.3", **kwargs)  # type: ignore[arg-type]
    return assemble(m, read_parameters(), "drug")


def test_a_drug_starts_at_zero_and_reaches_its_steady_state() -> None:
    drug, healthy = carried(), carried(baseline="alb_plasma")
    assert not initial(drug).any()
    late = solve(drug, times=[24.0 * 30], outputs=drug.state_names).values[0]
    np.testing.assert_allclose(late, initial(healthy), rtol=1e-6)


def test_binding_lowers_the_brain_level() -> None:
    free, bound = carried(), carried(lost=lambda region: "0.05")
    levels = [solve(m, times=[240.0], outputs=["DRUG_brain"]).values[0, 0] for m in (free, bound)]
    assert levels[1] < 0.6 * levels[0]


def test_sieving_and_diffusion_agree_only_at_their_own_ratio() -> None:
    """Convective entry: (1 - sigma) Q_ISF C_p, no return; sigma 0.998 gives about the ratio of 2e-3."""
    sieved = carried(baseline="alb_plasma", sieving="cns_sigma_bbb")
    found = dict(zip(sieved.state_names, initial(sieved), strict=True))
    sigma = read_parameters()["cns_sigma_bbb"].value
    assert found["DRUG_isf_brain"] / read_parameters()["alb_plasma"].value == pytest.approx(1 - sigma, rel=0.35)
    assert rates(sieved, initial(sieved)) == pytest.approx(np.zeros(1 + len(FLUIDS)), abs=1e-7)


def test_more_of_the_same_molecule() -> None:
    def made(extra: bool) -> PatientModel:
        m = Builder()
        m.module("cns", "test")
        for end in ("", "_0"):
            m.let(f"bar_loss_brain{end}", "0")
            m.let(f"bar_loss_mean{end}", "0")
            m.let(f"glymphatic{end}", "1")
        m.let("share_brain", "1")
        fluids(m, ("brain",))
        solute(m, "X", plasma="alb_plasma", regions=("brain",), relative="1")
        if extra:
            enter(m, "X", "alb_plasma", ("brain",))
        return assemble(m, read_parameters(), "x")

    one, two = (solve(made(extra), times=[30.0], outputs=["X_sass"]).values[0, 0] for extra in (False, True))
    assert two == pytest.approx(2 * one, rel=1e-6)
