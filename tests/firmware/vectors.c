/* The frame vectors, each case whole and byte by byte; then a storm of random bytes. Prints how many cases it tried.
 * It includes bridge.c, so that it reaches what is below the frames: stuffing, and sending any frame. */
#include "bridge.c"

#include <stdio.h>
#include <stdlib.h>

typedef struct { const char *data; size_t size; unsigned crc; } crc_case;
typedef struct { const char *data; size_t size; const char *encoded; size_t encoded_size; } cobs_case;
typedef struct {
    uint32_t time_us;
    uint8_t type, stream;
    uint16_t seq, check;
    const char *payload;
    size_t size;
    const char *wire;
    size_t wire_size;
} frame_case;
typedef struct { bridge_found status; const char *wire; size_t size; } damaged_case;

#include "frame_cases.h"

#define COUNT(cases) (sizeof(cases) / sizeof((cases)[0]))

static void must(int good, const char *what, size_t number)
{
    if (good) return;
    printf("%s, case %zu\n", what, number);
    exit(1);
}

static void ignore(void *context, const bridge_format *format, const float *values, bridge_why why)
{
    (void)context, (void)format, (void)values, (void)why;
}

static void check_crc(void)
{
    for (size_t k = 0; k < COUNT(CRC_CASES); k++)
        must(bridge_crc16((const uint8_t *)CRC_CASES[k].data, CRC_CASES[k].size) == CRC_CASES[k].crc, "crc", k);
}

static void check_cobs(void)
{
    static uint8_t ring[2048];
    for (size_t k = 0; k < COUNT(COBS_CASES); k++) {
        const cobs_case *c = &COBS_CASES[k];
        bridge_setup setup = {0};
        bridge b = {0};
        uint8_t decoded[1024];
        setup.transmit = ring;
        setup.transmit_size = sizeof ring;
        b.setup = &setup;
        open_block(&b);
        for (size_t n = 0; n < c->size; n++) stuff(&b, (uint8_t)c->data[n]);
        ring[b.code_at] = b.code;
        must(b.cursor == c->encoded_size && !memcmp(ring, c->encoded, b.cursor), "cobs encode", k);
        memcpy(decoded, c->encoded, c->encoded_size);
        must(cobs_decode(decoded, c->encoded_size) == (int)c->size, "cobs decode: size", k);
        must(!memcmp(decoded, c->data, c->size), "cobs decode", k);
    }
}

/* Feeds `size` bytes after a 00, in an own block of memory, so that a sanitizer sees a read beyond it. */
static bridge_found receive_last(bridge_receiver *r, const char *wire, size_t size, bridge_frame *frame, unsigned *ends)
{
    uint8_t *copy = malloc(size ? size : 1);
    bridge_found last = BRIDGE_NOTHING;
    if (!copy) exit(2);
    memcpy(copy, wire, size);
    bridge_receive_frame(r, 0, frame);
    *ends = 0;
    for (size_t n = 0; n < size; n++) {
        bridge_found found = bridge_receive_frame(r, copy[n], frame);
        if (found != BRIDGE_NOTHING) last = found, ++*ends;
    }
    free(copy);
    return last;
}

static void check_frames(void)
{
    static uint8_t ring[1024];
    for (size_t k = 0; k < COUNT(FRAME_CASES); k++) {
        const frame_case *c = &FRAME_CASES[k];
        bridge_receiver receiver = {0};
        bridge_frame frame;
        unsigned ends;
        must(receive_last(&receiver, c->wire, c->wire_size, &frame, &ends) == BRIDGE_FRAME && ends == 1, "frame", k);
        must(frame.type == c->type && frame.stream == c->stream && frame.seq == c->seq, "frame: head", k);
        must(frame.time_us == c->time_us && frame.check == c->check, "frame: time and check", k);
        must(frame.size == c->size && !memcmp(frame.payload, c->payload, c->size), "frame: payload", k);

        bridge_setup setup = {0};
        bridge b = {0};
        setup.transmit = ring;
        setup.transmit_size = sizeof ring;
        b.setup = &setup;
        b.check = c->check;
        must(open_frame(&b, c->time_us, c->type, c->stream, c->seq, c->size), "frame: room", k);
        put_bytes(&b, (const uint8_t *)c->payload, c->size);
        close_frame(&b);
        size_t lead = c->type == BRIDGE_HELLO; /* the 00 in front of HELLO is not in the vectors */
        must(b.head == c->wire_size + lead && !memcmp(ring + lead, c->wire, c->wire_size), "frame: sent", k);
    }
}

