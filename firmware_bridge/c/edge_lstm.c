/* See edge_lstm.h. Each function here has its counterpart in edge_lstm/engines/native/kernels, which names the sources of
 * its constants. */

/* A product and a sum are fused where fmaf is written and nowhere else, whatever the build's flags say. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "edge_lstm.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Cortex-M4, M7, M33 and others add two products of 16-bit integers with one instruction: the same sums, sooner. */
#if defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define TWO_PRODUCTS 1
#else
#define TWO_PRODUCTS 0
#endif

#if defined(__FAST_MATH__)
#error "edge_lstm.c must not be compiled with -ffast-math: it would give other bits than Python"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "this compiler computes float in a wider type: it would give other bits than Python (x87? use -mfpmath=sse)"
#endif

/* --- numbers (engines/native/kernels/simd.py) ------------------------------------------------------------------ */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float minimum(float a, float b) { return a < b ? a : b; } /* b where either is NaN, and b of two zeros */
static float maximum(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a == a ? minimum(a, b) : a; } /* NaN where either is */
static float larger(float a, float b) { return a == a ? maximum(a, b) : a; }
static float absolute(float x) { return of_bits(bits_of(x) & 0x7FFFFFFFu); }
static bool not_finite(float x) { return (bits_of(x) & 0x7F800000u) == 0x7F800000u; }

/* 2^n for integral n in -126 ... 127. */
static float power_of_two(float n) { return of_bits((uint32_t)((int32_t)n + 127) << 23); }

/* To an integral value, ties to even, for |x| < 2^22: above 1.5 * 2^23 there are no fractions. */
static float to_nearest(float x)
{
    float y = (x + 12582912.0f) - 12582912.0f;
    return y == 0 ? of_bits(bits_of(x) & 0x80000000u) : y; /* rint keeps the sign of a zero */
}

/* e of x = m * 2^e with m in [s, 2 s), s the square root of 1/2; for positive normal x. */
static float exponent_above(float x)
{
    return (float)((int32_t)((bits_of(x) - 0x3F3504F3u + 0x40000000u) >> 23) - 128);
}

/* --- functions (engines/native/kernels/activations.py) --------------------------------------------------------- */

static const float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f, SMALLEST = 1.17549435e-38f;

static float tanh_(float x)
{
    float within = maximum(-7.90531110763549805f, minimum(7.90531110763549805f, x));
    float s = within * within;
    float p = fmaf(s, -2.76076847742355e-16f, 2.00018790482477e-13f);
    p = fmaf(s, p, -8.60467152213735e-11f);
    p = fmaf(s, p, 5.12229709037114e-08f);
    p = fmaf(s, p, 1.48572235717979e-05f);
    p = fmaf(s, p, 6.37261928875436e-04f);
    p = fmaf(s, p, 4.89352455891786e-03f);
    float q = fmaf(s, 1.19825839466702e-06f, 1.18534705686654e-04f);
    q = fmaf(s, q, 2.26843463243900e-03f);
    q = fmaf(s, q, 4.89352518554385e-03f);
    float y = within * p / q;
    if (x > 8.3178f) y = 1.0f; /* a saturated forget gate forgets nothing */
    return x < -8.3178f ? -1.0f : y;
}

static float sigmoid(float x) { return fmaf(0.5f, tanh_(0.5f * x), 0.5f); }

static float exp_(float x)
{
    float bounded = maximum(minimum(x, 88.72284f), -87.33654f);
    float n = to_nearest(bounded * 1.4426950408889634f);
    float r = fmaf(n, -LN2_HIGH, bounded);
    r = fmaf(n, -LN2_LOW, r);
    float p = fmaf(r, 1.9875691500e-4f, 1.3981999507e-3f);
    p = fmaf(r, p, 8.3334519073e-3f);
    p = fmaf(r, p, 4.1665795894e-2f);
    p = fmaf(r, p, 1.6666665459e-1f);
    p = fmaf(r, p, 5.0000001201e-1f);
    p = fmaf(r * r, p, r) + 1.0f;
    float within = minimum(n, 127.0f); /* 2^128 is no float, but p * 2^127 * 2 may be */
    float y = p * power_of_two(within) * power_of_two(n - within);
    if (x < -87.33654f) y = 0.0f;
    y = x > 88.72284f ? INFINITY : y;
    return x == x ? y : x;
}

