"""A small patient model that uses every part of the language and every kind of dose."""

from __future__ import annotations

from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable

_VALUES = {
    "rho": (0.04, "1/h"), "delta": (0.01, "1/h"), "k_tum": (0.6, "1"), "kill": (4e-5, "uL/h"), "grow": (5e-4, "1/h"),
    "p_il6": (90.0, "pg/mL/h"), "k_il6": (0.3, "1/h"), "c50": (100.0, "/uL"), "gam": (1.7, "1"), "t_mid": (60.0, "h"),
    "crp_in": (0.04, "mg/L/h"), "crp_out": (0.036, "1/h"), "il6_50": (80.0, "pg/mL"), "temp_0": (36.8, "Cel"),
    "temp_gain": (0.35, "Cel/h"), "temp_out": (0.2, "1/h"), "ka": (0.09, "1/h"), "f_sc": (0.8, "1"),
    "lag_sc": (1.5, "h"),
    "v_drug": (6.4, "L"), "cl": (0.02, "L/h"), "vmax": (0.33, "mg/h"), "km": (2.0, "mg/L"), "kd": (1.2, "mg/L"),
    "q": (0.02, "L/h"), "v_per": (3.0, "L"), "log_scale": (9.0, "1"), "leak": (0.03, "1/h"), "barrier_50": (1.2, "1"),
}  # fmt: skip

TABLE = ParameterTable(
    tuple(
        Parameter(name, value, unit, f"{name} of the small patient", "small", iiv=0.25, status="assumed", source="test")
        for name, (value, unit) in _VALUES.items()
    )
)


def small_model() -> PatientModel:
    """Cells, tumour, IL-6, CRP, temperature, a barrier, and an antibody IV and SC: 9 states."""
    m = Builder()
    m.module("cells", "CAR T cells and tumour", "nobody 2000")
    m.let("antigen_gate", "hill(TUM, k_tum, 2)", "1", "antigen")
    m.state("CAR_E", "/uL", "effector CAR T cells")
    m.flow("CAR_E", "(rho*antigen_gate - delta)*CAR_E", "expansion & contraction")
    m.state("TUM", "1", "tumour burden", initial="k_tum*1.5")
    m.flow("TUM", "grow*TUM - kill*CAR_E*TUM", "growth and killing")
    m.module("cytokines", "Cytokines")
    m.handle("inh_il6r", "occupancy of the IL-6 receptor")
    m.let("il6_signal", "IL6*(1 - inh_il6r)", "pg/mL", "signal < IL-6")
    m.state("IL6", "pg/mL", "interleukin-6", initial="0.05*p_il6/k_il6")
    m.flow(
        "IL6",
        "p_il6*(0.05 + hill(CAR_E, c50, gam))*(1 + 0.5*step(TEMP - 38)) - k_il6*IL6*(1 - 0.5*inh_il6r)",
        "turnover",
    )
    m.state("CRP", "mg/L", "C-reactive protein", initial="crp_in/crp_out")
    m.flow("CRP", "crp_in*(1 + 99*(il6_signal/il6_50)**gam/(1 + (il6_signal/il6_50)**gam)) - crp_out*CRP", "turnover")
    m.state("TEMP", "Cel", "temperature", initial="temp_0", nonnegative=False)
    m.flow("TEMP", "temp_gain*tanh(pos(il6_signal - il6_50/2)/il6_50) - temp_out*(TEMP - temp_0)", "set point")
    m.let("leakiness", "expit(4*(log(1 + il6_signal/il6_50) - barrier_50))*sqrt(1 + CRP/100)", "1", "barrier")
    m.state("LEAK", "1", "opening of the barrier")
    m.flow("LEAK", "leak*(softplus(3*leakiness)/3 - LEAK)*exp(-LEAK)", "opening")
    m.drug("antibody", "Antibody", "IL-6R")
    m.let("c_drug", "A_CEN/v_drug", "mg/L", "concentration")
    m.state("A_SC", "mg", "depot")
    m.flow("A_SC", "-ka*A_SC")
    m.state("A_CEN", "mg", "central amount")
    m.flow("A_CEN", "ka*A_SC - cl*c_drug - vmax*hill(c_drug, km) - q*c_drug + q*A_PER/v_per", "kinetics")
    m.state("A_PER", "mg", "peripheral amount")
    m.flow("A_PER", "q*c_drug - q*A_PER/v_per")
    m.act("inh_il6r", "hill(c_drug, kd)")
    m.input("cells_in", "car_t", "CAR_E", "1e6 cells", scale="exp(log_scale)/1e4")
    m.input("antibody_iv", "antibody", "A_CEN", "mg")
    m.input("antibody_sc", "antibody", "A_SC", "mg", routes=("sc",), bioavailable="f_sc", lag_h="lag_sc")
    m.observe("IL6", "il_6", "pg/mL")
    return assemble(m, TABLE, "small")


def small_doses() -> list[Dose]:
    """The product at time 0; antibody as infusion, bolus (two at one time) and under the skin."""
    return [
        Dose(0.0, "car_t", 100.0, "1e6 cells"),
        Dose(72.0, "antibody", 560.0, "mg", duration_h=1.0),
        Dose(72.5, "antibody", 0.1, "g", duration_h=2.0),
        Dose(96.0, "antibody", 50.0, "mg"),
        Dose(96.0, "antibody", 25.0, "mg"),
        Dose(120.0, "antibody", 162.0, "mg", route="sc", every_h=24.0, count=4),
    ]
