"""Elementary functions on vectors, printed as LLVM IR.

Their own, so that every lane and every width gives the same bits, and so that nothing need be linked. Each is
branch-free. Errors in units in the last place, measured against arbitrary precision, where results are normal numbers:
exp and log below 1, tanh and pow below 1.5, softplus and expit below 2.5.

Methods: exp by Cody-Waite reduction and the Taylor polynomial; log by the series of artanh as in fdlibm (Sun
Microsystems 1993); pow with the logarithm in two parts; tanh as in Cephes (Moshier 1989).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from icans.mechanism.engine.llvm import Writer

#: Adding it rounds a small number to a whole one, which then stands in the lowest bits.
_ROUND = 6755399441055744.0  # 1.5 * 2**52
_LN2_HIGH = 0.6931471803691238  # 32 bits, so that its product with a whole number is exact
_LN2_LOW = 1.9082149292705877e-10
_LOG2E = 1.4426950408889634
_MANTISSA, _ONE_BITS = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_TWO52_BITS = 0x4330000000000000
#: fdlibm's coefficients of (log(1+f) - f + f^2/2 ...)/s as a polynomial in s^2, s = f/(2+f).
_LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
#: Cephes: tanh(x) = x + x z P(z)/Q(z), z = x^2 < 0.39.
_TANH_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH_Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def _horner(w: Writer, z: str, coefficients: tuple[float, ...]) -> str:
    """Polynomial with the highest coefficient first."""
    value = w.number(coefficients[0])
    for c in coefficients[1:]:
        value = w.fma(value, z, w.number(c))
    return value


def _exp_core(w: Writer, x: str, low: str | None) -> str:
    """exp(x + low)."""
    x = w.select(w.compare("ogt", x, w.number(710.0)), w.number(710.0), x)
    x = w.select(w.compare("olt", x, w.number(-746.0)), w.number(-746.0), x)
    k = w.sub(w.fma(x, w.number(_LOG2E), w.number(_ROUND)), w.number(_ROUND))
    r = w.fma(k, w.number(-_LN2_HIGH), x)
    r = w.fma(k, w.number(-_LN2_LOW), r)
    if low is not None:
        r = w.add(r, low)
    z = w.mul(r, r)
    even, odd = (_horner(w, z, tuple(1 / math.factorial(n) for n in range(top, 1, -2))) for top in (12, 13))
    p = w.add(w.fma(z, w.fma(r, odd, even), r), w.number(1.0))
    half = w.add(w.mul(k, w.number(0.5)), w.number(_ROUND))
    rest = w.add(w.sub(k, w.sub(half, w.number(_ROUND))), w.number(_ROUND))
    # Two factors, each a normal number, so that results too large or too small are rounded once.
    return w.mul(w.mul(p, _two_to(w, half)), _two_to(w, rest))


def _two_to(w: Writer, rounded: str) -> str:
    """2 to the whole number that stands in the lowest bits."""
    return w.as_float(w.integer("shl", w.integer("add", w.as_int(rounded), w.whole(1023)), w.whole(52)))


def _split(w: Writer, x: str) -> tuple[str, str]:
    """Exponent (as a number) and mantissa, from sqrt(1/2) to sqrt(2), of x > 0."""
    tiny = w.compare("olt", x, w.number(2.2250738585072014e-308))
    x = w.select(tiny, w.mul(x, w.number(2.0**54)), x)
    bits = w.integer("add", w.as_int(x), w.whole(_ONE_BITS - _SQRT_HALF_BITS))
    exponent = w.integer("lshr", bits, w.whole(52))
    e = w.sub(w.as_float(w.integer("or", exponent, w.whole(_TWO52_BITS))), w.number(2.0**52 + 1023.0))
    e = w.select(tiny, w.sub(e, w.number(54.0)), e)
    mantissa = w.integer("add", w.integer("and", bits, w.whole(_MANTISSA)), w.whole(_SQRT_HALF_BITS))
    return e, w.as_float(mantissa)


def _log_core(w: Writer, x: str) -> str:
    e, m = _split(w, x)
    f = w.sub(m, w.number(1.0))
    s = w.div(f, w.add(f, w.number(2.0)))
    z = w.mul(s, s)
    series = w.mul(z, _horner(w, z, _LOG[::-1]))
    half = w.mul(w.mul(f, f), w.number(0.5))
    small = w.fma(e, w.number(_LN2_LOW), w.mul(s, w.add(half, series)))
    return w.fma(e, w.number(_LN2_HIGH), w.sub(f, w.sub(half, small)))


def _edges_of_log(w: Writer, x: str, value: str) -> str:
    value = w.select(w.compare("ogt", x, w.number(1.7976931348623157e308)), x, value)
    value = w.select(w.compare("ugt", x, w.number(0.0)), value, w.number(-math.inf))
    value = w.select(w.compare("olt", x, w.number(0.0)), w.number(math.nan), value)
    return w.select(w.compare("uno", x, x), x, value)


def exp(w: Writer, x: str) -> str:
    """The exponential function."""
    return _exp_core(w, x, None)


def log(w: Writer, x: str) -> str:
    """Natural logarithm."""
    return _edges_of_log(w, x, _log_core(w, x))


def pow(w: Writer, x: str, n: str) -> str:
    """``x`` to the ``n`` for x > 0, else 0; NaN where one of them is NaN."""
    e, m = _split(w, x)
    f = w.sub(m, w.number(1.0))
    below = w.add(m, w.number(1.0))
    lost = w.sub(f, w.sub(below, w.number(2.0)))  # below + lost is 2 + f exactly
    s = w.div(f, below)
    s_low = w.div(w.fnma(s, lost, w.fnma(s, below, f)), below)
    z = w.mul(s, s)
    series = w.mul(w.mul(s, z), _horner(w, z, _LOG[::-1]))
    # log x = e ln2 + 2 s + (2 s_low + s z R): the two large terms are summed without error.
    big, two_s = w.mul(e, w.number(_LN2_HIGH)), w.add(s, s)
    total = w.add(big, two_s)
    part = w.sub(total, big)
    error = w.add(w.sub(big, w.sub(total, part)), w.sub(two_s, part))
    low = w.add(error, w.fma(e, w.number(_LN2_LOW), w.fma(w.number(2.0), s_low, series)))
    high = w.add(total, low)
    low = w.add(w.sub(total, high), low)
    product = w.mul(n, high)
    rest = w.fma(n, low, w.fms(n, high, product))
    # Beyond the range the second part may be inf - inf.
    rest = w.select(w.compare("olt", w.magnitude(product), w.number(800.0)), rest, w.number(0.0))
    value = _exp_core(w, product, rest)
    infinite = w.compare("ogt", x, w.number(1.7976931348623157e308))
    at_infinity = w.select(w.compare("ogt", n, w.number(0.0)), x, w.number(0.0))
    value = w.select(infinite, at_infinity, value)
    value = w.select(w.compare("oeq", n, w.number(0.0)), w.number(1.0), value)
    value = w.select(w.compare("ugt", x, w.number(0.0)), value, w.number(0.0))
    return w.select(w.compare("uno", x, n), w.add(x, n), value)


def tanh(w: Writer, x: str) -> str:
    """Hyperbolic tangent."""
    size = w.magnitude(x)
    large = w.sub(w.number(1.0), w.div(w.number(2.0), w.add(_exp_core(w, w.add(size, size), None), w.number(1.0))))
    z = w.mul(x, x)
    small = w.fma(w.mul(x, z), w.div(_horner(w, z, _TANH_P), _horner(w, z, _TANH_Q)), x)
    return w.select(w.compare("olt", size, w.number(0.625)), small, w.copysign(large, x))


def expit(w: Writer, x: str) -> str:
    """1 / (1 + exp(-x))."""
    return w.div(w.number(1.0), w.add(w.number(1.0), _exp_core(w, w.neg(x), None)))


def softplus(w: Writer, x: str) -> str:
    """log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|))."""
    t = _exp_core(w, w.neg(w.magnitude(x)), None)
    u = w.add(t, w.number(1.0))
    # What rounding took from 1 + t comes back to first order.
    tail = w.div(w.sub(t, w.sub(u, w.number(1.0))), u)
    one = w.add(_log_core(w, u), tail)
    return w.add(w.select(w.compare("ogt", x, w.number(0.0)), x, w.number(0.0)), one)


#: Name of the operation, number of arguments, what prints it.
FUNCTIONS: dict[str, tuple[int, Callable[..., str]]] = {
    "exp": (1, exp), "log": (1, log), "pow": (2, pow), "tanh": (1, tanh), "expit": (1, expit),
    "softplus": (1, softplus),
}  # fmt: skip
