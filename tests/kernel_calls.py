"""Calling the functions of a compiled kernel with arrays, and checking that they write what they should, no more."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icans.mechanism.declare import Builder
from icans.mechanism.engine.kernel import Kernel
from icans.mechanism.model import PatientModel, assemble
from icans.mechanism.parameters import Parameter, ParameterTable

Array = npt.NDArray[np.float64]

#: Arguments of every function; the last one is what it writes.
SIGNATURES = {
    "prepare": ("p", "q"), "initial": ("q", "y"), "rhs": ("y", "q", "u", "dy"), "solve": ("lu", "b"),
    "factor": ("y", "q", "u", "ghinv", "lu"), "observe": ("y", "q", "u", "o"), "watch": ("y", "q", "u", "g"),
    "jacobian": ("y", "q", "u", "jv"), "dfdp": ("y", "q", "u", "v"), "initial_dp": ("q", "v"),
    "observe_jac": ("y", "q", "u", "v"), "observe_dp": ("y", "q", "u", "v"),
}  # fmt: skip
#: Numbers after the end of every array that must not change.
_GUARD, _MARK = 32, -1.2345e67


def sizes(kernel: Kernel) -> dict[str, int]:
    """Entries of what each function writes."""
    n = kernel.n
    return {
        "prepare": kernel.nq, "initial": n, "rhs": n, "solve": n, "factor": kernel.nlu, "observe": len(kernel.outputs),
        "watch": len(kernel.watched), "jacobian": kernel.nnz, "dfdp": len(kernel.dfdp_rows),
        "initial_dp": n * len(kernel.sensitivities),
        "observe_jac": len(kernel.observe_jac_rows), "observe_dp": len(kernel.observe_dp_rows),
    }  # fmt: skip


def call(kernel: Kernel, name: str, **given: Array) -> Array:
    """What a function writes, (entries, lanes); arguments of shape (entries, lanes) or (entries,) for all lanes."""
    w, names = kernel.lanes, SIGNATURES[name]
    flat: dict[str, Array] = {}
    for argument in names:
        if argument in given:
            value = np.asarray(given[argument], dtype=float)
            value = np.repeat(value[:, None], w, axis=1) if value.ndim == 1 else value
            assert value.shape[1] == w
            if argument == "lu":  # behind the factors there is room for the unknowns that are no states
                value = np.append(value, np.zeros((kernel.apart, w)), axis=0)
            flat[argument] = np.append(value.ravel(), np.full(_GUARD, _MARK))
        else:
            assert argument == names[-1], f"{name} needs {argument}"
            flat[argument] = np.full(sizes(kernel)[name] * w + _GUARD, _MARK)
    before = {a: x.copy() for a, x in flat.items()}
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(names))(kernel.address(name))
    function(*[flat[a].ctypes.data for a in names])
    for argument, x in flat.items():
        may = np.zeros(len(x), bool)
        if argument == names[-1]:
            may[:-_GUARD] = True
        elif argument == "lu":
            may[kernel.nlu * w : -_GUARD] = True
        np.testing.assert_array_equal(x[~may], before[argument][~may], err_msg=f"{name} wrote to {argument}")
    written = flat[names[-1]][:-_GUARD]
    assert not np.any(written == _MARK), f"{name} left entries out"
    return written.reshape(-1, w)


def everything(kernel: Kernel, p: Array, y: Array, u: Array, ghinv: Array, b: Array) -> dict[str, Array]:
    """What every function gives; arrays (entries, lanes) or (entries,), ``ghinv`` (1, lanes) or (1,)."""
    q = call(kernel, "prepare", p=p)
    found = {"prepare": q, "initial": call(kernel, "initial", q=q)}
    at = {"y": y, "q": q, "u": u}
    found["factor"] = call(kernel, "factor", **at, ghinv=ghinv)
    found["solve"] = call(kernel, "solve", lu=found["factor"], b=b)
    for name in ("rhs", "jacobian", "observe", "watch"):
        found[name] = call(kernel, name, **at)
    if kernel.sensitivities:
        found["initial_dp"] = call(kernel, "initial_dp", q=q)
        for name in ("dfdp", "observe_jac", "observe_dp"):
            found[name] = call(kernel, name, **at)
    return found


def dense(rows: Sequence[int], cols: Sequence[int], values: Array, shape: tuple[int, int]) -> Array:
    """A sparse result as a matrix (one lane); a place named twice is an error."""
    places = list(zip(np.asarray(rows).tolist(), np.asarray(cols).tolist()))
    assert len(set(places)) == len(places) == len(values)
    made = np.zeros(shape)
    made[rows, cols] = values
    return made


def model_of(
    rates: Sequence[str],
    parameters: Sequence[str] = (),
    definitions: Sequence[tuple[str, str]] = (),
    initial: Sequence[str] | None = None,
    names: str | Sequence[str] = "xyz",
) -> PatientModel:
    """A model of these rates of states ``x``, ``y``, ``z``; an infusion goes into the first."""
    m = Builder()
    m.module("random", "Random")
    for name, text in definitions:
        m.let(name, text, "1", name)
    for k, rate in enumerate(rates):
        m.state(names[k], "1", names[k], initial=initial[k] if initial else "0")
        m.flow(names[k], rate, "rate")
    m.drug("drug", "Drug", "nothing")
    m.input("in", "drug", names[0], "mg")
    table = ParameterTable(
        tuple(Parameter(n, 1.0, "1", n, "random", status="assumed", source="test") for n in parameters)
    )
    return assemble(m, table, "random")
