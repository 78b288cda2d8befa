"""Kimmel et al. 2021, 10.1098/rspb.2021.0229: normal T cells, CAR T cells and tumour after axicabtagene ciloleucel.

Normal and CAR T cells share room (Gompertz); CAR T cells grow faster while normal cells are few. Deterministic part.
"""

from __future__ import annotations

from icans.mechanism.declare import Builder


def declare(m: Builder) -> None:
    """Declare the model."""
    m.module("kimmel_2021", "T cell competition", "Kimmel 2021, 10.1098/rspb.2021.0229, BIOMD0000001041")
    m.state("N", "/uL", "normal T cells", "n_0")
    m.state("C", "/uL", "CAR T cells", "c_0")
    m.state("B", "mL", "tumour", "b_0")
    m.let("lymphocytes", "N + C", "/uL", "all T cells")
    m.let("room", "(lymphocytes - k_n)*(lymphocytes - k_n)", "1", "squared distance from the normal number")
    m.let("r_c", "rho_c + gain*room/(spread*lymphocytes*lymphocytes + room)", "1/h", "growth of CAR T cells")
    m.flow("N", "-r_n*N*log(lymphocytes/k_n)", "growth to the normal number")
    m.flow("C", "-r_c*C*log(lymphocytes/k_c)", "growth and decline")
    m.flow("B", "r_b*B", "growth")
    m.flow("B", "-kill*B*hill(C, k_b)", "killing by CAR T cells")
