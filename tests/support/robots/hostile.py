"""Devices whose every frame is intact and whose every word may be a lie, in one table.

Its rule: a device is a function of the board's time and of what the host sent, to what it puts on the line, once a
turn. It is made anew for each use, and draws from a generator seeded by its own name.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.links.own import bodies, framing
from firmware_bridge.links.own.device import Device
from firmware_bridge.links.own.framing import Deframer, Frame

Hostile = Callable[[int, bytes], bytes]  # the board's µs, bytes from the host → bytes to the host

RIGHT = Dictionary(
    (
        Format("w", 1, "reading", (Field("x", "f32", "m"), Field("other", "f32", "m")), 100.0),
        Format("t", 2, "action", (Field("left", "f32", "N m", minimum=0.0, maximum=2.0, safe=0.0),)),
    ),
    "cart",
    "1.0",
)
TREE: dict[str, Any] = json.loads(RIGHT.json)
BOOT = 0xBAD


def frame(kind: int, body: bytes, *, us: int = 0, check: int = 0, stream: int = 0, seq: int = 0) -> bytes:
    return framing.encode(Frame(kind, stream, seq & 0xFFFF, us & 0xFFFFFFFF, check & 0xFFFF, body))


class Liar:
    """Answers as a device does, with a dictionary that nobody has checked; once started it sends a reading a turn."""

    def __init__(self, text: bytes, blob: bytes | None = None, payload: bytes = bytes(8), **lies: Any) -> None:
        self.blob = zlib.compress(text, 9) if blob is None else blob
        self.digest: bytes = lies.get("digest") or hashlib.sha256(text).digest()[:8]
        self.size: int = lies.get("size", len(self.blob)) & 0xFFFF
        self.boot: int = lies.get("boot", BOOT)
        self.payload = payload
        self.running, self.count = False, 0
        self.frames = Deframer()

    @property
    def check(self) -> int:
        return self.digest[0] | self.digest[1] << 8

    def hello(self, us: int) -> bytes:
        body = bodies.HELLO.pack(self.boot, self.digest, self.size, int(self.running))
        return b"\0" + frame(framing.HELLO, body, us=us, check=self.check)

    def block(self, offset: int, us: int) -> bytes:
        body = bodies.BLOCK.pack(offset, self.size) + self.blob[offset : offset + 200]
        return frame(framing.DICTIONARY, body, us=us, check=self.check)

    def __call__(self, us: int, data: bytes) -> bytes:
        out = b""
        for item in self.frames.feed(data):
            if not isinstance(item, Frame):
                continue
            if item.type == framing.HELLO_REQUEST:
                out += self.hello(us)
            elif item.type == framing.DICTIONARY_REQUEST:
                (offset,) = bodies.BLOCK_REQUEST.unpack(item.payload)
                out += b"".join(self.block(at, us) for at in range(offset, min(offset + 3800, len(self.blob)), 200))
            elif item.type == framing.START:
                self.running = True
                status = bodies.STATUS.pack(1, self.boot, *(2**32 - 1,) * 7)
                out += frame(framing.STATUS, status, us=us, check=self.check)
        if self.running:
            out += frame(framing.READING, self.payload, us=us, check=self.check, stream=1, seq=self.count)
            self.count += 1
        elif us % 200_000 == 0:
            out += self.hello(us)
        return out


class Forger:
    """A right device, each of whose frames is forged on its way out: forge(number of the frame, frame) → frames."""

    def __init__(self, forge: Callable[[int, Frame], list[Frame]], boot: int = BOOT) -> None:
        self.device, self.forge, self.count = Device(RIGHT, boot), forge, 0
        self.frames = Deframer()

    def __call__(self, us: int, data: bytes) -> bytes:
        self.device.receive(us, data)
        self.device.tick(us)
        out = b"\0"
        for item in self.frames.feed(b"\0" + self.device.outgoing() + self.device.reading(us, "w", (0.5, 0.0))):
            assert isinstance(item, Frame)
            out += b"".join(framing.encode(made) for made in self.forge(self.count, item))
            self.count += 1
        return out


def text_of(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def changed(path: str, value: Any) -> Callable[[], Hostile]:
    """The right dictionary with one value in another's place; path: "device", "reading.rate_hz", "action.0.safe"."""

    def make() -> Hostile:
        tree = json.loads(RIGHT.json)
        *steps, last = path.split(".")
        at = tree
        for step in steps:
            at = at["fields"][int(step)] if step.isdigit() else tree["formats"][("reading", "action").index(step)]
        at[last] = "@"
        text = json.dumps(tree).encode()
        return Liar(text.replace(b'"@"', value if isinstance(value, bytes) else json.dumps(value).encode()))

    return make


