"""Vector loops of the solver, and calls of kernel functions by address, as intrinsics of numba.

numba's own loops over lanes stay scalar (LLVM takes eight lanes for too short a loop, and checks every pair of arrays
for overlap), so the few loops that matter are written with explicit vectors. They work on one workspace of doubles;
arguments are offsets into it. Every region begins at a multiple of :data:`BLOCK` and is padded to one, and the number
of lanes divides it, so that a value per lane can be held as a pattern of :data:`BLOCK` numbers.

Element by element the arithmetic is that of scalar code in the same order, contracted only where written so (``madd``):
results do not depend on the number of lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Doubles in one vector; regions of the workspace are aligned to it.
BLOCK = 8
#: Most stages of a method; loops over stages are unrolled up to it.
MOST = 8
DOUBLE = ir.DoubleType()
INT = ir.IntType(64)
WORK = types.Array(types.float64, 1, "C")
INDEX = types.Array(types.int64, 1, "C")


def data_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Pointer to the numbers of an array."""
    return context.make_array(array_type)(context, builder, array).data


class Emit:
    """Loads, stores and arithmetic on vectors of one width in a workspace."""

    def __init__(self, builder: ir.IRBuilder, data: Any, width: int) -> None:
        self.builder, self.data, self.width = builder, data, width
        self.type = ir.VectorType(DOUBLE, width) if width > 1 else DOUBLE

    def place(self, offset: Any, index: Any = None) -> Any:
        """Pointer to the vector at ``offset + index``."""
        at = offset if index is None else self.builder.add(offset, index)
        return self.builder.bitcast(self.builder.gep(self.data, [at]), self.type.as_pointer())

    def load(self, offset: Any, index: Any = None) -> Any:
        """The vector at ``offset + index``."""
        made = self.builder.load(self.place(offset, index))
        made.align = 8
        return made

    def store(self, value: Any, offset: Any, index: Any = None) -> None:
        """Set the vector at ``offset + index``."""
        made = self.builder.store(value, self.place(offset, index))
        made.align = 8

    def spread(self, scalar: Any) -> Any:
        """One number in every lane."""
        if self.width == 1:
            return scalar
        empty = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, empty, mask)

    def number(self, value: float) -> Any:
        """A constant in every lane."""
        return ir.Constant(self.type, value if self.width == 1 else [value] * self.width)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of two numbers, the second where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def absolute(self, a: Any) -> Any:
        """Absolute value."""
        return self.larger(a, self.builder.fsub(self.number(-0.0), a))

    def madd(self, total: Any, a: Any, b: Any) -> Any:
        """``total + a b``, rounded once."""
        kind = ir.FunctionType(self.type, [self.type] * 3)
        name = f"llvm.fma.v{self.width}f64" if self.width > 1 else "llvm.fma.f64"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, total])


def loop(builder: ir.IRBuilder, count: Any, step: int = 1) -> Any:
    """A loop from 0 to before ``count``, as a context."""
    return cgutils.for_range_slice(builder, ir.Constant(INT, 0), count, ir.Constant(INT, step))


