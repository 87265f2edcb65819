"""The example sketch, compiled on the host against as much of Arduino as it uses. No Arduino core is involved."""

from __future__ import annotations

import ctypes
from pathlib import Path

from firmware_bridge.events import Reading
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.values import Action, Chunk
from tests.support.robots.toolchain import HERE, SOURCES, need, run

STUB = HERE / "arduino"
ENABLE, LEFT, RIGHT = 7, 5, 6


def test_the_sketch_speaks_the_protocol_and_stops_its_motors(tmp_path: Path) -> None:
    """A host finds it, gets 100 readings a second, sets its motors; STOP and silence drop the enable line."""
    need("g++", "gcc")
    library = tmp_path / "sketch.so"
    compiled = tmp_path / "bridge.o"
    run("gcc", "-std=gnu11", "-fPIC", "-c", str(SOURCES / "bridge.c"), "-o", str(compiled))
    sketch = ("-include", str(STUB / "Arduino.h"), "-x", "c++", str(SOURCES / "examples" / "robot" / "robot.ino"))
    flags = ("-std=gnu++11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{SOURCES}", f"-I{STUB}")
    run("g++", *flags, *sketch, str(STUB / "host.cpp"), "-x", "none", str(compiled), "-o", str(library))
    c = ctypes.CDLL(str(library))
    c.sketch_turn.restype = ctypes.c_size_t
    c.sketch_turn.argtypes = (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)
    c.sketch_setup()
    assert c.sketch_pin(ENABLE) == 0

    bridge, to_board, readings = Bridge(), b"", []
    sent = ctypes.create_string_buffer(1 << 16)

    def turn(now_ms: int) -> None:
        nonlocal to_board
        size = c.sketch_turn(now_ms * 1000, to_board, len(to_board), sent)
        events, to_board = bridge.receive(Chunk(now_ms * 1_000_000, ctypes.string_at(sent, size))), b""
        for event in events:
            if isinstance(event, Reading):
                readings.append(event)
                to_board += bridge.send(now_ms * 1_000_000, Action("motor_limits", (1.0, 0.5)))
        to_board += bridge.outgoing()

    for now_ms in range(1, 2000):
        turn(now_ms)
    assert len(readings) > 180
    assert bridge.counters.lost_readings == 0
    assert abs(readings[-1].values[2] - 822 * 0.0146) < 0.001
    assert [c.sketch_pin(pin) for pin in (ENABLE, LEFT, RIGHT)] == [1, 255, 127]
    to_board = bridge.stop(2000 * 1_000_000)
    turn(2000)
    assert [c.sketch_pin(pin) for pin in (ENABLE, LEFT, RIGHT)] == [0, 0, 0]