NUMBERS = {
    "1.7e308": b"1.7e308", "-1.7e308": b"-1.7e308", "5e-324": b"5e-324", "infinite": b"1e400", "nan": b"NaN",
    "400 digits": b"1" + b"0" * 400, "4000 digits": b"-" + b"9" * 4000, "5000 digits": b"9" * 5000,
    "true": b"true", "null": b"null", "a text": b'"1"', "-0": b"-0.0",
}  # fmt: skip
TEXTS = {
    "escape": "\x1b]52;c;b3duZWQ=\x07", "bidi": "\u202egpj", "newline": "a\nb", "half a pair": "\ud800", "empty": "",
    "200,000 letters": "n" * 200_000, "C1": "\x9b2J", "no text": 3,
}  # fmt: skip


def fields(count: int, letters: str = "n") -> list[dict[str, str]]:
    return [{"name": f"{letters}{n}", "type": "u8", "unit": ""} for n in range(count)]


def formats(count: int, each: int) -> bytes:
    many = [{"name": f"f{n}", "id": n + 1, "direction": "reading", "fields": fields(each)} for n in range(count)]
    return text_of({"device": "d", "version": "1", "formats": many})


def numbers() -> dict[str, Callable[[], Hostile]]:
    where = ("reading.rate_hz", "reading.0.scale", "reading.0.offset", "action.0.minimum", "action.0.maximum")
    made = {f"{path} {name}": changed(path, value) for path in where for name, value in NUMBERS.items()}
    for path in ("protocol", "action.max_age_ms"):
        made |= {f"{path} {name}": changed(path, NUMBERS[name]) for name in ("400 digits", "true", "a text", "1.7e308")}
    for path in ("reading.id", "action.0.safe", "action.rate_hz", "action.0.scale"):
        made |= {f"{path} {name}": changed(path, NUMBERS[name]) for name in ("1.7e308", "5e-324", "400 digits")}
    return made


def texts() -> dict[str, Callable[[], Hostile]]:
    where = ("device", "version", "reading.name", "reading.0.name", "reading.0.unit", "reading.0.type")
    return {f"{path} {name}": changed(path, value) for path in where for name, value in TEXTS.items()}


def sizes() -> dict[str, Callable[[], Hostile]]:
    one = {"device": "d", "version": "1"}
    many = {n: text_of(one | {"formats": [TREE["formats"][0] | {"fields": fields(n)}]}) for n in (243, 7000, 23_000)}
    bomb = zlib.compress(b" " * (1 << 26), 9)
    twins = text_of(one | {"formats": [TREE["formats"][0] | {"fields": fields(1) * 1000}]})
    return {
        **{f"{n} fields": lambda n=n: Liar(many[n]) for n in many},  # type: ignore[misc]
        "65,535 fields": lambda: Liar(text_of(one | {"formats": [TREE["formats"][0] | {"fields": fields(65_535)}]})),
        "1024 fields": lambda: Liar(formats(8, 128)),
        "255 formats of 4 fields": lambda: Liar(formats(255, 4)),
        "255 formats of 5 fields": lambda: Liar(formats(255, 5)),
        "300 formats": lambda: Liar(formats(300, 1)),
        "a field 1000 times": lambda: Liar(twins),
        "a deep list": lambda: Liar(b"[" * 100_000),
        "a list as deep as it may be": lambda: Liar(b'{"device":' + b"[" * 900 + b"]" * 900 + b"}"),
        "80,000 objects": lambda: Liar(b"[" + b"{}," * 80_000 + b"{}]"),
        "a key 20,000 times": lambda: Liar(b"{" + b'"a":1,' * 20_000 + b'"a":1}'),
        "a bomb": lambda: Liar(b"", bomb[:65_000]),
        "no zlib": lambda: Liar(RIGHT.json, b"garbage" * 50),
        "an empty dictionary": lambda: Liar(b"", b""),
        "another length": lambda: Liar(RIGHT.json, size=17),
        "another digest": lambda: Liar(RIGHT.json, digest=bytes(8)),
        "boot id 0": lambda: Liar(RIGHT.json, boot=0),
    }  # fmt: skip