static void check_damaged(void)
{
    for (size_t k = 0; k < COUNT(DAMAGED_CASES); k++) {
        bridge_receiver receiver = {0};
        bridge_frame frame;
        unsigned ends;
        bridge_found found = receive_last(&receiver, DAMAGED_CASES[k].wire, DAMAGED_CASES[k].size, &frame, &ends);
        must(found == DAMAGED_CASES[k].status && ends == 1, "damaged", k);
    }
}

static const bridge_field FIELDS[] = {
    BRIDGE_LIMITED("x", BRIDGE_I16, "", -1, 1, 0),
    BRIDGE_LIMITED("y", BRIDGE_F32, "", -1, 1, 0),
};
static const bridge_field READING[] = {BRIDGE_FIELD("z", BRIDGE_F32, "")};
static const bridge_format FORMATS[] = {BRIDGE_ACTION("xy", 1, FIELDS), BRIDGE_READING("z", 2, 100, READING)};

static uint32_t dice(uint32_t sides)
{
    static uint32_t seed = 2463534242u; /* xorshift (Marsaglia 2003) */
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

/* A device under random bytes and random frames that are intact: nothing to see but what a sanitizer finds. */
static void storm(size_t bytes)
{
    static uint8_t ring[BRIDGE_LEAST_TRANSMIT], sender_ring[600];
    bridge_stream streams[2];
    bridge device;
    bridge sender = {0};
    bridge_setup setup = {"d", "v", FORMATS, 2, streams, ring, sizeof ring, 1, BRIDGE_HEARTBEAT_TIMEOUT_US, ignore, 0};
    bridge_setup sending = {0};
    uint32_t now_us = 0;
    must(bridge_begin(&device, &setup, 0) == BRIDGE_READY, "begin", 0);
    sending.transmit = sender_ring;
    sending.transmit_size = sizeof sender_ring;
    sender.setup = &sending;
    for (size_t done = 0; done < bytes; done += sender.head) {
        uint8_t type = (uint8_t)dice(16);
        size_t right = type == BRIDGE_START ? 4 : type == BRIDGE_ACTION_FRAME ? 10 : 0;
        if (type == BRIDGE_HEARTBEAT || type == BRIDGE_CLEAR) right = 4;
        if (type == BRIDGE_DICTIONARY_REQUEST) right = 2;
        size_t size = dice(8) ? right : dice(BRIDGE_MAX_PAYLOAD + 1);
        now_us += dice(20000);
        sender.check = dice(8) ? device.check : (uint16_t)dice(65536);
        sender.head = sender.tail = 0;
        open_frame(&sender, now_us, type, dice(4) ? 1 : (uint8_t)dice(256), (uint16_t)dice(65536), size);
        bool random_payload = dice(2); /* else 1, 0, 0, ...: the boot id */
        size_t done_bytes = 0;
        if ((type == BRIDGE_ACTION_FRAME || type == BRIDGE_HEARTBEAT) && size >= 4 && dice(4)) {
            put_u32(&sender, now_us - dice(300000)); /* the time that it answers */
            done_bytes = 4;
        }
        for (size_t n = done_bytes; n < size; n++) put(&sender, random_payload ? (uint8_t)dice(256) : n == 0);
        close_frame(&sender);
        if (!dice(8)) sender_ring[dice((uint32_t)sender.head)] ^= (uint8_t)dice(256);
        bridge_receive(&device, now_us, sender_ring, sender.head);
        bridge_tick(&device, now_us);
        float value = (float)dice(1000);
        bridge_reading(&device, now_us, 2, &value);
        const uint8_t *out;
        size_t waiting = bridge_transmit(&device, &out), taken = dice(100);
        bridge_transmitted(&device, waiting < taken ? waiting : taken);
    }
    must(device.counters.frames > 0 && device.counters.damaged > 0 && device.counters.actions > 0 && device.counters.late > 0,
         "storm", 0);
}

int main(void)
{
    check_crc();
    check_cobs();
    check_frames();
    check_damaged();
    storm(500000);
    printf("%zu\n", COUNT(CRC_CASES) + COUNT(COBS_CASES) + COUNT(FRAME_CASES) + COUNT(DAMAGED_CASES));
    return 0;
}
