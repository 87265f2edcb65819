/* The device's half of the serial link in C99: no malloc, no clock, no port of its own. PROTOCOL.md defines what it does;
 * firmware_bridge/links/own/device.py is the same in Python, and tests compare the bytes of both.
 *
 * Its rules: the outputs are safe unless a host that knows this device's formats has sent START, and has sent something
 * within the heartbeat timeout. An action is obeyed within its limits and within its age by the device's own clock, or
 * not at all. Nothing that arrives can do more than be counted and refused. It never waits: a frame that does not fit
 * into the transmit buffer whole is dropped and counted.
 *
 *     static const bridge_field WHEELS[] = {
 *         BRIDGE_FIELD("speed", BRIDGE_F32, "rad/s"),
 *         BRIDGE_SCALED("battery", BRIDGE_U16, "V", 0.001, 0),
 *     };
 *     static const bridge_field TORQUE[] = {
 *         BRIDGE_LIMITED("limit", BRIDGE_F32, "N m", 0, 2, 0),      // minimum, maximum, safe
 *     };
 *     static const bridge_format FORMATS[] = {
 *         BRIDGE_READING("wheels", 1, 200, WHEELS),
 *         BRIDGE_ACTION("torque", 2, TORQUE),
 *     };
 *
 *     bridge_begin(&link, &setup, micros());         // once; anything but BRIDGE_READY is a mistake in the tables
 *     for (;;) {
 *         bridge_receive(&link, micros(), bytes, count);             // whatever has arrived
 *         bridge_tick(&link, micros());                              // at least every 10 ms
 *         bridge_reading(&link, micros(), 1, values);                // when there is one
 *         count = bridge_transmit(&link, &bytes);                    // send what the port takes without waiting
 *         bridge_transmitted(&link, taken);
 *     }
 *
 * The tables are the only declaration there is: the dictionary that the host downloads, and its digest, are made from
 * them. All functions of one bridge are called from one context (the main loop, or one interrupt, or under a lock).
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most fields that an action may have; it decides how much stack an action takes (4 bytes each). */
#ifndef BRIDGE_ACTION_FIELDS
#define BRIDGE_ACTION_FIELDS 16
#endif

#define BRIDGE_PROTOCOL 2       /* the version of the link, as the dictionary declares it */
#define BRIDGE_FRAME_VERSION 1  /* of the frame */
#define BRIDGE_MAX_PAYLOAD 242u
#define BRIDGE_MIN_FRAME 12u
#define BRIDGE_MAX_FRAME 254u
#define BRIDGE_MAX_ENCODED 256u
#define BRIDGE_OVERHEAD 14u /* bytes on the line beside the payload, the closing 00 included */
#define BRIDGE_BLOCK_BYTES 200u /* of dictionary in one frame */
#define BRIDGE_LEAST_TRANSMIT (BRIDGE_BLOCK_BYTES + 4u + BRIDGE_OVERHEAD + 1u) /* the longest answer; one stays free */
#define BRIDGE_HEARTBEAT_TIMEOUT_US 250000u /* as in PROTOCOL.md */
#define BRIDGE_MAX_AGE_MS 250               /* of an action whose table declares no other */
#define BRIDGE_LONGEST_AGE_MS 60000
#define BRIDGE_EARLY_US 100000  /* the host reckons the device's time on with its own clock: it may be a little early */
#define BRIDGE_REASON_BYTES 64u /* of a fault's reason, the most that STATUS carries */

/* --- formats: what the device declares ----------------------------------------------------------------------- */

typedef enum { BRIDGE_F32, BRIDGE_I8, BRIDGE_U8, BRIDGE_I16, BRIDGE_U16, BRIDGE_I32, BRIDGE_U32 } bridge_type;

/* A number twice: to compute with, and as it was written, for the dictionary. `text` NULL: not declared. */
typedef struct {
    float value;
    const char *text;
} bridge_number;

/* physical = raw * scale + offset, in `unit`; an action's field has minimum, maximum and safe in physical units. */
typedef struct {
    const char *name;
    bridge_type type;
    const char *unit;
    bridge_number scale, offset, minimum, maximum, safe;
} bridge_field;

typedef struct {
    const char *name;
    uint8_t id;    /* 1 to 255 */
    bool is_action;
    bridge_number rate_hz;
    bridge_number max_age_ms; /* of an action: how old it may be, since the reading that it answers; 0: no limit */
    const bridge_field *fields;
    uint8_t field_count;
} bridge_format;

#define BRIDGE_TEXT_(number) #number
#define BRIDGE_TEXT(number) BRIDGE_TEXT_(number)
/* A number must be written as JSON writes it (2, -0.5, 1e-3; a closing f is dropped), also behind a macro's name. */
#define BRIDGE_NUMBER(number) {(float)(number), BRIDGE_TEXT(number)}
#define BRIDGE_ABSENT(number) {(float)(number), 0}
#define BRIDGE_COUNT(fields) (uint8_t)(sizeof(fields) / sizeof((fields)[0]))