class Changing(Liar):
    """Another dictionary, or another boot, with every HELLO."""

    def __init__(self, digests: bool, boots: bool, storm: int = 1) -> None:
        super().__init__(RIGHT.json)
        self.digests, self.boots, self.storm, self.made = digests, boots, storm, 0

    def hello(self, us: int) -> bytes:
        out = b""
        for _ in range(self.storm):
            self.made += 1
            if self.digests:
                text = RIGHT.json.replace(b'"1.0"', b'"1.%d"' % self.made)
                self.blob, self.digest = zlib.compress(text), hashlib.sha256(text).digest()[:8]
                self.size = len(self.blob)
            if self.boots:
                self.boot += 1
            out += super().hello(us)
        return out


class Storm(Liar):
    """Whole handshakes with a new dictionary each, unasked, as many as a turn's line carries."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text, self.made = text, 0

    def __call__(self, us: int, data: bytes) -> bytes:
        out = b""
        while len(out) < 4000:
            self.made += 1
            text = self.text.replace(b'"1"', b'"1.%d"' % self.made, 1)
            self.blob, self.digest = zlib.compress(text, 1), hashlib.sha256(text).digest()[:8]
            self.size = len(self.blob)
            out += self.hello(us) + b"".join(self.block(at, us) for at in range(0, len(self.blob), 200))
        return out


class Flapping(Liar):
    """Two firmwares that are both known, by turns in each chunk, a hundred times."""

    def __init__(self) -> None:
        super().__init__(RIGHT.json)
        self.others = [Liar(RIGHT.json.replace(b'"1.0"', b'"1.%d"' % n)) for n in range(2)]

    def __call__(self, us: int, data: bytes) -> bytes:
        if us % 3_000_000 < 1_300_000:  # each for a while, so that it is known
            return self.others[us % 3_000_000 > 600_000](us, data)
        return b"".join(other.hello(us) for other in self.others) * 100


def forged(**how: Callable[[int, Frame], Any]) -> Callable[[], Hostile]:
    """Readings with parts of their frame replaced: forged(time_us=lambda n, item: …)."""

    def make() -> Hostile:
        def forge(n: int, item: Frame) -> list[Frame]:
            if item.type != framing.READING:
                return [item]
            return [item._replace(**{key: value(n, item) for key, value in how.items()})]

        return Forger(forge)

    return make


def every(turns: int, value: int, otherwise: Callable[[Frame], int]) -> Callable[[int, Frame], int]:
    return lambda n, item: (otherwise(item) + (value if n % turns == turns - 1 else 0)) & 0xFFFFFFFF


def seq_of(item: Frame) -> int:
    return item.seq


def us_of(item: Frame) -> int:
    return item.time_us


HALF_AN_HOUR_US = 1_800_000_000


def readings() -> dict[str, Callable[[], Hostile]]:
    drawn = random.Random("forged readings")
    ends = struct.pack("<2f", 3.4e38, -3.4e38)
    ahead = lambda n, item: [item._replace(time_us=(item.time_us + n * 50_000_000) & 0xFFFFFFFF)]  # noqa: E731
    echo = Deframer()
    orders = bodies.STATUS_2.pack(bodies.FAULT, BOOT, *(2**32 - 1,) * 9) + b"\x1b]52;c;b3duZWQ=\x07\xff\xe2\x80\xae"
    f64 = json.loads(RIGHT.json)
    f64["formats"][0]["fields"][0] |= {"type": "f64", "scale": 1.7e308, "offset": -1.7e308}
    return {
        "one time 30 min ahead": forged(time_us=every(40, HALF_AN_HOUR_US, us_of)),
        "all times 30 min ahead": forged(time_us=lambda n, item: (item.time_us + HALF_AN_HOUR_US) & 0xFFFFFFFF),
        "times 30 min behind": forged(time_us=every(3, -HALF_AN_HOUR_US, us_of)),
        "times by chance": forged(time_us=lambda n, item: drawn.getrandbits(32)),
        "a clock that stands": forged(time_us=lambda n, item: 7),
        "a clock three times as quick": forged(time_us=lambda n, item: 3 * item.time_us & 0xFFFFFFFF),
        "a clock that runs back": forged(time_us=lambda n, item: -item.time_us & 0xFFFFFFFF),
        "every frame further ahead": lambda: Forger(ahead),
        "one number 20,000 ahead": forged(seq=lambda n, item: every(40, 20_000, seq_of)(n, item) & 0xFFFF),
        "one number 40,000 ahead": forged(seq=lambda n, item: every(40, 40_000, seq_of)(n, item) & 0xFFFF),
        "numbers by chance": forged(seq=lambda n, item: drawn.getrandbits(16)),
        "numbers that stand": forged(seq=lambda n, item: 9),
        "numbers that run back": forged(seq=lambda n, item: -item.seq & 0xFFFF),
        "numbers that run 1000 at a time": forged(seq=lambda n, item: item.seq * 1000 & 0xFFFF),
        "another check": forged(check=lambda n, item: item.check ^ 1),
        "other streams": forged(stream=lambda n, item: n & 255),
        "other types": forged(type=lambda n, item: n & 15),
        "other lengths": forged(payload=lambda n, item: bytes(n % 243)),
        "NaN": forged(payload=lambda n, item: b"\xff" * 8),
        "the ends of float32": forged(payload=lambda n, item: ends),
        "the ends of float64": lambda: Liar(text_of(f64), payload=struct.pack("<df", 1.7e308, 1.0)),
        "each reading thirty times": lambda: Forger(lambda n, item: [item] * 30),
        "state 255": lambda: Forger(lambda n, item: [item._replace(payload=b"\xff" + item.payload[1:])]
                                    if item.type == framing.STATUS else [item]),
        "a fault with orders for a reason": lambda: Forger(lambda n, item: [item._replace(payload=orders)]
                                                           if item.type == framing.STATUS else [item]),
        "HELLO 30 min ahead": lambda: Forger(lambda n, item: [item._replace(time_us=HALF_AN_HOUR_US)]
                                             if item.type == framing.HELLO else [item]),
        "an echo": lambda: lambda us, data: b"\0" + b"".join(
            framing.encode(item) for item in echo.feed(data) if isinstance(item, Frame)),
    }  # fmt: skip


def storms() -> dict[str, Callable[[], Hostile]]:
    drawn = random.Random("storms")
    status = frame(framing.STATUS, bodies.STATUS.pack(1, 0xFEED, *(0,) * 7)) * 50
    return {
        "another dictionary with every HELLO": lambda: Changing(True, False),
        "another boot with every HELLO": lambda: Changing(False, True),
        "both": lambda: Changing(True, True),
        "250 boots at once": lambda: Changing(False, True, 250),
        "250 dictionaries at once": lambda: Changing(True, False, 250),
        "handshakes unasked": lambda: Storm(text_of({"device": "d", "version": "1", "formats": []})),
        "handshakes of 1024 fields unasked": lambda: Storm(formats(8, 128)),
        "two known firmwares by turns": Flapping,
        "STATUS of other boots": lambda: lambda us, data: status,
        "zeros": lambda: lambda us, data: bytes(8000),
        "ones": lambda: lambda us, data: b"\1" * 8000,
        "short frames": lambda: lambda us, data: b"\1\0" * 2000 * (us % 200_000 == 0),
        "bytes by chance": lambda: lambda us, data: drawn.randbytes(4000),
    }


DEVICES: dict[str, Callable[[], Hostile]] = numbers() | texts() | sizes() | readings() | storms()
OTHER = replace(RIGHT.formats[0], name="v")
DEVICES["another firmware for a moment"] = lambda: Liar(Dictionary((OTHER,), "lawnmower", "9").json)
