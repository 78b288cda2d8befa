"""The C++ form of a kernel gives the numbers of the LLVM form to the last bit."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from icans.core.random import stream
from icans.mechanism.emit import cpp
from icans.mechanism.emit.cpp import CompilerMissingError, compile_cpp, cpp_source
from icans.mechanism.engine.generate import plan
from icans.mechanism.engine.kernel import Kernel, compile_kernel

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_patient import small_model

SENSITIVITIES = ("rho", "kd", "gam", "crp_out")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICANS_CACHE", str(tmp_path_factory.getbasetemp()))


def everything(kernel: Kernel, parameters: np.ndarray) -> dict[str, np.ndarray]:
    """What every function of a kernel writes, in the middle of a course (synthetic)."""
    w, n, k = kernel.lanes, kernel.n, len(kernel.sensitivities)
    rng = stream(1, "cpp")
    sizes = {"p": len(kernel.parameters), "q": kernel.nq, "y": n, "u": len(kernel.inputs), "dy": n,
             "lu": kernel.nlu + kernel.apart, "b": n, "o": len(kernel.outputs), "g": len(kernel.watched),
             "jv": kernel.nnz, "ghinv": 1, "v": 4 * kernel.nnz + n * k}  # fmt: skip
    a = {name: np.zeros(size * w) for name, size in sizes.items()}
    a["p"][:] = (parameters[:, None] * np.exp(0.1 * rng.normal(size=(len(parameters), w)))).ravel()
    a["ghinv"][:] = 25.0

    def call(name: str, *arrays: str) -> np.ndarray:
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays))(kernel.address(name))
        function(*[a[x].ctypes.data for x in arrays])
        return a[arrays[-1]].copy()

    found = {"prepare": call("prepare", "p", "q"), "initial": call("initial", "q", "y")}
    a["y"][:] = (np.abs(a["y"]) + 0.05) * rng.uniform(0.5, 60.0, a["y"].size)
    a["u"][:] = 0.3
    found["rhs"] = call("rhs", "y", "q", "u", "dy")
    found["factor"] = call("factor", "y", "q", "u", "ghinv", "lu")
    a["b"][:] = a["dy"]
    found["solve"] = call("solve", "lu", "b")
    found["jacobian"] = call("jacobian", "y", "q", "u", "jv")
    found["observe"] = call("observe", "y", "q", "u", "o")
    found["watch"] = call("watch", "y", "q", "u", "g")
    for name in ("dfdp", "observe_jac", "observe_dp"):
        found[name] = call(name, "y", "q", "u", "v")
    found["initial_dp"] = call("initial_dp", "q", "v")
    return found


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here")
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_same_bits_as_llvm(lanes: int) -> None:
    model = small_model()
    chosen = {"lanes": lanes, "outputs": ("IL6", "leakiness"), "watch": ("TEMP",), "sensitivities": SENSITIVITIES}
    ours = everything(compile_kernel(model, **chosen), model.parameters.values_array())
    theirs = everything(compile_cpp(model, **chosen), model.parameters.values_array())
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert np.isfinite(values).all(), name
        assert np.any(values != 0), name
        np.testing.assert_array_equal(theirs[name], values, err_msg=name)


def test_every_operation_is_printed() -> None:
    model = small_model()
    text = cpp_source(plan(model, ("IL6",), ("TEMP",), SENSITIVITIES).functions(chunk=50), 8, 4)
    for name in ("exp", "log", "pow", "tanh", "expit", "softplus"):
        assert f"V model_{name}(" in text
    assert text.count("{") == text.count("}")
    assert 'extern "C" void rhs(double* y, double* q, double* u, double* dy)' in text
    assert "rhs_1(" in text


def test_without_a_compiler_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpp.shutil, "which", lambda _: None)
    with pytest.raises(CompilerMissingError, match="no g\\+\\+ on the path"):
        compile_cpp(small_model())
    monkeypatch.undo()
    if shutil.which("g++"):
        monkeypatch.setenv("ICANS_CACHE", str(tmp_path))
        with pytest.raises(CompilerMissingError, match="does not build"):
            compile_cpp(small_model(), flags=("-no-such-flag",))
        assert not list((tmp_path / "kernels").glob("*.so"))
