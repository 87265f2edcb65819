/* See bridge.h. From the bytes upwards: frames in, frames out, the dictionary, the fields, the state table. */
#include "bridge.h"

#include <float.h>
#include <string.h>

#define HELLO_EVERY_US 1000000
#define STATUS_EVERY_US 1000000
#define HELLO_ANSWER_US 50000 /* the shortest time between two HELLOs that answer refused frames */

#define NO_AGE 0xFFFFFFFFu

enum { HEADER_SIZE = 10, ZLIB_HEAD = 7, ZLIB_TAIL = 4, START_SIZE = 4, RATE_SIZE = 3, OF_SIZE = 4, STATUS_SIZE = 41 };

static uint16_t read_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t read_u32(const uint8_t *p) { return read_u16(p) | (uint32_t)read_u16(p + 2) << 16; }

/* Times are compared by their difference, so that the clock may wrap. */
static int32_t since(uint32_t now_us, uint32_t then_us) { return (int32_t)(now_us - then_us); }

/* --- frames in ----------------------------------------------------------------------------------------------- */

static uint16_t crc_byte(uint16_t crc, uint8_t byte)
{
    uint8_t x = (uint8_t)(crc >> 8 ^ byte); /* the polynomial 0x1021 applied to eight bits at once */
    x = (uint8_t)(x ^ x >> 4);
    return (uint16_t)(crc << 8 ^ x << 12 ^ x << 5 ^ x);
}

uint16_t bridge_crc16(const uint8_t *data, size_t size)
{
    uint16_t crc = 0xFFFF;
    while (size--) crc = crc_byte(crc, *data++);
    return crc;
}

/* Unstuffs in place, since the result is never longer; the number of bytes, or -1 if a distance leads past the end. */
static int cobs_decode(uint8_t *bytes, size_t size)
{
    size_t in = 0, out = 0;
    while (in < size) {
        uint8_t code = bytes[in];
        if (code == 0 || code > size - in) return -1;
        memmove(bytes + out, bytes + in + 1, (size_t)code - 1);
        in += code;
        out += (size_t)code - 1;
        if (code != 0xFF && in < size) bytes[out++] = 0;
    }
    return (int)out;
}

static bridge_found decode(uint8_t *bytes, size_t encoded, bridge_frame *frame)
{
    int decoded = cobs_decode(bytes, encoded);
    size_t size = (size_t)decoded;
    if (decoded < 0) return BRIDGE_BAD_COBS;
    if (size < BRIDGE_MIN_FRAME) return BRIDGE_BAD_SHORT;
    if (bridge_crc16(bytes, size - 2) != read_u16(bytes + size - 2)) return BRIDGE_BAD_CRC;
    if (bytes[0] >> 4 != BRIDGE_FRAME_VERSION) return BRIDGE_BAD_VERSION;
    if (size > BRIDGE_MAX_FRAME) return BRIDGE_BAD_LONG;
    frame->type = bytes[0] & 15;
    frame->stream = bytes[1];
    frame->seq = read_u16(bytes + 2);
    frame->time_us = read_u32(bytes + 4);
    frame->check = read_u16(bytes + 8);
    frame->payload = bytes + HEADER_SIZE;
    frame->size = size - BRIDGE_MIN_FRAME;
    return BRIDGE_FRAME;
}

static bridge_found end_of_frame(bridge_receiver *r, bridge_frame *frame)
{
    bool listening = r->synchronized, overlong = r->overlong;
    size_t size = r->size;
    r->size = 0;
    r->synchronized = true;
    r->overlong = false;
    if (overlong || size == 0) return BRIDGE_NOTHING;
    bridge_found found = decode(r->bytes, size, frame);
    /* Before the first 00 there is the end of a frame that began before this device listened: no fault of the line. */
    return found == BRIDGE_FRAME || listening ? found : BRIDGE_NOTHING;
}

bridge_found bridge_receive_frame(bridge_receiver *r, uint8_t byte, bridge_frame *frame)
{
    if (byte == 0) return end_of_frame(r, frame);
    if (r->overlong) return BRIDGE_NOTHING;
    if (r->size < BRIDGE_MAX_ENCODED) {
        r->bytes[r->size++] = byte;
        return BRIDGE_NOTHING;
    }
    r->overlong = true;
    return r->synchronized ? BRIDGE_BAD_LONG : BRIDGE_NOTHING;
}

/* --- frames out ---------------------------------------------------------------------------------------------- */

static size_t room(const bridge *b)
{
    size_t size = b->setup->transmit_size; /* one byte stays free, or full would look like empty */
    return (b->tail + size - b->head - 1) % size;
}

