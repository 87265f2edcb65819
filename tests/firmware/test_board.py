"""The emulated Cortex-M4F board: the network's bits there, and the robot's firmware behind a real pseudo-terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.core.channels import Channel, channels_for
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.firmware.export import fingerprint, vector_outputs
from firmware_bridge.dictionary import Dictionary
from firmware_bridge.events import DeviceStatus, Event, Hello, Reading, Reset
from firmware_bridge.links.own import framing
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.links.own.framing import Deframer, Frame
from firmware_bridge.ports.serial_port import SerialPort
from firmware_bridge.simulator.robot import READING_FIELDS, robot_dictionary
from firmware_bridge.values import Action
from tests.support.models.every_operation import models
from tests.support.models.nets import network
from tests.support.robots import of, small_robot
from tests.support.robots.toolchain import need
from tools.board import image as board_image
from tools.board.image import Board

STEPS = 1000  # tests/long/test_board.py takes 10,000 of each model
MODELS = {model.name: model for model in models()}


def require() -> None:
    """Skip where the cross compiler or the emulator is missing."""
    need("arm-none-eabi-gcc", "qemu-system-arm")


SAFE = 2  # a STATUS begins with the device's state
ON_BOARD = (  # every operation, function and scheme; tests/long/test_board.py has all models, for longer
    *("all maps", "all shapes", "mixed", "seldom", "int8 lstm, window of 12"),
    *("int16 gru, two layers", "int8-weights rnn", "quantized heads", "int8-dynamic lstm"),
    "float16 gru, 7 streams",
)


def test_those_on_the_board_have_every_operation() -> None:
    """Each kind, each function and each scheme of integers that any model of the C runtime's tests has."""

    def used(models: Iterable[Model]) -> set[tuple[str, object]]:
        operations = [op for model in models for op in model.program.operations]
        said = {pair for op in operations for pair in op.attributes.items() if pair[0] in ("function", "scheme")}
        return said | {("kind", op.kind) for op in operations}

    assert used(MODELS[name] for name in ON_BOARD) == used(MODELS.values())


@pytest.mark.parametrize("name", ON_BOARD)
def test_the_board_computes_the_same_bits(tmp_path: Path, name: str) -> None:
    """The self-test passes on the Cortex-M4F and a thousand outputs have Python's fingerprint, for every operation."""
    require()
    model = MODELS[name]
    image = board_image.build(tmp_path, "bits", model=model, flags=(f"-DSTEPS={STEPS}",))
    assert board_image.run_bits(image) == (0, fingerprint(vector_outputs(model, STEPS)))


def test_the_files_take_no_more_than_the_readme_says() -> None:
    """Flash and stack on a Cortex-M4F, with the room that another compiler version may need."""
    require()
    sizes = board_image.sizes()
    bridge, network = sizes["bridge.c"], sizes["edge_lstm.c"]
    assert bridge["flash"] < 6500
    assert network["flash"] < 7000
    assert bridge["ram"] == network["ram"] == 0
    assert max(size for what, size in bridge.items() if what.startswith("stack")) <= 400
    assert network["stack of edge_lstm_step"] <= 304


class Host:
    """The host's side of a test: a bridge on a serial port, answering each reading with an action while it is awake."""

    def __init__(self, device: str) -> None:
        self.port, self.bridge = SerialPort(device, 115200), Bridge()
        self.board: Board
        self.net: Model
        self.awake, self.limits = True, (0.5, 0.25)
        self.lag_s = 0.0  # how long what is sent waits
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.events: list[Event] = []
        self.frames: list[Frame] = []
        self._deframer = Deframer()
        self._chunks = self.port.chunks()

    def until(self, wanted: Callable[[], bool], seconds: float = 60.0) -> None:
        """Go on until something is so; a failure after that long."""
        end = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < end, f"{self.bridge.report()} {self.events[-3:]}"
            chunk = next(self._chunks)
            if chunk.link == "data":
                self.frames += [item for item in self._deframer.feed(chunk.data) if isinstance(item, Frame)]
            events, out = self.bridge.receive(chunk), b""
            self.events += events
            if self.awake:
                for event in of(Reading, events):
                    if event.format == "imu_wheels":
                        action = Action("motor_limits", self.limits)
                        out += self.bridge.send(chunk.t_ns, action, 0, event.t_device_us)
                self._waiting.append((time.monotonic() + self.lag_s, out + self.bridge.outgoing()))
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                self.port.write(self._waiting.popleft()[1])

    def readings(self, name: str = "imu_wheels") -> list[Reading]:
        return [event for event in of(Reading, self.events) if event.format == name]


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """The robot's firmware, and the network in it."""
    require()
    net = network("lstm", len(READING_FIELDS), 8, 2, seed=4)
    outputs = channels_for(("slip_left", "slip_right"), (1, 1))
    net = Model(net.program, net.inputs, outputs, name="on board")
    net.stream()  # a host that compiles in the middle is silent for the board
    folder = tmp_path_factory.mktemp("robot")
    return board_image.build(folder, "robot", model=net, flags=("-DRATE_HZ=200",)), net


@pytest.fixture
def host(firmware: tuple[Path, Model], tmp_path: Path):
    """A board with that firmware, and a host on its port."""
    image, net = firmware
    with Board(image, tmp_path / "robot") as board:
        made = Host(str(tmp_path / "robot"))
        made.board, made.net = board, net
        yield made
        made.port.close()


