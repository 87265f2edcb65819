/* Trained LSTM, GRU and RNN networks on a microcontroller, one reading at a time, with the same bits as edge_lstm in
 * Python: C99, no malloc, weights in flash, one arena of a size that is known when it is compiled.
 *
 *     edge-lstm firmware model.npz -o model.h
 *
 *     #include "model.h"                                  // MODEL, MODEL_ARENA, MODEL_INPUTS, MODEL_OUTPUTS
 *     static float arena[MODEL_ARENA];
 *     static edge_lstm_stream stream;
 *
 *     edge_lstm_begin(&stream, &MODEL, arena);
 *     if (edge_lstm_selftest(&stream, x, y)) fail();      // once: this compiler and this chip compute the right bits
 *     if (edge_lstm_step(&stream, x, y) == EDGE_LSTM_OK) use(y);
 *
 * Its rule: a weighted sum adds one product at a time with a fused multiply-add, in the order that the kernels in
 * edge_lstm/engines/native/kernels define; nothing is left to the compiler, so it must not be built with -ffast-math.
 * A step that does not return EDGE_LSTM_OK or EDGE_LSTM_NOT_YET has changed nothing. Where the chip has no fused
 * multiply-add (Cortex-M0, M3, M4 without F), fmaf of the C library gives the same bits, slowly.
 */
#ifndef EDGE_LSTM_H
#define EDGE_LSTM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Instructions, with the numbers that the exporter writes (edge_lstm/firmware/table.py). Those yet to come are numbered
 * after these. */
typedef enum {
    EDGE_LSTM_INPUT,   /* arena[y : y + n] = x[a : a + n]; fails where a value is not finite */
    EDGE_LSTM_LSTM,    /* y, z = h', c' from a, b, c = x, h, c; n inputs, m units. Of the four layers, s: EDGE_LSTM_FLOAT16
                        * where what meets x and h is float16, at q; only the biases are at w then */
    EDGE_LSTM_GRU,     /* y = h' from a, b = x, h; n inputs, m units */
    EDGE_LSTM_RNN,     /* y = h' from a, b = x, h; n inputs, m units; f: 0 tanh, 1 relu */
    EDGE_LSTM_DENSE,   /* y = W a + b for each of f rows; n inputs, m outputs */
    EDGE_LSTM_MAP,     /* y = f(a; weights[w], weights[w + 1]); n values */
    EDGE_LSTM_BINARY,  /* y = f(a, b); n values; m: bit 0 set, a is one value; bit 1 set, b is one value */
    EDGE_LSTM_SOFTMAX, /* over m rows of n values; f: 1, its logarithm */
    EDGE_LSTM_REDUCE,  /* y[k] = f over row k; m rows of n values */
    EDGE_LSTM_TAKE,    /* y[k] = arena[indices[w + k]]; n values */
    EDGE_LSTM_CHECK,   /* fails where arena[a : a + n] is not finite */
    EDGE_LSTM_COMMIT,  /* arena[y : y + n] = arena[a : a + n]: a state takes its next value */
    EDGE_LSTM_OUTPUT,  /* out[y : y + n] = arena[a : a + n] */
    EDGE_LSTM_WHERE,   /* y = b where a is not zero, else c; n values */
    EDGE_LSTM_LOOKUP,  /* y[k] = row arena[a + k] of the table at w; n indices, f rows of m values */
    EDGE_LSTM_QUANTIZED_LSTM, /* as those without "quantized", with weights as integers at q and scheme s; */
    EDGE_LSTM_QUANTIZED_GRU,  /* fail where a value to be made an integer is not finite */
    EDGE_LSTM_QUANTIZED_RNN,
    EDGE_LSTM_QUANTIZED_DENSE
} edge_lstm_kind;

/* What is an integer in a quantized layer: weights of 8 bits, and activations of so many bits or none; dynamic: in units
 * of the largest of them in this step. float16: nothing is, and weights are of 16 bits. */
typedef enum {
    EDGE_LSTM_INT8,
    EDGE_LSTM_INT16,
    EDGE_LSTM_INT8_WEIGHTS,
    EDGE_LSTM_INT8_DYNAMIC,
    EDGE_LSTM_FLOAT16
} edge_lstm_scheme;

typedef enum {
    EDGE_LSTM_IDENTITY,
    EDGE_LSTM_TANH,
    EDGE_LSTM_SIGMOID,
    EDGE_LSTM_RELU,
    EDGE_LSTM_LEAKY_RELU,
    EDGE_LSTM_ELU,
    EDGE_LSTM_SELU,
    EDGE_LSTM_SOFTPLUS,
    EDGE_LSTM_SOFTSIGN,
    EDGE_LSTM_HARD_SIGMOID,
    EDGE_LSTM_THRESHOLDED_RELU,
    EDGE_LSTM_CLIP,
    EDGE_LSTM_EXP,
    EDGE_LSTM_LOG,
    EDGE_LSTM_SQRT,
    EDGE_LSTM_ABS,
    EDGE_LSTM_NEG,
    EDGE_LSTM_RECIPROCAL,
    EDGE_LSTM_AFFINE,
    EDGE_LSTM_FLOOR,
    EDGE_LSTM_CEIL,
    EDGE_LSTM_ROUND,
    EDGE_LSTM_TRUNC,
    EDGE_LSTM_SIGN,
    EDGE_LSTM_ERF,
    EDGE_LSTM_NOT
} edge_lstm_map;

