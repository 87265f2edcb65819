"""The whole run on a robot of a dialect, its port played: whatever arrives, what was recorded replays to the same bits,
and every end is a safe robot."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_lstm.cli import codes
from edge_lstm.errors import ConfigError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.loop import run
from edge_lstm.robot.replay import Comparison, Rows, replay
from firmware_bridge.ports.port import PortStats
from firmware_bridge.recordings.port import RecordingPort
from firmware_bridge.recordings.recorder import Recorder
from firmware_bridge.values import Chunk
from tests.support.robots import MS, small_robot

CONFIG = (
    small_robot.CONFIG.replace('format = "imu_wheels"', 'format = "imu"').replace('"motor_limits"', '"motor"')
    + """
[policy]
missing = "hold"
longest_gap = 20
[link]
dialect = "tests.robot.test_dialect_run:DIALECT"
start = "go\\n"
[link.reading.imu]
fields = ["ms", "n", "wheel_speed_left rad/s", "wheel_speed_right rad/s", "current_left A", "current_right A"]
time = "ms"
counter = "n"
counter_bits = 8
rate_hz = 100
limits = { wheel_speed_left = [-50, 50] }
[link.action.motor]
repeat_ms = 40
watchdog_ms = 200
[link.action.motor.fields]
torque_limit_left = { min = 0, max = 1, safe = 0, unit = "N m" }
torque_limit_right = { min = 0, max = 1, safe = 0, unit = "N m" }
"""
)
SAFE = b"0.0 0.0\n"


def _rows() -> type:
    from tests.firmware_bridge.links.test_dialect import Rows as Lines

    return Lines


class Sound(_rows()):  # type: ignore[misc]
    """Lines of numbers."""


class Broken(_rows()):  # type: ignore[misc]
    """It falls over the hundredth message, and every one after it."""

    seen = 0

    def decode(self, t_ns: int, data: bytes) -> None:
        self.seen += data.count(b"\n")
        if self.seen > 100:
            raise IndexError("list index out of range")
        super().decode(t_ns, data)


class Played:
    """A port at which chunks arrive as a list says, with a chunk for every wake-up that lies between two of them."""

    def __init__(self, chunks: list[Chunk], taken: random.Random | None = None) -> None:
        self.stats = PortStats()
        self.out: list[tuple[int, bytes]] = []
        self._chunks, self._taken = chunks, taken
        self._wake_ns: int | None = None
        self._now_ns = 0

    def chunks(self) -> Iterator[Chunk]:
        for chunk in self._chunks:
            while self._wake_ns is not None and self._wake_ns < chunk.t_ns:
                self._now_ns, self._wake_ns = max(self._wake_ns, self._now_ns + 1), None
                yield Chunk(self._now_ns)
            self._now_ns = chunk.t_ns
            yield chunk

    def write(self, data: bytes) -> bool:
        if self._taken is not None and self._taken.random() < 0.05:
            self.stats.dropped(len(data))
            return False
        self.out.append((self._now_ns, data))
        return True

    def write_last(self, data: bytes, cut: bytes) -> bool:
        self.out.append((self._now_ns, data))
        return True

    def wake_at(self, t_ns: int) -> None:
        self._wake_ns = t_ns

    def stop(self) -> None:
        """It ends by itself."""

    def close(self) -> None:
        """Nothing is open."""


def controller(dialect: str = "Sound") -> Controller:
    return Controller(small_robot.model(), parse_config(CONFIG.replace("DIALECT", dialect), "robot.toml", Path()))


def line(ms: int, n: int) -> bytes:
    return f"{ms} {n % 256} {ms % 7} {n % 5} {0.1 * (n % 3)!r} 0.25\n".encode()


def life(seed: int) -> list[Chunk]:
    """20 s of a robot at 100 Hz: batches, 200 ms of jitter, pauses, damage, restarts with and without a boot message,
    the plug pulled, a host that slept."""
    rng = random.Random(seed)
    chunks = [Chunk(0, b"/dev/x", "opened")]
    t_ns, ms, n, held = 0, 2**32 - 3000, 0, b""
    while t_ns < 20_000 * MS:
        t_ns += 10 * MS
        ms, n = (ms + 10) % 2**32, n + 1
        held += line(ms, n)
        if rng.random() < 0.02:  # the robot or its host does something else
            t_ns += rng.randrange(400) * MS
            lost = rng.randrange(50)
            ms, n = (ms + 10 * lost) % 2**32, n + lost
        if rng.random() < 0.03:
            at = rng.randrange(len(held))
            held = held[:at] + bytes([rng.randrange(32, 128)]) + held[at + 1 :]
        if rng.random() < 0.004:
            held += b"boot\n" * rng.randrange(2)
            ms, n = rng.randrange(3000), 0
        if rng.random() < 0.3:
            continue
        cut = rng.randrange(len(held) + 1) if rng.random() < 0.3 else len(held)
        chunks.append(Chunk(t_ns, held[:cut]))
        held = held[cut:]
        if rng.random() < 0.004:
            chunks += [Chunk(t_ns + MS, b"gone", "lost"), Chunk(t_ns + 900 * MS, b"/dev/x", "opened")]
            t_ns, held = t_ns + 900 * MS, b""
        if rng.random() < 0.1:
            chunks.append(Chunk(t_ns + rng.randrange(5 * MS)))
    return chunks


@pytest.mark.parametrize("seed", range(6))
def test_whatever_arrives_replays_to_the_same_bits_and_ends_safe(seed: int, tmp_path: Path) -> None:
    """Writes, readings, outputs, actions and events; and the rows of a boot carry its number."""
    port = Played(life(seed), random.Random(seed))
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    summary = run(port, controller().config.link.open(), controller(), recorder)
    recorder.close()
    assert summary.actions > 1000
    assert summary.resets > 0
    assert port.out[-1][1] == SAFE
    boots: list[int] = []

    def rows(block: Rows) -> None:
        boots.extend(block.boot_id)

    again, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller(), derived=True, rows=rows)
    assert comparison.same, comparison.sentence()
    assert comparison.beyond == 0
    assert (again.counts, again.link, again.lost) == (summary.counts, summary.link, summary.lost)
    assert boots == sorted(boots)
    assert len(set(boots)) == summary.resets + 1


def test_a_robot_that_is_never_written_to_is_verified_by_its_readings_and_outputs(tmp_path: Path) -> None:
    """Without [action] and `start`, as `init` writes it, nothing is sent: what was derived is compared all the same. A
    reading that the recording holds otherwise is a difference, and where no reading is, nothing was compared."""
    start, end = CONFIG.index("[action]"), CONFIG.index("[recording]")
    silent = (
        (CONFIG[:start] + CONFIG[end : CONFIG.index("[link.action.motor]")])
        .replace('start = "go\\n"\n', "")
        .replace("DIALECT", "Sound")
    )

    def listening(config: str = silent) -> Controller:
        return Controller(small_robot.model(), parse_config(config, "robot.toml", Path()))

    def verdict(driver: Controller, name: str = "run.mcap") -> Comparison:
        return replay(RecordingPort(tmp_path / name), driver, derived=True)[1]

    lines = [Chunk(n * 10 * MS, line(n * 10, n)) for n in range(1, 100)]
    for name, chunks in (("run.mcap", lines), ("nothing.mcap", [])):
        port = Played([Chunk(0, b"/dev/x", "opened"), *chunks])
        recorder = Recorder(tmp_path / name, {}, {}, wait=True)
        run(port, listening().config.link.open(), listening(), recorder)
        recorder.close()
        assert not port.out
    found = verdict(listening())
    assert found.same, found.sentence()
    assert found.sentence().startswith("0 differing bits, 0 writes")
    assert found.derived is not None
    assert found.derived.readings == 99
    other = verdict(listening(silent.replace("limits = {", "scale = { wheel_speed_left = 2 }\nlimits = {")))
    assert not other.same
    assert "messages of the recording differ" in other.sentence()
    nothing = verdict(listening(), "nothing.mcap")
    assert not nothing.same
    assert nothing.sentence().startswith("nothing could be compared")


def test_a_dialect_that_falls_over_is_outlived_and_the_robot_made_safe(tmp_path: Path) -> None:
    """From its hundredth message on it raises: the run goes on without readings, the robot gets the safe output when
    the last decision is old, the summary names dialect and reason, and it replays."""
    lines = [Chunk(n * 10 * MS, line(n * 10, n)) for n in range(1, 400)]
    port = Played([Chunk(0, b"/dev/x", "opened"), *lines])
    recorder = Recorder(tmp_path / "run.mcap", {}, {}, wait=True)
    driver = controller("Broken")
    summary = run(port, driver.config.link.open(), driver, recorder)
    recorder.close()
    assert summary.readings == 100
    assert summary.damaged == {"dialect": 299}
    assert any("Broken.decode: IndexError: list index out of range" in note for note in summary.notes)
    calmed = [t_ns for t_ns, data in port.out if data == SAFE]
    assert calmed[0] <= 2300 * MS
    _again, comparison, _ = replay(RecordingPort(tmp_path / "run.mcap"), controller("Broken"), derived=True)
    assert comparison.same, comparison.sentence()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('[readings]\nformat = "imu"', '[readings]\nformat = "imv"', "readings] format: "),
        ('[action]\nformat = "motor"', '[action]\nformat = "motr"', "action] format: "),
        ("current_left A", "current_left V", "current_left"),
        ("wheel_speed_left rad/s", "wheel_speed rad/s", "wheel_speed_left"),
        ('start = "go\\n"', 'start = "go\\n"\n[robot]\ndevice = "rover"\n', "robot] device: "),
    ],
)
def test_what_link_does_not_declare_is_known_before_a_port_is_opened(old: str, new: str, sentence: str) -> None:
    """The robot of a dialect declares nothing, so there is nothing to wait for."""
    text = CONFIG.replace("wheel_speed_left = [-50, 50]", "current_right = [-50, 50]")
    text = text.replace(old, new) if "[robot]" not in new else text + '[robot]\ndevice = "rover"\n'
    assert text != CONFIG
    with pytest.raises(ConfigError) as error:
        Controller(small_robot.model(), parse_config(text.replace("DIALECT", "Sound"), "robot.toml", Path()))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "dialect", ["gone.py:Gone", "no_such_package:Gone", "gone", "broken.py:Gone", "tests.robot:Gone"]
)
def test_a_dialect_that_is_not_there_is_for_a_person_to_mend(dialect: str, tmp_path: Path) -> None:
    """As in a recording that was copied without the file beside it: a service must not try it again and again."""
    (tmp_path / "broken.py").write_text("1 / 0")
    text = CONFIG.replace("tests.robot.test_dialect_run:DIALECT", dialect)
    with pytest.raises(ConfigError, match=r"^robot\.toml in run\.mcap: \[link\] dialect: ") as error:
        parse_config(text, "robot.toml in run.mcap", tmp_path)
    assert not codes.passing(error.value)