static float log_(float x)
{
    float e = exponent_above(maximum(x, SMALLEST));
    float half_e = to_nearest(0.5f * e); /* 2^-e in two factors, each of which is a normal number */
    float m = x * power_of_two(0.0f - half_e) * power_of_two(half_e - e);
    float f = m - 1.0f;
    float s = f * f;
    float p = fmaf(f, 7.0376836292e-2f, -1.1514610310e-1f);
    p = fmaf(f, p, 1.1676998740e-1f);
    p = fmaf(f, p, -1.2420140846e-1f);
    p = fmaf(f, p, 1.4249322787e-1f);
    p = fmaf(f, p, -1.6668057665e-1f);
    p = fmaf(f, p, 2.0000714765e-1f);
    p = fmaf(f, p, -2.4999993993e-1f);
    p = fmaf(f, p, 3.3333331174e-1f);
    float y = fmaf(e, LN2_LOW, f * s * p);
    y = fmaf(-0.5f, s, y);
    y = fmaf(e, LN2_HIGH, f + y);
    if (x < SMALLEST) y = -INFINITY;
    if (x < 0.0f) y = NAN;
    y = x > FLT_MAX ? x : y;
    return x == x ? y : x;
}

static float softplus(float x)
{
    float u = exp_(0.0f - absolute(x));
    float w = 1.0f + u;
    float rounded_away = w - 1.0f; /* log1p(u) = log(w) u / (w - 1) makes good what 1 + u lost (Kahan) */
    float log1p_ = rounded_away < 1e-20f ? u : log_(w) * u / rounded_away;
    return maximum(0.0f, x) + log1p_;
}

static float erf_(float x)
{
    float u = absolute(x);
    float t = 1.0f / fmaf(u, 0.3275911f, 1.0f);
    float p = fmaf(t, 1.061405429f, -1.453152027f);
    p = fmaf(t, p, 1.421413741f);
    p = fmaf(t, p, -0.284496736f);
    p = fmaf(t, p, 0.254829592f);
    float square = u * u;
    float rest = t * p * exp_(0.0f - square);
    float y = 1.0f - rest;
    return x < 0.0f ? 0.0f - y : y;
}

static float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

/* Zero where |x| < 2^-64: what a recurrent layer remembers never decays into denormals. */
static float forget_denormal(float x) { return absolute(x) < 5.42101086e-20f ? 0.0f : x; }

static float apply(uint32_t function, float x, float alpha, float beta)
{
    switch (function) {
    case EDGE_LSTM_IDENTITY: return x;
    case EDGE_LSTM_TANH: return tanh_(x);
    case EDGE_LSTM_SIGMOID: return sigmoid(x);
    case EDGE_LSTM_RELU: return maximum(0.0f, x);
    case EDGE_LSTM_LEAKY_RELU: return x < 0.0f ? alpha * x : x;
    case EDGE_LSTM_ELU: return x < 0.0f ? alpha * (exp_(x) - 1.0f) : x;
    case EDGE_LSTM_SELU: return beta * (x > 0.0f ? x : alpha * (exp_(x) - 1.0f));
    case EDGE_LSTM_SOFTPLUS: return softplus(x);
    case EDGE_LSTM_SOFTSIGN: return x / (1.0f + absolute(x));
    case EDGE_LSTM_HARD_SIGMOID: return maximum(0.0f, minimum(1.0f, fmaf(alpha, x, beta)));
    case EDGE_LSTM_THRESHOLDED_RELU: return alpha < x || x != x ? x : 0.0f;
    case EDGE_LSTM_CLIP: return minimum(beta, maximum(alpha, x));
    case EDGE_LSTM_EXP: return exp_(x);
    case EDGE_LSTM_LOG: return log_(x);
    case EDGE_LSTM_SQRT: return sqrtf(x);
    case EDGE_LSTM_ABS: return absolute(x);
    case EDGE_LSTM_NEG: return -0.0f - x;
    case EDGE_LSTM_RECIPROCAL: return 1.0f / x;
    case EDGE_LSTM_AFFINE: return fmaf(alpha, x, beta);
    case EDGE_LSTM_FLOOR: return floorf(x);
    case EDGE_LSTM_CEIL: return ceilf(x);
    case EDGE_LSTM_ROUND: return rintf(x);
    case EDGE_LSTM_TRUNC: return truncf(x);
    case EDGE_LSTM_SIGN: return sign(x);
    case EDGE_LSTM_ERF: return erf_(x);
    default: return x == 0.0f ? 1.0f : 0.0f; /* not */
    }
}

/* --- layers (engines/native/kernels/lstm.py, gru.py, rnn.py, dense.py) ----------------------------------------- */

