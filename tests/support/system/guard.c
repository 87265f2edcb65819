/* Every array between two pages that nobody may touch, and no address given out twice: whoever reads or writes behind
 * its end or after it was freed, compiled code too, ends the process there and then. NumPy's own allocator's signatures
 * (PyDataMem_Handler, NEP 49). */

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, ALIGN = 16 }; /* larger pages do no harm: a Pi's are 4 or 16 KiB, see guard_open */
static const size_t ARENA = (size_t)1 << 36;

static char *arena;
static uint32_t *lengths; /* pages of the block that begins at a page */
static size_t page = PAGE, next = 1;

int guard_open(size_t page_size) {
    page = page_size;
    arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    lengths = mmap(NULL, ARENA / page * sizeof *lengths, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return arena != MAP_FAILED && (void *)lengths != MAP_FAILED ? 0 : -1;
}

static size_t first_page(const void *block) { return (size_t)((const char *)block - arena) / page; }

void *guard_malloc(void *context, size_t size) {
    (void)context;
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    size_t pages = size / page + 1;
    size_t first = __atomic_fetch_add(&next, pages + 1, __ATOMIC_SEQ_CST); /* and a page that stays shut */
    if ((first + pages + 1) * page > ARENA) {
        fputs("guard pages: every address was given out once\n", stderr);
        abort();
    }
    char *start = arena + first * page;
    if (mprotect(start, pages * page, PROT_READ | PROT_WRITE)) return NULL;
    lengths[first] = (uint32_t)pages;
    memset(start, 0xa5, pages * page); /* nobody may count on zeros */
    return start + pages * page - size;
}

void *guard_calloc(void *context, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) return NULL;
    void *block = guard_malloc(context, total);
    return block ? memset(block, 0, total) : NULL;
}

void guard_free(void *context, void *block, size_t size) {
    (void)context, (void)size;
    if (!block) return;
    /* A block as long as whole pages begins on its second page; one of no bytes at the shut page behind it. */
    size_t first = first_page(block);
    while (!lengths[first]) first--;
    char *start = arena + first * page;
    size_t bytes = lengths[first] * page;
    lengths[first] = 0;
    madvise(start, bytes, MADV_DONTNEED);
    if (mprotect(start, bytes, PROT_NONE)) abort();
}

void *guard_realloc(void *context, void *block, size_t size) {
    void *other = guard_malloc(context, size);
    if (!block || !other) return other;
    size_t first = first_page(block);
    while (!lengths[first]) first--;
    size_t had = (size_t)(arena + (first + lengths[first]) * page - (char *)block);
    memcpy(other, block, had < size ? had : size);
    guard_free(context, block, 0);
    return other;
}
