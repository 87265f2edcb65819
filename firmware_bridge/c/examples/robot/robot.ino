// A cart with two motors and a battery: sends 100 readings a second, obeys torque limits, and switches its motors off
// when the host sends STOP or falls silent. The dictionary is made from the tables below: change them and nothing else.
//
//     edge-lstm run robot.toml --port /dev/serial/by-id/...
#include <bridge.h>

static const uint8_t MOTOR_PINS[2] = {5, 6}, ENABLE_PIN = 7, SPEED_PINS[2] = {A0, A1}, BATTERY_PIN = A2;
static const uint8_t READING = 1, LIMITS = 2;

static const bridge_field READING_FIELDS[] = {
    BRIDGE_FIELD("speed_left", BRIDGE_F32, "rad/s"),
    BRIDGE_FIELD("speed_right", BRIDGE_F32, "rad/s"),
    BRIDGE_SCALED("battery", BRIDGE_U16, "V", 0.001, 0),
};
static const bridge_field LIMIT_FIELDS[] = {
    BRIDGE_LIMITED("torque_limit_left", BRIDGE_F32, "N m", 0, 1, 0),
    BRIDGE_LIMITED("torque_limit_right", BRIDGE_F32, "N m", 0, 1, 0),
};
static const bridge_format FORMATS[] = {
    BRIDGE_READING("wheels", READING, 100, READING_FIELDS),
    BRIDGE_ACTION("motor_limits", LIMITS, LIMIT_FIELDS),
};

static uint8_t waiting[512];
static bridge_stream streams[2];
static bridge_setup setup_;
static bridge host;
static uint32_t next_us;

// The only place where the host moves anything. Whatever the reason is, the values are within the limits declared above.
static void output(void *, const bridge_format *, const float *values, bridge_why why) {
  digitalWrite(ENABLE_PIN, why == BRIDGE_OBEYED ? HIGH : LOW);
  for (int side = 0; side < 2; side++) analogWrite(MOTOR_PINS[side], (int)(values[side] * 255));
}

// Another number after every start: how the host knows of a reset. Take a better source where your board has one:
// esp_random() on ESP32, get_rand_32() on RP2040, the RNG of an STM32, or a counter in EEPROM.
static uint32_t boot_id() {
  uint32_t id = micros();
  for (int k = 0; k < 64; k++) id = id * 1664525u + 1013904223u + (uint32_t)analogRead(BATTERY_PIN) + micros();
  return id | 1;
}

void setup() {
  Serial.begin(115200);
  pinMode(ENABLE_PIN, OUTPUT);
  setup_.device = "arduino-cart";
  setup_.version = "1.0";
  setup_.formats = FORMATS;
  setup_.format_count = 2;
  setup_.streams = streams;
  setup_.transmit = waiting;
  setup_.transmit_size = sizeof waiting;
  setup_.boot_id = boot_id();
  setup_.heartbeat_timeout_us = BRIDGE_HEARTBEAT_TIMEOUT_US;
  setup_.output = output;
  if (bridge_begin(&host, &setup_, micros()) != BRIDGE_READY)
    for (;;) {}  // a mistake in the tables; bridge_problem in bridge.h has the list
  next_us = micros();
}

void loop() {
  while (Serial.available() > 0) bridge_receive_byte(&host, micros(), (uint8_t)Serial.read());
  bridge_tick(&host, micros());

  if ((int32_t)(micros() - next_us) >= 0) {
    const float values[3] = {analogRead(SPEED_PINS[0]) * 0.02f, analogRead(SPEED_PINS[1]) * 0.02f,
                             analogRead(BATTERY_PIN) * 0.0146f};
    bridge_reading(&host, next_us, READING, values);
    next_us += 10000;
  }

  const uint8_t *data;
  size_t size = bridge_transmit(&host, &data), fits = (size_t)Serial.availableForWrite();
  if (size > fits) size = fits;  // never wait for room
  if (size > 0) bridge_transmitted(&host, Serial.write(data, size));
}