/* Continue so many sums over x: one pass over the weights, which stand as [input][sum]. */
static const float *four_sums(const float *w, const float *x, uint32_t n, float s[4])
{
    float s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3];
    for (; n--; x++, w += 4) {
        s0 = fmaf(*x, w[0], s0);
        s1 = fmaf(*x, w[1], s1);
        s2 = fmaf(*x, w[2], s2);
        s3 = fmaf(*x, w[3], s3);
    }
    s[0] = s0, s[1] = s1, s[2] = s2, s[3] = s3;
    return w;
}

static const float *three_sums(const float *w, const float *x, uint32_t n, float *s0, float *s1, float *s2)
{
    float r = *s0, z = *s1, c = *s2;
    for (; n--; x++, w += 3) {
        r = fmaf(*x, w[0], r);
        z = fmaf(*x, w[1], z);
        c = fmaf(*x, w[2], c);
    }
    *s0 = r, *s1 = z, *s2 = c;
    return w;
}

static float one_sum(const float *w, const float *x, uint32_t n, float sum)
{
    while (n--) sum = fmaf(*x++, *w++, sum);
    return sum;
}

/* A finite float16 as float32, exactly: sign, exponent and mantissa at their places (the sign stands above the exponent,
 * too, and is taken away there), and the exponent counts from another zero, which one multiplication makes good. */
static float widened(uint16_t half) { return of_bits((uint32_t)(int16_t)half << 13 & 0x8FFFE000u) * 0x1p112f; }

/* The same sums over weights of float16. */
static const uint16_t *four_half_sums(const uint16_t *w, const float *x, uint32_t n, float s[4])
{
    float s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3];
    for (; n--; x++, w += 4) {
        s0 = fmaf(*x, widened(w[0]), s0);
        s1 = fmaf(*x, widened(w[1]), s1);
        s2 = fmaf(*x, widened(w[2]), s2);
        s3 = fmaf(*x, widened(w[3]), s3);
    }
    s[0] = s0, s[1] = s1, s[2] = s2, s[3] = s3;
    return w;
}

static const uint16_t *three_half_sums(const uint16_t *w, const float *x, uint32_t n, float *s0, float *s1, float *s2)
{
    float r = *s0, z = *s1, c = *s2;
    for (; n--; x++, w += 3) {
        r = fmaf(*x, widened(w[0]), r);
        z = fmaf(*x, widened(w[1]), z);
        c = fmaf(*x, widened(w[2]), c);
    }
    *s0 = r, *s1 = z, *s2 = c;
    return w;
}

static float one_half_sum(const uint16_t *w, const float *x, uint32_t n, float sum)
{
    while (n--) sum = fmaf(*x++, widened(*w++), sum);
    return sum;
}

/* One unit's gates, from its sums i f g o. */
static void lstm_unit(const edge_lstm_row *r, uint32_t unit, const float s[4], float *arena)
{
    float kept = sigmoid(s[1]) * arena[r->c + unit];
    float memory = forget_denormal(fmaf(sigmoid(s[0]), tanh_(s[2]), kept));
    arena[r->z + unit] = memory;
    arena[r->y + unit] = forget_denormal(sigmoid(s[3]) * tanh_(memory));
}

/* Of this and the other layers, q: weights in float16, or NULL where they are float32 and follow the biases at w. */
static void lstm(const edge_lstm_row *r, const float *w, const uint16_t *q, float *arena)
{
    for (uint32_t unit = 0; unit < r->m; unit++) {
        float s[4];
        memcpy(s, w, sizeof s);
        w += 4;
        if (q) {
            q = four_half_sums(q, arena + r->a, r->n, s);
            q = four_half_sums(q, arena + r->b, r->m, s);
        } else {
            w = four_sums(w, arena + r->a, r->n, s);
            w = four_sums(w, arena + r->b, r->m, s);
        }
        lstm_unit(r, unit, s, arena);
    }
}

static void gru_unit(const edge_lstm_row *row, uint32_t unit, float r, float z, float from_x, float from_h, float *arena)
{
    float candidate = tanh_(fmaf(sigmoid(r), from_h, from_x));
    float change = arena[row->b + unit] - candidate;
    arena[row->y + unit] = forget_denormal(fmaf(sigmoid(z), change, candidate));
}

static void gru(const edge_lstm_row *row, const float *w, const uint16_t *q, float *arena)
{
    for (uint32_t unit = 0; unit < row->m; unit++) {
        float r = w[0], z = w[1], from_x = w[2], from_h = w[3];
        w += 4;
        if (q) {
            q = three_half_sums(q, arena + row->a, row->n, &r, &z, &from_x);
            q = three_half_sums(q, arena + row->b, row->m, &r, &z, &from_h);
        } else {
            w = three_sums(w, arena + row->a, row->n, &r, &z, &from_x);
            w = three_sums(w, arena + row->b, row->m, &r, &z, &from_h);
        }
        gru_unit(row, unit, r, z, from_x, from_h, arena);
    }
}

