/* A robot of two wheels and an IMU in firmware: simple motors, the real protocol, and, where NETWORK_HEADER is defined,
 * the network on board. For Arm's MPS2 board with image AN386 as QEMU emulates it; another board needs another `port`
 * section and nothing else.
 *
 * Its formats are those of firmware_bridge/simulator/robot.py, so the same robot.toml runs it. The motors are off until
 * an action has come, and again when the host sends STOP or falls silent. */
#include "bridge.h"

#ifdef NETWORK_HEADER
#include NETWORK_HEADER
#endif

#ifndef RATE_HZ
#define RATE_HZ 200
#endif

/* --- port: clock, UART and boot id of this board ----------------------------------------------------------------- */

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004) /* bit 0: transmitter full, bit 1: receiver full */
#define UART_CONTROL REGISTER(0x40004008)
#define UART_INTERRUPT REGISTER(0x4000400C)
#define UART_DIVIDER REGISTER(0x40004010)
#define TIMER_CONTROL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004) /* counts down at 25 MHz */
#define TIMER_RELOAD REGISTER(0x40000008)
#define SYSTICK_CONTROL REGISTER(0xE000E010)
#define SYSTICK_RELOAD REGISTER(0xE000E014)
#define INTERRUPT_ENABLE REGISTER(0xE000E100)
/* The last words of RAM, which no start clears. The first stands for a random number generator: whoever starts the
 * emulator writes it. The second counts the starts. */
#define RANDOM_SEED REGISTER(0x203FFFF0)
#define START_COUNT REGISTER(0x203FFFF4)

enum { TICKS_PER_US = 25, SYSTICK_PER_MS = 25000, RECEIVED_SIZE = 1024 };

static volatile uint8_t received[RECEIVED_SIZE];
static volatile uint32_t received_head; /* written by the interrupt only */
static uint32_t received_tail;

void uart0_receive(void);
void uart0_receive(void)
{
    UART_INTERRUPT = 2;
    while (UART_STATE & 2) {
        received[received_head % RECEIVED_SIZE] = (uint8_t)UART_DATA;
        received_head++;
    }
}

static uint32_t now_us(void)
{
    static uint32_t last = 0xFFFFFFFFu, rest, now;
    uint32_t value = TIMER_VALUE, ticks = last - value + rest;
    last = value;
    now += ticks / TICKS_PER_US;
    rest = ticks % TICKS_PER_US;
    return now;
}

static uint32_t start_port(void)
{
    UART_DIVIDER = 16;
    UART_CONTROL = 1u | 2u | 8u; /* transmit, receive, interrupt on receive */
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CONTROL = 1;
    SYSTICK_RELOAD = SYSTICK_PER_MS - 1;
    SYSTICK_CONTROL = 7; /* run, interrupt, processor clock: wakes the loop each millisecond */
    INTERRUPT_ENABLE = 1;
    START_COUNT++;
    return (RANDOM_SEED + START_COUNT * 2654435769u) | 1u;
}

/* --- the robot ----------------------------------------------------------------------------------------------------- */

enum { LEFT, RIGHT, SIDES, READING = 1, LIMITS = 2, NETWORK = 3, STEP_US = 1000 };

static const bridge_field READING_FIELDS[] = {
    BRIDGE_FIELD("wheel_speed_left", BRIDGE_F32, "rad/s"),
    BRIDGE_FIELD("wheel_speed_right", BRIDGE_F32, "rad/s"),
    BRIDGE_FIELD("current_left", BRIDGE_F32, "A"),
    BRIDGE_FIELD("current_right", BRIDGE_F32, "A"),
    BRIDGE_FIELD("duty_left", BRIDGE_F32, ""),
    BRIDGE_FIELD("duty_right", BRIDGE_F32, ""),
    BRIDGE_FIELD("battery_voltage", BRIDGE_F32, "V"),
    BRIDGE_FIELD("gyro_z", BRIDGE_F32, "rad/s"),
    BRIDGE_FIELD("accel_x", BRIDGE_F32, "m/s\xc2\xb2"),
    BRIDGE_FIELD("accel_y", BRIDGE_F32, "m/s\xc2\xb2"),
    BRIDGE_FIELD("accel_z", BRIDGE_F32, "m/s\xc2\xb2"),
};
static const bridge_field LIMIT_FIELDS[] = {
    BRIDGE_LIMITED("torque_limit_left", BRIDGE_F32, "N m", 0, 1, 0),
    BRIDGE_LIMITED("torque_limit_right", BRIDGE_F32, "N m", 0, 1, 0),
};
static const bridge_format FORMATS[] = {
    BRIDGE_READING("imu_wheels", READING, RATE_HZ, READING_FIELDS),
    BRIDGE_ACTION("motor_limits", LIMITS, LIMIT_FIELDS),
#ifdef NETWORK_HEADER
    BRIDGE_READING("network", NETWORK, RATE_HZ, NETWORK_MODEL_FIELDS),
#endif
};
enum { FORMAT_COUNT = sizeof FORMATS / sizeof FORMATS[0], FIELD_COUNT = sizeof READING_FIELDS / sizeof READING_FIELDS[0] };