static size_t take_place(bridge *b)
{
    size_t place = b->cursor;
    b->cursor = place + 1 == b->setup->transmit_size ? 0 : place + 1;
    return place;
}

static void open_block(bridge *b)
{
    b->code_at = take_place(b);
    b->code = 1;
}

static void stuff(bridge *b, uint8_t byte)
{
    if (b->code == 0xFF) { /* a full block, after which no zero is meant */
        b->setup->transmit[b->code_at] = b->code;
        open_block(b);
    }
    if (byte) {
        b->setup->transmit[take_place(b)] = byte;
        b->code++;
    } else {
        b->setup->transmit[b->code_at] = b->code;
        open_block(b);
    }
}

static void put(bridge *b, uint8_t byte)
{
    b->crc = crc_byte(b->crc, byte);
    stuff(b, byte);
}

static void put_u16(bridge *b, uint16_t value)
{
    put(b, (uint8_t)value);
    put(b, (uint8_t)(value >> 8));
}

static void put_u32(bridge *b, uint32_t value)
{
    put_u16(b, (uint16_t)value);
    put_u16(b, (uint16_t)(value >> 16));
}

static void put_bytes(bridge *b, const uint8_t *bytes, size_t size)
{
    while (size--) put(b, *bytes++);
}

/* Begins a frame if a payload of `size` bytes fits whole. Nothing is seen by the port before close_frame. */
static bool open_frame(bridge *b, uint32_t now_us, uint8_t type, uint8_t stream, uint16_t seq, size_t size)
{
    bool ends_garbage = type == BRIDGE_HELLO; /* a 00 in front ends whatever a reset left on the line */
    if (room(b) < size + BRIDGE_OVERHEAD + ends_garbage) return false;
    b->cursor = b->head;
    if (ends_garbage) b->setup->transmit[take_place(b)] = 0;
    open_block(b);
    b->crc = 0xFFFF;
    put(b, (uint8_t)(BRIDGE_FRAME_VERSION << 4 | type));
    put(b, stream);
    put_u16(b, seq);
    put_u32(b, now_us);
    put_u16(b, b->check);
    return true;
}

static void close_frame(bridge *b)
{
    uint16_t crc = b->crc;
    put_u16(b, crc);
    b->setup->transmit[b->code_at] = b->code;
    b->setup->transmit[take_place(b)] = 0;
    b->head = b->cursor;
}

size_t bridge_transmit(const bridge *b, const uint8_t **data)
{
    *data = b->setup->transmit + b->tail;
    return (b->head >= b->tail ? b->head : b->setup->transmit_size) - b->tail; /* up to the ring's end */
}

void bridge_transmitted(bridge *b, size_t size) { b->tail = (b->tail + size) % b->setup->transmit_size; }

/* --- SHA-256 (FIPS 180-4), for the digest -------------------------------------------------------------------- */

typedef struct {
    uint32_t h[8], block[16], size;
} sha256;

static const uint32_t SHA_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, unsigned by) { return x >> by | x << (32 - by); }

static void sha_block(sha256 *s)
{
    uint32_t v[8], *w = s->block;
    memcpy(v, s->h, sizeof v);
    for (unsigned t = 0; t < 64; t++) {
        uint32_t *word = &w[t & 15];
        if (t >= 16) { /* the schedule, sixteen words of it at a time */
            uint32_t early = w[(t + 1) & 15], late = w[(t + 14) & 15];
            *word += (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3) + w[(t + 9) & 15] +
                     (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10);
        }
        uint32_t a = v[0], e = v[4];
        uint32_t choice = (e & v[5]) ^ (~e & v[6]), majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        uint32_t t1 = v[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + choice + SHA_K[t] + *word;
        uint32_t t2 = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + majority;
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned k = 0; k < 8; k++) s->h[k] += v[k];
    memset(s->block, 0, sizeof s->block);
}

static void sha_byte(sha256 *s, uint8_t byte)
{
    uint32_t at = s->size++ & 63;
    s->block[at >> 2] |= (uint32_t)byte << (24 - 8 * (at & 3));
    if (at == 63) sha_block(s);
}

static void sha_begin(sha256 *s)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(s, 0, sizeof *s);
    memcpy(s->h, first, sizeof first);
}

static void sha_end(sha256 *s, uint8_t digest[8])
{
    uint32_t bits = s->size * 8;
    sha_byte(s, 0x80);
    while ((s->size & 63) != 56) sha_byte(s, 0);
    for (unsigned k = 0; k < 8; k++) sha_byte(s, (uint8_t)(k < 4 ? 0 : bits >> (56 - 8 * k)));
    for (unsigned k = 0; k < 8; k++) digest[k] = (uint8_t)(s->h[k >> 2] >> (24 - 8 * (k & 3)));
}

