/* The same network in C, as one would write it for this CPU by hand: lstm_avx512_* with intrinsics (two blocks of 16 units
   at a time, packed weights, everything in registers), lstm_plain_* as loops for the compiler to vectorize.
   Compiled with gcc -O3 -march=native -ffast-math by hand.py. Rows of W, R, b: i f g o. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int inputs, units, outputs, padded; /* padded: units up to a whole number of vectors */
    float *packed, *head, *state, *gates; /* state: x, h, c, and h of the next step */
} Lstm;

static float *zeros(size_t count) {
    float *p = aligned_alloc(64, (count * sizeof(float) / 64 + 2) * 64);
    return memset(p, 0, (count * sizeof(float) / 64 + 2) * 64);
}

void lstm_reset(Lstm *n) {
    memset(n->state, 0, sizeof(float) * (size_t)(n->inputs + 3 * n->padded));
    memset(n->gates, 0, sizeof(float) * (size_t)(4 * n->padded));
}

static Lstm *made(int inputs, int units, int outputs) {
    Lstm *n = calloc(1, sizeof *n);
    *n = (Lstm){inputs, units, outputs, (units + 15) / 16 * 16, NULL, NULL, NULL, NULL};
    n->packed = zeros((size_t)4 * n->padded * (1 + inputs + units));
    n->head = zeros((size_t)16 * (1 + units));
    n->state = zeros((size_t)(inputs + 3 * n->padded) + 16);
    n->gates = zeros((size_t)4 * n->padded);
    return n;
}

static float element(int k, int row, int inputs, int units, const float *W, const float *R, const float *b) {
    return k == 0 ? b[row] : k <= inputs ? W[row * inputs + k - 1] : R[row * units + k - 1 - inputs];
}

/* one pass over memory, as fast as it goes: the floor below which no step can be that reads all weights */
float read_pass(const float *p, long count, long times) {
    float total = 0;
    for (long t = 0; t < times; t++) {
        float sums[128] = {0};
        for (long k = 0; k + 128 <= count; k += 128)
            for (int j = 0; j < 128; j++) sums[j] += p[k + j];
        total += sums[t & 127];
        __asm__ volatile("" ::: "memory");
    }
    return total;
}

/* --- loops for the compiler --- */
Lstm *lstm_plain_new(int inputs, int units, int outputs, const float *W, const float *R, const float *b, const float *V, const float *v) {
    Lstm *n = made(inputs, units, outputs);
    for (int k = 0; k < 1 + inputs + units; k++)
        for (int row = 0; row < 4 * units; row++) n->packed[k * 4 * units + row] = element(k, row, inputs, units, W, R, b);
    for (int o = 0; o < outputs; o++)
        for (int k = 0; k <= units; k++) n->head[o * (1 + units) + k] = k ? V[o * units + k - 1] : v[o];
    return n;
}

void lstm_plain_step(Lstm *n, const float *restrict x, float *restrict y) {
    const int H = n->units;
    float *restrict g = n->gates, *restrict s = n->state, *restrict c = s + n->inputs + H;
    const float *restrict w = n->packed;
    memcpy(s, x, sizeof(float) * (size_t)n->inputs);
    memcpy(g, w, sizeof(float) * 4 * (size_t)H);
    for (int k = 0; k < n->inputs + H; k++) {
        const float value = s[k];
        w += 4 * H;
        for (int j = 0; j < 4 * H; j++) g[j] += value * w[j];
    }
    for (int u = 0; u < H; u++) {
        c[u] = c[u] / (1 + expf(-g[H + u])) + tanhf(g[2 * H + u]) / (1 + expf(-g[u]));
        s[n->inputs + u] = tanhf(c[u]) / (1 + expf(-g[3 * H + u]));
    }
    for (int o = 0; o < n->outputs; o++) {
        const float *row = n->head + o * (1 + H);
        float sum = row[0];
        for (int k = 0; k < H; k++) sum += row[1 + k] * s[n->inputs + k];
        y[o] = sum;
    }
}

void lstm_plain_run(Lstm *n, const float *x, float *y, long readings) {
    for (long t = 0; t < readings; t++) lstm_plain_step(n, x + t * n->inputs, y + t * n->outputs);
}

#ifdef __AVX512F__
#include <immintrin.h>

Lstm *lstm_avx512_new(int inputs, int units, int outputs, const float *W, const float *R, const float *b, const float *V, const float *v) {
    Lstm *n = made(inputs, units, outputs);
    float *w = n->packed;
    for (int first = 0; first < n->padded;) {
        const int blocks = n->padded - first >= 32 ? 2 : 1;
        for (int k = 0; k < 1 + inputs + units; k++)
            for (int block = 0; block < blocks; block++)
                for (int gate = 0; gate < 4; gate++)
                    for (int lane = 0; lane < 16; lane++, w++) {
                        const int unit = first + 16 * block + lane;
                        if (unit < units) *w = element(k, gate * units + unit, inputs, units, W, R, b);
                    }
        first += 16 * blocks;
    }
    for (int o = 0; o < outputs && o < 16; o++)
        for (int k = 0; k <= units; k++) n->head[k * 16 + o] = k ? V[o * units + k - 1] : v[o];
    return n;
}