static void rnn_unit(const edge_lstm_row *r, uint32_t unit, float sum, float *arena)
{
    arena[r->y + unit] = forget_denormal(r->f ? maximum(0.0f, sum) : tanh_(sum));
}

static void rnn(const edge_lstm_row *r, const float *w, const uint16_t *q, float *arena)
{
    for (uint32_t unit = 0; unit < r->m; unit++) {
        float sum = *w++;
        if (q) {
            sum = one_half_sum(q, arena + r->a, r->n, sum);
            sum = one_half_sum(q + r->n, arena + r->b, r->m, sum);
            q += r->n + r->m;
        } else {
            sum = one_sum(w, arena + r->a, r->n, sum);
            sum = one_sum(w + r->n, arena + r->b, r->m, sum);
            w += r->n + r->m;
        }
        rnn_unit(r, unit, sum, arena);
    }
}

/* Four sums, of which sum j takes the inputs j, j + 4, j + 8, ...: a head would else wait for each addition. */
static void dense_row(const float *w, const uint16_t *q, const float *inputs, float *outputs, uint32_t n, uint32_t m)
{
    uint32_t whole = n & ~3u;
    while (m--) {
        const float *x = inputs;
        float s[4] = {*w++, 0.0f, 0.0f, 0.0f};
        if (q) {
            for (uint32_t k = 0; k < n; k++) s[k & 3] = fmaf(*x++, widened(*q++), s[k & 3]);
            *outputs++ = (s[0] + s[1]) + (s[2] + s[3]);
            continue;
        }
        for (uint32_t k = 0; k < whole; k += 4, x += 4, w += 4) {
            s[0] = fmaf(x[0], w[0], s[0]);
            s[1] = fmaf(x[1], w[1], s[1]);
            s[2] = fmaf(x[2], w[2], s[2]);
            s[3] = fmaf(x[3], w[3], s[3]);
        }
        for (uint32_t k = 0; k < n - whole; k++) s[k] = fmaf(*x++, *w++, s[k]);
        *outputs++ = (s[0] + s[1]) + (s[2] + s[3]);
    }
}

/* --- layers with integer weights (engines/native/kernels/quantized.py) ----------------------------------------- */

/* What a row of integer weights meets: n activations as they are, or as integers (16 bits each, so many as fill `stride`,
 * in the scratch behind the arenas). Rows of weights are padded to `stride`, a multiple of four. */
typedef struct {
    const float *values;
    const unsigned char *integers; /* NULL: the weights alone are integers */
    uint32_t n, stride;
    bool finer; /* behind the integers are those of what they leave, FINER of which are worth one */
    float unit; /* what one of the integers is worth, in units of their scales: 1 where that does not follow the step */
} operand;

#define FINER 256.0f

static uint32_t fours(uint32_t n) { return (n + 3) & ~3u; }

/* Where activation k stands: of four, the pairs that one instruction takes are those that it makes of four weights. */
static uint32_t place_of(uint32_t k) { return TWO_PRODUCTS ? (k & ~3u) | (k & 1) << 1 | (k >> 1 & 1) : k; }

static void put_integer(unsigned char *integers, uint32_t k, float value)
{
    int16_t integer = (int16_t)value;
    memcpy(integers + 2 * place_of(k), &integer, sizeof integer);
}

/* The largest |x times inverse|, or 2^-100 where that is larger; NaN where a value is not finite. No inverse is above 1. */
static float largest_of(const operand *o, const float *inverse, bool one_for_all)
{
    float largest = 7.88860905e-31f;
    for (uint32_t k = 0; k < o->n; k++) {
        float scaled = o->values[k] * inverse[one_for_all ? 0 : k];
        if (not_finite(scaled)) return NAN;
        largest = maximum(absolute(scaled), largest);
    }
    return largest;
}

/* Fills o->integers with x times inverse, to nearest, ties to even, bounded; false where a value is not finite. Inverses
 * are one for each value, or one for all. */
