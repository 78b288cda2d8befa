"""Vector loops of the solver, and calls of kernel functions by address, as intrinsics of numba.

numba's own loops over lanes stay scalar (LLVM takes eight lanes for too short a loop, and checks every pair of arrays
for overlap), so the few loops that matter are written with explicit vectors. They work on one workspace of doubles;
arguments are offsets into it. Every region begins at a multiple of :data:`BLOCK` and is padded to one, and the number
of lanes divides it, so that a value per lane can be held as a pattern of :data:`BLOCK` numbers.

Element by element the arithmetic is that of scalar code in the same order, without contraction: results do not depend
on the number of lanes.
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
_DOUBLE = ir.DoubleType()
_INT = ir.IntType(64)
_WORK = types.Array(types.float64, 1, "C")
_INDEX = types.Array(types.int64, 1, "C")


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


class _Emit:
    """Loads, stores and arithmetic on vectors of one width in a workspace."""

    def __init__(self, builder: ir.IRBuilder, data: Any, width: int) -> None:
        self.builder, self.data, self.width = builder, data, width
        self.type = ir.VectorType(_DOUBLE, width) if width > 1 else _DOUBLE

    def place(self, offset: Any, index: Any = None) -> Any:
        """Pointer to the vector at ``offset + index``."""
        at = offset if index is None else self.builder.add(offset, index)
        return self.builder.bitcast(self.builder.gep(self.data, [at]), self.type.as_pointer())

    def load(self, offset: Any, index: Any = None) -> Any:
        made = self.builder.load(self.place(offset, index))
        made.align = 8
        return made

    def store(self, value: Any, offset: Any, index: Any = None) -> None:
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
        return ir.Constant(self.type, value if self.width == 1 else [value] * self.width)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def absolute(self, a: Any) -> Any:
        return self.larger(a, self.builder.fsub(self.number(-0.0), a))

    def madd(self, total: Any, a: Any, b: Any) -> Any:
        return self.builder.fadd(total, self.builder.fmul(a, b))


def _loop(builder: ir.IRBuilder, count: Any, step: int = 1) -> Any:
    return cgutils.for_range_slice(builder, ir.Constant(_INT, 0), count, ir.Constant(_INT, step))


def _work(count: int, body: Callable[..., None], width: int = BLOCK) -> Any:
    """An intrinsic ``f(work, i1, ..., i_count)`` of a workspace and integers, returning nothing."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[0], args[0])
        body(builder, _Emit(builder, data, width), *args[1:])
        return context.get_dummy_value()

    signature = types.void(_WORK, *[types.int64] * count)
    names = ", ".join(f"i{k}" for k in range(count))
    space: dict[str, Any] = {"signature": signature, "codegen": codegen}
    exec(f"def made(typingctx, work, {names}):\n return signature, codegen", space)  # noqa: S102
    return intrinsic(space["made"])


def _combine(
    b: ir.IRBuilder, e: _Emit, out: Any, base: Any, u: Any, stride: Any, coef: Any, count: Any, m: Any
) -> None:
    """``out = base + sum_j coef[j] * u_j`` over ``m`` doubles; ``u_j`` begins at ``u + j * stride``."""
    with _loop(b, m, BLOCK) as (i, _):
        total = cgutils.alloca_once_value(b, e.load(base, i))
        with _loop(b, count) as (j, _):
            scale = e.spread(b.load(b.gep(e.data, [b.add(coef, j)])))
            b.store(e.madd(b.load(total), scale, e.load(b.add(u, b.mul(j, stride)), i)), total)
        e.store(b.load(total), out, i)


def _stage(b: ir.IRBuilder, e: _Emit, y_out: Any, r_out: Any, y: Any, u: Any, stride: Any, a: Any, c: Any,
           hinv: Any, count: Any, m: Any) -> None:  # fmt: skip
    """``y_out = y + sum_j a[j] u_j`` and ``r_out = hinv * sum_j c[j] u_j`` in one pass over the stages."""
    lanes = e.load(hinv)
    with _loop(b, m, BLOCK) as (i, _):
        total = cgutils.alloca_once_value(b, e.load(y, i))
        rest = cgutils.alloca_once_value(b, e.number(0.0))
        with _loop(b, count) as (j, _):
            value = e.load(b.add(u, b.mul(j, stride)), i)
            b.store(e.madd(b.load(total), e.spread(b.load(b.gep(e.data, [b.add(a, j)]))), value), total)
            b.store(e.madd(b.load(rest), e.spread(b.load(b.gep(e.data, [b.add(c, j)]))), value), rest)
        e.store(b.load(total), y_out, i)
        e.store(b.fmul(lanes, b.load(rest)), r_out, i)