def test_the_board_speaks_the_protocol_obeys_and_makes_itself_safe(host) -> None:
    """Handshake, 200 readings a second without a loss, actions obeyed, the network's bits on board equal to Python's on
    the readings that came; a silent host: safe output 250 ms later; a reset: a new boot id, and on it goes."""
    host.until(lambda: len(host.readings()) >= 300)
    hello = of(Hello, host.events)[0]
    assert hello.dictionary["imu_wheels"] == robot_dictionary(200.0)["imu_wheels"]
    assert hello.dictionary["motor_limits"] == robot_dictionary(200.0)["motor_limits"]
    counters = host.bridge.counters
    assert (counters.lost_readings, counters.faults, counters.resets) == (0, {}, 0)
    readings = host.readings()
    steps_us = np.diff([reading.t_device_us for reading in readings])
    assert set(steps_us.tolist()) == {5000}
    stall = 0.5 / 0.23 + 0.1  # A: what the torque limit lets through, and noise
    assert max(abs(reading.values[2]) for reading in readings) < stall
    assert max(reading.values[0] for reading in readings) > 5  # rad/s: it drives

    on_board = host.readings("network")
    expected = host.net.stream().run(np.array([reading.values for reading in readings], np.float32))
    same = [r.values == tuple(y) for r, y in zip(on_board, expected.tolist(), strict=False)]
    assert len(same) >= 299
    assert all(same)

    # A host that gets no time to run is late, and the board safe before it is silent; then once more.
    for _ in range(5):
        host.awake = False
        answered, last_us = len(host.readings()), host.readings()[-1].t_device_us
        host.until(lambda: len(host.readings()) >= answered + 300)  # noqa: B023
        states = [(f.time_us, f.payload[0] == SAFE) for f in host.frames if f.type == framing.STATUS]
        assert states[-1][1]
        entered_us = next(now for (now, _), (_, safe) in zip(states[::-1], states[-2::-1], strict=False) if not safe)
        if entered_us > last_us:
            break
        host.awake = True
        host.until(lambda: len(host.readings()) >= answered + 600)  # noqa: B023
    assert entered_us - last_us > 250_000  # the last action came a moment after the last reading
    assert abs(host.readings()[-1].values[2]) < 0.1  # A: the motors are off

    host.awake = True
    host.until(lambda: of(DeviceStatus, host.events)[-1].state == "running" or len(host.readings()) > 4000)
    host.board.reset()
    host.until(lambda: bool(of(Reset, host.events)))
    before = len(host.readings())
    host.until(lambda: len(host.readings()) > before + 50)
    assert of(Reset, host.events)[0].boot_id != hello.boot_id
    assert host.bridge.state == "running"


def test_a_board_that_does_not_fit_is_refused_with_both_sides_fields(host, tmp_path: Path) -> None:
    """`edge-lstm run` on the board with a model and a configuration made for another robot: it is waited past, exit
    code 3 at the end, and what each side declares, field by field."""
    host.until(lambda: len(host.readings()) >= 10)  # it is awake
    host.port.close()
    save(small_robot.model((Channel("gyro_z", "m/s"), Channel("ghost", "K"))), tmp_path / "model.npz")
    (tmp_path / "robot.toml").write_text(small_robot.AT_ONCE)
    command = ["run", str(tmp_path / "robot.toml"), "--port", host.port.name, "--seconds", "1.5"]
    done = subprocess.run([sys.executable, "-m", "edge_lstm", *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "[readings.channels] gyro_z: the model expects 'm/s', but the robot's field" in done.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stderr.splitlines() if "|" in line]
    assert ["gyro_z [m/s]", "gyro_z [rad/s] (ANOTHER UNIT)"] in rows
    assert ["ghost [K]", "MISSING"] in rows
    assert ["torque_limit_left [N m]", "torque_limit_left [N m], 0 to 1"] in rows
    assert {name for name, *_ in READING_FIELDS} <= {row[1].split()[0] for row in rows}


def test_a_board_with_other_formats_refuses_our_actions(host) -> None:
    """Whoever packs by another dictionary is refused frame by frame, and the board says HELLO."""
    host.until(lambda: len(host.readings()) >= 10)
    host.awake = False
    other = Dictionary(robot_dictionary(100.0).formats, "other", "1", protocol=2)
    payload = other["motor_limits"].pack((1.0, 1.0))
    host.port.write(framing.encode(Frame(framing.ACTION, 2, 9, 0, other.check, payload)))
    asked = len([f for f in host.frames if f.type == framing.HELLO])
    host.until(lambda: len([f for f in host.frames if f.type == framing.HELLO]) > asked)
    host.until(lambda: bool(of(DeviceStatus, host.events)[-1].refused))


@pytest.mark.long
def test_the_board_obeys_nothing_that_is_too_late(host) -> None:
    """The way to the board takes 1 s, then none: meanwhile it is safe and counts what is late, afterwards it obeys; and
    no action that it obeyed was older than its deadline."""

    def latest() -> DeviceStatus:
        found = of(DeviceStatus, host.events)
        return found[-1] if found else DeviceStatus(0, "", *(0,) * 8)

    host.until(lambda: latest().actions > 100)
    host.lag_s = 1.0
    host.until(lambda: (latest().late or 0) > 100 and latest().state == "safe")
    obeyed = latest().actions
    host.until(lambda: (latest().late or 0) > 500)
    assert (latest().state, latest().actions) == ("safe", obeyed)
    host.lag_s = 0.0
    host.until(lambda: latest().actions > obeyed + 100)
    assert latest().state == "running"
    ages = [status.age_us for status in of(DeviceStatus, host.events) if status.age_us is not None]
    assert max(ages) <= 250_000
    assert host.bridge.report()["late_at_device"] > 500