static bool quantize(operand *o, unsigned char *to, uint32_t scheme, const float *inverse, bool one_for_all)
{
    uint32_t fits = 0x7FFFFFFFu / 127 / o->n; /* the largest integer with which no sum overflows */
    bool wide = scheme == EDGE_LSTM_INT16;
    float most = !wide ? 127.0f : fits < 32767 ? (float)fits : 32767.0f, per_unit = 1.0f;
    o->integers = to;
    if (scheme == EDGE_LSTM_INT8_DYNAMIC) {
        float largest = largest_of(o, inverse, one_for_all);
        if (not_finite(largest)) return false;
        o->unit = largest / most, per_unit = most / largest;
    }
    for (uint32_t k = 0; k < o->n; k++) {
        if (not_finite(o->values[k])) return false;
        float scaled = o->values[k] * inverse[one_for_all ? 0 : k] * per_unit;
        float nearest = to_nearest(maximum(minimum(scaled, most), 0.0f - most)), left = (scaled - nearest) * FINER;
        put_integer(to, k, nearest);
        if (o->finer) put_integer(to + 2 * o->stride, k, to_nearest(maximum(minimum(left, most), 0.0f - most)));
    }
    for (uint32_t k = o->n; k < o->stride; k++) {
        put_integer(to, k, 0.0f);
        if (o->finer) put_integer(to + 2 * o->stride, k, 0.0f);
    }
    return true;
}

static int32_t integer_sum(const int8_t *w, const unsigned char *x, uint32_t count)
{
    int32_t total = 0;
#if TWO_PRODUCTS
    for (; count; count -= 4, w += 4, x += 8) {
        uint32_t four;
        int16x2_t even, odd;
        memcpy(&four, w, 4);
        memcpy(&even, x, 4);
        memcpy(&odd, x + 4, 4);
        total = __smlad(__sxtb16((int8x4_t)four), even, total);
        total = __smlad(__sxtb16((int8x4_t)(four >> 8)), odd, total);
    }
#else
    for (; count; count--, x += 2) {
        int16_t integer;
        memcpy(&integer, x, sizeof integer);
        total += *w++ * integer;
    }
#endif
    return total;
}

/* base + scale * (the row at *w times the operand), rounded once; *w becomes the next row. */
static float quantized_sum(const int8_t **w, const operand *o, float scale, float base)
{
    const int8_t *row = *w;
    *w += o->stride;
    if (o->integers) {
        float sum = fmaf((float)integer_sum(row, o->integers, o->stride), scale * o->unit, base);
        if (!o->finer) return sum;
        return fmaf((float)integer_sum(row, o->integers + 2 * o->stride, o->stride), scale * (o->unit / FINER), sum);
    }
    float total = 0.0f;
    for (uint32_t k = 0; k < o->n; k++) total = fmaf(o->values[k], (float)row[k], total);
    return fmaf(total, scale, base);
}

/* The operands x and h of a cell; the floats at *w begin with their inverse scales, which are passed over. */
static bool operands(const edge_lstm_row *r, const float **w, const float *arena, unsigned char *scratch, operand o[2])
{
    const float *inverse = *w;
    bool finer = r->s == EDGE_LSTM_INT8_DYNAMIC;
    o[0] = (operand){arena + r->a, NULL, r->n, fours(r->n), finer, 1.0f};
    o[1] = (operand){arena + r->b, NULL, r->m, fours(r->m), false, 1.0f};
    if (r->s == EDGE_LSTM_INT8_WEIGHTS) return true;
    *w += r->n + 1;
    return quantize(&o[0], scratch, r->s, inverse, false) &&
           quantize(&o[1], scratch + (finer ? 4 : 2) * o[0].stride, r->s, inverse + r->n, true);
}

/* Floats of a unit: biases, scales over x, scales over h; integers: for each gate its row over x, its row over h. */
static bool quantized_lstm(const edge_lstm_row *r, const float *w, const int8_t *q, float *arena, unsigned char *scratch)
{
    operand o[2];
    if (!operands(r, &w, arena, scratch, o)) return false;
    for (uint32_t unit = 0; unit < r->m; unit++, w += 12) {
        float s[4];
        for (uint32_t gate = 0; gate < 4; gate++) {
            float over_x = quantized_sum(&q, &o[0], w[4 + gate], w[gate]);
            s[gate] = quantized_sum(&q, &o[1], w[8 + gate], over_x);
        }
        lstm_unit(r, unit, s, arena);
    }
    return true;
}

static bool quantized_gru(const edge_lstm_row *r, const float *w, const int8_t *q, float *arena, unsigned char *scratch)
{
    operand o[2];
    if (!operands(r, &w, arena, scratch, o)) return false;
    for (uint32_t unit = 0; unit < r->m; unit++, w += 10) {
        float gates[2];
        for (uint32_t gate = 0; gate < 2; gate++) {
            float over_x = quantized_sum(&q, &o[0], w[4 + gate], w[gate]);
            gates[gate] = quantized_sum(&q, &o[1], w[7 + gate], over_x);
        }
        float from_x = quantized_sum(&q, &o[0], w[6], w[2]);
        float from_h = quantized_sum(&q, &o[1], w[9], w[3]);
        gru_unit(r, unit, gates[0], gates[1], from_x, from_h, arena);
    }
    return true;
}

