/* Tables that bridge_begin must refuse: prints what it says of each, and of good ones. */
#include <stdio.h>
#include <string.h>

#include "bridge.h"

static bridge link;
static bridge_stream streams[3];
static uint8_t ring[600];
static int outputs;

static void count(void *context, const bridge_format *format, const float *values, bridge_why why)
{
    (void)context, (void)format, (void)values, (void)why;
    outputs++;
}

static void try_setup(const char *name, bridge_setup setup)
{
    outputs = 0;
    int problem = (int)bridge_begin(&link, &setup, 0);
    printf("%s %d %d\n", name, problem, outputs);
}

static bridge_setup good(const bridge_format *formats, uint8_t n)
{
    bridge_setup s = {"d", "v", formats, n, streams, ring, sizeof ring, 1, BRIDGE_HEARTBEAT_TIMEOUT_US, count, 0};
    return s;
}

static void try_formats(const char *name, const bridge_format *formats, uint8_t n) { try_setup(name, good(formats, n)); }

static void try_field(const char *name, bridge_field field, bool is_action)
{
    const bridge_field fields[] = {field};
    const bridge_format reading = BRIDGE_IRREGULAR("r", 1, fields), action = BRIDGE_ACTION("r", 1, fields);
    try_formats(name, is_action ? &action : &reading, 1);
}

static void try_age(const char *name, bridge_number age, bool is_action)
{
    const bridge_field x[] = {BRIDGE_FIELD("x", BRIDGE_F32, "")}, a[] = {BRIDGE_LIMITED("a", BRIDGE_U8, "", 0, 255, 3)};
    bridge_format reading = BRIDGE_IRREGULAR("r", 1, x), action = BRIDGE_ACTION("r", 1, a);
    reading.max_age_ms = action.max_age_ms = age;
    try_formats(name, is_action ? &action : &reading, 1);
}

#define TRY_AGE(name, is_action, ...) do { bridge_number n = __VA_ARGS__; try_age(name, n, is_action); } while (0)

#define TRY_READING(name, ...) do { bridge_field f = __VA_ARGS__; try_field(name, f, false); } while (0)
#define TRY_ACTION(name, ...) do { bridge_field f = __VA_ARGS__; try_field(name, f, true); } while (0)

int main(void)
{
    static const bridge_field x[] = {BRIDGE_FIELD("x", BRIDGE_F32, "m")};
    static const bridge_field twice[] = {BRIDGE_FIELD("x", BRIDGE_F32, "m"), BRIDGE_FIELD("x", BRIDGE_U8, "m")};
    static const bridge_field a[] = {BRIDGE_LIMITED("a", BRIDGE_U8, "", 0, 255, 3)};
    bridge_field many[62];
    const bridge_format fine[] = {BRIDGE_READING("x", 1, 1e2, x), BRIDGE_ACTION("a", 2, a), BRIDGE_IRREGULAR("y", 255, x)};
    const bridge_format same_id[] = {BRIDGE_IRREGULAR("x", 1, x), BRIDGE_IRREGULAR("y", 1, x)};
    const bridge_format same_name[] = {BRIDGE_IRREGULAR("x", 1, x), BRIDGE_IRREGULAR("x", 2, x)};
    const bridge_format zero_id[] = {BRIDGE_IRREGULAR("x", 0, x)}, slash[] = {BRIDGE_IRREGULAR("x/y", 1, x)};
    const bridge_format no_rate[] = {BRIDGE_READING("x", 1, 0, x)}, doubled[] = {BRIDGE_IRREGULAR("x", 1, twice)};
    bridge_format large = BRIDGE_IRREGULAR("x", 1, many), none = BRIDGE_IRREGULAR("x", 1, x);
    bridge_setup s;
    char names[62][16];

    try_formats("good", fine, 3);
    s = good(NULL, 0), s.streams = NULL, try_setup("no-formats", s);
    try_formats("same-id", same_id, 2);
    try_formats("same-name", same_name, 2);
    try_formats("zero-id", zero_id, 1);
    try_formats("slash", slash, 1);
    try_formats("no-rate", no_rate, 1);
    try_formats("field-twice", doubled, 1);
    none.field_count = 0;
    try_formats("no-fields", &none, 1);
    for (int k = 0; k < 62; k++) {
        bridge_field f = BRIDGE_FIELD(0, BRIDGE_F32, "");
        snprintf(names[k], sizeof names[k], "f%d", k);
        f.name = names[k];
        many[k] = f;
    }
    try_formats("too-long", &large, 1);
    large.field_count = 60;
    try_formats("long", &large, 1);

    s = good(fine, 3), s.boot_id = 0, try_setup("boot-id", s);
    s = good(fine, 3), s.heartbeat_timeout_us = 0, try_setup("no-timeout", s);
    s = good(fine, 3), s.heartbeat_timeout_us = 0x80000000u, try_setup("timeout", s);
    s = good(fine, 3), s.device = "", try_setup("no-device", s);
    s = good(fine, 3), s.transmit_size = BRIDGE_LEAST_TRANSMIT - 1, try_setup("small-ring", s);
    s = good(&large, 1), s.transmit_size = 254, try_setup("ring-for-long", s);
    s = good(fine, 3), s.output = 0, try_setup("no-output", s);

    TRY_AGE("no-limit", true, BRIDGE_NUMBER(0));
    TRY_AGE("longest", true, BRIDGE_NUMBER(60000));
    TRY_AGE("too-old", true, BRIDGE_NUMBER(60001));
    TRY_AGE("half-a-ms", true, BRIDGE_NUMBER(0.5));
    TRY_AGE("negative-age", true, BRIDGE_NUMBER(-1));
    TRY_AGE("exponent-age", true, BRIDGE_NUMBER(1e2));
    TRY_AGE("no-age", true, BRIDGE_ABSENT(0));
    TRY_AGE("age-of-reading", false, BRIDGE_NUMBER(5));
    TRY_READING("underscore", BRIDGE_FIELD("_x", BRIDGE_F32, ""));
    TRY_READING("control", BRIDGE_FIELD("x\n", BRIDGE_F32, ""));
    TRY_READING("scale-zero", BRIDGE_SCALED("x", BRIDGE_F32, "", 0, 1));
    TRY_READING("expression", BRIDGE_SCALED("x", BRIDGE_F32, "", 1 / 2.0, 1));
    TRY_READING("bare-point", BRIDGE_SCALED("x", BRIDGE_F32, "", .5, 1));
    TRY_READING("hexadecimal", BRIDGE_SCALED("x", BRIDGE_F32, "", 0x10, 1));
    TRY_READING("exponent", BRIDGE_SCALED("x", BRIDGE_F32, "", 1.5e-3f, -1E+2));
    TRY_READING("limits-of-reading", BRIDGE_LIMITED("x", BRIDGE_F32, "", 0, 1, 0));
    TRY_ACTION("no-limits", BRIDGE_FIELD("x", BRIDGE_F32, ""));
    TRY_ACTION("safe-outside", BRIDGE_LIMITED("x", BRIDGE_F32, "", 0, 1, 2));
    TRY_ACTION("limit-beyond-type", BRIDGE_LIMITED("x", BRIDGE_U8, "", 0, 300, 0));
    TRY_ACTION("limit-within-scaled", BRIDGE_LIMITED_SCALED("x", BRIDGE_U8, "", 2, 0, 0, 300, 0));
    return 0;
}
