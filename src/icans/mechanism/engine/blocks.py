"""Loops over blocks of derivatives, many right-hand sides at once, as intrinsics of numba.

A block holds one row of numbers for each state: direction after direction, in each all lanes. A pass takes a few
vectors of every row (as many as there are registers for) and reads each number of a sparse matrix once for all of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from icans.mechanism.engine.vector import BLOCK, INDEX, INT, WORK, Emit, by_count, data_of, loop, rows_of

#: Right-hand sides side by side in one vector where there is one lane.
SIDE = 4
#: Stages of the method for derivatives, without the explicit one.
STAGES = 6


def _solve_rows(width: int, most: int) -> Any:
    """Intrinsic ``f(work, lu, b, count, by, starts, diagonal, cols, order)``: solve for many right-hand sides in place.

    Row ``i`` of ``b`` begins at ``b + i * by``; of each row ``count`` vectors (up to ``most``) are taken, one or more
    right-hand sides with all lanes, or, for one lane, several right-hand sides side by side. The factors are those of
    the kernel (see :class:`icans.mechanism.engine.order.Factors`): numbers ``starts[k]`` to before ``starts[k + 1]``
    belong to the k-th row eliminated, ``order[k]``; ``cols`` are their states, ``diagonal[k]`` is the inverted pivot.
    The arithmetic is that of the kernel's own ``solve``, in the same order.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        work, lu, first, count, by = args[:5]
        e = Emit(b, data_of(context, b, signature.args[0], work), max(width, SIDE))
        starts, diagonal, cols, order = (data_of(context, b, INDEX, one) for one in args[5:])
        one, w, n = ir.Constant(INT, 1), ir.Constant(INT, width), context.make_array(INDEX)(context, b, args[8])
        rows = b.extract_value(n.shape, 0)

        def factor(z: Any) -> Any:
            at = b.add(lu, b.mul(z, w))
            return e.spread(b.load(b.gep(e.data, [at]))) if width == 1 else e.load(at)

        def sweep(k: int, *, backward: bool) -> None:
            if k == 0:
                return
            steps = [ir.Constant(INT, d * e.width) for d in range(k)]
            with loop(b, rows) as (i, _):
                row = b.sub(b.sub(rows, one), i) if backward else i
                pivot = b.load(b.gep(diagonal, [row]))
                place = b.add(first, b.mul(b.load(b.gep(order, [row])), by))
                totals = [cgutils.alloca_once_value(b, e.load(place, s)) for s in steps]
                begin = b.add(pivot, one) if backward else b.load(b.gep(starts, [row]))
                end = b.load(b.gep(starts, [b.add(row, one)])) if backward else pivot
                with cgutils.for_range_slice(b, begin, end, one) as (j, _):
                    z = b.sub(b.add(begin, b.sub(end, one)), j) if backward else j
                    minus = b.fsub(e.number(-0.0), factor(z))
                    at = b.add(first, b.mul(b.load(b.gep(cols, [z])), by))
                    for total, s in zip(totals, steps):
                        b.store(e.madd(b.load(total), minus, e.load(at, s)), total)
                scale = factor(pivot) if backward else None
                for total, s in zip(totals, steps):
                    value = b.load(total)
                    e.store(value if scale is None else b.fmul(scale, value), place, s)

        by_count(b, count, most, lambda k: sweep(k, backward=False))
        by_count(b, count, most, lambda k: sweep(k, backward=True))
        return context.get_dummy_value()

    signature = types.void(WORK, *[types.int64] * 4, *[INDEX] * 4)

    @intrinsic
    def made(
        typingctx: Any, work: Any, lu: Any, b: Any, count: Any, by: Any, starts: Any, diagonal: Any, cols: Any,
        order: Any,
    ) -> Any:  # fmt: skip
        return signature, codegen

    return made


