"""The mapped block: what the loop writes is what others read, whole, and what was overwritten is counted."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_lstm.daemon import layout
from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.layout import RowFlags, Sizes, row_type, slots
from edge_lstm.daemon.writer import Block
from edge_lstm.errors import DaemonError
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller, Decision
from firmware_bridge.events import Event, Fault, Hello, Reading
from firmware_bridge.simulator.robot import robot_dictionary
from firmware_bridge.values import Action, Chunk
from tests.support.robots import small_robot

DICTIONARY = robot_dictionary(200.0)
FIELDS = len(DICTIONARY["imu_wheels"].fields)


@pytest.fixture
def block(tmp_path: Path) -> Block:
    return Block(tmp_path / "status", {"name": "cart", "pid": 7}, lambda: 1234)


def bound() -> Decision:
    """What a handshake comes to."""
    controller = Controller(small_robot.model(), parse_config(small_robot.CONFIG, "robot.toml", Path()))
    decision = controller.handle(Hello(0, "cart", "1", 1, DICTIONARY))
    assert decision is not None
    return decision


HELLO = bound()


def told(block: Block, number: int, *, outputs: bool = True, sent: bool = True, urgent: bool = False) -> None:
    """A reading whose values are its number."""
    reading = Reading(number * 1000 + 1, "imu_wheels", number, number, (float(number),) * FIELDS)
    made = [number + 0.5] * 4 if outputs else None
    action = Action("motor_limits", (number + 0.25, number + 0.75)) if outputs else None
    decision = replace_decision(HELLO, reading, action, made, urgent)
    block(Chunk(reading.t_ns, b"x"), [(reading, decision)], 0 if sent and outputs else -1)


def replace_decision(
    decision: Decision, reading: Reading, action: Action | None, outputs: list[float] | None, urgent: bool
) -> Decision:
    return decision._replace(reading=reading, action=action, outputs=outputs, urgent=urgent)


def hello(block: Block) -> None:
    event: Event = Hello(1, "cart", "1", 1, DICTIONARY)
    block(Chunk(1, b"x", "opened"), [], -1)
    block(Chunk(1, b"x"), [(event, HELLO)], -1)


def test_rows_are_what_came_of_each_reading(block: Block, tmp_path: Path):
    """Values, outputs, action, latency and flags by the schema's names; NaN where nothing was made."""
    hello(block)
    told(block, 1)
    told(block, 2, outputs=False)
    told(block, 3, sent=False)
    told(block, 4, urgent=True)
    with BlockReader(tmp_path) as reader:
        end, lost, rows = reader.rows(0)
        assert (end, lost) == (4, 0)
        assert [one["name"] for one in reader.schema["readings"]] == [f.name for f in DICTIONARY["imu_wheels"].fields]
        assert [one["name"] for one in reader.schema["outputs"]] == [c.name for c in small_robot.OUTPUTS]
        assert [one["unit"] for one in reader.schema["actions"]] == ["N m", "N m"]
    assert rows["t_ns"].tolist() == [1001, 2001, 3001, 4001]
    assert rows["readings"].tolist() == [[k] * FIELDS for k in (1, 2, 3, 4)]
    assert rows["outputs"][[0, 2]].tolist() == [[1.5] * 4, [3.5] * 4]
    assert np.isnan(rows["outputs"][1]).all()
    assert rows["actions"][0].tolist() == [1.25, 1.75]
    assert rows["latency_ns"].tolist() == [1234, -1, -1, 1234]
    assert [RowFlags.of(flags) for flags in rows["flags"].tolist()] == [
        (True, True, True, False),
        (False, True, False, False),
        (False, True, True, False),
        (True, True, True, True),
    ]


def test_what_was_overwritten_is_counted(block: Block, tmp_path: Path):
    """The latest are there, whole and in order, however often the ring has gone round."""
    hello(block)
    with BlockReader(tmp_path) as reader:
        after = 0
        for count in (10, 5000, 7, 20_000):
            first = after
            for number in range(first, first + count):
                told(block, number)
            after, lost, rows = reader.rows(first)
            assert after == first + count
            assert lost + len(rows) == count
            assert rows["number"].tolist() == list(range(after - len(rows), after))
            assert rows["readings"][:, 0].tolist() == rows["number"].tolist()
        assert len(rows) >= layout.RING_S * 200


def test_rows_are_whole_while_they_are_written(block: Block, tmp_path: Path):
    """A reader beside a writer that never rests: each row's numbers belong together."""
    hello(block)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            told(block, number)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with BlockReader(tmp_path) as reader:
            after = seen = 0
            while seen < 20_000:
                after, _, rows = reader.rows(after)
                seen += len(rows)
                assert (rows["readings"] == rows["number"][:, None]).all()
                assert (rows["outputs"] == rows["number"][:, None] + 0.5).all()
                assert (rows["t_ns"] == rows["number"] * 1000 + 1).all()
    finally:
        ended.set()
        thread.join()