static float torque_limit[SIDES], speed[SIDES], torque[SIDES];

static void output(void *context, const bridge_format *format, const float *values, bridge_why why)
{
    (void)context, (void)format, (void)why;
    for (int side = 0; side < SIDES; side++) torque_limit[side] = values[side];
}

static float clamp(float value, float limit) { return value > limit ? limit : value < -limit ? -limit : value; }

/* A millisecond: each wheel's controller wants its speed, which changes every two seconds; torque, friction, inertia. */
static void drive(uint32_t millisecond)
{
    static const float WANTED[4][SIDES] = {{8, 8}, {10, 6}, {0, 0}, {-5, 5}};
    const float *wanted = WANTED[millisecond / 2000 % 4];
    for (int side = 0; side < SIDES; side++) {
        torque[side] = clamp(0.25f * (wanted[side] - speed[side]), torque_limit[side]);
        speed[side] += (torque[side] - 0.02f * speed[side]) * (0.001f / 0.02f);
    }
}

static float noise(float size)
{
    static uint32_t seed = 1;
    seed = seed * 1664525u + 1013904223u;
    return size * (float)((int32_t)(seed >> 16) - 32768) / 32768.0f;
}

/* With a wheel of 0.05 m, a track of 0.3 m, 2 kg, and motors of 0.23 N m/A and 0.8 ohm. */
static void measure(float values[FIELD_COUNT])
{
    float volts = 12.3f - 0.08f * (torque[LEFT] + torque[RIGHT]) / 0.23f;
    for (int side = 0; side < SIDES; side++) {
        float current = torque[side] / 0.23f;
        values[side] = speed[side] + noise(0.02f);
        values[2 + side] = current + noise(0.03f);
        values[4 + side] = clamp((current * 0.8f + 0.23f * speed[side]) / volts, 1);
    }
    values[6] = volts + noise(0.02f);
    values[7] = (speed[RIGHT] - speed[LEFT]) * (0.05f / 0.3f) + noise(0.01f);
    values[8] = (torque[LEFT] + torque[RIGHT]) / 0.05f / 2.0f + noise(0.2f);
    values[9] = values[7] * (speed[LEFT] + speed[RIGHT]) * 0.025f + noise(0.2f);
    values[10] = 9.81f + noise(0.2f);
}

/* --- the loop ------------------------------------------------------------------------------------------------------- */

static bridge host;

static void receive(void)
{
    while (received_tail != received_head) {
        bridge_receive_byte(&host, now_us(), received[received_tail % RECEIVED_SIZE]);
        received_tail++;
    }
}

static void transmit(void)
{
    const uint8_t *data;
    size_t size;
    while ((size = bridge_transmit(&host, &data)) > 0) {
        size_t taken = 0;
        while (taken < size && !(UART_STATE & 1)) UART_DATA = data[taken++];
        if (!taken) return; /* the port takes nothing now */
        bridge_transmitted(&host, taken);
    }
}

#ifdef NETWORK_HEADER
typedef char the_network_takes_the_reading[NETWORK_MODEL_INPUTS == FIELD_COUNT ? 1 : -1];
static float arena[NETWORK_MODEL_ARENA], y[NETWORK_MODEL_OUTPUTS];
static edge_lstm_stream stream;

static bool start_network(void)
{
    float x[NETWORK_MODEL_INPUTS];
    edge_lstm_begin(&stream, &NETWORK_MODEL, arena);
    return edge_lstm_selftest(&stream, x, y) == 0; /* wrong bits would be worse than none */
}

/* Only readings that the host gets go through the network, so the host can follow it bit by bit. */
static void run_network(uint32_t at_us, const float *values)
{
    if (edge_lstm_step(&stream, values, y) == EDGE_LSTM_OK) bridge_reading(&host, at_us, NETWORK, y);
}
#else
static bool start_network(void) { return true; }
static void run_network(uint32_t at_us, const float *values) { (void)at_us, (void)values; }
#endif

static void report(uint32_t at_us)
{
    float values[FIELD_COUNT];
    measure(values);
    if (bridge_reading(&host, at_us, READING, values) == BRIDGE_QUEUED) run_network(at_us, values);
}

int main(void)
{
    static uint8_t ring[16384];
    static bridge_stream streams[FORMAT_COUNT];
    static bridge_setup setup = {"cortex-m4f-robot", "1.0", FORMATS, FORMAT_COUNT, streams, ring, sizeof ring,
                                 0, BRIDGE_HEARTBEAT_TIMEOUT_US, output, 0};
    uint32_t step_us = 0, milliseconds = 0, readings = 0;
    setup.boot_id = start_port();
    if (bridge_begin(&host, &setup, now_us()) != BRIDGE_READY || !start_network()) return 1;
    for (;;) {
        receive();
        bridge_tick(&host, now_us());
        while ((int32_t)(now_us() - step_us) >= STEP_US) {
            step_us += STEP_US;
            drive(milliseconds++);
            if ((uint64_t)milliseconds * RATE_HZ / 1000 > readings) {
                readings++;
                report(step_us);
                transmit();
            }
        }
        transmit();
        __asm__ volatile("wfi"); /* until a byte or the next millisecond */
    }
}