def _product_rows(width: int, most: int) -> Any:
    """Intrinsic ``f(work, a, x, out, count, by, starts, cols)``: ``out += A x`` for blocks as in :func:`_solve_rows`.

    Row ``i`` of ``A`` has the entries from ``starts[i]`` to before ``starts[i + 1]``, in the columns ``cols``.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        work, a, x, out, count, by = args[:6]
        e = Emit(b, data_of(context, b, signature.args[0], work), max(width, SIDE))
        starts, cols = (data_of(context, b, INDEX, one) for one in args[6:])
        one, w = ir.Constant(INT, 1), ir.Constant(INT, width)
        rows = b.sub(b.extract_value(context.make_array(INDEX)(context, b, args[6]).shape, 0), one)

        def body(k: int) -> None:
            steps = [ir.Constant(INT, d * e.width) for d in range(k)]
            with loop(b, rows) as (i, _):
                place = b.add(out, b.mul(i, by))
                totals = [cgutils.alloca_once_value(b, e.load(place, s)) for s in steps]
                begin, end = b.load(b.gep(starts, [i])), b.load(b.gep(starts, [b.add(i, one)]))
                with cgutils.for_range_slice(b, begin, end, one) as (z, _):
                    at = b.add(a, b.mul(z, w))
                    factor = e.spread(b.load(b.gep(e.data, [at]))) if width == 1 else e.load(at)
                    other = b.add(x, b.mul(b.load(b.gep(cols, [z])), by))
                    for total, s in zip(totals, steps):
                        b.store(e.madd(b.load(total), factor, e.load(other, s)), total)
                for total, s in zip(totals, steps):
                    e.store(b.load(total), place, s)

        by_count(b, count, most, lambda k: body(k) if k else None)
        return context.get_dummy_value()

    signature = types.void(WORK, *[types.int64] * 5, *[INDEX] * 2)

    @intrinsic
    def made(typingctx: Any, work: Any, a: Any, x: Any, out: Any, count: Any, by: Any, starts: Any, cols: Any) -> Any:
        return signature, codegen

    return made


def _pick(width: int, most: int) -> Any:
    """Intrinsic ``f(work, out, base, u, stride, coef, row, rows)``: sums of the same row of several blocks.

    ``out_k = coef_0 base_r + sum_j coef_{1+j} u_j_r`` for the k-th of ``rows``, ``r``; rows are of ``row`` doubles, and
    a coefficient is a number per lane (a pattern of :data:`BLOCK`).
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        work, out, base, u, stride, coef, row = args[:7]
        e = Emit(b, data_of(context, b, signature.args[0], work), max(width, SIDE))
        rows = context.make_array(INDEX)(context, b, args[7])
        blocks = [base, *rows_of(b, u, stride, most)]
        scales = [e.load(b.add(coef, ir.Constant(INT, j * BLOCK))) for j in range(most + 1)]
        with loop(b, b.extract_value(rows.shape, 0)) as (k, _):
            to, at = b.mul(k, row), b.mul(b.load(b.gep(rows.data, [k])), row)
            with loop(b, row, e.width) as (i, _):
                place = b.add(at, i)
                total = b.fmul(scales[0], e.load(blocks[0], place))
                for scale, block in zip(scales[1:], blocks[1:]):
                    total = e.madd(total, scale, e.load(block, place))
                e.store(total, b.add(out, to), i)
        return context.get_dummy_value()

    signature = types.void(WORK, *[types.int64] * 6, INDEX)

    @intrinsic
    def made(
        typingctx: Any, work: Any, out: Any, base: Any, u: Any, stride: Any, coef: Any, row: Any, rows: Any
    ) -> Any:
        return signature, codegen

    return made


def _scatter(width: int) -> Any:
    """Intrinsic ``f(work, out, values, places, rows, start, stop)``: ``out[rows[e]] += values[places[e]]``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        work, out, values, places, rows, start, stop = args
        e = Emit(builder, data_of(context, builder, signature.args[0], work), width)
        at_place, at_row = (data_of(context, builder, INDEX, a) for a in (places, rows))
        w = ir.Constant(INT, width)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(INT, 1)) as (z, _):
            row = builder.mul(builder.load(builder.gep(at_row, [z])), w)
            place = builder.mul(builder.load(builder.gep(at_place, [z])), w)
            e.store(builder.fadd(e.load(out, row), e.load(values, place)), out, row)
        return context.get_dummy_value()

    signature = types.void(WORK, types.int64, types.int64, INDEX, INDEX, types.int64, types.int64)

    @intrinsic
    def made(typingctx: Any, work: Any, out: Any, values: Any, places: Any, rows: Any, start: Any, stop: Any) -> Any:
        return signature, codegen

    return made


def _claim() -> Any:
    """Intrinsic ``f(queue)``: the number in ``queue[0]``, raised by one for whoever asks next, in any thread."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = data_of(context, builder, INDEX, args[0])
        return builder.atomic_rmw("add", data, ir.Constant(INT, 1), "monotonic")

    @intrinsic
    def made(typingctx: Any, queue: Any) -> Any:
        return types.int64(INDEX), codegen

    return made


#: ``claim(queue)``
claim = _claim()
#: ``solve_rows_W(work, lu, b, count, by, starts, diagonal, cols, order)``, ``count`` up to :data:`AT_ONCE`: as many
#: as there are registers for.
AT_ONCE, AT_ONCE_8 = 10, 5
solve_rows_1, solve_rows_4 = (_solve_rows(width, AT_ONCE) for width in (1, 4))
solve_rows_8 = _solve_rows(8, AT_ONCE_8)
#: ``product_rows_W(work, a, x, out, count, by, starts, cols)``
product_rows_1, product_rows_4 = (_product_rows(width, AT_ONCE) for width in (1, 4))
product_rows_8 = _product_rows(8, AT_ONCE_8)
#: ``pick_W(work, out, base, u, stride, coef, row, rows)``, of the blocks of :mod:`icans.mechanism.engine.sdirk`
pick_1, pick_4, pick_8 = (_pick(width, STAGES) for width in (1, 4, 8))
#: ``scatter_W(work, out, values, places, rows, start, stop)``
scatter_1, scatter_4, scatter_8 = (_scatter(width) for width in (1, 4, 8))