/* --- the dictionary: JSON made from the tables, byte by byte, so that it needs no memory ----------------------- */

/* Where the bytes go: into the digest, or those of [from, to) into a frame or to `out`. */
typedef struct {
    uint32_t at, from, to, adler_a, adler_b;
    sha256 *digest;
    bridge *frame;
    uint8_t *out;
} sink;

static void give(sink *s, uint8_t byte)
{
    if (s->digest) {
        sha_byte(s->digest, byte);
        s->adler_a = (s->adler_a + byte) % 65521;
        s->adler_b = (s->adler_b + s->adler_a) % 65521;
    } else if (s->at >= s->from && s->at < s->to) {
        if (s->frame) put(s->frame, byte);
        else *s->out++ = byte;
    }
    s->at++;
}

static void give_plain(sink *s, const char *text)
{
    while (*text) give(s, (uint8_t)*text++);
}

static void give_text(sink *s, const char *key, const char *text)
{
    give_plain(s, key);
    give(s, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') give(s, '\\');
        give(s, (uint8_t)*text);
    }
    give(s, '"');
}

static void give_number(sink *s, const char *key, bridge_number number)
{
    if (!number.text) return;
    give_plain(s, key);
    for (const char *c = number.text; *c && *c != 'f' && *c != 'F'; c++) give(s, (uint8_t)*c);
}

static void give_id(sink *s, uint8_t id)
{
    give_plain(s, ",\"id\":");
    if (id >= 100) give(s, (uint8_t)('0' + id / 100));
    if (id >= 10) give(s, (uint8_t)('0' + id / 10 % 10));
    give(s, (uint8_t)('0' + id % 10));
}

static void give_field(sink *s, const bridge_field *f)
{
    static const char *const names[] = {"f32", "i8", "u8", "i16", "u16", "i32", "u32"};
    give_text(s, "{\"name\":", f->name);
    give_text(s, ",\"type\":", names[f->type]);
    give_text(s, ",\"unit\":", f->unit);
    give_number(s, ",\"scale\":", f->scale);
    give_number(s, ",\"offset\":", f->offset);
    give_number(s, ",\"minimum\":", f->minimum);
    give_number(s, ",\"maximum\":", f->maximum);
    give_number(s, ",\"safe\":", f->safe);
    give(s, '}');
}

static void give_format(sink *s, const bridge_format *f)
{
    give_text(s, "{\"name\":", f->name);
    give_id(s, f->id);
    give_text(s, ",\"direction\":", f->is_action ? "action" : "reading");
    give_number(s, ",\"rate_hz\":", f->rate_hz);
    give_number(s, ",\"max_age_ms\":", f->max_age_ms);
    give_plain(s, ",\"fields\":[");
    for (uint8_t k = 0; k < f->field_count; k++) {
        if (k) give(s, ',');
        give_field(s, &f->fields[k]);
    }
    give_plain(s, "]}");
}

static void give_json(sink *s, const bridge_setup *setup)
{
    give_text(s, "{\"protocol\":2,\"device\":", setup->device);
    give_text(s, ",\"version\":", setup->version);
    give_plain(s, ",\"formats\":[");
    for (uint8_t k = 0; k < setup->format_count; k++) {
        if (k) give(s, ',');
        give_format(s, &setup->formats[k]);
    }
    give_plain(s, "]}");
}

/* zlib (RFC 1950) with one stored block: a board has better things to do than to compress. */
static void give_zlib(sink *s, const bridge *b)
{
    uint32_t n = b->json_size;
    const uint8_t head[ZLIB_HEAD] = {0x78, 0x01, 1, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8)};
    for (unsigned k = 0; k < ZLIB_HEAD; k++) give(s, head[k]);
    give_json(s, b->setup);
    for (unsigned k = 0; k < ZLIB_TAIL; k++) give(s, (uint8_t)(b->adler >> (24 - 8 * k)));
}

static uint32_t dictionary_size(const bridge *b) { return b->json_size + ZLIB_HEAD + ZLIB_TAIL; }

size_t bridge_dictionary(const bridge *b, size_t offset, uint8_t *out, size_t size)
{
    sink s = {0};
    s.from = (uint32_t)offset;
    s.to = (uint32_t)(offset + size);
    s.out = out;
    give_zlib(&s, b);
    return dictionary_size(b);
}