typedef enum {
    EDGE_LSTM_ADD,
    EDGE_LSTM_SUB,
    EDGE_LSTM_MUL,
    EDGE_LSTM_DIV,
    EDGE_LSTM_MIN,
    EDGE_LSTM_MAX,
    EDGE_LSTM_LESS,
    EDGE_LSTM_LESS_OR_EQUAL,
    EDGE_LSTM_EQUAL,
    EDGE_LSTM_AND,
    EDGE_LSTM_OR
} edge_lstm_binary;

typedef enum {
    EDGE_LSTM_ROW_SUM,
    EDGE_LSTM_ROW_MEAN,
    EDGE_LSTM_ROW_MAX,
    EDGE_LSTM_ROW_MIN,
    EDGE_LSTM_ROW_PROD,
    EDGE_LSTM_ROW_ARGMAX,
    EDGE_LSTM_ROW_ARGMIN
} edge_lstm_reduce;

/* One instruction; offsets count floats: a, b, c, y, z in the arena, w in the weights (of take: in the indices); and q counts
 * the integers, or the halves. */
typedef struct {
    uint32_t kind, w, a, b, c, y, z, n, m, f, q, s;
} edge_lstm_row;

/* Values that stand in the arena after a reset, where they are not zero. */
typedef struct {
    uint32_t offset, size;
    const float *values;
} edge_lstm_reset_value;

/* What the exporter made the outputs of, and their fingerprint. A reading is centre + spread * u, u in [-1, 1). */
typedef struct {
    const float *centre, *spread; /* one of each for every input */
    uint32_t steps;
    uint32_t fingerprint; /* FNV-1a over the bits of all outputs, in order */
} edge_lstm_vector;

/* A model as `edge-lstm firmware` writes it: constants only. */
typedef struct {
    const char *name, *digest;
    const edge_lstm_row *rows; /* instructions that compute, then that commit, then that write the output */
    uint32_t step_rows, commit_rows, output_rows;
    const float *weights;
    const uint32_t *indices;
    const int8_t *integers; /* weights of quantized layers */
    const uint16_t *halves; /* the bits of weights in float16 */
    const edge_lstm_reset_value *resets;
    uint32_t reset_count;
    uint32_t arena_size; /* floats of one copy; behind the last copy is room for activations as integers */
    uint32_t copies;     /* 1, or the T windows under way of a model in window mode */
    bool windowed;
    uint32_t ready, every; /* without windows: outputs come with reading `ready`, then with each `every`-th */
    uint32_t input_size, output_size;
    edge_lstm_vector vector;
} edge_lstm_model;

typedef struct {
    const edge_lstm_model *model;
    float *arena;
    uint32_t seen; /* readings since the reset, as far as the next output depends on it */
} edge_lstm_stream;

typedef enum {
    EDGE_LSTM_OK,
    EDGE_LSTM_NOT_YET,     /* no output belongs to this reading: a window is not full yet, or not every reading has one */
    EDGE_LSTM_BAD_READING, /* a reading holds NaN or infinity; the state is unchanged */
    EDGE_LSTM_BAD_STATE,   /* the state would have become infinite; it is unchanged */
    EDGE_LSTM_BAD_INDEX    /* a lookup's index is no number of a row; the state is unchanged */
} edge_lstm_status;

/* A stream in the reset state; `arena` is the caller's, floats as many as the header's ..._ARENA says. */
void edge_lstm_begin(edge_lstm_stream *stream, const edge_lstm_model *model, float *arena);
void edge_lstm_reset(edge_lstm_stream *stream);

/* Take one reading: x of input_size physical values to y of output_size. */
edge_lstm_status edge_lstm_step(edge_lstm_stream *stream, const float *x, float *y);

/* Run the model's vector from the reset state and compare the bits; 0 if they are right. x and y as for a step; both are
 * overwritten, and the stream is reset. It takes vector.steps steps: a watchdog should know. */
int edge_lstm_selftest(edge_lstm_stream *stream, float *x, float *y);

/* The fingerprint of the next `steps` outputs for readings made from the vector's centre and spread; seed 1 begins. */
uint32_t edge_lstm_fingerprint(edge_lstm_stream *stream, uint32_t *seed, uint32_t steps, float *x, float *y);

#ifdef __cplusplus
}
#endif

#endif
