"""The one tanh, sigmoid, exp and log, made of FMAs, division, comparison and the bits of the exponent, so that they
give the same bits on every CPU and at every width. `tools/bench/accuracy.py` tries all 2^32 float32 inputs;
`tests/engines/native/test_activations.py` checks the largest errors against those here.

    tanh      rational, odd degree 13 over even degree 6, x clamped to ±7.90531, and ±1 beyond ±8.3178; the minimax
              coefficients published in Eigen (generic_fast_tanh_float); absolute error below 3e-7
    sigmoid   0.5 tanh(0.5 x) + 0.5; absolute error below 1.7e-7
    exp       2^n e^r with |r| <= ln(2) / 2, polynomial of degree 7 published in Cephes (expf, Moshier 1989);
              relative error below 1e-7; below -87.3365 zero (a denormal is never made), above 88.7228 infinity
    log       2^e m with m in [sqrt(1/2), sqrt(2)), polynomial of degree 9 published in Cephes (logf);
              error below 1e-7 relative to max(1, |log x|); below 2^-126 it is minus infinity, below zero NaN
    erf       Abramowitz & Stegun 7.1.26; absolute error below 6e-7
"""

from __future__ import annotations

import math

from edge_lstm.engines.native.kernels.abi import MAP_CODES
from edge_lstm.engines.native.kernels.simd import (
    absolute,
    ceil,
    equal,
    exponent_above,
    fill,
    floor,
    fma,
    kernel,
    less,
    maximum,
    minimum,
    power_of_two,
    select,
    sqrt,
    to_nearest,
    truncate,
    with_sign,
)

_TANH_LIMIT = 7.90531110763549805
# From here on ±1 is nearer than the rational's end. A saturated forget gate is then exactly 1, so it forgets nothing in
# a million readings; with 1 - 2e-7 in its place it would have lost a fifth.
_TANH_SATURATED = 8.3178
_SMALLEST = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; n * _LN2_HIGH is exact for the n that occur
_LOG2_E = 1.0 / math.log(2.0)
# A memory that is forgotten decays through the denormals, which are slow on some CPUs and flushed on others. So below
# this it is zero. 2^-64 is 3e-12 of the smallest difference that float32 can show beside a value of 0.5.
_FORGOTTEN = 2.0**-64

_IDENTITY = MAP_CODES["identity"]
_TANH = MAP_CODES["tanh"]
_SIGMOID = MAP_CODES["sigmoid"]
_RELU = MAP_CODES["relu"]
_LEAKY_RELU = MAP_CODES["leaky_relu"]
_ELU = MAP_CODES["elu"]
_SELU = MAP_CODES["selu"]
_SOFTPLUS = MAP_CODES["softplus"]
_SOFTSIGN = MAP_CODES["softsign"]
_HARD_SIGMOID = MAP_CODES["hard_sigmoid"]
_THRESHOLDED_RELU = MAP_CODES["thresholded_relu"]
_CLIP = MAP_CODES["clip"]
_EXP = MAP_CODES["exp"]
_LOG = MAP_CODES["log"]
_SQRT = MAP_CODES["sqrt"]
_ABS = MAP_CODES["abs"]
_NEG = MAP_CODES["neg"]
_RECIPROCAL = MAP_CODES["reciprocal"]
_AFFINE = MAP_CODES["affine"]
_FLOOR = MAP_CODES["floor"]
_CEIL = MAP_CODES["ceil"]
_ROUND = MAP_CODES["round"]
_TRUNC = MAP_CODES["trunc"]
_SIGN = MAP_CODES["sign"]
_ERF = MAP_CODES["erf"]


@kernel
def tanh(V, x):
    within = maximum(fill(V, -_TANH_LIMIT), minimum(fill(V, _TANH_LIMIT), x))
    s = within * within
    p = fma(s, fill(V, -2.76076847742355e-16), fill(V, 2.00018790482477e-13))
    p = fma(s, p, fill(V, -8.60467152213735e-11))
    p = fma(s, p, fill(V, 5.12229709037114e-08))
    p = fma(s, p, fill(V, 1.48572235717979e-05))
    p = fma(s, p, fill(V, 6.37261928875436e-04))
    p = fma(s, p, fill(V, 4.89352455891786e-03))
    q = fma(s, fill(V, 1.19825839466702e-06), fill(V, 1.18534705686654e-04))
    q = fma(s, q, fill(V, 2.26843463243900e-03))
    q = fma(s, q, fill(V, 4.89352518554385e-03))
    y = within * p / q
    return select(less(fill(V, _TANH_SATURATED), absolute(x)), with_sign(fill(V, 1.0), x), y)


@kernel
def sigmoid(V, x):
    half = fill(V, 0.5)
    return fma(half, tanh(V, half * x), half)


@kernel
def exp(V, x):
    bounded = maximum(minimum(x, fill(V, 88.72284)), fill(V, -87.33654))
    n = to_nearest(bounded * fill(V, _LOG2_E))
    r = fma(n, fill(V, -_LN2_HIGH), bounded)
    r = fma(n, fill(V, -_LN2_LOW), r)
    p = fma(r, fill(V, 1.9875691500e-4), fill(V, 1.3981999507e-3))
    p = fma(r, p, fill(V, 8.3334519073e-3))
    p = fma(r, p, fill(V, 4.1665795894e-2))
    p = fma(r, p, fill(V, 1.6666665459e-1))
    p = fma(r, p, fill(V, 5.0000001201e-1))
    p = fma(r * r, p, r) + fill(V, 1.0)
    within = minimum(n, fill(V, 127.0))  # 2^128 is no float32, but p * 2^127 * 2 may be
    y = p * power_of_two(within) * power_of_two(n - within)
    y = select(less(x, fill(V, -87.33654)), fill(V, 0.0), y)
    y = select(less(fill(V, 88.72284), x), fill(V, math.inf), y)
    return select(equal(x, x), y, x)


