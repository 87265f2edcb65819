/* Takes the machine through a frame that another computer wrote, and writes what came of it:
   driver IMAGE FRAME RESULT [CALLS …].

   IMAGE    the machine's code (image.py); edge_lstm_run is RUN bytes behind its beginning, and IMPORTS are pairs of a
            place and the function whose address belongs there
   FRAME    sections, each int64 bytes and so many bytes: the frame, then what its addresses point to in the order of
            ADDRESSES (numbers of frame fields)
   RESULT   int64 status, then the sections Y_OUT and ARENA as they are afterwards
   CALLS    the frame is executed so many times, and so many; before, between and behind them is a mark for count.c

   RUN, IMPORTS, ADDRESSES: bits.py gives them on the compiler's command line. Its rule: no arithmetic. */
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The image also holds two functions for Python; nobody calls them here. */
void *PyLong_AsVoidPtr(void *object) { (void)object; abort(); }
void *PyLong_FromLong(long value) { (void)value; abort(); }
void *PyEval_SaveThread(void) { abort(); }
void PyEval_RestoreThread(void *state) { (void)state; abort(); }

static const struct { size_t place; void *function; } imports[] = {IMPORTS};

static char *loaded(FILE *file) {
    if (fseek(file, 0, SEEK_END)) abort();
    size_t size = (size_t)ftell(file);
    char *code = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rewind(file);
    if (code == MAP_FAILED || fread(code, 1, size, file) != size) abort();
    for (size_t k = 0; k < sizeof imports / sizeof *imports; k++)
        memcpy(code + imports[k].place, &imports[k].function, sizeof(void *));
    if (mprotect(code, size, PROT_READ | PROT_EXEC)) abort();
    __builtin___clear_cache(code, code + size);
    return code;
}

static int64_t *section(FILE *file, int64_t *size) {
    if (fread(size, sizeof *size, 1, file) != 1 || *size < 0) abort();
    int64_t *content = aligned_alloc(64, ((size_t)*size / 64 + 1) * 64);
    if (!content || fread(content, 1, (size_t)*size, file) != (size_t)*size) abort();
    return content;
}

int main(int count, char **arguments) {
    static const int fields[] = {ADDRESSES};
    FILE *image = count >= 4 ? fopen(arguments[1], "rb") : NULL, *in = image ? fopen(arguments[2], "rb") : NULL;
    FILE *out = in ? fopen(arguments[3], "wb") : NULL;
    if (!out) return 2;
    int64_t (*run)(int64_t) = (int64_t (*)(int64_t))(loaded(image) + RUN);
    int64_t size, sizes[sizeof fields / sizeof *fields];
    int64_t *frame = section(in, &size);
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) frame[fields[k]] = (int64_t)section(in, &sizes[k]);
    int64_t status = 0;
    if (count == 4) status = run((int64_t)frame);
    for (int k = 4; k < count; k++) {
        if (k == 4) sched_yield();
        for (long calls = strtol(arguments[k], NULL, 10); calls; calls--) status = run((int64_t)frame);
        sched_yield();
    }
    fwrite(&status, sizeof status, 1, out);
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (fields[k] == Y_OUT || fields[k] == ARENA) fwrite((void *)frame[fields[k]], 1, (size_t)sizes[k], out);
    return fclose(out) ? 4 : 0;
}
