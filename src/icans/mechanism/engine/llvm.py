"""Functions printed as LLVM IR with explicit vectors, compiled to object code, and loaded.

An array holds ``lanes`` numbers per entry; the code works on ``width`` of them at a time (what the processor's
registers hold) and does so ``lanes / width`` times for every chunk. No fast-math flags, fused multiply-add only where
the program says so: every lane of every width gives the same bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from icans.mechanism.engine import elementary
from icans.mechanism.engine.program import SCRATCH, Function, Operation

_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul"}


def hexadecimal(value: float) -> str:
    """A double as LLVM reads it without loss."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Writer:
    """Prints operations on vectors of one width; every method gives the name of its result."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []
        self._count = 0
        self.real = f"<{width} x double>" if width > 1 else "double"
        self.int = f"<{width} x i64>" if width > 1 else "i64"
        self.bool = f"<{width} x i1>" if width > 1 else "i1"
        self.suffix = f"v{width}f64" if width > 1 else "f64"

    def emit(self, text: str) -> str:
        """One instruction."""
        self._count += 1
        name = f"%n{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def _splat(self, text: str) -> str:
        return text.split(" ")[1] if self.width == 1 else f"<{', '.join([text] * self.width)}>"

    def number(self, value: float) -> str:
        """A constant in every lane."""
        return self._splat(f"double {hexadecimal(value)}")

    def whole(self, value: int) -> str:
        """A whole constant in every lane."""
        return self._splat(f"i64 {value}")

    def add(self, a: str, b: str) -> str:
        """Sum."""
        return self.emit(f"fadd {self.real} {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        """Difference."""
        return self.emit(f"fsub {self.real} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        """Product."""
        return self.emit(f"fmul {self.real} {a}, {b}")

    def div(self, a: str, b: str) -> str:
        """Quotient."""
        return self.emit(f"fdiv {self.real} {a}, {b}")

    def neg(self, a: str) -> str:
        """Negative."""
        return self.emit(f"fneg {self.real} {a}")

    def _intrinsic(self, name: str, *args: str) -> str:
        given = ", ".join(f"{self.real} {a}" for a in args)
        return self.emit(f"call {self.real} @llvm.{name}.{self.suffix}({given})")

    def fma(self, a: str, b: str, c: str) -> str:
        """``a*b + c`` rounded once."""
        return self._intrinsic("fma", a, b, c)

    def fnma(self, a: str, b: str, c: str) -> str:
        """``c - a*b`` rounded once."""
        return self.fma(self.neg(a), b, c)

    def fms(self, a: str, b: str, c: str) -> str:
        """``a*b - c`` rounded once."""
        return self.fma(a, b, self.neg(c))

    def sqrt(self, a: str) -> str:
        """Square root."""
        return self._intrinsic("sqrt", a)

    def magnitude(self, a: str) -> str:
        """Absolute value."""
        return self._intrinsic("fabs", a)

    def copysign(self, a: str, sign: str) -> str:
        """The size of one number with the sign of another."""
        return self._intrinsic("copysign", a, sign)

    def compare(self, how: str, a: str, b: str) -> str:
        """Comparison, as LLVM names it (``ogt``: ordered and greater)."""
        return self.emit(f"fcmp {how} {self.real} {a}, {b}")

    def select(self, condition: str, a: str, b: str) -> str:
        """One of two numbers, lane by lane."""
        return self.emit(f"select {self.bool} {condition}, {self.real} {a}, {self.real} {b}")

    def integer(self, op: str, a: str, b: str) -> str:
        """An operation on whole numbers."""
        return self.emit(f"{op} {self.int} {a}, {b}")

    def as_int(self, a: str) -> str:
        """The bits of a number."""
        return self.emit(f"bitcast {self.real} {a} to {self.int}")

    def as_float(self, a: str) -> str:
        """The number of some bits."""
        return self.emit(f"bitcast {self.int} {a} to {self.real}")

    def call(self, name: str, *args: str) -> str:
        """An elementary function."""
        given = ", ".join(f"{self.real} {a}" for a in args)
        return self.emit(f"call {self.real} @icans_{name}({given})")

    def address(self, array: str, place: int, lanes: int) -> str:
        """Pointer to an entry of an array."""
        return self.emit(f"getelementptr inbounds double, ptr %{array}, i64 {place * lanes}")

    def load(self, array: str, place: int, lanes: int) -> str:
        """An entry of an array."""
        return self.emit(f"load {self.real}, ptr {self.address(array, place, lanes)}, align 8")

    def store(self, value: str, array: str, place: int, lanes: int) -> None:
        """Set an entry of an array."""
        self.lines.append(f"  store {self.real} {value}, ptr {self.address(array, place, lanes)}, align 8")


def operate(w: Writer, op: str, args: Sequence[str]) -> str:
    """One arithmetic operation of a program."""
    if op in _ARITHMETIC:
        return w.emit(f"{_ARITHMETIC[op]} {w.real} {args[0]}, {args[1]}")
    if op in elementary.FUNCTIONS:
        return w.call(op, *args)
    if op == "inv":
        return w.div(w.number(1.0), args[0])
    if op == "gate":
        return w.select(w.compare("ugt", args[0], w.number(0.0)), args[1], w.number(0.0))
    if op in ("fma", "fnma", "fms", "neg", "sqrt"):
        made: str = getattr(w, op)(*args)
        return made
    raise ValueError(op)


def _chunk(name: str, arrays: Sequence[str], operations: Iterable[Operation], lanes: int, width: int) -> str:
    w = Writer(width)
    values: dict[int, str] = {}
    for op, out, args in operations:
        if op == "const":
            values[out] = w.number(args[0])
        elif op == "load":
            values[out] = w.load(args[0], args[1], lanes)
        elif op == "store":
            w.store(values[out], args[0], args[1], lanes)
        else:
            values[out] = operate(w, op, [values[a] for a in args])
    given = ", ".join(f"ptr noalias %{a}" for a in arrays)
    return f"define internal void @{name}({given}) noinline nounwind {{\n" + "\n".join(w.lines) + "\n  ret void\n}\n"


def _function(function: Function, lanes: int, width: int) -> str:
    arrays = [*function.arrays, SCRATCH]
    text = [
        _chunk(f"{function.name}.{k}", arrays, chunk, lanes, width) for k, chunk in enumerate(function.chunks)
    ]  # fmt: skip
    given = ", ".join(f"ptr %{a}" for a in function.arrays)
    text.append(f"define void @{function.name}({given}) nounwind {{")
    text.append(f"  %{SCRATCH} = alloca [{max(function.slots, 1) * lanes} x double], align 64")
    for part in range(lanes // width):
        text += [f"  %{a}.{part} = getelementptr inbounds double, ptr %{a}, i64 {part * width}" for a in arrays]
    for k in range(len(function.chunks)):
        for part in range(lanes // width):
            given = ", ".join(f"ptr %{a}.{part}" for a in arrays)
            text.append(f"  call void @{function.name}.{k}({given})")
    return "\n".join([*text, "  ret void\n}\n"])


def _elementary(name: str, width: int) -> str:
    count, prints = elementary.FUNCTIONS[name]
    w = Writer(width)
    arguments = [f"%x{k}" for k in range(count)]
    value = prints(w, *arguments)
    given = ", ".join(f"{w.real} {a}" for a in arguments)
    body = "\n".join(w.lines)
    return f"define internal {w.real} @icans_{name}({given}) noinline nounwind {{\n{body}\n  ret {w.real} {value}\n}}\n"


def module(functions: Sequence[Function], lanes: int, width: int) -> str:
    """The text of a module with these functions."""
    w = Writer(width)
    used = {op for f in functions for chunk in f.chunks for op, _, _ in chunk}
    declared = [
        f"declare {w.real} @llvm.{name}.{w.suffix}({', '.join([w.real] * count)})"
        for name, count in (("fma", 3), ("sqrt", 1), ("fabs", 1), ("copysign", 2))
    ]
    needed = [_elementary(name, width) for name in elementary.FUNCTIONS if name in used]
    return "\n".join([*declared, *needed, *(_function(f, lanes, width) for f in functions)])


def register_width(features: str) -> int:
    """Doubles in one register of a processor with these features (as LLVM lists them)."""
    has = set(features.split(","))
    return 8 if "+avx512f" in has else 4 if "+avx" in has else 2


def processor() -> tuple[str, str, str]:
    """Name and features of this machine's processor and the kind of its object code, as LLVM knows them."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), llvm.get_default_triple()


def compile_object(text: str) -> bytes:
    """Object code of a module, for this processor."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features, triple = processor()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="default"
    )
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    code: bytes = machine.emit_object(parsed)
    return code


def load_object(code: bytes, names: Sequence[str]) -> tuple[object, dict[str, int]]:
    """Addresses of functions of object code, and what must be kept alive for them to stay valid."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    # All sections in one piece of memory: in a process with much else in it (XLA, other compilers) they may lie further
    # apart than the code can reach, which LLVM answers by ending the process.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, {name: engine.get_function_address(name) for name in names}