static void make_digest(bridge *b)
{
    sha256 sha;
    sink s = {0};
    sha_begin(&sha);
    s.digest = &sha;
    s.adler_a = 1;
    give_json(&s, b->setup);
    sha_end(&sha, b->digest);
    b->json_size = s.at;
    b->adler = s.adler_b << 16 | s.adler_a;
    b->check = read_u16(b->digest);
}

/* --- fields -------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t size;
    float least, greatest;       /* the greatest of 32 bits rounds up to one more than it is */
    uint32_t least_bits, greatest_bits;
} type_range;

static const type_range RANGES[] = {
    {4, -FLT_MAX, FLT_MAX, 0, 0},
    {1, -128.0f, 127.0f, 0x80, 0x7F},
    {1, 0.0f, 255.0f, 0, 0xFF},
    {2, -32768.0f, 32767.0f, 0x8000, 0x7FFF},
    {2, 0.0f, 65535.0f, 0, 0xFFFF},
    {4, -2147483648.0f, 2147483648.0f, 0x80000000u, 0x7FFFFFFF},
    {4, 0.0f, 4294967296.0f, 0, 0xFFFFFFFFu},
};

static bool is_signed(bridge_type type) { return type == BRIDGE_I8 || type == BRIDGE_I16 || type == BRIDGE_I32; }
static bool is_finite(float value) { return value >= -FLT_MAX && value <= FLT_MAX; }

static size_t payload_size(const bridge_format *f)
{
    size_t size = 0;
    for (uint8_t k = 0; k < f->field_count; k++) size += RANGES[f->fields[k].type].size;
    return size;
}

/* To the nearest integer, ties to even, without a library; within the range of 32 bits. */
static uint32_t rounded_bits(float raw)
{
    float size = raw < 0 ? -raw : raw;
    uint32_t whole = (uint32_t)size;
    float rest = size - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && (whole & 1))) whole++;
    return raw < 0 ? 0u - whole : whole;
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint32_t raw_bits(const bridge_field *f, float value)
{
    const type_range *range = &RANGES[f->type];
    float raw = (value - f->offset.value) / f->scale.value;
    if (f->type == BRIDGE_F32) { /* a finite value stays one */
        bool burst = is_finite(value) && !is_finite(raw);
        return float_bits(!burst ? raw : raw > 0 ? FLT_MAX : -FLT_MAX);
    }
    if (raw >= range->greatest) return range->greatest_bits;
    if (raw <= range->least) return range->least_bits;
    return rounded_bits(raw);
}

static float physical(const bridge_field *f, uint32_t bits)
{
    float raw;
    if (f->type == BRIDGE_F32) {
        memcpy(&raw, &bits, sizeof raw);
    } else if (is_signed(f->type)) {
        uint32_t sign = RANGES[f->type].least_bits;
        bool negative = (bits & sign) != 0;
        uint32_t size = negative ? (~bits & (sign - 1)) + 1 : bits;
        raw = negative ? -(float)size : (float)size;
    } else {
        raw = (float)bits;
    }
    return raw * f->scale.value + f->offset.value;
}

static float clamped(const bridge_field *f, float value)
{
    if (value < f->minimum.value) return f->minimum.value;
    return value > f->maximum.value ? f->maximum.value : value;
}

/* On the line: an action's fields follow the time that it answers. */
static size_t frame_size(const bridge_format *f) { return payload_size(f) + (f->is_action ? OF_SIZE : 0); }

static uint32_t limit_us(const bridge_format *f) { return (uint32_t)f->max_age_ms.value * 1000; }

/* Whether what answers our time `of_us` is older than `limit` (0: none), or of a time yet to come; its age. */
static bool is_late(uint32_t now_us, uint32_t of_us, uint32_t limit, uint32_t *age)
{
    int32_t old = since(now_us, of_us);
    *age = old < 0 ? 0 : (uint32_t)old;
    return limit && (old < -BRIDGE_EARLY_US || *age > limit);
}

/* An action's values within their limits; false if one is not finite. */
static bool unpack(const bridge_format *f, const uint8_t *payload, float *values)
{
    for (uint8_t k = 0; k < f->field_count; k++) {
        uint32_t bits = 0;
        for (uint8_t n = 0; n < RANGES[f->fields[k].type].size; n++) bits |= (uint32_t)*payload++ << (8 * n);
        float value = physical(&f->fields[k], bits);
        if (!is_finite(value)) return false;
        values[k] = clamped(&f->fields[k], value);
    }
    return true;
}

/* --- frames it sends ------------------------------------------------------------------------------------------- */

