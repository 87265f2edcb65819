// Runs the sketch behind plain functions for ctypes: bytes in, bytes out, a clock that the test moves.
#include "Arduino.h"

#include <string.h>

static uint32_t now;
static uint8_t in[1 << 16], out[1 << 16];
static size_t in_size, in_at, out_size;
static int pins[16];
SerialPort Serial;

uint32_t micros() { return now; }
int analogRead(int pin) { return pin == A2 ? 822 : 100 + pin; }
void analogWrite(int pin, int value) { pins[pin] = value; }
void digitalWrite(int pin, int value) { pins[pin] = value; }
void pinMode(int, int) {}
int SerialPort::available() { return (int)(in_size - in_at); }
int SerialPort::read() { return in[in_at++]; }
int SerialPort::availableForWrite() { return 63; }
size_t SerialPort::write(const uint8_t *data, size_t size) {
  memcpy(out + out_size, data, size);
  out_size += size;
  return size;
}

extern "C" void sketch_setup() { setup(); }
extern "C" int sketch_pin(int pin) { return pins[pin]; }
extern "C" size_t sketch_turn(uint32_t now_us, const uint8_t *data, size_t size, uint8_t *sent) {
  now = now_us;
  memcpy(in, data, size);
  in_size = size;
  in_at = out_size = 0;
  loop();
  memcpy(sent, out, out_size);
  return out_size;
}
