/* The network alone on the board: its self-test, then the fingerprint of many readings, written to the debugger's
 * channel (semihosting). tools/board compares it with Python. */
#include NETWORK_HEADER

#ifndef STEPS
#define STEPS 10000
#endif

static long call_host(long number, const void *argument)
{
    register long r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void say_number(uint32_t value)
{
    char text[10] = "........\n";
    for (int k = 7; k >= 0; k--, value >>= 4) text[k] = "0123456789abcdef"[value & 15];
    call_host(4, text); /* SYS_WRITE0 */
}

int main(void)
{
    static float arena[NETWORK_MODEL_ARENA], x[NETWORK_MODEL_INPUTS], y[NETWORK_MODEL_OUTPUTS];
    static edge_lstm_stream stream;
    uint32_t seed = 1;
    edge_lstm_begin(&stream, &NETWORK_MODEL, arena);
    say_number((uint32_t)edge_lstm_selftest(&stream, x, y));
    say_number(edge_lstm_fingerprint(&stream, &seed, STEPS, x, y));
    call_host(0x18, (const void *)0x20026); /* SYS_EXIT, the application is done */
    return 0;
}