static void say_hello(bridge *b, uint32_t now_us)
{
    if (!open_frame(b, now_us, BRIDGE_HELLO, 0, b->link_seq++, 15)) return; /* the next tick or request tries again */
    put_u32(b, b->setup->boot_id);
    put_bytes(b, b->digest, sizeof b->digest);
    put_u16(b, (uint16_t)dictionary_size(b));
    put(b, (uint8_t)b->state);
    close_frame(b);
    b->hello_us = now_us;
    b->said_hello = true;
    if (b->state == BRIDGE_IDLE) {
        b->report_us = now_us + HELLO_EVERY_US;
        b->report_now = false;
    }
}

static void say_status(bridge *b, uint32_t now_us)
{
    const bridge_counters *c = &b->counters;
    const uint32_t counts[] = {c->dropped_readings, c->frames,   c->damaged, c->actions, c->refused,
                               c->missed_actions,   c->timeouts, c->late,    b->age_us};
    size_t told = 0;
    while (b->reason && told < BRIDGE_REASON_BYTES && b->reason[told]) told++;
    b->report_now = true;
    if (!open_frame(b, now_us, BRIDGE_STATUS, 0, b->link_seq++, STATUS_SIZE + told)) return;
    put(b, (uint8_t)b->state);
    put_u32(b, b->setup->boot_id);
    for (unsigned k = 0; k < sizeof counts / sizeof counts[0]; k++) put_u32(b, counts[k]);
    if (told) put_bytes(b, (const uint8_t *)b->reason, told);
    close_frame(b);
    b->report_us = now_us + STATUS_EVERY_US;
    b->report_now = false;
}

static void refuse(bridge *b, uint32_t now_us)
{
    b->counters.refused++;
    if (!b->said_hello || since(now_us, b->hello_us) >= HELLO_ANSWER_US) say_hello(b, now_us);
}

static void say_block(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    uint32_t whole = dictionary_size(b), offset = frame->size == 2 ? read_u16(frame->payload) : whole;
    if (offset >= whole) {
        refuse(b, now_us);
        return;
    }
    uint32_t size = whole - offset < BRIDGE_BLOCK_BYTES ? whole - offset : BRIDGE_BLOCK_BYTES;
    if (!open_frame(b, now_us, BRIDGE_DICTIONARY, 0, b->link_seq++, 4 + size)) return;
    put_u16(b, (uint16_t)offset);
    put_u16(b, (uint16_t)whole);
    sink s = {0};
    s.from = offset;
    s.to = offset + size;
    s.frame = b;
    give_zlib(&s, b);
    close_frame(b);
}

static bridge_sent open_reading(bridge *b, uint32_t now_us, uint8_t at, size_t size)
{
    bridge_stream *stream = &b->setup->streams[at];
    if (!stream->every) return BRIDGE_NOT_ASKED;
    uint16_t turn = stream->turn;
    stream->turn = (uint16_t)((turn + 1u) % stream->every);
    if (turn) return BRIDGE_NOT_ASKED;
    uint16_t seq = stream->seq++; /* taken also by a reading that is dropped: so the host knows */
    if (open_frame(b, now_us, BRIDGE_READING_FRAME, b->setup->formats[at].id, seq, size)) return BRIDGE_QUEUED;
    b->counters.dropped_readings++;
    return BRIDGE_DROPPED;
}

static int find_format(const bridge *b, uint8_t id, bool is_action)
{
    for (uint8_t k = 0; k < b->setup->format_count; k++)
        if (b->setup->formats[k].id == id && b->setup->formats[k].is_action == is_action) return k;
    return -1;
}

bridge_sent bridge_reading(bridge *b, uint32_t now_us, uint8_t id, const float *values)
{
    int at = find_format(b, id, false);
    if (at < 0) return BRIDGE_NO_SUCH;
    const bridge_format *f = &b->setup->formats[at];
    for (uint8_t k = 0; k < f->field_count; k++)
        if (f->fields[k].type != BRIDGE_F32 && values[k] != values[k]) return BRIDGE_NO_NUMBER;
    bridge_sent sent = open_reading(b, now_us, (uint8_t)at, payload_size(f));
    if (sent != BRIDGE_QUEUED) return sent;
    for (uint8_t k = 0; k < f->field_count; k++) {
        uint32_t bits = raw_bits(&f->fields[k], values[k]);
        for (uint8_t n = 0; n < RANGES[f->fields[k].type].size; n++) put(b, (uint8_t)(bits >> (8 * n)));
    }
    close_frame(b);
    return sent;
}

bridge_sent bridge_reading_packed(bridge *b, uint32_t now_us, uint8_t id, const uint8_t *payload, size_t size)
{
    int at = find_format(b, id, false);
    if (at < 0 || payload_size(&b->setup->formats[at]) != size) return BRIDGE_NO_SUCH;
    bridge_sent sent = open_reading(b, now_us, (uint8_t)at, size);
    if (sent != BRIDGE_QUEUED) return sent;
    put_bytes(b, payload, size);
    close_frame(b);
    return sent;
}