def test_another_robot_brings_another_block(block: Block, tmp_path: Path):
    """What is left of the old one is read first; then names change with the generation, and numbers go on."""
    hello(block)
    told(block, 0)
    with BlockReader(tmp_path) as reader:
        begun = reader.generation
        wider = replace(DICTIONARY, device="other", json=b"")
        other = HELLO._replace(binding=replace(HELLO.binding, dictionary=wider))
        told(block, 1)
        block(Chunk(5000, b"x"), [(Hello(5000, "other", "1", 2, wider), other)], -1)
        reading = Reading(6001, "imu_wheels", 0, 0, (9.0,) * FIELDS)
        block(Chunk(6001, b"x"), [(reading, other._replace(reading=reading, outputs=[1.0] * 4))], -1)
        after, lost, rows = reader.rows(0)
        assert (after, lost, len(rows), reader.generation) == (2, 0, 2, begun)
        after, lost, rows = reader.rows(after)
        assert (after, lost, rows["number"].tolist()) == (3, 0, [2])
        assert reader.generation > begun
        assert reader.schema["device"] == "other"
        assert [event["event"] for event in reader.events(0)[2]] == ["hello", "hello"]


def test_events_are_kept_short_and_a_storm_of_them_is_bounded(block: Block, tmp_path: Path):
    """What is too long loses its longest parts; of one chunk so many are said that the loop does not feel it."""
    hello(block)
    long = Fault(10, "shape", bytes(5000), "ö" * 3000)
    block(Chunk(10, b"x"), [(long, None)] * 500, -1)
    with BlockReader(tmp_path) as reader:
        _, lost, events = reader.events(0)
        assert lost == 0
        assert 2 <= len(events) <= 20
        assert all(len(json.dumps(event)) < 4 * layout.EVENT_BYTES for event in events)
        assert events[-1]["event"] == "fault"


def test_a_status_is_whole_or_the_one_before(block: Block, tmp_path: Path):
    """Beside a writer that never rests; one that is too long loses parts, never its form."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            block.tell({"name": "cart", "counts": {"readings": number, "again": number}})
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with BlockReader(tmp_path) as reader:
            for _ in range(2000):
                counts = reader.status().counts
                assert not counts or counts["readings"] == counts["again"]
    finally:
        ended.set()
        thread.join()
    block.tell({"name": "cart", "notes": ["x" * 100] * 10_000})
    with BlockReader(tmp_path) as reader:
        assert reader.status().name == "cart"


def test_times_of_the_four_truths_are_the_loop_s(block: Block, tmp_path: Path):
    """A link that is lost, readings without outputs, an action: each has its own time."""
    block.tell({"fresh_ns": {"alive": 10**18, "readings": 10**18, "outputs": 10**18}})
    hello(block)
    told(block, 3)
    told(block, 5, outputs=False)
    block(Chunk(9000, b"why", "lost"), [], -1)
    with BlockReader(tmp_path) as reader:
        status = reader.status()
        assert (status.alive.t_ns, status.link.t_ns, status.readings.t_ns, status.outputs.t_ns) == (
            9000,
            9000,
            5001,
            3001,
        )
        assert not status.link.ok
        block.close()
        assert reader.ended
        assert not reader.status().lives
    with pytest.raises(DaemonError, match="no such status"):
        BlockReader(tmp_path)


@pytest.mark.parametrize("change", ["empty", "magic", "version", "sizes", "short", "negative"])
def test_what_is_no_block_is_refused(block: Block, tmp_path: Path, change: str):
    """Other bytes, another version, sizes that cannot be: one sentence, and nothing beyond the file is read."""
    hello(block)
    data = bytearray((tmp_path / "status").read_bytes())
    words = np.frombuffer(data, np.int64, 16)
    if change == "empty":
        data = bytearray()
    elif change == "magic":
        words[layout.Word.MAGIC] = 1
    elif change == "version":
        words[layout.Word.VERSION] = 99
    elif change == "sizes":
        words[layout.Word.ROWS] = 1 << 40
    elif change == "negative":
        words[layout.Word.READINGS] = -5
    else:
        data = bytearray(bytes(data)[:5000])
    (tmp_path / "copy").write_bytes(bytes(data))
    with pytest.raises(DaemonError):
        BlockReader(tmp_path / "copy")


def test_a_folder_that_was_made_since_is_no_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who looks while a run begins finds no folder, and a moment later opens it: a sentence, so that he looks again."""
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    with pytest.raises(DaemonError, match="is no file, so no status of a run"):
        BlockReader(tmp_path)


def test_a_file_system_without_room_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not a bus error in the middle of a run: the memory is taken when the block is made, or the old one stays."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    block = Block(tmp_path / "status", {})
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Block(tmp_path / "another", {})
    hello(block)
    told(block, 1)
    assert "No space" in block.failed
    with BlockReader(tmp_path) as reader:
        assert reader.status().alive.t_ns == 1001


@pytest.mark.parametrize(
    ("rate_hz", "words"), [(None, 20), (1.0, 20), (200.0, 20), (1000.0, 40), (1e6, 20), (1000.0, 9000)]
)
def test_the_ring_has_room_for_its_time_in_bounded_memory(rate_hz: float | None, words: int):
    """A power of two; twelve seconds, unless memory or sense forbids it."""
    count = slots(rate_hz, words)
    assert count & (count - 1) == 0
    assert count * words * 8 <= 2 * layout.MOST_BYTES
    if rate_hz in (200.0, 1000.0) and words < 100:
        assert count >= layout.RING_S * rate_hz
    sizes = Sizes(words - 5, 0, 0, count, 10)
    assert row_type(words - 5, 0, 0).itemsize == sizes.row_words * 8