def _add(b: ir.IRBuilder, e: _Emit, out: Any, more: Any, m: Any) -> None:
    """``out += more``."""
    with _loop(b, m, BLOCK) as (i, _):
        e.store(b.fadd(e.load(out, i), e.load(more, i)), out, i)


def _blend(b: ir.IRBuilder, e: _Emit, out: Any, source: Any, mask: Any, m: Any) -> None:
    """``out = source`` in the lanes whose mask is above a half."""
    chosen = b.fcmp_ordered(">", e.load(mask), e.number(0.5))
    with _loop(b, m, BLOCK) as (i, _):
        e.store(b.select(chosen, e.load(source, i), e.load(out, i)), out, i)


def _between(b: ir.IRBuilder, e: _Emit, out: Any, y0: Any, y1: Any, k: Any, stride: Any, count: Any, theta: Any,
             m: Any) -> None:  # fmt: skip
    """Dense output at the fraction ``theta`` of the step: ``(1-s) y0 + s (y1 + (1-s)(k_1 + s (k_2 + ...)))``."""
    s = e.load(theta)
    rest = b.fsub(e.number(1.0), s)
    with _loop(b, m, BLOCK) as (i, _):
        total = cgutils.alloca_once_value(b, e.number(0.0))
        with _loop(b, count) as (j, _):
            back = b.sub(b.sub(count, j), ir.Constant(_INT, 1))
            b.store(b.fadd(b.fmul(s, b.load(total)), e.load(b.add(k, b.mul(back, stride)), i)), total)
        bent = e.madd(e.load(y1, i), rest, b.load(total))
        e.store(e.madd(b.fmul(rest, e.load(y0, i)), s, bent), out, i)


def _norm(b: ir.IRBuilder, e: _Emit, out: Any, y: Any, y_new: Any, error: Any, atol: Any, rtol: Any, n: Any) -> None:
    """Sum over the states of ``(error / (atol + rtol max(|y|, |y_new|)))^2``; NaN where ``y_new`` is not finite."""
    total = cgutils.alloca_once_value(b, e.number(0.0))
    relative = e.spread(b.load(b.gep(e.data, [rtol])))
    with _loop(b, n) as (i, _):
        at = b.mul(i, ir.Constant(_INT, e.width))
        new = e.load(y_new, at)
        size = e.larger(e.absolute(new), e.absolute(e.load(y, at)))
        scale = e.madd(e.spread(b.load(b.gep(e.data, [b.add(atol, i)]))), relative, size)
        ratio = b.fdiv(e.load(error, at), scale)
        b.store(b.fadd(b.load(total), e.madd(b.fmul(new, e.number(0.0)), ratio, ratio)), total)
    e.store(b.load(total), out)


