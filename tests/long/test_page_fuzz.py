"""`edge-lstm serve` beside a real run, fuzzed for ten minutes: the page's server and the door of Foxglove's websocket.
Whatever comes, the robot is answered, nothing is commanded without the token, and who asks rightly is served."""

from __future__ import annotations

import json
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` has it")
pytest.importorskip("foxglove", reason="the extra `foxglove` has it")

from firmware_bridge.recordings.reader import open_recording
from tests.cli.test_live import until
from tests.long.test_control_fuzz import kib
from tests.long.test_serve import command, get, readings, running, serving
from tests.support.free_port import free_port

pytestmark = pytest.mark.long
SECONDS = 600
CLIENTS = 6
MOST_KIB = 60_000  # that serve may grow by: a thread for each who holds a place, and what waits for slow readers
PATHS = (b"/", b"/command", b"/swap?file=a.npz", b"/live", b"/metrics", b"/status.json", b"/../x", b"//", b"/page.js")
HEADS = (
    *(b"Host: 127.0.0.1", b"Host: 127.0.0.1", b"Host: evil", b"Origin: null", b"Origin: https://app.foxglove.dev"),
    *(b"Authorization: Bearer x", b"Authorization: Bearer", b"Content-Type: application/json", b":", b"x" * 9000),
    *(b"Content-Length: 2", b"Content-Length: 99999999999", b"Content-Length: -1", b"Transfer-Encoding: chunked"),
    *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-Fetch-Site: cross-site"),
)
HANDSHAKE = b"\r\n".join(
    (
        *(b"GET / HTTP/1.1", b"Host: 127.0.0.1", b"Connection: Upgrade", b"Upgrade: websocket"),
        *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        *(b"Sec-WebSocket-Protocol: foxglove.sdk.v1", b"", b""),
    )
)
WORDS = (
    b'{"op":"subscribe","subscriptions":[{"id":1,"channelId":1},{"id":2,"channelId":2}]}',
    b'{"op":"unsubscribe","subscriptionIds":[1]}',
    b'{"op":"advertise","channels":[{"id":1,"topic":"/actions/motor_limits","encoding":"json","schemaName":""}]}',
    b'{"op":"setParameters","parameters":[{"name":"a","value":1}]}',
)


def damaged(random_: random.Random, data: bytes) -> bytes:
    """Some of it cut, doubled, flipped, or noise put in."""
    made = bytearray(data)
    for _ in range(random_.randrange(4)):
        at, kind = random_.randrange(len(made) + 1), random_.randrange(4)
        if kind == 0:
            del made[at : at + random_.randrange(9)]
        elif kind == 1:
            made[at:at] = random_.randbytes(random_.randrange(9))
        elif kind == 2 and at < len(made):
            made[at] ^= 1 << random_.randrange(8)
        else:
            made[at:at] = random_.choice((b"\r\n", b"\0", b" " * 300, b"%00", b"\xff", made[:at]))
    return bytes(made)


def request(random_: random.Random) -> bytes:
    """As no browser makes it."""
    method = random_.choice((b"GET", b"GET", b"POST", b"HEAD", b"PUT", b""))
    lines = [b" ".join((method, random_.choice(PATHS), b"HTTP/1.1")), *random_.choices(HEADS, k=random_.randrange(7))]
    return damaged(random_, b"\r\n".join(lines) + b'\r\n\r\n{"do": "stop"}')


def frame(random_: random.Random) -> bytes:
    """A websocket's frame, masked as a client's is, mostly."""
    word = damaged(random_, random_.choice(WORDS))
    first = random_.choice((0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0xF3))
    if random_.random() < 0.1:
        return random_.randbytes(random_.randrange(400))
    head = struct.pack(">BBH", first, 0x80 | 126, len(word))
    return head + bytes(4) + word  # a mask of zeros leaves it as it is


def fuzz(ports: tuple[int, int], seed: int, until_s: float, done: Counter[str]) -> None:
    """One who knocks at the page and at the websocket, talks, drips, hangs up in the middle, and does not read."""
    random_ = random.Random(seed)
    while time.monotonic() < until_s:
        web = random_.random() < 0.7
        try:
            with socket.create_connection(("127.0.0.1", ports[not web]), 2.0) as one:
                one.settimeout(random_.choice((0.01, 0.2, 1.0)))
                if web:
                    data = request(random_) if random_.random() < 0.9 else random_.randbytes(random_.randrange(20_000))
                    for part in (data,) if random_.random() < 0.9 else (data[k : k + 1] for k in range(40)):
                        one.sendall(part)
                else:
                    one.sendall(damaged(random_, HANDSHAKE) if random_.random() < 0.3 else HANDSHAKE)
                    for _ in range(random_.randrange(20)):
                        one.sendall(frame(random_))
                done["page" if web else "websocket"] += 1
                if random_.random() < 0.3:
                    one.shutdown(socket.SHUT_WR)
                while random_.random() < 0.8 and (answer := one.recv(65536)):
                    done["answers"] += 1
                    if not web:
                        continue
                    if b'\r\n\r\n{"ok": true' in answer:  # of a command
                        done["obeyed"] += 1
        except OSError:
            time.sleep(0.002)


def test_whatever_comes_serve_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: Callable[[float], int], request: pytest.FixtureRequest
) -> None:
    """0 readings lost at 200 Hz; no command obeyed but those with the token, which all are in the recording; status and
    metrics are served all along; memory and threads are bounded, and come back."""
    seconds, first = volume(SECONDS), request.config.getoption("--first-seed")
    done: Counter[str] = Counter()
    foxglove = free_port()
    with running(tmp_path, monkeypatch) as run, serving("--foxglove", str(foxglove)) as (serve, address, token):
        port = int(re.search(r":(\d+)/", address)[1])

        def threads() -> int:
            return len(list(Path(f"/proc/{serve.pid}/task").iterdir()))

        def more_than(count: int) -> Callable[[], bool]:
            return lambda: readings(address) > count

        until(more_than(100))
        before, threads_before = kib(serve.pid), threads()
        until_s = time.monotonic() + seconds
        seeds = range(first * 1000, first * 1000 + CLIENTS)
        clients = [
            threading.Thread(target=fuzz, args=((port, foxglove), seed, until_s, done), daemon=True) for seed in seeds
        ]
        for client in clients:
            client.start()
        marks = seen = 0
        memory = [before]
        while time.monotonic() < until_s:
            assert command(address, token, {"do": "mark", "text": f"right {marks}"})["ok"]
            marks += 1
            assert json.loads(get(f"{address}status.json"))["verdict"]["link"] is True
            until(more_than(seen))  # what is served is of the latest second, so it grows soon and not at each look
            seen = readings(address)
            memory.append(kib(serve.pid))
            assert memory[-1] - before < MOST_KIB
            time.sleep(0.5)
        for client in clients:
            client.join(30)
        until(lambda: threads() <= threads_before + 2)
        memory.append(kib(serve.pid))
        assert (serve.poll(), run.poll()) == (None, None)
        assert command(address, token, {"do": "stop"})["ok"]
        assert run.wait(30) == 0
    print(f"{dict(done)}, {marks} marks, KiB at each tenth: {memory[:: max(1, len(memory) // 10)]}")
    assert not done["obeyed"]
    assert min(done["page"], done["websocket"]) > seconds
    recording = open_recording("drive.mcap")
    numbers = [tree["_seq"] for _, tree in recording.values("/readings/imu_wheels")]
    assert {(after - before) & 0xFFFF for before, after in pairwise(numbers)} == {1}
    said = [str(tree) for _, tree in recording.values("/link")]
    assert sum("right " in one for one in said) == marks