/* --- the state table of PROTOCOL.md, section 4 ----------------------------------------------------------------- */

static void be_safe(bridge *b, bridge_why why)
{
    float values[BRIDGE_ACTION_FIELDS];
    for (uint8_t k = 0; k < b->setup->format_count; k++) {
        const bridge_format *f = &b->setup->formats[k];
        if (!f->is_action) continue;
        for (uint8_t n = 0; n < f->field_count; n++) values[n] = f->fields[n].safe.value;
        b->setup->output(b->setup->context, f, values, why);
    }
}

/* What START wants of one reading format: the last rate that names it, or all of it. */
static uint16_t wanted_rate(const bridge_frame *frame, uint8_t id)
{
    uint16_t every = 1;
    for (size_t at = START_SIZE; at < frame->size; at += RATE_SIZE)
        if (frame->payload[at] == id) every = read_u16(frame->payload + at + 1);
    return every;
}

static bool start_is_for_us(const bridge *b, const bridge_frame *frame)
{
    if (frame->size < START_SIZE || (frame->size - START_SIZE) % RATE_SIZE) return false;
    for (size_t at = START_SIZE; at < frame->size; at += RATE_SIZE)
        if (find_format(b, frame->payload[at], false) < 0) return false;
    return read_u32(frame->payload) == b->setup->boot_id; /* not one for the time before a reset */
}

static void start(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    if (!start_is_for_us(b, frame)) {
        refuse(b, now_us);
        return;
    }
    bool changed = b->state == BRIDGE_IDLE;
    for (uint8_t k = 0; k < b->setup->format_count; k++)
        if (!b->setup->formats[k].is_action)
            changed |= b->setup->streams[k].every != wanted_rate(frame, b->setup->formats[k].id);
    for (uint8_t k = 0; k < b->setup->format_count; k++) {
        bridge_stream *stream = &b->setup->streams[k];
        if (b->setup->formats[k].is_action) {
            stream->counted = false; /* perhaps another host, which counts from 0 */
        } else {
            stream->every = wanted_rate(frame, b->setup->formats[k].id);
            if (changed) stream->turn = 0;
        }
    }
    if (b->state == BRIDGE_IDLE) { /* else no sign of life: it says no time, so it may be old */
        b->state = BRIDGE_RUNNING;
        b->heard_us = now_us;
    }
    say_status(b, now_us);
}

/* A sign of life as long as the longest-lived action may be old. */
static void heartbeat(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    uint32_t longest = 0, age;
    bool any = false, none = false;
    if (frame->size != OF_SIZE) {
        refuse(b, now_us);
        return;
    }
    for (uint8_t k = 0; k < b->setup->format_count; k++) {
        if (!b->setup->formats[k].is_action) continue;
        uint32_t limit = limit_us(&b->setup->formats[k]);
        any = true;
        none |= !limit;
        if (limit > longest) longest = limit;
    }
    if (is_late(now_us, read_u32(frame->payload), any && !none ? longest : 0, &age)) b->counters.late++;
    else b->heard_us = now_us;
}

static void clear(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    if (frame->size != 4 || read_u32(frame->payload) != b->setup->boot_id) {
        refuse(b, now_us);
        return;
    }
    if (b->state == BRIDGE_FAULT) {
        b->state = BRIDGE_IDLE;
        b->reason = NULL;
        for (uint8_t k = 0; k < b->setup->format_count; k++) b->setup->streams[k].every = 0;
    }
    say_hello(b, now_us);
}

void bridge_fault(bridge *b, uint32_t now_us, const char *reason)
{
    if (b->state != BRIDGE_FAULT) {
        b->state = BRIDGE_FAULT;
        b->reason = reason;
    }
    be_safe(b, BRIDGE_FAULTED);
    say_status(b, now_us);
}

static void stop(bridge *b, uint32_t now_us)
{
    if (b->state != BRIDGE_FAULT) b->state = BRIDGE_IDLE;
    for (uint8_t k = 0; k < b->setup->format_count; k++) b->setup->streams[k].every = 0;
    be_safe(b, BRIDGE_STOPPED);
    say_status(b, now_us);
}

