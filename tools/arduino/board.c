/* An Arduino that runs a sketch in real time: its processor in simavr, its first UART behind a pseudo-terminal.

       board PROCESSOR SKETCH.elf LINK        PROCESSOR: atmega328p (Uno), atmega2560 (Mega)

   LINK is a symbolic link to the pseudo-terminal, the same however often the board is plugged in. SIGUSR1 presses the
   reset button; SIGUSR2 pulls the USB plug, and the next one puts it back (an Arduino lives off its USB: it starts again).
   SIGINT and SIGTERM switch it off. A line on stdout for each: "plugged /dev/pts/3", "reset", "unplugged", "off …".

   Its rule: the processor's cycles follow CLOCK_MONOTONIC by absolute deadlines, so nothing drifts. What nobody reads is
   dropped and counted, as a board does. Must never: leave its link behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

enum { HZ = 16000000, STEPS = 256, AHEAD_NS = 500000, STANDSTILL_NS = 500000000 };

static volatile sig_atomic_t reset_asked, plug_asked, off_asked;

static void asked(int number) {
    if (number == SIGUSR1)
        reset_asked = 1;
    else if (number == SIGUSR2)
        plug_asked = 1;
    else
        off_asked = 1;
}

/* The plug: both ends of the pseudo-terminal, -1 while it is out. The slave stays open here, too, so that a host that
   comes and goes does not reset the terminal to cooked mode. */
static int master = -1, slave = -1;
static char name[64];
static const char *link_path;

/* Between the UART and the plug. */
static unsigned char from_avr[4096], to_avr[4096];
static size_t from_count, to_count, to_done;
static unsigned long long sent, dropped;
static int room = 1; /* the UART takes another byte */

static void out(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)param;
    if (from_count < sizeof from_avr) from_avr[from_count++] = (unsigned char)value;
}

static void xon(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)value, (void)param;
    room = 1;
}

static void xoff(struct avr_irq_t *irq, uint32_t value, void *param) {
    (void)irq, (void)value, (void)param;
    room = 0;
}

static int plug(void) {
    char fresh[4096];
    struct termios raw;
    if (openpty(&master, &slave, name, NULL, NULL)) return -1;
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(master, F_SETFL, O_NONBLOCK);
    from_count = to_count = to_done = 0;
    room = 1;
    snprintf(fresh, sizeof fresh, "%s.%d", link_path, getpid());
    if (symlink(name, fresh) || rename(fresh, link_path)) return -1;
    printf("plugged %s\n", name);
    return 0;
}

static void unplug(void) {
    char target[64] = "";
    if (master < 0) return;
    if (readlink(link_path, target, sizeof target - 1) > 0 && !strcmp(target, name)) unlink(link_path);
    close(master);
    close(slave);
    master = slave = -1;
    puts("unplugged");
}

/* Bytes both ways; waits for the host's no longer than wait_ns. */
static void carry(avr_irq_t *input, long wait_ns) {
    if (from_count) {
        const ssize_t took = write(master, from_avr, from_count);
        sent += took > 0 ? (size_t)took : 0;
        dropped += from_count - (took > 0 ? (size_t)took : 0);
        from_count = 0;
    }
    if (to_done == to_count) {
        struct pollfd ready = {master, POLLIN, 0};
        const struct timespec pause = {0, wait_ns};
        to_done = to_count = 0;
        if (ppoll(&ready, 1, &pause, NULL) > 0) {
            const ssize_t got = read(master, to_avr, sizeof to_avr);
            to_count = got > 0 ? (size_t)got : 0;
        }
    } else if (wait_ns) {
        const struct timespec pause = {0, wait_ns};
        nanosleep(&pause, NULL);
    }
    while (room && to_done < to_count) avr_raise_irq(input, to_avr[to_done++]);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* What simavr says: errors alone, and not among our lines. */
static void log_error(struct avr_t *avr, const int level, const char *format, va_list arguments) {
    (void)avr;
    if (level <= LOG_ERROR) vfprintf(stderr, format, arguments);
}

int main(int argc, char **argv) {
    elf_firmware_t firmware;
    memset(&firmware, 0, sizeof firmware);
    avr_global_logger_set(log_error);
    avr_t *avr = argc == 4 ? avr_make_mcu_by_name(argv[1]) : NULL;
    if (!avr || elf_read_firmware(argv[2], &firmware)) {
        fprintf(stderr, "usage: board PROCESSOR SKETCH.elf LINK\n");
        return 2;
    }
    link_path = argv[3];
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = asked;
    for (const int *number = (const int[]){SIGUSR1, SIGUSR2, SIGINT, SIGTERM, 0}; *number; number++)
        sigaction(*number, &action, NULL);

    avr_init(avr);
    avr->frequency = HZ;
    avr_load_firmware(avr, &firmware);
    uint32_t flags = 0; /* neither its own console nor its own sleeping */
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_t *input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), out, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), xon, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), xoff, NULL);
    if (plug()) {
        perror(link_path);
        return 2;
    }

    long long begun_ns = now_ns(), late_ns = 0; /* the time of cycle 0; the most that the processor was behind */
    while (!off_asked) {
        if (plug_asked) {
            plug_asked = 0;
            unplug();
            const long long out_ns = now_ns();
            while (!plug_asked && !off_asked) usleep(1000);
            if (off_asked) break;
            plug_asked = 0;
            if (plug()) return 2;
            begun_ns += now_ns() - out_ns; /* without power, no cycles */
            avr_reset(avr);
        }
        if (reset_asked) {
            reset_asked = 0;
            avr_reset(avr);
            puts("reset");
        }
        for (int n = 0; n < STEPS; n++) {
            const int state = avr_run(avr);
            if (state == cpu_Done || state == cpu_Crashed) {
                unplug();
                fprintf(stderr, "the sketch crashed\n");
                return 1;
            }
        }
        const long long ahead_ns = (long long)(avr->cycle * (1000000000ULL / (HZ / 1000)) / 1000) - (now_ns() - begun_ns);
        if (-ahead_ns > late_ns) late_ns = -ahead_ns;
        if (-ahead_ns > STANDSTILL_NS) begun_ns -= ahead_ns; /* a suspended machine: time stood still here, too */
        carry(input, ahead_ns > AHEAD_NS ? (long)ahead_ns : 0);
    }
    unplug();
    printf("off %.3f s, %llu bytes sent, %llu dropped, at most %.1f ms late\n", (double)avr->cycle / HZ, sent, dropped,
           (double)late_ns * 1e-6);
    return 0;
}
