/* Takes the machine through a frame that another computer wrote, and writes what came of it: driver FRAME RESULT.

   FRAME    sections, each int64 bytes and so many bytes: the frame, then what its addresses point to in the order of
            ADDRESSES (numbers of frame fields; bits.py gives them on the compiler's command line)
   RESULT   int64 status, then the sections Y_OUT and ARENA as they are afterwards

   Its rule: no arithmetic. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int64_t edge_lstm_run(int64_t frame);

/* The object also holds two functions for Python; nobody calls them here. */
void *PyLong_AsVoidPtr(void *object) { (void)object; abort(); }
void *PyLong_FromLong(long value) { (void)value; abort(); }
void *PyEval_SaveThread(void) { abort(); }
void PyEval_RestoreThread(void *state) { (void)state; abort(); }

static int64_t *section(FILE *file, int64_t *size) {
    if (fread(size, sizeof *size, 1, file) != 1 || *size < 0) abort();
    int64_t *content = aligned_alloc(64, ((size_t)*size / 64 + 1) * 64);
    if (!content || fread(content, 1, (size_t)*size, file) != (size_t)*size) abort();
    return content;
}

int main(int count, char **arguments) {
    static const int fields[] = {ADDRESSES};
    FILE *in = count == 3 ? fopen(arguments[1], "rb") : NULL, *out = in ? fopen(arguments[2], "wb") : NULL;
    if (!out) return 2;
    int64_t size, sizes[sizeof fields / sizeof *fields];
    int64_t *frame = section(in, &size);
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) frame[fields[k]] = (int64_t)section(in, &sizes[k]);
    int64_t status = edge_lstm_run((int64_t)frame);
    fwrite(&status, sizeof status, 1, out);
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (fields[k] == Y_OUT || fields[k] == ARENA) fwrite((void *)frame[fields[k]], 1, (size_t)sizes[k], out);
    return fclose(out) ? 4 : 0;
}