static inline __m512 constant(float value) { return _mm512_set1_ps(value); }

/* rational, odd degree 13 over even degree 6: coefficients as published in Eigen */
static inline __m512 tanh16(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, constant(7.90531111f)), constant(-7.90531111f));
    const __m512 s = _mm512_mul_ps(x, x);
    __m512 p = _mm512_fmadd_ps(s, constant(-2.76076847742355e-16f), constant(2.00018790482477e-13f));
    p = _mm512_fmadd_ps(s, p, constant(-8.60467152213735e-11f));
    p = _mm512_fmadd_ps(s, p, constant(5.12229709037114e-08f));
    p = _mm512_fmadd_ps(s, p, constant(1.48572235717979e-05f));
    p = _mm512_fmadd_ps(s, p, constant(6.37261928875436e-04f));
    p = _mm512_fmadd_ps(s, p, constant(4.89352455891786e-03f));
    __m512 q = _mm512_fmadd_ps(s, constant(1.19825839466702e-06f), constant(1.18534705686654e-04f));
    q = _mm512_fmadd_ps(s, q, constant(2.26843463243900e-03f));
    q = _mm512_fmadd_ps(s, q, constant(4.89352518554385e-03f));
    return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

static inline __m512 sigmoid16(__m512 x) {
    const __m512 half = constant(0.5f);
    return _mm512_fmadd_ps(half, tanh16(_mm512_mul_ps(half, x)), half);
}

static inline void finish(__m512 i, __m512 f, __m512 g, __m512 o, float *c, float *h) {
    const __m512 memory = _mm512_fmadd_ps(sigmoid16(i), tanh16(g), _mm512_mul_ps(sigmoid16(f), _mm512_load_ps(c)));
    _mm512_store_ps(c, memory);
    _mm512_storeu_ps(h, _mm512_mul_ps(sigmoid16(o), tanh16(memory)));
}

void lstm_avx512_step(Lstm *n, const float *x, float *y) {
    const int count = n->inputs + n->units;
    float *s = n->state, *next = n->gates, *c = next + n->padded; /* gates are free here; c must be aligned */
    const float *w = n->packed;
    memcpy(s, x, sizeof(float) * (size_t)n->inputs);
    int unit = 0;
    for (; n->padded - unit >= 32; unit += 32) {
        __m512 a[8];
        for (int j = 0; j < 8; j++) a[j] = _mm512_load_ps(w + 16 * j);
        for (int k = 0; k < count; k++) {
            const __m512 value = constant(s[k]);
            w += 128;
            for (int j = 0; j < 8; j++) a[j] = _mm512_fmadd_ps(value, _mm512_load_ps(w + 16 * j), a[j]);
        }
        w += 128;
        finish(a[0], a[1], a[2], a[3], c + unit, next + unit);
        finish(a[4], a[5], a[6], a[7], c + unit + 16, next + unit + 16);
    }
    if (unit < n->padded) {
        __m512 a[4];
        for (int j = 0; j < 4; j++) a[j] = _mm512_load_ps(w + 16 * j);
        for (int k = 0; k < count; k++) {
            const __m512 value = constant(s[k]);
            w += 64;
            for (int j = 0; j < 4; j++) a[j] = _mm512_fmadd_ps(value, _mm512_load_ps(w + 16 * j), a[j]);
        }
        finish(a[0], a[1], a[2], a[3], c + unit, next + unit);
    }
    memcpy(s + n->inputs, next, sizeof(float) * (size_t)n->units);
    __m512 sums[4] = {_mm512_load_ps(n->head), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int k = 0; k < n->units; k++)
        sums[k & 3] = _mm512_fmadd_ps(constant(next[k]), _mm512_load_ps(n->head + 16 * (k + 1)), sums[k & 3]);
    const __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    _mm512_mask_storeu_ps(y, (__mmask16)((1u << n->outputs) - 1), sum);
}

void lstm_avx512_run(Lstm *n, const float *x, float *y, long readings) {
    for (long t = 0; t < readings; t++) lstm_avx512_step(n, x + t * n->inputs, y + t * n->outputs);
}

/* through the door that edge_lstm's machine has: a METH_NOARGS function whose self is the address of all it needs */
typedef struct {
    Lstm *network;
    const float *x;
    float *y;
} Frame;
void *PyLong_AsVoidPtr(void *);
void *PyLong_FromLong(long);

void *lstm_avx512_method(void *self, void *nothing) {
    const Frame *f = PyLong_AsVoidPtr(self);
    (void)nothing;
    lstm_avx512_step(f->network, f->x, f->y);
    return PyLong_FromLong(0);
}
#endif