def _products(width: int, block: int) -> Any:
    """Intrinsic ``f(work, out, out_by, a, x, b, s, by, starts, cols, rows)``: ``out_d += A x_d + B s_d``.

    ``A`` and ``B`` have one pattern: the entries of row ``i`` are those from ``starts[i]`` to before ``starts[i + 1]``,
    their columns in ``cols``. ``block`` vectors are multiplied in one pass: ``x_d`` begins at ``x + d * by``, ``s_d``
    at ``s + d * by`` and ``out_d`` at ``out + d * out_by``.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        work, out, out_by, a, x, b, s, by, starts, cols, rows = args
        e = _Emit(builder, _data(context, builder, signature.args[0], work), width)
        at_start, at_col = (_data(context, builder, _INDEX, one) for one in (starts, cols))
        w, one = ir.Constant(_INT, width), ir.Constant(_INT, 1)

        def each(base: Any, stride: Any) -> list[Any]:
            return [builder.add(base, builder.mul(stride, ir.Constant(_INT, d))) for d in range(block)]

        outs, xs, ss = each(out, out_by), each(x, by), each(s, by)
        with _loop(builder, rows) as (i, _):
            place = builder.mul(i, w)
            totals = [cgutils.alloca_once_value(builder, e.load(o, place)) for o in outs]
            first = builder.load(builder.gep(at_start, [i]))
            last = builder.load(builder.gep(at_start, [builder.add(i, one)]))
            with cgutils.for_range_slice(builder, first, last, one) as (z, _):
                col, entry = builder.mul(builder.load(builder.gep(at_col, [z])), w), builder.mul(z, w)
                left, right = e.load(a, entry), e.load(b, entry)
                for total, x_d, s_d in zip(totals, xs, ss):
                    part = e.madd(builder.load(total), left, e.load(x_d, col))
                    builder.store(e.madd(part, right, e.load(s_d, col)), total)
            for o, total in zip(outs, totals):
                e.store(builder.load(total), o, place)
        return context.get_dummy_value()

    signature = types.void(_WORK, *[types.int64] * 7, _INDEX, _INDEX, types.int64)

    @intrinsic
    def made(
        typingctx: Any, work: Any, out: Any, out_by: Any, a: Any, x: Any, b: Any, s: Any, by: Any, starts: Any,
        cols: Any, rows: Any,
    ) -> Any:  # fmt: skip
        return signature, codegen

    return made


def _scatter(width: int) -> Any:
    """Intrinsic ``f(work, out, values, places, rows, start, stop)``: ``out[rows[e]] += values[places[e]]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        work, out, values, places, rows, start, stop = args
        e = _Emit(builder, _data(context, builder, signature.args[0], work), width)
        at_place, at_row = (_data(context, builder, _INDEX, a) for a in (places, rows))
        w = ir.Constant(_INT, width)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(_INT, 1)) as (z, _):
            row = builder.mul(builder.load(builder.gep(at_row, [z])), w)
            place = builder.mul(builder.load(builder.gep(at_place, [z])), w)
            e.store(builder.fadd(e.load(out, row), e.load(values, place)), out, row)
        return context.get_dummy_value()

    signature = types.void(_WORK, types.int64, types.int64, _INDEX, _INDEX, types.int64, types.int64)

    @intrinsic
    def made(typingctx: Any, work: Any, out: Any, values: Any, places: Any, rows: Any, start: Any, stop: Any) -> Any:
        return signature, codegen

    return made


#: ``combine(work, out, base, u, stride, coef, count, m)``
combine = _work(7, _combine)
#: ``stage(work, y_out, r_out, y, u, stride, a, c, hinv, count, m)``
stage = _work(10, _stage)
#: ``add(work, out, more, m)``
add = _work(3, _add)
#: ``blend(work, out, source, mask, m)``
blend = _work(4, _blend)
#: ``between(work, out, y0, y1, k, stride, count, theta, m)``
between = _work(8, _between)
#: ``norm_W(work, out, y, y_new, error, atol, rtol, n)``
norm_1, norm_4, norm_8 = (_work(7, _norm, width) for width in (1, 4, 8))
#: ``products_W_D(work, out, out_by, a, x, b, s, by, starts, cols, rows)`` for D vectors at once
products_1_1, products_1_2, products_1_4 = (_products(1, block) for block in (1, 2, 4))
products_4_1, products_4_2, products_4_4 = (_products(4, block) for block in (1, 2, 4))
products_8_1, products_8_2, products_8_4 = (_products(8, block) for block in (1, 2, 4))
#: ``scatter_W(work, out, values, places, rows, start, stop)``
scatter_1, scatter_4, scatter_8 = (_scatter(width) for width in (1, 4, 8))


def _call(count: int) -> Any:
    """An intrinsic ``f(work, address, o1, ..., o_count)``: calls the C function with pointers into the workspace."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _data(context, builder, signature.args[0], args[0])
        kind = ir.FunctionType(ir.VoidType(), [_DOUBLE.as_pointer()] * count).as_pointer()
        builder.call(builder.inttoptr(args[1], kind), [builder.gep(data, [place]) for place in args[2:]])
        return context.get_dummy_value()

    signature = types.void(_WORK, types.int64, *[types.int64] * count)
    names = ", ".join(f"i{k}" for k in range(count))
    space: dict[str, Any] = {"signature": signature, "codegen": codegen}
    exec(f"def made(typingctx, work, address, {names}):\n return signature, codegen", space)  # noqa: S102
    return intrinsic(space["made"])


#: ``call_n(work, address, o1, ..., on)``
call_2, call_3, call_4, call_5 = (_call(count) for count in (2, 3, 4, 5))