#define BRIDGE_FIELD(name, type, unit)                                                                                 \
    {name, type, unit, BRIDGE_ABSENT(1), BRIDGE_ABSENT(0), BRIDGE_ABSENT(0), BRIDGE_ABSENT(0), BRIDGE_ABSENT(0)}
#define BRIDGE_SCALED(name, type, unit, scale, offset)                                                                 \
    {name, type, unit, BRIDGE_NUMBER(scale), BRIDGE_NUMBER(offset), BRIDGE_ABSENT(0), BRIDGE_ABSENT(0), BRIDGE_ABSENT(0)}
#define BRIDGE_LIMITED(name, type, unit, minimum, maximum, safe)                                                       \
    {name, type, unit, BRIDGE_ABSENT(1), BRIDGE_ABSENT(0), BRIDGE_NUMBER(minimum), BRIDGE_NUMBER(maximum),             \
     BRIDGE_NUMBER(safe)}
#define BRIDGE_LIMITED_SCALED(name, type, unit, scale, offset, minimum, maximum, safe)                                 \
    {name, type, unit, BRIDGE_NUMBER(scale), BRIDGE_NUMBER(offset), BRIDGE_NUMBER(minimum), BRIDGE_NUMBER(maximum),    \
     BRIDGE_NUMBER(safe)}

#define BRIDGE_READING(name, id, rate_hz, fields)                                                                      \
    {name, id, false, BRIDGE_NUMBER(rate_hz), BRIDGE_ABSENT(0), fields, BRIDGE_COUNT(fields)}
#define BRIDGE_IRREGULAR(name, id, fields)                                                                             \
    {name, id, false, BRIDGE_ABSENT(0), BRIDGE_ABSENT(0), fields, BRIDGE_COUNT(fields)}
#define BRIDGE_ACTION(name, id, fields) BRIDGE_ACTION_WITHIN(name, id, BRIDGE_MAX_AGE_MS, fields)
/* Three periods of the readings that it answers, or more; a whole number up to BRIDGE_LONGEST_AGE_MS. */
#define BRIDGE_ACTION_WITHIN(name, id, max_age_ms, fields)                                                             \
    {name, id, true, BRIDGE_ABSENT(0), BRIDGE_NUMBER(max_age_ms), fields, BRIDGE_COUNT(fields)}

/* --- frames: bytes on the line, for whoever wants nothing more ------------------------------------------------ */

typedef enum {
    BRIDGE_HELLO = 1,
    BRIDGE_DICTIONARY = 2,
    BRIDGE_READING_FRAME = 3,
    BRIDGE_STATUS = 4,
    BRIDGE_HELLO_REQUEST = 8,
    BRIDGE_DICTIONARY_REQUEST = 9,
    BRIDGE_START = 10,
    BRIDGE_ACTION_FRAME = 11,
    BRIDGE_HEARTBEAT = 12,
    BRIDGE_STOP = 13,
    BRIDGE_CLEAR = 14
} bridge_frame_type;

/* `payload` points into the receiver and is valid until its next byte. */
typedef struct {
    uint8_t type, stream;
    uint16_t seq, check;
    uint32_t time_us;
    const uint8_t *payload;
    size_t size;
} bridge_frame;

/* What a byte has ended: nothing yet, an intact frame, or a damaged one and what is wrong with it. */
typedef enum {
    BRIDGE_NOTHING,
    BRIDGE_FRAME,
    BRIDGE_BAD_COBS,
    BRIDGE_BAD_SHORT,
    BRIDGE_BAD_LONG,
    BRIDGE_BAD_CRC,
    BRIDGE_BAD_VERSION
} bridge_found;

/* Zeroed, it is ready: what comes before the first 00 is then dropped silently unless it is an intact frame. */
typedef struct {
    uint8_t bytes[BRIDGE_MAX_ENCODED];
    uint16_t size;
    bool synchronized, overlong;
} bridge_receiver;

bridge_found bridge_receive_frame(bridge_receiver *receiver, uint8_t byte, bridge_frame *frame);
uint16_t bridge_crc16(const uint8_t *data, size_t size);

/* --- the device ---------------------------------------------------------------------------------------------- */

typedef enum { BRIDGE_IDLE, BRIDGE_RUNNING, BRIDGE_SAFE, BRIDGE_FAULT } bridge_state;

/* Why the outputs are set. */
typedef enum {
    BRIDGE_OBEYED,  /* the host's action, within its limits */
    BRIDGE_POWER_ON,  /* from here on: the declared safe values */
    BRIDGE_STOPPED, /* the host sent STOP */
    BRIDGE_SILENT,  /* no sign of life from the host within the heartbeat timeout */
    BRIDGE_FAULTED  /* bridge_fault */
} bridge_why;

/* Set the outputs of one action format to these physical values, in the order of its fields. The only way in which the
 * bridge moves anything: where `why` is not BRIDGE_OBEYED, a driver's enable line may be dropped as well. */
typedef void bridge_output(void *context, const bridge_format *format, const float *values, bridge_why why);

