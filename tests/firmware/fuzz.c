/* One fuzzing input for the C bridge: what must hold whatever arrives. For libFuzzer; with -DSTANDALONE a program that
 * makes its own inputs from a seed, for compilers without it.
 *
 * The input is a list of moves. A move feeds raw bytes, or an intact frame with the payload that follows (so that the
 * CRC does not keep the fuzzer out), or lets time pass, or takes a reading, or drains the port a little. */
#include "bridge.c"

#include <stdio.h>
#include <stdlib.h>

static const bridge_field ACTION[] = {
    BRIDGE_LIMITED("a", BRIDGE_F32, "N m", -1, 2, 0),
    BRIDGE_LIMITED_SCALED("b", BRIDGE_I16, "N m", 0.001, 0, -0.5, 2, 0.1),
    BRIDGE_LIMITED("c", BRIDGE_U32, "", 0, 4e9, 7),
};
static const bridge_field READING[] = {BRIDGE_FIELD("x", BRIDGE_F32, "m"), BRIDGE_SCALED("y", BRIDGE_I8, "", 0.5, 1)};
static const bridge_format FORMATS[] = {
    BRIDGE_READING("r", 1, 100, READING), BRIDGE_ACTION("a", 2, ACTION), BRIDGE_IRREGULAR("s", 200, READING)};

enum { FORMAT_COUNT = sizeof FORMATS / sizeof FORMATS[0] };

static bridge device;
static bridge_receiver host; /* reads all that the device sends: it must be intact */

static void must(int good)
{
    if (!good) abort();
}

static void output(void *context, const bridge_format *format, const float *values, bridge_why why)
{
    (void)context;
    must(format == &FORMATS[1]);
    for (int k = 0; k < 3; k++) {
        must(values[k] >= ACTION[k].minimum.value && values[k] <= ACTION[k].maximum.value);
        if (why != BRIDGE_OBEYED) must(!memcmp(&values[k], &ACTION[k].safe.value, sizeof(float)));
    }
    if (why == BRIDGE_OBEYED) must(device.state == BRIDGE_RUNNING && device.age_us <= BRIDGE_MAX_AGE_MS * 1000u);
}

static void drain(size_t most)
{
    const uint8_t *data;
    size_t size;
    while (most && (size = bridge_transmit(&device, &data)) > 0) {
        size_t taken = size < most ? size : most;
        for (size_t k = 0; k < taken; k++) {
            bridge_frame frame;
            bridge_found found = bridge_receive_frame(&host, data[k], &frame);
            must(found == BRIDGE_NOTHING || found == BRIDGE_FRAME);
            if (found == BRIDGE_FRAME) must(frame.check == device.check && frame.type <= BRIDGE_STATUS);
        }
        bridge_transmitted(&device, taken);
        most -= taken;
    }
}

static void feed_frame(uint32_t now_us, const uint8_t *head, const uint8_t *payload, size_t size)
{
    static uint8_t line[600];
    bridge_setup setup = {0};
    bridge sender = {0};
    setup.transmit = line;
    setup.transmit_size = sizeof line;
    sender.setup = &setup;
    sender.check = head[0] & 0x80 ? (uint16_t)(device.check ^ 1) : device.check;
    if (!open_frame(&sender, now_us, head[0] & 15, head[1], read_u16(head + 2), size)) return;
    if (head[0] & 0x40 && size >= 4) { /* a time of the board's, up to half a second old or a little early */
        put_u32(&sender, now_us - read_u16(payload) * 8u + 65536u);
        payload += 4, size -= 4;
    }
    put_bytes(&sender, payload, size);
    close_frame(&sender);
    bridge_receive(&device, now_us, line, sender.head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t ring[BRIDGE_LEAST_TRANSMIT + 40];
    static bridge_stream streams[FORMAT_COUNT];
    bridge_setup setup = {"d", "1", FORMATS, FORMAT_COUNT, streams, ring, 0, 1, BRIDGE_HEARTBEAT_TIMEOUT_US, output, 0};
    uint32_t now_us = 0xFFFF0000u;
    setup.transmit_size = sizeof ring;
    memset(&host, 0, sizeof host);
    memset(&device, 0, sizeof device); /* `output` looks at it before bridge_begin has */
    must(bridge_begin(&device, &setup, now_us) == BRIDGE_READY);
    while (size >= 2) {
        uint8_t move = data[0] % 6, amount = data[1];
        data += 2, size -= 2;
        size_t taken = amount < size ? amount : size;
        if (move == 0) {
            bridge_receive(&device, now_us, data, taken);
        } else if (move == 1 && taken >= 4 && taken - 4 <= BRIDGE_MAX_PAYLOAD) {
            feed_frame(now_us, data, data + 4, taken - 4);
        } else if (move == 2) {
            now_us += amount * 2000u;
            bridge_tick(&device, now_us);
            must(device.state != BRIDGE_RUNNING || (int32_t)(now_us - device.heard_us) <= 250000);
            taken = 0;
        } else if (move == 3) {
            float values[2] = {(float)amount, (float)amount * 3 - 300};
            bridge_reading(&device, now_us, amount & 1 ? 1 : 200, values);
            taken = 0;
        } else if (move == 4) {
            drain(amount);
            taken = 0;
        } else if (move == 5 && amount == 7) {
            bridge_fault(&device, now_us, "it is too hot");
            taken = 0;
        }
        data += taken, size -= taken;
    }
    drain(sizeof ring);
    return 0;
}

#ifdef STANDALONE
static uint32_t dice(uint32_t sides)
{
    static uint32_t seed = 2463534242u; /* xorshift (Marsaglia 2003) */
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

int main(int argc, char **argv)
{
    long runs = argc > 1 ? atol(argv[1]) : 1000;
    for (long run = 0; run < runs; run++) {
        uint8_t input[600];
        size_t size = dice(sizeof input);
        for (size_t k = 0; k < size; k++) input[k] = (uint8_t)(dice(4) ? dice(16) : dice(256));
        for (size_t k = 0; k + 10 < size; k += 20 + dice(60)) { /* now and then a START, or an action of the right size */
            const uint8_t start[10] = {1, 8, 10, 0, 0, 0, 1, 0, 0, 0}, action[6] = {1, 14, 11, 2, 0, 0};
            if (dice(2)) memcpy(input + k, start, sizeof start);
            else memcpy(input + k, action, sizeof action);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%ld\n", runs);
    return 0;
}
#endif
