"""Hardiansyah and Ng 2019, 10.1111/cts.12636: CAR T cells and cytokines of two patients with leukaemia (Kalos 2011).

Cells in 1e9. Equation 7 of the supplement gains memory from effector cells, as its figure has it (the printed equation
has the memory cells there, which would stay at zero). The parameter file holds patient UPN1; :data:`UPN3` the other.
"""

from __future__ import annotations

from icans.mechanism.declare import Builder
from icans.mechanism.doses import Dose

CYTOKINES = (("IL6", "interleukin 6"), ("IL10", "interleukin 10"), ("IFNG", "interferon gamma"))


def declare(m: Builder) -> None:
    """Declare the model."""
    m.module("hardiansyah_2019", "CAR T cells and cytokines", "Hardiansyah and Ng 2019, 10.1111/cts.12636")
    m.state("B", "10*9", "leukaemic B cells in blood", "b_0")
    m.flow("B", "(r_b - d_b)*B", "growth and death")
    m.flow("B", "-kill*E*B", "killing by effector cells")
    for state, tissue, meaning in (("E", "E_T", "effector CAR T cells"), ("M", "M_T", "memory CAR T cells")):
        m.state(state, "10*9", f"{meaning} in blood")
        m.state(tissue, "10*9", f"{meaning} in tissue")
        m.move(state, tissue, f"k_in*{state} - k_out*{tissue}", "distribution")
    m.input("car_t", "car_t", "E", "cells", scale="per_cell")
    m.let("filled", "hill(B, half)", "1", "saturation by B cells")
    m.flow("E", "r_e*E*B", "growth on antigen")
    m.flow("E", "-d_e*E", "death")
    m.move("E", "M", "to_memory*(1 - filled)*E", "to memory")
    m.move("M", "E", "to_effector*filled*M", "back to effectors")
    m.flow("M", "(r_m - d_m)*M", "growth and death")
    m.let("damping", "least + (1 - least)*il10_half/(IL10 + il10_half)", "1", "what IL-10 leaves of interferon gamma")
    m.let("cart", "E + M", "10*9", "CAR T cells in blood")
    for state, meaning in CYTOKINES:
        name = state.lower()
        factor = "*damping" if state == "IFNG" else ""
        m.state(state, "pg/mL", meaning, f"{name}_base")
        m.flow(state, f"{name}_out*({name}_base - {state})", "basal production and loss")
        m.flow(state, f"{name}_made*B*E{factor}", "production on contact")


#: What the other patient, UPN3, has: values per hour, and the dose.
UPN3 = {
    "b_0": 0.93, "r_e": 0.6, "d_e": 0.06, "to_memory": 0.005, "kill": 2.21 / 24,
    "il6_made": 250.0, "il10_made": 17000 / 24, "ifng_made": 250.0, "il6_base": 1.0, "il10_base": 0.5, "ifng_base": 1.7,
}  # fmt: skip


def doses(cells: float) -> tuple[Dose, ...]:
    """The split dose of the trial: 10, 30 and 60 % on days 0, 1 and 2."""
    return tuple(Dose(24.0 * day, "car_t", cells * share, "cells") for day, share in enumerate((0.1, 0.3, 0.6)))