static bool quantized_rnn(const edge_lstm_row *r, const float *w, const int8_t *q, float *arena, unsigned char *scratch)
{
    operand o[2];
    if (!operands(r, &w, arena, scratch, o)) return false;
    for (uint32_t unit = 0; unit < r->m; unit++, w += 3) {
        float over_x = quantized_sum(&q, &o[0], w[1], w[0]);
        rnn_unit(r, unit, quantized_sum(&q, &o[1], w[2], over_x), arena);
    }
    return true;
}

/* Floats: inverse scales, then of each output bias and scale. */
static bool quantized_dense(const edge_lstm_row *r, const float *w, const int8_t *q, float *arena, unsigned char *scratch)
{
    bool integers = r->s != EDGE_LSTM_INT8_WEIGHTS;
    for (uint32_t row = 0; row < r->f; row++) {
        operand x = {arena + r->a + row * r->n, NULL, r->n, fours(r->n), r->s == EDGE_LSTM_INT8_DYNAMIC, 1.0f};
        if (integers && !quantize(&x, scratch, r->s, w, false)) return false;
        const float *of_output = w + (integers ? r->n : 0);
        const int8_t *next = q;
        for (uint32_t k = 0; k < r->m; k++, of_output += 2)
            arena[r->y + row * r->m + k] = quantized_sum(&next, &x, of_output[1], of_output[0]);
    }
    return true;
}

/* --- element by element, and rows (engines/native/kernels/elementwise.py, rows.py) ----------------------------- */

static float combine(uint32_t function, float a, float b)
{
    switch (function) {
    case EDGE_LSTM_ADD: return a + b;
    case EDGE_LSTM_SUB: return a - b;
    case EDGE_LSTM_MUL: return a * b;
    case EDGE_LSTM_DIV: return a / b;
    case EDGE_LSTM_MIN: return smaller(a, b);
    case EDGE_LSTM_MAX: return larger(a, b);
    case EDGE_LSTM_LESS: return a < b ? 1.0f : 0.0f;
    case EDGE_LSTM_LESS_OR_EQUAL: return a <= b ? 1.0f : 0.0f;
    case EDGE_LSTM_EQUAL: return a == b ? 1.0f : 0.0f;
    case EDGE_LSTM_AND: return a == 0.0f || b == 0.0f ? 0.0f : 1.0f;
    default: return a == 0.0f && b == 0.0f ? 0.0f : 1.0f; /* or */
    }
}

static void binary(const edge_lstm_row *r, float *arena)
{
    for (uint32_t k = 0; k < r->n; k++) {
        float a = arena[r->a + (r->m & 1 ? 0 : k)], b = arena[r->b + (r->m & 2 ? 0 : k)];
        arena[r->y + k] = combine(r->f, a, b);
    }
}

static float reduce_row(const float *x, uint32_t n, uint32_t function)
{
    float total = x[0];
    for (uint32_t k = 1; k < n; k++) {
        switch (function) {
        case EDGE_LSTM_ROW_SUM:
        case EDGE_LSTM_ROW_MEAN: total = total + x[k]; break;
        case EDGE_LSTM_ROW_PROD: total = total * x[k]; break;
        case EDGE_LSTM_ROW_MAX: total = larger(total, x[k]); break;
        default: total = smaller(total, x[k]);
        }
    }
    return function == EDGE_LSTM_ROW_MEAN ? total / (float)n : total;
}

/* The number of the largest (or smallest) value, of equals the first. */
static float place_in_row(const float *x, uint32_t n, bool largest)
{
    uint32_t place = 0;
    for (uint32_t k = 1; k < n; k++)
        if (largest ? x[place] < x[k] : x[k] < x[place]) place = k;
    return (float)place;
}

static void reduce(const edge_lstm_row *r, float *arena)
{
    for (uint32_t k = 0; k < r->m; k++) {
        const float *x = arena + r->a + k * r->n;
        bool place = r->f == EDGE_LSTM_ROW_ARGMAX || r->f == EDGE_LSTM_ROW_ARGMIN;
        arena[r->y + k] = place ? place_in_row(x, r->n, r->f == EDGE_LSTM_ROW_ARGMAX) : reduce_row(x, r->n, r->f);
    }
}

static bool lookup(const edge_lstm_row *r, const float *table, float *arena)
{
    for (uint32_t k = 0; k < r->n; k++) {
        float wanted = arena[r->a + k];
        if (!(wanted > -1.0f && wanted < (float)r->f)) return false;
        memcpy(arena + r->y + k * r->m, table + (uint32_t)wanted * r->m, r->m * sizeof *arena);
    }
    return true;
}

