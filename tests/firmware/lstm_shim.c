/* Some models behind plain functions, for ctypes; models.h holds their headers and the table MODELS. */
#include "edge_lstm.h"
#include "models.h"

static edge_lstm_stream stream;

void shim_begin(int number);
void shim_begin(int number) { edge_lstm_begin(&stream, MODELS[number], arena); }

/* Takes `count` readings; statuses of each. Outputs that do not come are left as they are. */
void shim_run(const float *xs, float *ys, int *statuses, int count);
void shim_run(const float *xs, float *ys, int *statuses, int count)
{
    for (; count--; xs += stream.model->input_size, ys += stream.model->output_size)
        *statuses++ = (int)edge_lstm_step(&stream, xs, ys);
}

int shim_selftest(void);
int shim_selftest(void)
{
    static float x[64], y[1024];
    return edge_lstm_selftest(&stream, x, y);
}

#ifdef STANDALONE
/* All models under a sanitizer: their self-tests, then readings of any bits. */
int main(void)
{
    static float x[64], y[1024];
    int failed = 0;
    for (unsigned k = 0; k < sizeof MODELS / sizeof MODELS[0]; k++) {
        uint32_t seed = 1;
        shim_begin((int)k);
        failed += shim_selftest();
        for (int turn = 0; turn < 2000; turn++) {
            for (uint32_t n = 0; n < stream.model->input_size; n++) {
                union { uint32_t bits; float value; } any = {seed = seed * 1664525u + 1013904223u};
                x[n] = any.value;
            }
            edge_lstm_step(&stream, x, y);
        }
    }
    return failed;
}
#endif
