// A motor with a rotary encoder, as many sketches write it: a header once, then a line of CSV every 10 ms, millis()
// first. "m 0.5" sets the output (-1 to 1) and comes back in the column `drive`; without a command for 500 ms the motor
// stops by itself, which `timeouts` counts.
#include <Arduino.h>

const unsigned long PERIOD_MS = 10, WATCHDOG_MS = 500;
const float TOP_SPEED = 12, TIME_CONSTANT_S = 0.15;  // rad/s at full drive, and how fast it gets there

char line[32];
byte length = 0;
unsigned long next_ms, command_ms;
float drive = 0, speed = 0, angle = 0;
unsigned int timeouts = 0;

void obey() {
    line[length] = 0;
    length = 0;
    if (line[0] != 'm' || line[1] != ' ') return;
    drive = constrain(atof(line + 2), -1, 1);
    command_ms = millis();
}

void setup() {
    Serial.begin(115200);
    Serial.println("motor 1.2 ready");
    Serial.println("ms,angle,speed,drive,timeouts");
    next_ms = millis() + PERIOD_MS;
}

void loop() {
    while (Serial.available()) {
        const char c = Serial.read();
        if (c == '\n')
            obey();
        else if (length < sizeof line - 1)
            line[length++] = c;
    }
    const unsigned long now = millis();
    if (drive != 0 && now - command_ms > WATCHDOG_MS) {
        drive = 0;
        timeouts++;
    }
    if ((long)(now - next_ms) < 0) return;
    next_ms += PERIOD_MS;
    speed += (TOP_SPEED * drive - speed) * (PERIOD_MS / 1000.0 / TIME_CONSTANT_S);
    angle += speed * PERIOD_MS / 1000.0;
    Serial.print(now);
    Serial.print(',');
    Serial.print(angle, 3);
    Serial.print(',');
    Serial.print(speed, 3);
    Serial.print(',');
    Serial.print(drive, 3);
    Serial.print(',');
    Serial.println(timeouts);
}