static void softmax_row(const float *x, float *y, uint32_t n, bool logarithm)
{
    float top = reduce_row(x, n, EDGE_LSTM_ROW_MAX), total = 0.0f;
    for (uint32_t k = 0; k < n; k++) {
        float shifted = x[k] - top, power = exp_(shifted);
        total = total + power;
        y[k] = logarithm ? shifted : power;
    }
    float scale = log_(total);
    for (uint32_t k = 0; k < n; k++) y[k] = logarithm ? y[k] - scale : y[k] / total;
}

/* --- the interpreter (engines/native/kernels/interpreter.py) --------------------------------------------------- */

static void move(const float *from, float *to, uint32_t n) { memmove(to, from, n * sizeof *to); }

static bool all_finite(const float *x, uint32_t n)
{
    while (n--)
        if (not_finite(*x++)) return false;
    return true;
}

/* A layer with integer weights; false where an activation is not finite. */
static bool quantized(const edge_lstm_stream *s, const edge_lstm_row *r, float *arena)
{
    const edge_lstm_model *m = s->model;
    const float *w = m->weights + r->w;
    const int8_t *q = m->integers + r->q;
    unsigned char *scratch = (unsigned char *)(s->arena + m->arena_size * m->copies);
    switch (r->kind) {
    case EDGE_LSTM_QUANTIZED_LSTM: return quantized_lstm(r, w, q, arena, scratch);
    case EDGE_LSTM_QUANTIZED_GRU: return quantized_gru(r, w, q, arena, scratch);
    case EDGE_LSTM_QUANTIZED_RNN: return quantized_rnn(r, w, q, arena, scratch);
    default: return quantized_dense(r, w, q, arena, scratch);
    }
}

static edge_lstm_status execute(const edge_lstm_stream *s, const edge_lstm_row *r, float *arena, const float *x, float *y)
{
    const edge_lstm_model *m = s->model;
    const float *w = m->weights + (r->kind == EDGE_LSTM_TAKE ? 0 : r->w);
    const uint16_t *q = r->s == EDGE_LSTM_FLOAT16 ? m->halves + r->q : NULL;
    switch (r->kind) {
    case EDGE_LSTM_INPUT:
        if (!all_finite(x + r->a, r->n)) return EDGE_LSTM_BAD_READING;
        move(x + r->a, arena + r->y, r->n);
        break;
    case EDGE_LSTM_LSTM: lstm(r, w, q, arena); break;
    case EDGE_LSTM_GRU: gru(r, w, q, arena); break;
    case EDGE_LSTM_RNN: rnn(r, w, q, arena); break;
    case EDGE_LSTM_DENSE:
        for (uint32_t k = 0; k < r->f; k++) dense_row(w, q, arena + r->a + k * r->n, arena + r->y + k * r->m, r->n, r->m);
        break;
    case EDGE_LSTM_MAP:
        for (uint32_t k = 0; k < r->n; k++) arena[r->y + k] = apply(r->f, arena[r->a + k], w[0], w[1]);
        break;
    case EDGE_LSTM_BINARY: binary(r, arena); break;
    case EDGE_LSTM_SOFTMAX:
        for (uint32_t k = 0; k < r->m * r->n; k += r->n) softmax_row(arena + r->a + k, arena + r->y + k, r->n, r->f != 0);
        break;
    case EDGE_LSTM_REDUCE: reduce(r, arena); break;
    case EDGE_LSTM_WHERE:
        for (uint32_t k = 0; k < r->n; k++) arena[r->y + k] = arena[(arena[r->a + k] == 0.0f ? r->c : r->b) + k];
        break;
    case EDGE_LSTM_LOOKUP: return lookup(r, w, arena) ? EDGE_LSTM_OK : EDGE_LSTM_BAD_INDEX;
    case EDGE_LSTM_TAKE:
        for (uint32_t k = 0; k < r->n; k++) arena[r->y + k] = arena[m->indices[r->w + k]];
        break;
    case EDGE_LSTM_CHECK: return all_finite(arena + r->a, r->n) ? EDGE_LSTM_OK : EDGE_LSTM_BAD_STATE;
    case EDGE_LSTM_COMMIT: move(arena + r->a, arena + r->y, r->n); break;
    case EDGE_LSTM_OUTPUT: move(arena + r->a, y + r->y, r->n); break;
    default: return quantized(s, r, arena) ? EDGE_LSTM_OK : EDGE_LSTM_BAD_STATE;
    }
    return EDGE_LSTM_OK;
}

