/* One bridge behind plain functions, for ctypes: the formats of tests/support/robots.py, and a list of what was
 * done to the outputs. */
#include <string.h>

#include "bridge.h"

static const bridge_field WHEELS[] = {
    BRIDGE_FIELD("speed_left", BRIDGE_F32, "rad/s"),
    BRIDGE_FIELD("speed_right", BRIDGE_F32, "rad/s"),
    BRIDGE_SCALED("battery", BRIDGE_U16, "V", 0.001, 0),
};
static const bridge_field BUTTON[] = {BRIDGE_FIELD("pressed", BRIDGE_U8, "")};
#define MAXIMUM 0.7f
static const bridge_field LIMITS[] = {
    BRIDGE_LIMITED("left", BRIDGE_F32, "N m", 0, MAXIMUM, 0.0),
    BRIDGE_LIMITED_SCALED("right", BRIDGE_I16, "N m", 0.001, 0, -0.5, 2e0, 0.1),
};
static const bridge_field EVERYTHING[] = {
    BRIDGE_FIELD("f32", BRIDGE_F32, "\"\\ \xc2\xb0"),
    BRIDGE_SCALED("i8", BRIDGE_I8, "", 0.5, 1),
    BRIDGE_SCALED("u8", BRIDGE_U8, "", 0.5, 1),
    BRIDGE_SCALED("i16", BRIDGE_I16, "", -2, 1),
    BRIDGE_SCALED("u16", BRIDGE_U16, "", 4, -100),
    BRIDGE_FIELD("i32", BRIDGE_I32, ""),
    BRIDGE_FIELD("u32", BRIDGE_U32, ""),
    BRIDGE_SCALED("scaled", BRIDGE_F32, "", 0.5, -2),
};
static const bridge_format FORMATS[] = {
    BRIDGE_READING("wheels", 1, 1000, WHEELS),
    BRIDGE_IRREGULAR("button", 7, BUTTON),
    BRIDGE_ACTION("limits", 2, LIMITS),
    BRIDGE_IRREGULAR("everything", 255, EVERYTHING),
};

enum { FORMAT_COUNT = sizeof FORMATS / sizeof FORMATS[0], MOST_EFFECTS = 4096 };

typedef struct {
    int32_t format, why;
    float values[2];
} effect;

static bridge device;
static bridge_setup setup;
static bridge_stream streams[FORMAT_COUNT];
static uint8_t ring[1 << 16];
static effect effects[MOST_EFFECTS];
static int effect_count;

static void output(void *context, const bridge_format *format, const float *values, bridge_why why)
{
    effect *e = &effects[effect_count++ % MOST_EFFECTS];
    (void)context;
    e->format = format->id;
    e->why = (int32_t)why;
    memcpy(e->values, values, sizeof e->values);
}

int shim_begin(uint32_t boot_id, size_t transmit_size, uint32_t now_us);
int shim_begin(uint32_t boot_id, size_t transmit_size, uint32_t now_us)
{
    const bridge_setup s = {"test robot", "1.2.3", FORMATS, FORMAT_COUNT, streams, ring, transmit_size,
                            boot_id, BRIDGE_HEARTBEAT_TIMEOUT_US, output, 0};
    setup = s;
    effect_count = 0;
    return (int)bridge_begin(&device, &setup, now_us);
}

void shim_receive(uint32_t now_us, const uint8_t *data, size_t size);
void shim_receive(uint32_t now_us, const uint8_t *data, size_t size) { bridge_receive(&device, now_us, data, size); }

void shim_tick(uint32_t now_us);
void shim_tick(uint32_t now_us) { bridge_tick(&device, now_us); }

int shim_reading(uint32_t now_us, int id, const float *values);
int shim_reading(uint32_t now_us, int id, const float *values)
{
    return (int)bridge_reading(&device, now_us, (uint8_t)id, values);
}

int shim_packed(uint32_t now_us, int id, const uint8_t *payload, size_t size);
int shim_packed(uint32_t now_us, int id, const uint8_t *payload, size_t size)
{
    return (int)bridge_reading_packed(&device, now_us, (uint8_t)id, payload, size);
}

size_t shim_transmit(uint8_t *out, size_t most);
size_t shim_transmit(uint8_t *out, size_t most)
{
    size_t done = 0, size;
    const uint8_t *data;
    while (done < most && (size = bridge_transmit(&device, &data)) > 0) {
        if (size > most - done) size = most - done;
        memcpy(out + done, data, size);
        bridge_transmitted(&device, size);
        done += size;
    }
    return done;
}

int shim_effects(effect *out);
int shim_effects(effect *out)
{
    int count = effect_count;
    memcpy(out, effects, (size_t)(count < MOST_EFFECTS ? count : MOST_EFFECTS) * sizeof *out);
    effect_count = 0;
    return count;
}

void shim_fault(uint32_t now_us);
void shim_fault(uint32_t now_us) { bridge_fault(&device, now_us, "the motor is too hot \xe2\x80\xa6"); }

uint32_t shim_age(void);
uint32_t shim_age(void) { return device.age_us; }

int shim_state(uint32_t *counters);
int shim_state(uint32_t *counters)
{
    memcpy(counters, &device.counters, sizeof device.counters);
    return (int)device.state;
}

size_t shim_dictionary(uint8_t *out, size_t size);
size_t shim_dictionary(uint8_t *out, size_t size) { return bridge_dictionary(&device, 0, out, size); }
