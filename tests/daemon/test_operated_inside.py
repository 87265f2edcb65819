"""A run that is operated, without processes: whose the name is, how many requests the loop gets, and what the status
may say."""

from __future__ import annotations

import grp
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_lstm.cli.status import lines
from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.client import Control
from edge_lstm.daemon.layout import Pulse
from edge_lstm.daemon.mailbox import ControlledPort
from edge_lstm.daemon.operated import Operated
from edge_lstm.errors import ConfigError, DaemonError
from edge_lstm.robot.config import RobotConfig, parse_config
from edge_lstm.robot.controlled import controlled
from edge_lstm.robot.loop import run
from edge_lstm.robot.models import ONLY, Loaded
from edge_lstm.serve.verdict import Judge
from firmware_bridge.links.promises import Promises
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from firmware_bridge.values import Chunk
from tests.daemon.test_controlled import other
from tests.support.robots import small_robot
from tests.support.robots.requesting import model_bytes

CONFIG = parse_config(small_robot.CONFIG + '[daemon]\nname = "cart"\n', "robot.toml", Path())


@contextmanager
def operated(bridge: Any = None, config: RobotConfig = CONFIG, **more: Any) -> Iterator[Operated]:
    decider = controlled(Loaded({ONLY: small_robot.model()}, {}, True), config)
    port = SimulatedPort(Robot(3, 200.0), 2.0)
    with Operated(config, decider, bridge or config.open_link(), port, **more) as made:
        yield made


def test_a_run_keeps_its_name_however_many_others_ask_for_it(runtime: Path):
    """A second and a third run of the name are refused it and end; the first is there as before, and can be asked."""
    with operated():
        for _ in range(2):
            with operated() as another:
                assert "another run is called 'cart'" in another.notes[0]
                assert another.tap is None
        assert (runtime / "cart" / "lock").exists()
        with Control(runtime / "cart") as control:
            assert control.ask({"do": "schema"})["schema"]["name"] == "cart"
    assert not (runtime / "cart").exists()


def test_a_name_is_given_back_when_nothing_of_the_run_is_left(runtime: Path, monkeypatch: pytest.MonkeyPatch):
    """The next run of the name may begin in the moment in which this one ends: what that puts there stays, its lock
    above all, or a third would have the same name."""
    real, there = os.close, []

    def close(fd: int) -> None:
        real(fd)
        if fd == lock:
            there.append(list((runtime / "cart").glob("*")) if (runtime / "cart").exists() else [])

    with operated() as made:
        lock = made._lock
        monkeypatch.setattr(os, "close", close)
    assert there == [[]]