static edge_lstm_status execute_rows(const edge_lstm_stream *s, uint32_t first, uint32_t count, float *arena, const float *x,
                                     float *y)
{
    for (uint32_t k = first; k < first + count; k++) {
        edge_lstm_status status = execute(s, &s->model->rows[k], arena, x, y);
        if (status != EDGE_LSTM_OK) return status;
    }
    return EDGE_LSTM_OK;
}

static void reset_copy(const edge_lstm_model *m, float *arena)
{
    memset(arena, 0, m->arena_size * sizeof *arena);
    for (uint32_t k = 0; k < m->reset_count; k++) move(m->resets[k].values, arena + m->resets[k].offset, m->resets[k].size);
}

/* Counts the reading; the copy that has an output now, or NULL. The count stays small, because a stream has no end. */
static float *next_to_speak(edge_lstm_stream *s)
{
    const edge_lstm_model *m = s->model;
    s->seen++;
    if (m->windowed) { /* the copy whose window ends with this reading */
        if (s->seen == 2 * m->copies) s->seen = m->copies;
        return s->seen < m->copies ? NULL : s->arena + s->seen % m->copies * m->arena_size;
    }
    if (s->seen == m->ready + m->every) s->seen = m->ready;
    return s->seen == m->ready ? s->arena : NULL;
}

edge_lstm_status edge_lstm_step(edge_lstm_stream *s, const float *x, float *y)
{
    const edge_lstm_model *m = s->model;
    uint32_t begun = m->windowed && s->seen < m->copies ? s->seen + 1 : m->copies, size = m->arena_size;
    for (uint32_t c = 0; c < begun; c++) { /* all compute before any commits, so a failure changes nothing */
        edge_lstm_status status = execute_rows(s, 0, m->step_rows, s->arena + c * size, x, y);
        if (status != EDGE_LSTM_OK) return status;
    }
    for (uint32_t c = 0; c < begun; c++) execute_rows(s, m->step_rows, m->commit_rows, s->arena + c * size, x, y);
    float *speaking = next_to_speak(s);
    if (!speaking) return EDGE_LSTM_NOT_YET;
    execute_rows(s, m->step_rows + m->commit_rows, m->output_rows, speaking, x, y);
    if (m->windowed) reset_copy(m, speaking); /* its next window begins with the next reading */
    return EDGE_LSTM_OK;
}

void edge_lstm_reset(edge_lstm_stream *s)
{
    s->seen = 0;
    for (uint32_t c = 0; c < s->model->copies; c++) reset_copy(s->model, s->arena + c * s->model->arena_size);
}

void edge_lstm_begin(edge_lstm_stream *s, const edge_lstm_model *model, float *arena)
{
    s->model = model;
    s->arena = arena;
    edge_lstm_reset(s);
}

/* --- the self-test ------------------------------------------------------------------------------------------------- */

static uint32_t add_to_fingerprint(uint32_t print, float y)
{
    uint32_t bits = y != y ? 0x7FC00000u : bits_of(y); /* NaN has many bit patterns and counts as one value */
    for (unsigned k = 0; k < 4; k++) print = (print ^ (bits >> (8 * k) & 0xFF)) * 16777619u;
    return print;
}

/* Readings from a linear congruential generator: u in [-1, 1) with 16 bits; product and sum are rounded one by one. */
static void next_reading(const edge_lstm_model *m, uint32_t *seed, float *x)
{
    for (uint32_t k = 0; k < m->input_size; k++) {
        *seed = *seed * 1664525u + 1013904223u;
        float u = (float)((int32_t)(*seed >> 16) - 32768) / 32768.0f;
        float away = m->vector.spread[k] * u;
        x[k] = m->vector.centre[k] + away;
    }
}

uint32_t edge_lstm_fingerprint(edge_lstm_stream *s, uint32_t *seed, uint32_t steps, float *x, float *y)
{
    uint32_t print = 2166136261u;
    while (steps--) {
        next_reading(s->model, seed, x);
        if (edge_lstm_step(s, x, y) != EDGE_LSTM_OK) continue;
        for (uint32_t k = 0; k < s->model->output_size; k++) print = add_to_fingerprint(print, y[k]);
    }
    return print;
}

int edge_lstm_selftest(edge_lstm_stream *s, float *x, float *y)
{
    uint32_t seed = 1;
    edge_lstm_reset(s);
    uint32_t print = edge_lstm_fingerprint(s, &seed, s->model->vector.steps, x, y);
    edge_lstm_reset(s);
    return print != s->model->vector.fingerprint;
}
