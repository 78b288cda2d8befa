"""The compiled kernel of a model: addresses of its functions, patterns of its sparse results; kept on disk.

All arrays are of doubles, flat, lanes last: entry ``i`` of lane ``l`` is at ``i * lanes + l``. Functions, all without
result; no array may overlap another of the same call:

=================================  =====================================================================================
``prepare(p, q)``                  raw parameters to prepared ones: the raw ones first, then what depends on them alone
``initial(q, y)``                  initial states
``rhs(y, q, u, dy)``               rates of change; ``u``: rates of infusion per ``model.inputs`` in the state's unit/h
``factor(y, q, u, ghinv, lu)``     sparse LU factors of ``ghinv I - J(y)``, ``ghinv`` one number per lane
``solve(lu, b)``                   solve with them, in place; behind the factors ``lu`` has room for ``apart`` more
``observe(y, q, u, o)``            the outputs
``watch(y, q, u, g)``              the quantities watched
``jacobian(y, q, u, jv)``          df/dy at ``jac_rows``, ``jac_cols``
=================================  =====================================================================================

With sensitivities by k parameters, also

=================================  =====================================================================================
``dfdp(y, q, u, v)``               df_i/dp_j at ``dfdp_rows`` (state), ``dfdp_cols`` (number among the sensitivities)
``initial_dp(q, v)``               derivatives of initial states, state by state, all k for each
``observe_jac(y, q, u, v)``        derivatives of outputs (``observe_jac_rows``) by states (``observe_jac_cols``)
``observe_dp(y, q, u, v)``         the same by the parameters: ``observe_dp_rows``, ``observe_dp_cols``
=================================  =====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icans.core.errors import ModelError, Problem
from icans.core.files import atomic_path
from icans.mechanism.engine import llvm
from icans.mechanism.parameters import unknown

if TYPE_CHECKING:
    from icans.mechanism.engine.generate import Plan
    from icans.mechanism.model import PatientModel

Index = npt.NDArray[np.int32]

#: The environment variable that says where to keep compiled kernels.
CACHE_VARIABLE = "ICANS_CACHE"
_MAGIC = b"icans kernel 1\n"
_SOURCES = ("graph", "derive", "order", "program", "generate", "border", "elementary", "llvm", "kernel")
_PATTERNS = ("jac", "dfdp", "observe_jac", "observe_dp", "lu")
#: What must stay in memory for addresses to stay valid, and the kernels made so far.
_ENGINES: list[object] = []
_KERNELS: dict[str, Kernel] = {}
#: Their keys by what was asked for.
_KEYS: dict[tuple[object, ...], str] = {}


@dataclass(frozen=True, eq=False)
class Kernel:
    """A compiled model. ``functions`` holds addresses by name; see the module for what they do.

    ``size``: operations of each function; ``n`` states, ``nq`` prepared parameters, ``nlu`` numbers in the factors, of
    which the k-th lies in row ``lu_rows[k]`` and column ``lu_cols[k]``, counted in the order of elimination; the state
    that is eliminated i-th is ``lu_order[i]``. Rows come one after another, each ascending; the diagonal is inverted.
    Beside the states, ``apart`` shared definitions are unknowns of the system (:mod:`.border`), numbered from ``n`` on.
    """

    key: str
    lanes: int
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    watched: tuple[str, ...]
    sensitivities: tuple[str, ...]
    nq: int
    nlu: int
    apart: int
    functions: Mapping[str, int]
    size: Mapping[str, int]
    jac_rows: Index
    jac_cols: Index
    dfdp_rows: Index
    dfdp_cols: Index
    observe_jac_rows: Index
    observe_jac_cols: Index
    observe_dp_rows: Index
    observe_dp_cols: Index
    lu_rows: Index
    lu_cols: Index
    lu_order: Index

    @property
    def n(self) -> int:
        """Number of states."""
        return len(self.states)

    @property
    def nnz(self) -> int:
        """Number of entries of the Jacobian that are not zero for all states."""
        return len(self.jac_rows)

    def address(self, name: str) -> int:
        """Address of a function; 0 if the kernel was made without it."""
        return self.functions.get(name, 0)


def compile_kernel(
    model: PatientModel,
    *,
    lanes: int = 8,
    outputs: Sequence[str] = (),
    watch: Sequence[str] = (),
    sensitivities: Sequence[str] = (),
) -> Kernel:
    """The kernel of a model, from memory, from the cache on disk, or compiled (and then kept).

    Parameters
    ----------
    lanes
        Patients that one call computes side by side: 1, 2, 4, 8 or 16.
    outputs, watch
        States and definitions that ``observe`` and ``watch`` give.
    sensitivities
        Parameters by which to differentiate.

    Raises
    ------
    ModelError
        A name that the model does not have, or another number of lanes.
    """
    outputs, watch, sensitivities = tuple(outputs), tuple(watch), tuple(sensitivities)
    asked = (model.key, lanes, outputs, watch, sensitivities, _surroundings())
    key = _KEYS.get(asked)
    if key is None:
        _check(model, lanes, (*outputs, *watch), sensitivities)
        key = _KEYS[asked] = _key(model, lanes, outputs, watch, sensitivities)
    if key not in _KERNELS:
        content = _stored(key) or _compile(model, lanes, outputs, watch, sensitivities, key)
        _KERNELS[key] = _load(key, model, lanes, (outputs, watch, sensitivities), *content)
    return _KERNELS[key]


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``kernels`` in ``ICANS_CACHE``, else in the user's cache of this platform."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named) / "kernels"
    from platformdirs import user_cache_path

    return user_cache_path("icans") / "kernels"


def _check(model: PatientModel, lanes: int, quantities: Sequence[str], parameters: Sequence[str]) -> None:
    problems = [unknown("state or definition", n, model.units) for n in quantities if n not in model.units]
    problems += [unknown("parameter", n, model.parameters.names) for n in parameters if n not in model.parameters]
    if lanes not in (1, 2, 4, 8, 16):
        problems.append(Problem("model", None, "lanes", str(lanes), "1, 2, 4, 8 or 16", "Choose one of them."))
    if problems:
        raise ModelError(problems)


@cache
def _surroundings() -> str:
    """What compiled code depends on beside the model: this package's generator, LLVM and the processor."""
    import llvmlite

    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((here / f"{name}.py").read_bytes())
    return json.dumps([digest.hexdigest(), llvmlite.__version__, *llvm.processor()])


