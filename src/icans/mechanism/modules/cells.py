"""CAR T cells, tumour, lymphodepletion and interleukin 15.

Infused cells are activated by antigen, pass a priming stage (the lag of published kinetics) and expand where antigen
is, in tumour or marrow; effectors leave for the blood and return. When antigen is gone they contract and leave a small
memory pool. All pools are counted per microlitre of blood (cells of the body divided by the volume of blood), so that
exchange conserves them. Shape: Stein 2019 (10.1002/psp4.12388), Ogasawara 2021 (10.1007/s40262-021-01039-5), Kimmel
2021 (10.1098/rspb.2021.0229); phenotypes: Mueller-Schoell 2021 (Cancers 13:2782).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icans.mechanism.declare import Builder

if TYPE_CHECKING:
    from icans.mechanism.patient import Options


def car_pools(options: Options) -> tuple[str, ...]:
    """States that hold CAR T cells: what a switch that kills CAR T cells must act on."""
    if options.cells == "four":
        return ("CAR_I", "CAR_P", "CAR_TN", "CAR_TCM", "CAR_TEM", "CAR_X", "CAR_E")
    return ("CAR_I", "CAR_P", "CAR_X", "CAR_E", "CAR_M")


def declare(m: Builder, options: Options) -> None:
    """Declare the module."""
    m.module(
        "cells", "CAR T cells, tumour and interleukin 15", "Stein 2019, 10.1002/psp4.12388",
        "Ogasawara 2021, 10.1007/s40262-021-01039-5", "Kimmel 2021, 10.1098/rspb.2021.0229",
        "Mueller-Schoell 2021, Cancers 13:2782",
    )  # fmt: skip
    m.handle("inh_car_growth", "block of CAR T cell proliferation")
    m.handle("inh_car_function", "block of CAR signalling: killing, cytokines, contact with myeloid cells")
    _tumour(m)
    _interleukin_15(m)
    _infused(m)
    if options.cells == "four":
        _phenotypes(m)
    else:
        _one_pool(m)
    _exchange(m)
    _readouts(m, options)


def _tumour(m: Builder) -> None:
    m.state("TUM", "1", "tumour burden relative to a typical patient (95 mL metabolic volume or 1e11 cells)", "tum_0")
    m.state("BCELL", "1", "normal cells with the antigen (B or plasma cells), on the scale of tumour burden", "bcell_0")
    m.let("antigen_gate", "hill(TUM + BCELL, tum_half)", "1", "share of full antigen stimulation")
    m.let("car_contact", "(CAR_X + CAR_P)*(1 - inh_car_function)*(1 - car_steroid_function*steroid)", "/uL",
          "activated cells at the tumour that can signal")  # fmt: skip
    m.let("engaged", "car_contact*antigen_gate", "/uL", "effectors engaged with antigen")
    m.let("tumour_kill", "tum_kill*hill(car_contact, tum_kill_half)", "1/h", "rate at which tumour cells are killed")
    m.let("damp", "tumour_kill*TUM", "1/h", "tumour killed per hour, a source of danger signals")
    m.flow("TUM", "tum_growth*TUM*(1 - TUM/tum_max)", "growth")
    m.flow("TUM", "-tumour_kill*TUM", "killing by CAR T cells")
    m.flow("BCELL", "-tumour_kill*BCELL", "killing by CAR T cells (they come back only after months)")


def _interleukin_15(m: Builder) -> None:
    m.state("LD", "1", "lymphodepletion that still acts, 1 = after standard fludarabine and cyclophosphamide", "ld_0")
    m.flow("LD", "-ld_recovery*LD", "recovery of host lymphocytes")
    m.state("IL15", "pg/mL", "interleukin 15 in plasma", "il15_base*(1 + il15_ld*ld_0)")
    m.flow("IL15", "il15_out*il15_base*(1 + il15_ld*LD)", "production, of which lymphodepletion frees more")
    m.flow("IL15", "-il15_out*IL15", "clearance")
    m.flow("IL15", "-il15_sink*(CAR_E + CAR_X)*IL15", "uptake by CAR T cells")
    m.let("il15_help", "hill(IL15, il15_half)/hill(il15_ref, il15_half)", "1", "support of growth by interleukin 15")


def _infused(m: Builder) -> None:
    m.state("CAR_I", "/uL", "infused CAR T cells, not activated yet")
    m.state("CAR_P", "/uL", "activated CAR T cells before their first division (lymphoid tissue)")
    m.input("car_t", "car_t", "CAR_I", "cells", scale="car_blood_share/blood_volume")
    m.move("CAR_I", "CAR_P", "car_activation*antigen_gate*(1 - inh_car_function)*CAR_I", "activation by antigen")
    m.flow("CAR_I", "-car_infused_death*CAR_I", "death without antigen")
    m.let("car_brake", "(1 - inh_car_growth)*(1 - car_steroid_growth*steroid)*(1 - car_jak_growth*inh_jak)", "1",
          "share of growth that drugs leave")  # fmt: skip
    m.let(
        "car_growth",
        "car_rho*power(cd4_cd8/cd4_cd8_ref, cd4_cd8_power)*antigen_gate*il15_help*car_brake"
        "*(1 - (CAR_E + CAR_X)/car_max)",
        "1/h", "growth of effectors at the tumour",
    )  # fmt: skip
    m.let("car_loss", "car_alpha*(1 - antigen_gate) + car_aicd*antigen_gate*hill(CAR_E + CAR_X, car_aicd_half)", "1/h",
          "contraction without antigen and activation-induced death in a crowd")  # fmt: skip


def _one_pool(m: Builder) -> None:
    m.state("CAR_X", "/uL", "effector CAR T cells in tumour and marrow")
    m.state("CAR_E", "/uL", "effector CAR T cells in blood")
    m.state("CAR_M", "/uL", "memory CAR T cells in blood")
    m.move("CAR_P", "CAR_X", "car_priming*CAR_P", "end of priming")
    m.flow("CAR_X", "(car_growth - car_loss)*CAR_X", "growth and contraction")
    m.flow("CAR_E", "-car_loss*CAR_E", "contraction")
    m.move("CAR_X", "CAR_M", "car_memory*CAR_X", "memory")
    m.move("CAR_E", "CAR_M", "car_memory*CAR_E", "memory")
    m.flow("CAR_M", "-car_beta*CAR_M", "death of memory cells")
    m.move("CAR_M", "CAR_X", "car_recall*antigen_gate*(1 - inh_car_function)*CAR_M", "recall by antigen")


def _phenotypes(m: Builder) -> None:
    """Naive, central memory, effector memory, effector: each grows less and kills more than the one before."""
    m.state("CAR_TN", "/uL", "naive-like CAR T cells")
    m.state("CAR_TCM", "/uL", "central memory CAR T cells")
    m.state("CAR_TEM", "/uL", "effector memory CAR T cells")
    m.state("CAR_X", "/uL", "effector CAR T cells in tumour and marrow")
    m.state("CAR_E", "/uL", "effector CAR T cells in blood")
    m.let("CAR_M", "CAR_TN + CAR_TCM", "/uL", "CAR T cells that can renew themselves")
    parts = (("CAR_TN", "tn"), ("CAR_TCM", "tcm"), ("CAR_TEM", "tem"), ("CAR_X", "te"))
    m.let("car_mix_sum", " + ".join(f"car_mix_{part}" for _, part in parts), "1", "sum of the product's parts")
    m.flow("CAR_P", "-car_priming*CAR_P", "end of priming")
    for state, part in parts:
        m.flow(state, f"car_mix_{part}/car_mix_sum*car_priming*CAR_P", "end of priming")
    for state, fit in (("CAR_TN", "car_fit_tn*"), ("CAR_TCM", "car_fit_tcm*"), ("CAR_TEM", "car_fit_tem*")):
        m.flow(state, f"{fit}car_growth*{state}", "growth")
    m.flow("CAR_X", "car_growth*CAR_X", "growth")
    for state in ("CAR_X", "CAR_E"):
        m.flow(state, f"-car_loss*{state}", "contraction")
    m.flow("CAR_TEM", "-car_loss_tem*car_loss*CAR_TEM", "contraction")
    m.flow("CAR_TN", "-car_beta*CAR_TN", "death")
    m.flow("CAR_TCM", "-car_beta*CAR_TCM", "death")
    m.move("CAR_TN", "CAR_TCM", "car_k12*CAR_TN", "differentiation")
    m.move("CAR_TCM", "CAR_TEM", "car_k23*CAR_TCM", "differentiation")
    m.move("CAR_TEM", "CAR_X", "car_k34*CAR_TEM", "differentiation")
    m.move("CAR_E", "CAR_TCM", "car_memory*CAR_E", "memory")


def _exchange(m: Builder) -> None:
    m.move("CAR_X", "CAR_E", "car_egress*CAR_X", "egress to blood")
    m.move("CAR_E", "CAR_X", "car_homing*CAR_E", "homing to tumour and marrow")


def _readouts(m: Builder, options: Options) -> None:
    blood = "CAR_I + CAR_E + CAR_M"
    if options.cells == "four":
        blood = "CAR_I + CAR_E + CAR_TN + CAR_TCM + CAR_TEM"
    m.let("car_blood", blood, "/uL", "CAR T cells in blood")
    m.let("car_copies", "car_copies_per_cell*car_blood", "{copies}/ug", "CAR transgene in blood")
    m.let("car_total", " + ".join(car_pools(options)), "/uL", "CAR T cells of the body per microlitre of blood")
    m.observe("car_blood", "car_t_count", "/uL", "blood")
    m.observe("car_copies", "car_t_copies", "{copies}/ug", "blood")
    m.observe("IL15", "il_15", "pg/mL")