def _work(count: int, body: Callable[..., None], width: int = BLOCK) -> Any:
    """An intrinsic ``f(work, i1, ..., i_count)`` of a workspace and integers, returning nothing."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = data_of(context, builder, signature.args[0], args[0])
        body(builder, Emit(builder, data, width), *args[1:])
        return context.get_dummy_value()

    signature = types.void(WORK, *[types.int64] * count)
    names = ", ".join(f"i{k}" for k in range(count))
    space: dict[str, Any] = {"signature": signature, "codegen": codegen}
    exec(f"def made(typingctx, work, {names}):\n return signature, codegen", space)  # noqa: S102
    return intrinsic(space["made"])


def by_count(b: ir.IRBuilder, count: Any, most: int, body: Callable[[int], None]) -> None:
    """``body(k)`` for the ``k`` (0 to ``most``) that ``count`` is, so that loops over stages are unrolled."""
    after = b.append_basic_block("counted")
    choice = b.switch(count, after)
    for k in range(most + 1):
        block = b.append_basic_block(f"count_{k}")
        choice.add_case(ir.Constant(INT, k), block)
        b.position_at_end(block)
        body(k)
        b.branch(after)
    b.position_at_end(after)


def _numbers(b: ir.IRBuilder, e: Emit, at: Any, count: int) -> list[Any]:
    """Numbers that lie in a row, each spread over the lanes."""
    return [e.spread(b.load(b.gep(e.data, [b.add(at, ir.Constant(INT, j))]))) for j in range(count)]


def rows_of(b: ir.IRBuilder, u: Any, stride: Any, count: int) -> list[Any]:
    """Offsets of the vectors that begin at ``u`` and lie ``stride`` apart."""
    return [b.add(u, b.mul(stride, ir.Constant(INT, j))) for j in range(count)]


def _combine(b: ir.IRBuilder, e: Emit, out: Any, base: Any, u: Any, stride: Any, coef: Any, count: Any, m: Any) -> None:
    """``out = base + sum_j coef[j] * u_j`` over ``m`` doubles; ``u_j`` begins at ``u + j * stride``."""

    def body(k: int) -> None:
        scales, rows = _numbers(b, e, coef, k), rows_of(b, u, stride, k)
        with loop(b, m, BLOCK) as (i, _):
            total = e.load(base, i)
            for scale, row in zip(scales, rows):
                total = e.madd(total, scale, e.load(row, i))
            e.store(total, out, i)

    by_count(b, count, MOST, body)


def _stage(b: ir.IRBuilder, e: Emit, y_out: Any, r_out: Any, y: Any, u: Any, stride: Any, a: Any, c: Any,
           hinv: Any, count: Any, m: Any) -> None:  # fmt: skip
    """``y_out = y + sum_j a[j] u_j`` and ``r_out = hinv * sum_j c[j] u_j`` in one pass over the stages."""
    lanes = e.load(hinv)

    def body(k: int) -> None:
        left, right, rows = _numbers(b, e, a, k), _numbers(b, e, c, k), rows_of(b, u, stride, k)
        with loop(b, m, BLOCK) as (i, _):
            total, rest = e.load(y, i), e.number(0.0)
            for x, z, row in zip(left, right, rows):
                value = e.load(row, i)
                total, rest = e.madd(total, x, value), e.madd(rest, z, value)
            e.store(total, y_out, i)
            e.store(b.fmul(lanes, rest), r_out, i)

    by_count(b, count, MOST, body)


def _mix(b: ir.IRBuilder, e: Emit, out: Any, base: Any, u: Any, stride: Any, coef: Any, count: Any, scale: Any,
         m: Any) -> None:  # fmt: skip
    """``out = scale * (coef[0] base + sum_j coef[1 + j] u_j)``, ``scale`` a number per lane."""
    lanes = e.load(scale)

    def body(k: int) -> None:
        factors, rows = _numbers(b, e, coef, k + 1), rows_of(b, u, stride, k)
        with loop(b, m, BLOCK) as (i, _):
            total = b.fmul(factors[0], e.load(base, i))
            for factor, row in zip(factors[1:], rows):
                total = e.madd(total, factor, e.load(row, i))
            e.store(b.fmul(lanes, total), out, i)

    by_count(b, count, MOST, body)


def _add(b: ir.IRBuilder, e: Emit, out: Any, more: Any, m: Any) -> None:
    """``out += more``."""
    with loop(b, m, BLOCK) as (i, _):
        e.store(b.fadd(e.load(out, i), e.load(more, i)), out, i)


def _blend(b: ir.IRBuilder, e: Emit, out: Any, source: Any, mask: Any, m: Any) -> None:
    """``out = source`` in the lanes whose mask is above a half."""
    chosen = b.fcmp_ordered(">", e.load(mask), e.number(0.5))
    with loop(b, m, BLOCK) as (i, _):
        e.store(b.select(chosen, e.load(source, i), e.load(out, i)), out, i)


def _between(b: ir.IRBuilder, e: Emit, out: Any, y0: Any, y1: Any, k: Any, stride: Any, count: Any, theta: Any,
             m: Any) -> None:  # fmt: skip
    """Dense output at the fraction ``theta`` of the step: ``(1-s) y0 + s (y1 + (1-s)(k_1 + s (k_2 + ...)))``."""
    s = e.load(theta)
    rest = b.fsub(e.number(1.0), s)

    def body(n: int) -> None:
        rows = rows_of(b, k, stride, n)
        with loop(b, m, BLOCK) as (i, _):
            total = e.number(0.0)
            for row in reversed(rows):
                total = e.madd(e.load(row, i), s, total)
            bent = e.madd(e.load(y1, i), rest, total)
            e.store(e.madd(b.fmul(rest, e.load(y0, i)), s, bent), out, i)

    by_count(b, count, MOST, body)


def _norm(b: ir.IRBuilder, e: Emit, out: Any, y: Any, y_new: Any, error: Any, atol: Any, rtol: Any, n: Any) -> None:
    """Sum over the states of ``(error / (atol + rtol max(|y|, |y_new|)))^2``; NaN where ``y_new`` is not finite."""
    total = cgutils.alloca_once_value(b, e.number(0.0))
    relative = e.spread(b.load(b.gep(e.data, [rtol])))
    with loop(b, n) as (i, _):
        at = b.mul(i, ir.Constant(INT, e.width))
        new = e.load(y_new, at)
        size = e.larger(e.absolute(new), e.absolute(e.load(y, at)))
        scale = e.madd(e.spread(b.load(b.gep(e.data, [b.add(atol, i)]))), relative, size)
        ratio = b.fdiv(e.load(error, at), scale)
        b.store(b.fadd(b.load(total), e.madd(b.fmul(new, e.number(0.0)), ratio, ratio)), total)
    e.store(b.load(total), out)


#: ``combine(work, out, base, u, stride, coef, count, m)``
combine = _work(7, _combine)
#: ``stage(work, y_out, r_out, y, u, stride, a, c, hinv, count, m)``
stage = _work(10, _stage)
#: ``mix(work, out, base, u, stride, coef, count, scale, m)``
mix = _work(8, _mix)
#: ``add(work, out, more, m)``
add = _work(3, _add)
#: ``blend(work, out, source, mask, m)``
blend = _work(4, _blend)
#: ``between(work, out, y0, y1, k, stride, count, theta, m)``
between = _work(8, _between)
#: ``norm_W(work, out, y, y_new, error, atol, rtol, n)``
norm_1, norm_4, norm_8 = (_work(7, _norm, width) for width in (1, 4, 8))


def _call(count: int) -> Any:
    """An intrinsic ``f(work, address, o1, ..., o_count)``: calls the C function with pointers into the workspace."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = data_of(context, builder, signature.args[0], args[0])
        kind = ir.FunctionType(ir.VoidType(), [DOUBLE.as_pointer()] * count).as_pointer()
        builder.call(builder.inttoptr(args[1], kind), [builder.gep(data, [place]) for place in args[2:]])
        return context.get_dummy_value()

    signature = types.void(WORK, types.int64, *[types.int64] * count)
    names = ", ".join(f"i{k}" for k in range(count))
    space: dict[str, Any] = {"signature": signature, "codegen": codegen}
    exec(f"def made(typingctx, work, address, {names}):\n return signature, codegen", space)  # noqa: S102
    return intrinsic(space["made"])


#: ``call_n(work, address, o1, ..., on)``
call_2, call_3, call_4, call_5 = (_call(count) for count in (2, 3, 4, 5))