static void act(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    float values[BRIDGE_ACTION_FIELDS];
    int at = find_format(b, frame->stream, true);
    const bridge_format *f = at < 0 ? NULL : &b->setup->formats[at];
    bridge_stream *stream = at < 0 ? NULL : &b->setup->streams[at];
    uint16_t ahead = stream && stream->counted ? (uint16_t)(frame->seq - stream->seq) : 0;
    /* Half of all numbers count as earlier: a doubled frame, which has been obeyed already. */
    if (!f || !stream || frame->size != frame_size(f) || ahead >= 0x8000 ||
        !unpack(f, frame->payload + OF_SIZE, values)) {
        refuse(b, now_us);
        return;
    }
    b->counters.missed_actions += ahead;
    stream->seq = (uint16_t)(frame->seq + 1u);
    stream->counted = true;
    uint32_t age;
    if (is_late(now_us, read_u32(frame->payload), limit_us(f), &age)) {
        b->counters.late++;
        return;
    }
    b->age_us = age;
    b->heard_us = now_us;
    b->state = BRIDGE_RUNNING;
    b->counters.actions++;
    b->setup->output(b->setup->context, f, values, BRIDGE_OBEYED);
}

static void handle(bridge *b, uint32_t now_us, const bridge_frame *frame)
{
    if (frame->type == BRIDGE_HELLO_REQUEST) say_hello(b, now_us);
    else if (frame->type == BRIDGE_DICTIONARY_REQUEST) say_block(b, now_us, frame);
    else if (frame->type == BRIDGE_STOP) stop(b, now_us); /* whatever its check is: safe is always right */
    else if (frame->check != b->check) refuse(b, now_us);
    else if (frame->type == BRIDGE_CLEAR) clear(b, now_us, frame);
    else if (b->state == BRIDGE_FAULT) refuse(b, now_us);
    else if (frame->type == BRIDGE_START) start(b, now_us, frame);
    else if (b->state == BRIDGE_IDLE) refuse(b, now_us);
    else if (frame->type == BRIDGE_HEARTBEAT) heartbeat(b, now_us, frame);
    else if (frame->type == BRIDGE_ACTION_FRAME) act(b, now_us, frame);
    else refuse(b, now_us);
}

void bridge_receive_byte(bridge *b, uint32_t now_us, uint8_t byte)
{
    bridge_frame frame;
    bridge_found found = bridge_receive_frame(&b->receiver, byte, &frame);
    if (found == BRIDGE_FRAME) {
        b->counters.frames++;
        handle(b, now_us, &frame);
    } else if (found != BRIDGE_NOTHING) {
        b->counters.damaged++;
    }
}

void bridge_receive(bridge *b, uint32_t now_us, const uint8_t *data, size_t size)
{
    while (size--) bridge_receive_byte(b, now_us, *data++);
}

void bridge_tick(bridge *b, uint32_t now_us)
{
    if (b->state == BRIDGE_RUNNING && since(now_us, b->heard_us) > (int32_t)b->setup->heartbeat_timeout_us) {
        b->state = BRIDGE_SAFE;
        b->counters.timeouts++;
        be_safe(b, BRIDGE_SILENT);
        say_status(b, now_us);
    }
    if (b->report_now || since(now_us, b->report_us) >= 0) {
        if (b->state == BRIDGE_IDLE) say_hello(b, now_us);
        else say_status(b, now_us);
    }
}

/* --- the tables, checked before anything moves ----------------------------------------------------------------- */