@kernel
def log(V, x):
    e = exponent_above(maximum(x, fill(V, _SMALLEST)), _SQRT_HALF_BITS)
    half_e = to_nearest(fill(V, 0.5) * e)  # 2^-e in two factors, each of which is a normal number
    m = x * power_of_two(fill(V, 0.0) - half_e) * power_of_two(half_e - e)
    f = m - fill(V, 1.0)
    s = f * f
    p = fma(f, fill(V, 7.0376836292e-2), fill(V, -1.1514610310e-1))
    p = fma(f, p, fill(V, 1.1676998740e-1))
    p = fma(f, p, fill(V, -1.2420140846e-1))
    p = fma(f, p, fill(V, 1.4249322787e-1))
    p = fma(f, p, fill(V, -1.6668057665e-1))
    p = fma(f, p, fill(V, 2.0000714765e-1))
    p = fma(f, p, fill(V, -2.4999993993e-1))
    p = fma(f, p, fill(V, 3.3333331174e-1))
    y = fma(e, fill(V, _LN2_LOW), f * s * p)
    y = fma(fill(V, -0.5), s, y)
    y = fma(e, fill(V, _LN2_HIGH), f + y)
    y = select(less(x, fill(V, _SMALLEST)), fill(V, -math.inf), y)
    y = select(less(x, fill(V, 0.0)), fill(V, math.nan), y)
    y = select(less(fill(V, 3.4028234e38), x), x, y)
    return select(equal(x, x), y, x)


@kernel
def softplus(V, x):
    """log(1 + e^x) without overflow: max(x, 0) + log1p(e^-|x|)."""
    u = exp(V, fill(V, 0.0) - absolute(x))
    w = fill(V, 1.0) + u
    rounded_away = w - fill(V, 1.0)  # log1p(u) = log(w) u / (w - 1) makes good what 1 + u lost (Kahan)
    tiny = less(rounded_away, fill(V, 1e-20))
    log1p = select(tiny, u, log(V, w) * u / select(tiny, fill(V, 1.0), rounded_away))
    return maximum(fill(V, 0.0), x) + log1p


@kernel
def erf(V, x):
    u = absolute(x)
    t = fill(V, 1.0) / fma(u, fill(V, 0.3275911), fill(V, 1.0))
    p = fma(t, fill(V, 1.061405429), fill(V, -1.453152027))
    p = fma(t, p, fill(V, 1.421413741))
    p = fma(t, p, fill(V, -0.284496736))
    p = fma(t, p, fill(V, 0.254829592))
    y = fill(V, 1.0) - t * p * exp(V, fill(V, 0.0) - u * u)
    return select(less(x, fill(V, 0.0)), fill(V, 0.0) - y, y)


@kernel
def forget_denormal(V, x):
    """Zero where |x| < 2^-64; applied to every value that a recurrent layer remembers."""
    return select(less(absolute(x), fill(V, _FORGOTTEN)), fill(V, 0.0), x)


@kernel
def apply(V, function, x, alpha, beta):
    """The function of functions.MAP_FUNCTIONS with this code."""
    zero, one = fill(V, 0.0), fill(V, 1.0)
    if function == _IDENTITY:
        return x
    if function == _TANH:
        return tanh(V, x)
    if function == _SIGMOID:
        return sigmoid(V, x)
    if function == _RELU:
        return maximum(zero, x)
    if function == _LEAKY_RELU:
        return select(less(x, zero), alpha * x, x)
    if function == _ELU:
        return select(less(x, zero), alpha * (exp(V, x) - one), x)
    if function == _SELU:
        return beta * select(less(zero, x), x, alpha * (exp(V, x) - one))
    if function == _SOFTPLUS:
        return softplus(V, x)
    if function == _SOFTSIGN:
        return x / (one + absolute(x))
    if function == _HARD_SIGMOID:
        return maximum(zero, minimum(one, fma(alpha, x, beta)))
    if function == _THRESHOLDED_RELU:
        return select(less(alpha, x), x, select(equal(x, x), zero, x))
    if function == _CLIP:
        return minimum(beta, maximum(alpha, x))
    if function == _EXP:
        return exp(V, x)
    if function == _LOG:
        return log(V, x)
    if function == _SQRT:
        return sqrt(x)
    if function == _ABS:
        return absolute(x)
    if function == _NEG:
        return fill(V, -0.0) - x
    if function == _RECIPROCAL:
        return one / x
    if function == _AFFINE:
        return fma(alpha, x, beta)
    if function == _FLOOR:
        return floor(x)
    if function == _CEIL:
        return ceil(x)
    if function == _ROUND:
        return to_nearest(x)
    if function == _TRUNC:
        return truncate(x)
    if function == _SIGN:
        return select(less(zero, x), one, select(less(x, zero), fill(V, -1.0), x))
    if function == _ERF:
        return erf(V, x)
    return select(equal(x, zero), one, zero)
