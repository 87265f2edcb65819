// An IMU that swings, in the form of Arduino's serial plotter: label:value pairs every 10 ms, micros() first. It says so
// when its bus hangs (every 2 s), as such boards do, and takes no commands.
#include <Arduino.h>

const unsigned long PERIOD_US = 10000;
unsigned long next_us;
unsigned int count = 0;

void setup() {
    Serial.begin(115200);
    Serial.println("MPU6050 connection successful");
    next_us = micros() + PERIOD_US;
}

void loop() {
    const unsigned long now = micros();
    if ((long)(now - next_us) < 0) return;
    next_us += PERIOD_US;
    const float t = count++ * (PERIOD_US * 1e-6);
    Serial.print("us:");
    Serial.print(now);
    Serial.print(",pitch:");
    Serial.print(0.4 * sin(2 * t), 4);
    Serial.print(",gyro_y:");
    Serial.print(0.8 * cos(2 * t), 4);
    Serial.print(",accel_z:");
    Serial.println(9.81 * cos(0.4 * sin(2 * t)), 3);
    if (count % 200 == 0) Serial.println("i2c: timeout");
}