static bool name_is_good(const char *name, char forbidden)
{
    if (!name || !*name) return false;
    for (; *name; name++)
        if ((uint8_t)*name < 0x20 || *name == 0x7F || *name == forbidden) return false;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *digits(const char *text)
{
    while (is_digit(*text)) text++;
    return text;
}

/* A number as JSON writes it, but for a closing f. */
static bool number_is_good(bridge_number number)
{
    const char *c = number.text;
    if (!c) return true;
    if (*c == '-') c++;
    if (!is_digit(*c)) return false;
    c = *c == '0' ? c + 1 : digits(c);
    if (*c == '.') {
        if (!is_digit(c[1])) return false;
        c = digits(c + 1);
    }
    if (*c == 'e' || *c == 'E') {
        c += c[1] == '+' || c[1] == '-' ? 2 : 1;
        if (!is_digit(*c)) return false;
        c = digits(c);
    }
    if (*c == 'f' || *c == 'F') c++;
    return *c == 0 && is_finite(number.value);
}

static bridge_problem check_limits(const bridge_format *format, const bridge_field *f)
{
    const type_range *range = &RANGES[f->type];
    const float limits[] = {f->minimum.value, f->maximum.value, f->safe.value};
    const char *const texts[] = {f->minimum.text, f->maximum.text, f->safe.text};
    for (unsigned k = 0; k < 3; k++) {
        float raw = (limits[k] - f->offset.value) / f->scale.value;
        if ((texts[k] != NULL) != format->is_action) return BRIDGE_BAD_LIMITS;
        if (format->is_action && !(raw >= range->least - 0.5f && raw <= range->greatest + 0.5f)) return BRIDGE_BAD_LIMITS;
    }
    return f->minimum.value <= f->safe.value && f->safe.value <= f->maximum.value ? BRIDGE_READY : BRIDGE_BAD_LIMITS;
}

static bridge_problem check_field(const bridge_format *format, const bridge_field *f)
{
    if (!name_is_good(f->name, 0) || *f->name == '_' || !f->unit) return BRIDGE_BAD_NAME;
    if (*f->unit && !name_is_good(f->unit, 0)) return BRIDGE_BAD_NAME;
    for (const bridge_field *other = format->fields; other < f; other++)
        if (!strcmp(other->name, f->name)) return BRIDGE_BAD_NAME;
    if ((unsigned)f->type > BRIDGE_U32) return BRIDGE_BAD_FIELDS;
    if (!number_is_good(f->scale) || !number_is_good(f->offset) || f->scale.value == 0 || !number_is_good(f->minimum) ||
        !number_is_good(f->maximum) || !number_is_good(f->safe))
        return BRIDGE_BAD_NUMBER;
    return check_limits(format, f);
}

/* An action's is digits only, for the dictionary has it as a whole number; a reading has none. */
static bool age_is_good(const bridge_format *f)
{
    const char *text = f->max_age_ms.text;
    if (!f->is_action || !text) return !f->is_action && !text;
    return number_is_good(f->max_age_ms) && *digits(text) == 0 && f->max_age_ms.value <= BRIDGE_LONGEST_AGE_MS;
}

static bridge_problem check_format(const bridge_setup *setup, const bridge_format *f)
{
    if (!name_is_good(f->name, '/')) return BRIDGE_BAD_NAME;
    if (f->id == 0) return BRIDGE_BAD_ID;
    for (const bridge_format *other = setup->formats; other < f; other++) {
        if (other->id == f->id) return BRIDGE_BAD_ID;
        if (!strcmp(other->name, f->name)) return BRIDGE_BAD_NAME;
    }
    if (!number_is_good(f->rate_hz) || (f->rate_hz.text && !(f->rate_hz.value >= 1e-6f && f->rate_hz.value <= 1e6f)))
        return BRIDGE_BAD_NUMBER;
    if (!age_is_good(f)) return BRIDGE_BAD_NUMBER;
    if (!f->field_count || (f->is_action && f->field_count > BRIDGE_ACTION_FIELDS)) return BRIDGE_BAD_FIELDS;
    for (uint8_t k = 0; k < f->field_count; k++) {
        bridge_problem problem = check_field(f, &f->fields[k]);
        if (problem != BRIDGE_READY) return problem;
    }
    if (frame_size(f) > BRIDGE_MAX_PAYLOAD) return BRIDGE_BAD_FIELDS;
    return frame_size(f) + BRIDGE_OVERHEAD < setup->transmit_size ? BRIDGE_READY : BRIDGE_NO_MEMORY;
}

static bridge_problem check_setup(const bridge_setup *s)
{
    if (!s->transmit || s->transmit_size < BRIDGE_LEAST_TRANSMIT || !s->output) return BRIDGE_NO_MEMORY;
    if (s->format_count && (!s->streams || !s->formats)) return BRIDGE_NO_MEMORY;
    if (!s->boot_id) return BRIDGE_BAD_BOOT_ID;
    if (s->heartbeat_timeout_us - 1 > INT32_MAX - 1u) return BRIDGE_BAD_TIMEOUT;
    if (!name_is_good(s->device, 0) || !name_is_good(s->version, 0)) return BRIDGE_BAD_NAME;
    for (uint8_t k = 0; k < s->format_count; k++) {
        bridge_problem problem = check_format(s, &s->formats[k]);
        if (problem != BRIDGE_READY) return problem;
    }
    return BRIDGE_READY;
}

bridge_problem bridge_begin(bridge *b, const bridge_setup *setup, uint32_t now_us)
{
    bridge_problem problem = check_setup(setup);
    if (problem != BRIDGE_READY) return problem;
    memset(b, 0, sizeof *b);
    if (setup->format_count) memset(setup->streams, 0, setup->format_count * sizeof *setup->streams);
    b->setup = setup;
    b->age_us = NO_AGE;
    b->report_us = now_us;
    b->report_now = true; /* HELLO with the first tick */
    make_digest(b);
    if (dictionary_size(b) > 0xFFFF) return BRIDGE_BAD_DICTIONARY;
    be_safe(b, BRIDGE_POWER_ON);
    return BRIDGE_READY;
}