def test_a_group_that_cannot_be_let_in_is_a_sentence(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[daemon] group that this machine does not have, that the run itself is not in, or whose members cannot come to
    its folder: its user operates it as ever, and a note says why nobody else does, and what to do."""
    own = grp.getgrgid(os.getegid()).gr_name
    foreign = next(one for one in grp.getgrall() if one.gr_gid not in (os.getegid(), *os.getgroups())).gr_name
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def notes(group: str) -> list[str]:
        text = f'{small_robot.CONFIG}[daemon]\nname = "cart"\ngroup = "{group}"\n'
        with operated(config=parse_config(text, "robot.toml", Path())) as made, Control(runtime / "cart") as control:
            assert control.ask({"do": "schema"})["ok"]
            return list(made.notes)

    for group, why in (
        ("no-such-group", "no group 'no-such-group' (sudo groupadd no-such-group)"),
        (foreign, f"not in the group {foreign!r} itself"),
        (own, f"cannot reach this run, {runtime.parent} is closed to them"),
    ):
        (note,) = notes(group)
        assert why in note
    for folder in (runtime.parent, runtime):
        folder.chmod(0o711)
    assert notes(own) == []


class _Ticking:
    """A port with a chunk whenever one is wanted."""

    stats: Any = None
    write = write_last = wake_at = stop = close = None

    def chunks(self) -> Iterator[Chunk]:
        for number in range(20):
            yield Chunk(number, b"")


def test_however_many_ask_the_robot_is_read_in_between():
    """Ten wait and each answer brings another request at once: no two requests without a chunk of the robot's between
    them, and all are answered in their order."""
    port = ControlledPort(_Ticking())  # type: ignore[arg-type]
    answers: dict[bytes, dict[str, Any]] = {}
    threads: list[threading.Thread] = []

    def ask(data: bytes) -> None:
        with suppress(DaemonError):  # those that are left when the port has ended
            answers[data] = port.ask(data, 60.0 if int(data) < 20 else 0.01)

    def another() -> None:
        waiting = len(port._asked)
        threads.append(threading.Thread(target=ask, args=(b"%d" % len(threads),)))
        threads[-1].start()
        while len(port._asked) <= waiting:
            time.sleep(0.001)

    for _ in range(10):
        another()
    kinds, given = [], []
    for chunk in port.chunks():
        kinds.append(chunk.link)
        if chunk.link == "control":
            given.append(int(chunk.data))
            port.answered({"ok": True, "to": chunk.data})
            another()
    for thread in threads:
        thread.join()
    assert kinds == ["data", "control"] * 20
    assert given == list(range(20))
    assert {data: answer["to"] for data, answer in answers.items()} == {b"%d" % k: b"%d" % k for k in range(20)}


def test_what_nobody_can_count_is_unknown_in_the_status(runtime: Path):
    """A link without a counter: `lost` is null and the sentences say unknown, never 0."""
    bridge = SimpleNamespace(
        state="running", promises=Promises(uncounted=(CONFIG.reading,)), report=dict, counters=None, dictionary=None
    )
    with operated(bridge), BlockReader(runtime / "cart") as block:
        status = block.status()
        assert status.counts["lost"] is None
        assert "unknown lost" in "\n".join(lines(status))
        assert "unknown" in [one.value for one in Judge().of(status).counts]


def test_a_status_whose_writer_is_held_up_is_the_one_before(runtime: Path):
    """It is not as if nothing held: a reader has what was whole last."""
    with operated() as made, BlockReader(runtime / "cart") as block:
        assert block.status().counts
        block_ = made._block
        assert block_ is not None
        block_._mapped.pulse[Pulse.STATUS_VERSION] += 1
        assert block.status().counts
        block_._mapped.pulse[Pulse.STATUS_VERSION] += 1


def test_how_often_a_status_is_said_is_a_time_as_everywhere():
    """[daemon] status_every takes what other times take, within its limits."""
    for text, seconds in (("500 ms", 0.5), ("2 h", 7200.0), ("1 day", 86400.0)):
        config = parse_config(small_robot.CONFIG + f'[daemon]\nstatus_every = "{text}"\n', "robot.toml", Path())
        assert config.daemon.status_every_s == seconds
    for text in ("1 ms", "2 days", "10", "s", "-1 s"):
        with pytest.raises(ConfigError, match=r"\[daemon\] status_every: must be"):
            parse_config(small_robot.CONFIG + f'[daemon]\nstatus_every = "{text}"\n', "robot.toml", Path())


def test_notes_of_a_run_are_in_its_status(runtime: Path):
    """What its people should know is not kept until the end."""
    with operated() as made, BlockReader(runtime / "cart") as block:
        made.notes.append("the shadow is not there")
        made._block.tell(made._tree())  # type: ignore[union-attr]
        assert block.status().notes == ("the shadow is not there",)
        assert any("the shadow is not there" in line for line in lines(block.status()))


def test_after_a_swap_the_block_names_the_model_that_drives(runtime: Path, tmp_path: Path):
    """The schema's model and digest are those of the rows."""
    decider = controlled(Loaded({ONLY: small_robot.model()}, {}, True), CONFIG)
    bridge = CONFIG.open_link()
    port = SimulatedPort(Robot(3, 200.0), 2.0)
    content = model_bytes(other(), tmp_path / "other.npz")
    named: list[str] = []
    with Operated(CONFIG, decider, bridge, port) as made, BlockReader(runtime / "cart") as block:
        tap = made.tap
        assert tap is not None

        def ask() -> None:
            with Control(runtime / "cart") as control:
                control.ask({"do": "swap", "file": "other.npz"}, content)

        asking = threading.Thread(target=ask)

        def looked(chunk: Chunk, done: Any, sent: int) -> None:
            tap(chunk, done, sent)
            if len(named) == 100:
                asking.start()
                while not made._mailbox._asked:
                    time.sleep(0.001)
            block.status()
            named.append(block.schema["model"])

        run(made.port, bridge, decider, tap=looked)
        asking.join()
    assert named[50] == "small"
    assert named[-1] == "other"