def _key(model: PatientModel, lanes: int, *names: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([model.key, lanes, names, _surroundings()]).encode()).hexdigest()


def _compile(
    model: PatientModel, lanes: int, outputs: tuple[str, ...], watch: tuple[str, ...],
    sensitivities: tuple[str, ...], key: str,
) -> tuple[dict[str, Any], bytes]:  # fmt: skip
    from icans.mechanism.engine.generate import plan

    made = plan(model, outputs, watch, sensitivities)
    functions = made.functions()
    width = min(lanes, llvm.register_width(llvm.processor()[1]))
    code = llvm.compile_object(llvm.module(functions, lanes, width))
    content = _describe(made, len(model.parameters)) | {"size": {f.name: f.size for f in functions}}
    _keep(key, content, code)
    return content, code


def _describe(made: Plan, parameters: int) -> dict[str, Any]:
    patterns = {
        "jac": made.jacobian, "dfdp": made.dfdp, "observe_jac": made.observe_jac, "observe_dp": made.observe_dp,
        "lu": made.factors.entries,
    }  # fmt: skip
    return {
        "nq": parameters + len(made.hoisted),
        "nlu": len(made.factors.entries),
        "apart": made.apart,
        "order": list(made.factors.order),
        **{name: [[i for i, _ in entries], [j for _, j in entries]] for name, entries in patterns.items()},
    }


def _keep(key: str, content: dict[str, Any], code: bytes) -> None:
    """Write to the cache; a folder that cannot be written to is no error, the kernel is compiled again next time."""
    header = json.dumps(content).encode()
    body = len(header).to_bytes(8, "little") + header + code
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with atomic_path(cache_folder() / f"{key}.kernel") as path:
            path.write_bytes(_MAGIC + _seal(key, body) + body)
    except OSError:
        return


def _seal(key: str, body: bytes) -> bytes:
    """What shows that a file is whole and that it is this kernel's."""
    return hashlib.sha256(key.encode() + body).digest()


def _stored(key: str) -> tuple[dict[str, Any], bytes] | None:
    """From the cache; None if it is not there, damaged or another kernel's."""
    try:
        data = (cache_folder() / f"{key}.kernel").read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    body = data[start:]
    if data[:start] != _MAGIC + _seal(key, body):
        return None
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]), body[8 + length :]


def _load(
    key: str, model: PatientModel, lanes: int, names: tuple[tuple[str, ...], ...], content: dict[str, Any], code: bytes
) -> Kernel:
    engine, addresses = llvm.load_object(code, list(content["size"]))
    _ENGINES.append(engine)
    places = {
        f"{name}_{side}": np.array(content[name][k], dtype=np.int32)
        for name in _PATTERNS
        for k, side in enumerate(("rows", "cols"))
    }
    return Kernel(
        key=key, lanes=lanes, states=model.state_names, parameters=model.parameters.names,
        inputs=tuple(i.name for i in model.inputs), outputs=names[0], watched=names[1], sensitivities=names[2],
        nq=content["nq"], nlu=content["nlu"], apart=content["apart"], functions=addresses, size=content["size"],
lu_order=np.array(content["order"], dtype=np.int32), **places,
    )  # fmt: skip
