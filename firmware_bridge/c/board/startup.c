/* Start of a bare Cortex-M4F: vectors, FPU on, memory as C wants it, main. Nothing else. */
#include <stdint.h>

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

int main(void);
void reset(void);
void halt(void);
void sys_tick(void);
void uart0_receive(void);

__attribute__((weak)) void sys_tick(void) {}
__attribute__((weak)) void uart0_receive(void) {}

void halt(void)
{
    for (;;) __asm__ volatile("bkpt 1"); /* a fault: the emulator ends here with a message */
}

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 are the FPU */
    __asm__ volatile("dsb\n isb");
    for (uint32_t *to = data_start, *from = data_load; to < data_end;) *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;) *to++ = 0;
    main();
    halt();
}

typedef void (*vector)(void);

/* The 16 of the core, then the board's: interrupt 0 is UART 0 receiving. */
__attribute__((section(".vectors"), used)) static const vector VECTORS[17] = {
    (vector)stack_top, reset, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0, halt, sys_tick, uart0_receive};
