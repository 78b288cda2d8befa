"""The kernel printed as C++ with vector extensions, from the same lists of operations as the LLVM form.

Same functions, same layout, same elementary functions, fused multiply-add where the program says so and nowhere else:
the numbers are the same to the last bit. It is there to be read, to be compiled by another compiler as a check of the
first (and of its speed), and to be taken elsewhere. Needs ``g++`` on the path.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from icans.core.errors import IcansError
from icans.core.files import atomic_path
from icans.mechanism.engine import elementary, llvm
from icans.mechanism.engine.program import SCRATCH, Function, Operation

if TYPE_CHECKING:
    from pathlib import Path

    from icans.mechanism.engine.kernel import Kernel
    from icans.mechanism.model import PatientModel

#: No contraction: the program has decided where to fuse.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared")

_HEAD = """// Patient model: rates, factors of the linear system, derivatives. Generated; research use only.
// Arrays hold LANES numbers per entry, side by side; vectors of WIDTH lanes are worked on at once.
#include <cmath>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
namespace {{
constexpr int LANES = {lanes}, WIDTH = {width};
typedef double V __attribute__((vector_size(8 * WIDTH)));
typedef long long I __attribute__((vector_size(8 * WIDTH)));
typedef double U __attribute__((vector_size(8 * WIDTH), aligned(8), may_alias));

inline V load(const double* a) {{ return *reinterpret_cast<const U*>(a); }}
inline void store(double* a, V x) {{ *reinterpret_cast<U*>(a) = x; }}
inline V splat(double x) {{ return x - V{{}}; }}
inline I whole(long long x) {{ return x - I{{}}; }}
inline I bits(V x) {{ I r; std::memcpy(&r, &x, sizeof r); return r; }}
inline V number(I x) {{ V r; std::memcpy(&r, &x, sizeof r); return r; }}
inline V select(I m, V a, V b) {{ return number((bits(a) & m) | (bits(b) & ~m)); }}
inline V magnitude(V x) {{ return number(bits(x) & whole(0x7FFFFFFFFFFFFFFFLL)); }}
inline V copysign(V x, V s) {{
  return number((bits(x) & whole(0x7FFFFFFFFFFFFFFFLL)) | (bits(s) & ~whole(0x7FFFFFFFFFFFFFFFLL)));
}}
inline I lshr(I x, int n) {{
  typedef unsigned long long N __attribute__((vector_size(8 * WIDTH)));
  N u; std::memcpy(&u, &x, sizeof u); u = u >> n; std::memcpy(&x, &u, sizeof x); return x;
}}
#if defined(__AVX512F__) && {width} == 8
inline V fma(V a, V b, V c) {{ return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }}
inline V sqrt(V a) {{ return (V)_mm512_sqrt_pd((__m512d)a); }}
#elif defined(__FMA__) && {width} == 4
inline V fma(V a, V b, V c) {{ return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }}
inline V sqrt(V a) {{ return (V)_mm256_sqrt_pd((__m256d)a); }}
#elif defined(__FMA__) && {width} == 2
inline V fma(V a, V b, V c) {{ return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c); }}
inline V sqrt(V a) {{ return (V)_mm_sqrt_pd((__m128d)a); }}
#else
inline V fma(V a, V b, V c) {{ for (int i = 0; i < WIDTH; ++i) a[i] = __builtin_fma(a[i], b[i], c[i]); return a; }}
inline V sqrt(V a) {{ for (int i = 0; i < WIDTH; ++i) a[i] = __builtin_sqrt(a[i]); return a; }}
#endif
}}  // namespace
"""
_COMPARE = {
    "ogt": "(I)({a} > {b})", "olt": "(I)({a} < {b})", "oeq": "(I)({a} == {b})", "ugt": "~(I)({a} <= {b})",
    "uno": "((I)({a} != {a}) | (I)({b} != {b}))",
}  # fmt: skip
_INTEGER = {"add": "({a} + {b})", "or": "({a} | {b})", "and": "({a} & {b})"}


class CompilerMissingError(IcansError):
    """There is no C++ compiler that builds the kernel; the message says why."""


class _Writer(llvm.Writer):
    """The writer of the LLVM form, printing C++ instead: every method gives the name of its result."""

    def emit(self, text: str) -> str:
        self._count += 1
        name = f"n{self._count}"
        self.lines.append(f"  const auto {name} = {text};")
        return name

    def number(self, value: float) -> str:
        if math.isnan(value):
            return 'splat(__builtin_nan(""))'
        if math.isinf(value):
            return f"splat({'-' if value < 0 else ''}__builtin_inf())"
        return f"splat({value.hex()})"

    def whole(self, value: int) -> str:
        return f"whole({value}LL)"

    def add(self, a: str, b: str) -> str:
        return self.emit(f"{a} + {b}")

    def sub(self, a: str, b: str) -> str:
        return self.emit(f"{a} - {b}")

    def mul(self, a: str, b: str) -> str:
        return self.emit(f"{a} * {b}")

    def div(self, a: str, b: str) -> str:
        return self.emit(f"{a} / {b}")

    def neg(self, a: str) -> str:
        return self.emit(f"-{a}")

    def fma(self, a: str, b: str, c: str) -> str:
        return self.emit(f"fma({a}, {b}, {c})")

    def sqrt(self, a: str) -> str:
        return self.emit(f"sqrt({a})")

    def magnitude(self, a: str) -> str:
        return self.emit(f"magnitude({a})")

    def copysign(self, a: str, sign: str) -> str:
        return self.emit(f"copysign({a}, {sign})")

    def compare(self, how: str, a: str, b: str) -> str:
        return self.emit(_COMPARE[how].format(a=a, b=b))

    def select(self, condition: str, a: str, b: str) -> str:
        return self.emit(f"select({condition}, {a}, {b})")

    def integer(self, op: str, a: str, b: str) -> str:
        if op in ("shl", "lshr"):
            count = b.removeprefix("whole(").removesuffix("LL)")
            return self.emit(f"{a} << {count}" if op == "shl" else f"lshr({a}, {count})")
        return self.emit(_INTEGER[op].format(a=a, b=b))

    def as_int(self, a: str) -> str:
        return self.emit(f"bits({a})")

    def as_float(self, a: str) -> str:
        return self.emit(f"number({a})")

    def call(self, name: str, *args: str) -> str:
        return self.emit(f"model_{name}({', '.join(args)})")

    def load(self, array: str, place: int, lanes: int) -> str:
        return self.emit(f"load({array} + {place} * LANES)")

    def store(self, value: str, array: str, place: int, lanes: int) -> None:
        self.lines.append(f"  store({array} + {place} * LANES, {value});")


def _operate(w: _Writer, op: str, args: Sequence[str]) -> str:
    if op in elementary.FUNCTIONS:
        return w.call(op, *args)
    if op == "inv":
        return w.div(w.number(1.0), args[0])
    if op == "gate":
        return w.select(w.compare("ugt", args[0], w.number(0.0)), args[1], w.number(0.0))
    made: str = getattr(w, op)(*args)
    return made


def cpp_source(functions: Sequence[Function], lanes: int, width: int) -> str:
    """The text of a C++ file with these functions, ``extern "C"``."""
    used = {op for f in functions for chunk in f.chunks for op, _, _ in chunk}
    parts = [_HEAD.format(lanes=lanes, width=width), "namespace {\n"]
    parts += [_elementary(name, width) for name in elementary.FUNCTIONS if name in used]
    parts.append("}  // namespace\n")
    parts += [_function(f, lanes, width) for f in functions]
    return "\n".join(parts)


def _elementary(name: str, width: int) -> str:
    count, prints = elementary.FUNCTIONS[name]
    w = _Writer(width)
    arguments = [f"x{k}" for k in range(count)]
    value = prints(w, *arguments)
    given = ", ".join(f"const V {a}" for a in arguments)
    return f"__attribute__((noinline)) V model_{name}({given}) {{\n" + "\n".join(w.lines) + f"\n  return {value};\n}}\n"


def _function(function: Function, lanes: int, width: int) -> str:
    text = [_chunk(f"{function.name}_{k}", function.arrays, chunk, width) for k, chunk in enumerate(function.chunks)]
    given = ", ".join(f"double* {a}" for a in function.arrays)
    text.append(f'extern "C" void {function.name}({given}) {{')
    text.append(f"  alignas(64) double {SCRATCH}[{max(function.slots, 1)} * LANES];")
    for k in range(len(function.chunks)):
        for part in range(lanes // width):
            passed = ", ".join(f"{a} + {part} * WIDTH" for a in (*function.arrays, SCRATCH))
            text.append(f"  {function.name}_{k}({passed});")
    return "\n".join([*text, "}\n"])


def _chunk(name: str, arrays: Sequence[str], operations: Iterable[Operation], width: int) -> str:
    w = _Writer(width)
    values: dict[int, str] = {}
    for op, out, args in operations:
        if op == "const":
            values[out] = w.number(args[0])
        elif op == "load":
            values[out] = w.load(args[0], args[1], 0)
        elif op == "store":
            w.store(values[out], args[0], args[1], 0)
        else:
            values[out] = _operate(w, op, [values[a] for a in args])
    given = ", ".join(f"double* __restrict {a}" for a in (*arrays, SCRATCH))
    body = "\n".join(w.lines)
    return f"static __attribute__((noinline)) void {name}({given}) {{\n{body}\n}}\n"


def compile_cpp(
    model: PatientModel,
    *,
    lanes: int = 8,
    outputs: Sequence[str] = (),
    watch: Sequence[str] = (),
    sensitivities: Sequence[str] = (),
    flags: Sequence[str] = FLAGS,
) -> Kernel:
    """The kernel of :func:`icans.mechanism.engine.kernel.compile_kernel` with functions that ``g++`` compiled.

    Raises
    ------
    CompilerMissingError
        There is no ``g++``, or it does not build the file.
    """
    from icans.mechanism.engine.generate import plan
    from icans.mechanism.engine.kernel import cache_folder, compile_kernel

    compiler = shutil.which("g++")
    if compiler is None:
        raise CompilerMissingError("there is no g++ on the path; the LLVM form of the kernel needs none")
    same = compile_kernel(model, lanes=lanes, outputs=outputs, watch=watch, sensitivities=sensitivities)
    functions = plan(model, outputs, watch, sensitivities).functions()
    width = min(lanes, llvm.register_width(llvm.processor()[1]))
    source = cpp_source(functions, lanes, width)
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    digest = hashlib.sha256("\n".join([source, version, *flags, *llvm.processor()]).encode()).hexdigest()
    target = cache_folder() / f"{digest}.so"
    if not target.exists():
        _build(compiler, source, target, flags)
    library = ctypes.CDLL(str(target))
    _LIBRARIES.append(library)
    addresses = {f.name: ctypes.cast(getattr(library, f.name), ctypes.c_void_p).value or 0 for f in functions}
    return replace(same, key=f"c++ {digest}", functions=addresses)


#: Loaded libraries, kept so that addresses stay valid.
_LIBRARIES: list[ctypes.CDLL] = []


def _build(compiler: str, source: str, target: Path, flags: Sequence[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as path:
        command = [compiler, *flags, "-x", "c++", "-", "-o", str(path)]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompilerMissingError(f"{compiler} does not build the kernel: {done.stderr[:500].strip()}")
