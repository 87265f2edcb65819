/* A plugin of QEMU's user-mode emulation: how many instructions a thread has executed at each of its marks, a line each,
   and which, if asked. A mark is the system call sched_yield, which costs a program one instruction and means nothing.

       qemu-aarch64 -plugin count.so,out=FILE[,trace=on] PROGRAM …

   The line of a mark is "=COUNT". With trace=on, FILE also has what is executed behind the first mark: "+NUMBER WORD …",
   the machine code of a translated block, once, and "NUMBER" for each time that one is executed.

   Its rule: it counts and writes down, and changes nothing of what the program does. QEMU 7.2 comes without a header
   for plugins; what is declared here is as its documentation has it. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb translation;
typedef struct qemu_plugin_insn instruction;
typedef void on_translation(plugin_id, translation *);
typedef void on_execution(unsigned thread, void *data);
typedef void on_call(plugin_id, unsigned thread, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                     uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation *);
void qemu_plugin_register_vcpu_tb_exec_cb(translation *, on_execution *, int registers_used, void *data);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_call *);
size_t qemu_plugin_tb_n_insns(const translation *);
instruction *qemu_plugin_tb_get_insn(const translation *, size_t);
const void *qemu_plugin_insn_data(const instruction *);

EXPORTED int qemu_plugin_version = 1; /* of the interface; newer QEMUs take it, too */

enum { THREADS = 1024, SCHED_YIELD = 124, NO_REGISTERS = 0 };
typedef struct {
    size_t number, instructions;
} block;

static FILE *out;
static bool traced, begun;
static size_t blocks;
static uint64_t counts[THREADS]; /* each thread its own, so that none is lost */

static void executed(unsigned thread, void *data)
{
    counts[thread % THREADS] += ((block *)data)->instructions;
    if (traced && begun) fprintf(out, "%zu\n", ((block *)data)->number);
}

static void translated(plugin_id id, translation *code)
{
    (void)id;
    block *made = malloc(sizeof *made);
    if (!made) abort();
    *made = (block){blocks++, qemu_plugin_tb_n_insns(code)};
    if (traced) {
        fprintf(out, "+%zu", made->number);
        for (size_t k = 0; k < made->instructions; k++) {
            uint32_t word;
            memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(code, k)), sizeof word);
            fprintf(out, " %08" PRIx32, word);
        }
        fputc('\n', out);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(code, executed, NO_REGISTERS, made);
}

static void called(plugin_id id, unsigned thread, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != SCHED_YIELD) return;
    fprintf(out, "=%" PRIu64 "\n", counts[thread % THREADS]);
    fflush(out);
    begun = true;
}

EXPORTED int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int k = 0; k < count; k++) {
        if (!strncmp(arguments[k], "out=", 4)) out = fopen(arguments[k] + 4, "w");
        traced |= !strcmp(arguments[k], "trace=on");
    }
    if (!out) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
