"""What arrives at a port: every usual way of talking is named as what it is, whatever the bytes are cut into."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.events import Reading
from firmware_bridge.links.dialects import LinkConfig
from firmware_bridge.links.lines.text import escaped, unescaped
from firmware_bridge.links.own.device import Device
from firmware_bridge.recognize.findings import Findings
from firmware_bridge.recognize.heard import KEPT_BYTES
from firmware_bridge.recognize.recognizer import Recognizer
from firmware_bridge.values import Chunk
from tests.support.robots.lagging import DATED
from tests.support.robots.talkers import BOOT, MS, TALKERS, Talker, chunks, mavlink

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

talkers = pytest.mark.parametrize("talker", TALKERS.values(), ids=TALKERS)


def listened(seen: Iterable[Chunk]) -> Findings:
    recognizer = Recognizer()
    for chunk in seen:
        recognizer.feed(chunk)
    return recognizer.findings()


def dirty(seen: list[Chunk], seed: int) -> list[Chunk]:
    """The same with 3 % of the chunks cut, glued, or with a flipped bit."""
    rng, made = random.Random(seed), list[Chunk]()
    for chunk in seen:
        data = bytearray(chunk.data)
        if chunk.link == "data" and rng.random() < 0.03 and data:
            place = rng.randrange(len(data))
            what = rng.randrange(3)
            if what == 0:
                del data[place:]
            elif what == 1:
                data[place] ^= 1 << rng.randrange(8)
            else:
                del data[:place]
        made.append(chunk._replace(data=bytes(data)))
    return made


@talkers
def test_every_way_of_talking_is_named(talker: Talker) -> None:
    """Kind, dialect, shape or head, separators, check, names and units, clock, counter and rate."""
    found = listened(chunks(talker))
    assert (found.kind, found.dialect) == (talker.kind, talker.dialect), found.sentence()
    assert found.recognized
    if not talker.fields:
        return
    reading = next(r for r in found.readings if [f.declared for f in r.fields] == list(talker.fields))
    assert {key: value for key, value in reading.keys if key in talker.keys} == talker.keys
    assert set(dict(reading.keys)) - set(talker.keys) <= {"pattern", "layout"}
    roles = {field.name: field.role for field in reading.fields if field.role not in ("value", "unused")}
    assert roles == talker.roles
    assert reading.rate_hz == pytest.approx(talker.rate_hz, rel=0.01)


@talkers
def test_damage_changes_nothing_of_it(talker: Talker) -> None:
    """Cut and glued messages and flipped bits, 3 % of them: the same kind, dialect and tables."""
    clean = listened(chunks(talker, 400))
    for seed in range(3):
        found = listened(dirty(chunks(talker, 400), seed))
        assert (found.kind, found.dialect) == (clean.kind, clean.dialect), (seed, found.sentence())
        assert found.readings[:1] or not clean.readings
        if clean.readings:
            assert [f.declared for f in found.readings[0].fields] == [f.declared for f in clean.readings[0].fields]
            assert found.readings[0].keys == clean.readings[0].keys


@talkers
def test_byte_by_byte_it_is_the_same(talker: Talker) -> None:
    """Any split of the same bytes with the same times gives the same findings."""
    seen = chunks(talker, 60)
    single = [
        chunk._replace(data=chunk.data[k : k + 1]) if chunk.link == "data" else chunk
        for chunk in seen
        for k in range(len(chunk.data) if chunk.link == "data" else 1)
    ]
    assert listened(single) == listened(seen)


@talkers
def test_the_findings_are_plain_values(talker: Talker) -> None:
    """JSON takes them; the block is TOML with the tables of a [link]; the sentence is one line."""
    found = listened(chunks(talker))
    again = json.loads(json.dumps(found.as_dict()))
    assert again["kind"] == talker.kind
    assert "\n" not in found.sentence()
    if talker.fields:
        link = tomllib.loads(found.link_block())["link"]
        assert link["dialect"] == talker.dialect
        assert list(talker.fields) in [reading["fields"] for reading in link["reading"].values()]


def test_our_own_protocol_is_named() -> None:
    """A board of ours that is idle says HELLO every second: that is enough."""
    device, seen = Device(DATED, 7), [Chunk(0, b"", "opened")]
    for ms in range(0, 2500, 10):
        device.tick(1000 * ms)
        seen.append(Chunk(ms * MS, device.outgoing()))
    found = listened(seen)
    assert (found.kind, found.dialect, found.link_block()) == ("own", "own", '[link]\ndialect = "own"\n')
    assert DATED.digest.hex() in found.sentence()


def test_several_frames_make_one_reading() -> None:
    """Frames of three kinds in turn, each with its check, are the parts of one reading, with names of their own."""
    found = listened(chunks(TALKERS["reading of three frames"]))
    (reading,) = found.readings
    assert [dict(part.keys)["head"] for part in reading.parts] == ["55 51", "55 52", "55 53"]
    assert [dict(part.keys)["checksum"] for part in reading.parts] == ["sum8"] * 3
    names = [field.name for part in reading.parts for field in part.fields]
    assert len(set(names)) == 12
    frames = tomllib.loads(found.link_block())["link"]["reading"]["sensors"]["frame"]
    assert [frame["layout"] for frame in frames] == ["<4h"] * 3


def test_mavlink_messages_are_named_with_their_rates() -> None:
    """System, component and version; a reading of a known message with units and clock; of an unknown one its number,
    from the checks alone."""
    found = listened(chunks(TALKERS["mavlink"]))
    assert dict(found.link) == {"system": 1, "component": 1}
    assert "MAVLink 2" in found.sentence()
    assert "ATTITUDE 100 Hz" in found.sentence()
    (attitude,) = found.readings
    assert attitude.keys == (("message", "ATTITUDE"),)
    assert [field.declared for field in attitude.fields][:2] == ["time_boot_ms ms", "roll rad"]
    assert attitude.of_role("time") == attitude.fields[0]
    strange = [Chunk(k * 10 * MS, mavlink(k, 4711, 99, bytes([k + 1]) * 9)) for k in range(100)]
    assert "MESSAGE_4711 100 Hz" in listened(strange).sentence()


def test_silence_of_a_network_port_is_no_matter_of_cables() -> None:
    """Nobody who waits for datagrams is told to look for power or for a servo bus."""
    for name, word in (("udp://:14540", "nobody sends to this port"), ("tcp://robot:5000", "another address")):
        recognizer = Recognizer(name=name)
        recognizer.feed(Chunk(0, b"", "opened"))
        sentence = recognizer.findings().sentence()
        assert word in sentence
        assert "power" not in sentence
        assert "servo" not in sentence


def test_silence_noise_and_a_boot_log_are_three_sentences() -> None:
    """Nothing at all; bytes of another baud rate; text without readings. None of them has a block to paste."""
    silent = listened([Chunk(0, b"", "opened"), Chunk(3000 * MS)])
    assert (silent.kind, silent.link_block()) == ("nothing", "")
    assert "3.0 s" in silent.sentence()
    assert "no power" in silent.sentence()
    rng = random.Random(1)
    noise = listened([Chunk(0, b"", "opened"), *(Chunk(k * 20 * MS, rng.randbytes(40)) for k in range(100))])
    assert (noise.kind, noise.recognized, noise.link_block()) == ("noise", False, "")
    assert "baud" in noise.sentence()
    log = b"start\r\nCalibrating ADC offsets...\r\nADC calibration done: Off_a=32677 Off_b=32904\r\n"
    boot = listened([Chunk(0, b"", "opened"), Chunk(500 * MS, log)])
    assert (boot.kind, boot.readings, boot.link_block()) == ("text", (), "")
    assert "Off_a=32677" in boot.sentence()


def test_frames_between_zeros_that_are_not_ours_are_said_to_be_none_of_ours() -> None:
    """COBS with another content."""
    seen = [Chunk(0, b"", "opened")]
    for k in range(100):
        body = bytes(1 + (7 * k + 31 * j * j) % 255 for j in range(12 + k % 3))
        seen.append(Chunk(k * 10 * MS, bytes([len(body) + 1]) + body + b"\0"))
    found = listened(seen)
    assert found.kind == "delimited"
    assert "COBS" in found.sentence()
    assert found.link_block() == ""


@pytest.mark.parametrize(
    ("text", "shape", "fields"),
    [
        ("4,9.81\r\n12.3,4.5,6.7\r\n12.4,-4.5,6.8\r\n12.5,4.5\r\n", "csv", ["a", "b", "c"]),
        ("3\nmillis,ax,ay\n1000,0.1,-0.2\n1010,0.2,-0.1\nmillis,ax,ay\n20,0.5,0.6\n", "csv", ["millis", "ax", "ay"]),
        ("52\r\n#YPR=-142.28,-5.38,33.52\r\n#YPR=-142.30,-5.40,33.50\r\n", "csv", ["y", "p", "r"]),
        ("7\r\nset:100.0,is:97.5\r\nis:98.0,set:100.0\r\nset:100.0\r\n", "pairs", ["set", "is"]),
        ("ll:1\n>pitch:2.5\n>roll:1.5\n>pitch:2.6\n>note:armed|t\n>roll:1.6\n", "teleplot", ["roll", "pitch"]),
        ('2}\n{"T":1,"L":0.1,"v":12.1}\n{"T":4,"ok":1}\n{"T":1,"L":0.3,"v":12.0}\n{"T":1,"L"\n', "json", ["L", "v"]),
        ("0A\r\n$PIMU,1.5,2.5*02\r\n$PIMU,1.5,2.6*02\r\n", "csv", ["a", "b"]),
    ],
)
def test_a_few_lines_are_enough(text: str, shape: str, fields: list[str]) -> None:
    """The shortest streams that a person could name, with a cut first line, damage and other lines in them."""
    seen = [Chunk((k + 1) * 10 * MS, line.encode()) for k, line in enumerate(text.splitlines(keepends=True))]
    reading = listened([Chunk(0, b"", "opened"), *seen]).readings[0]
    assert dict(reading.keys)["shape"] == shape
    assert [field.declared for field in reading.fields] == fields


def test_a_port_that_is_opened_again_begins_afresh() -> None:
    """Another board may be behind it: what came before is forgotten."""
    second = chunks(TALKERS["pairs"], start_ns=2 * 10**18)
    assert listened([*chunks(TALKERS["csv"]), *second]) == listened(second)


def test_memory_is_bounded() -> None:
    """However much comes, in chunks of one byte too: later bytes are counted, not kept."""
    recognizer = Recognizer(1000)
    recognizer.feed(Chunk(0, b"", "opened"))
    for k in range(5000):
        recognizer.feed(Chunk(k, b"7"))
    heard = recognizer._heard
    assert (heard.count, len(heard.data), len(heard._times)) == (5000, 1000, 1000)
    assert KEPT_BYTES <= 1 << 17


@given(st.lists(st.binary(max_size=300), max_size=30), st.sampled_from(["", *TALKERS]))
def test_whatever_arrives_raises_nothing(parts: list[bytes], name: str) -> None:
    """Random bytes, with and without a robot between them: findings, a sentence, JSON, and a block that parses."""
    seen = [Chunk(k * 7 * MS, part) for k, part in enumerate(parts)]
    if name:
        seen = [chunk for pair in zip(chunks(TALKERS[name], len(seen)), seen, strict=False) for chunk in pair]
    check(listened(seen))


@given(st.text(alphabet='0123456789.,;:=-+eE<>{}[]"$*# \t\r\nabTnrx\\%§|°_', max_size=400))
def test_whatever_is_printed_raises_nothing(text: str) -> None:
    """The same for lines of what numbers are made of, twice, so that lines are alike."""
    check(listened([Chunk(0, BOOT), *(Chunk(k * 5 * MS, text.encode() + b"\n") for k in range(8))]))


@pytest.mark.parametrize("line", ["\\r {}", "\\n {},{}", "{},{} \\t", "a\\\\b: {}, {}"])
def test_backslashes_that_a_robot_prints_are_said_so_that_they_are_meant(line: str) -> None:
    """What single quotes of TOML leave as two letters is a line end elsewhere: the proposed block hears the robot."""
    seen = [Chunk(k * 10 * MS, f"{line.format(k + 0.5, k * 2.25)}\n".encode()) for k in range(40)]
    found = listened(seen)
    link = LinkConfig(tomllib.loads(found.link_block())["link"], "robot.toml", Path()).open()
    heard = [event for chunk in seen for event in link.receive(chunk) if isinstance(event, Reading)]
    assert len(heard) >= 39
    assert not link.counters.faults


@given(st.text(alphabet="\\\\nrtx\n\t"))
def test_any_text_can_be_said(text: str) -> None:
    """Whatever letters it holds: what `escaped` writes is read as it was."""
    assert unescaped(escaped(text)) == text


def check(found: Findings) -> None:
    """JSON takes it, its sentence is one line, and its block is a link once what cannot be heard is filled in."""
    json.dumps(found.as_dict())
    assert "\n" not in found.sentence()
    tree = tomllib.loads(found.link_block().replace("# bitrate", "bitrate"))
    if tree:
        LinkConfig(tree["link"], "robot.toml", Path()).open()
