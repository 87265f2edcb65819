// As much of Arduino as the example sketch uses, on the host: the test's pipe is the serial port.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { LOW, HIGH, OUTPUT, A0, A1, A2 };
uint32_t micros();
int analogRead(int pin);
void analogWrite(int pin, int value);
void digitalWrite(int pin, int value);
void pinMode(int pin, int mode);

struct SerialPort {
  void begin(long) {}
  int available();
  int read();
  int availableForWrite();
  size_t write(const uint8_t *data, size_t size);
};
extern SerialPort Serial;
void setup();
void loop();