/* Working memory of one format; zeroed by bridge_begin. */
typedef struct {
    uint16_t seq;   /* reading: the next number; action: the next number expected */
    uint16_t every; /* reading: send every n-th, 0 none */
    uint16_t turn;
    bool counted; /* action: `seq` is known */
} bridge_stream;

/* All of it belongs to the caller and must outlive the bridge. */
typedef struct {
    const char *device, *version; /* what it is, and the version of its firmware */
    const bridge_format *formats;
    uint8_t format_count;
    bridge_stream *streams; /* one for each format */
    uint8_t *transmit;      /* ring of bytes waiting for the port: BRIDGE_LEAST_TRANSMIT or more */
    size_t transmit_size;
    uint32_t boot_id; /* another number after every start, never 0: a counter in flash, or random */
    uint32_t heartbeat_timeout_us;
    bridge_output *output;
    void *context; /* given to `output` */
} bridge_setup;

/* In the order in which STATUS has them, each modulo 2^32. */
typedef struct {
    uint32_t dropped_readings, frames, damaged, actions, refused, missed_actions, timeouts, late;
} bridge_counters;

typedef struct {
    const bridge_setup *setup;
    bridge_counters counters;
    bridge_state state;
    uint32_t age_us; /* of the last action obeyed, when it was; 0xFFFFFFFF: none yet */
    const char *reason; /* of the fault, NULL without one */
    /* The rest is the bridge's own. */
    uint8_t digest[8];
    uint32_t json_size, adler;
    uint16_t link_seq, check;
    uint32_t heard_us, report_us, hello_us;
    bool said_hello, report_now;
    bridge_receiver receiver;
    size_t head, tail, cursor, code_at; /* of the transmit ring */
    uint16_t crc;
    uint8_t code;
} bridge;

typedef enum {
    BRIDGE_READY,
    BRIDGE_NO_MEMORY,     /* transmit or streams missing or too small for the largest frame, or no `output` */
    BRIDGE_BAD_BOOT_ID,   /* 0 */
    BRIDGE_BAD_TIMEOUT,   /* 0, or more than half of 2^32 µs */
    BRIDGE_BAD_NAME,      /* empty, not printable, '/' in a format's name, '_' in front of a field's, or used twice */
    BRIDGE_BAD_ID,        /* 0 or used twice */
    BRIDGE_BAD_FIELDS,    /* none, more than BRIDGE_MAX_PAYLOAD bytes (4 of them an action's age), or an action of more than BRIDGE_ACTION_FIELDS */
    BRIDGE_BAD_NUMBER,    /* not written as JSON writes a number, scale 0, rate not 1e-6 to 1e6, or no whole max_age_ms */
    BRIDGE_BAD_LIMITS,    /* not minimum <= safe <= maximum within the type; or missing in an action, or in a reading */
    BRIDGE_BAD_DICTIONARY /* longer than 65535 bytes */
} bridge_problem;

/* Checks the tables, makes the digest, sets the outputs safe. The digest takes a pass of SHA-256 over the dictionary. */
bridge_problem bridge_begin(bridge *link, const bridge_setup *setup, uint32_t now_us);

/* Bytes from the host, in any portions. `now_us` is the board's own clock and may wrap at 2^32. */
void bridge_receive(bridge *link, uint32_t now_us, const uint8_t *data, size_t size);
void bridge_receive_byte(bridge *link, uint32_t now_us, uint8_t byte);

/* Heartbeat timeout, and the regular HELLO or STATUS. Call it at least every 10 ms, before `bridge_reading`. */
void bridge_tick(bridge *link, uint32_t now_us);

/* Something is wrong that a person must look at: safe from here on, and no host starts us again before it sends CLEAR.
 * `reason` is a constant text in UTF-8; the first one stays. Not to be called from `output`. */
void bridge_fault(bridge *link, uint32_t now_us, const char *reason);

typedef enum {
    BRIDGE_QUEUED,
    BRIDGE_NOT_ASKED, /* no host has sent START, or it did not ask for this one */
    BRIDGE_DROPPED,   /* the transmit buffer is full; counted, and the host will see the missing number */
    BRIDGE_NO_SUCH,   /* no reading format has this id */
    BRIDGE_NO_NUMBER  /* NaN for an integer field */
} bridge_sent;

/* One reading taken at `now_us`: physical values in the order of the fields. NaN in a float means "not measured".
 * Integer fields are rounded and clamped to their type's limits. */
bridge_sent bridge_reading(bridge *link, uint32_t now_us, uint8_t id, const float *values);

/* The same from the payload as it goes on the line (little-endian, no padding): exact integers, and no floating point. */
bridge_sent bridge_reading_packed(bridge *link, uint32_t now_us, uint8_t id, const uint8_t *payload, size_t size);

/* How many bytes wait at *data; then report how many of them the port has taken. */
size_t bridge_transmit(const bridge *link, const uint8_t **data);
void bridge_transmitted(bridge *link, size_t size);

/* Bytes [offset, offset + size) of what the host downloads (zlib, stored), for tests and build steps; the size of all. */
size_t bridge_dictionary(const bridge *link, size_t offset, uint8_t *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
