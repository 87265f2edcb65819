"""The control socket of a real run, fuzzed for ten minutes: whatever comes, the robot is answered, memory stays as it
is, and a request that is one is done."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lstm.daemon.client import Control
from tests.cli.test_live import EDGE_LSTM, until
from tests.daemon.conftest import runtime  # noqa: F401  a fixture
from tests.daemon.test_operated import running
from tests.support.commands import called

pytestmark = pytest.mark.long
SECONDS = 600
CLIENTS = 6
MOST_KIB = 40_000  # that the run may grow by, files on their way and the recorder's queue included
WORDS = (
    b'{"do":"status"}',
    b'{"do":"schema"}',
    b'{"do":"events","after":0}',
    b'{"do":"mark","text":"x"}',
    b'{"do":"state","what":"get"}',
    b'{"do":"state","what":"reset"}',
    b'{"do":"state","what":"set","state":{"lstm.h":[1]}}',
    b'{"do":"command","name":"motor_limits","values":{"torque_limit_left":0.5,"torque_limit_right":0.5}}',
    b'{"do":"swap","file":"x.npz","bytes":300,"undo_if":["slip_left > 0.5"]}',
    b'{"do":"shadow","bytes":20}',
    b'{"do":"swap","shadow":true}',
    b'{"do":"undo"}',
    b'{"do":"watch","every_ms":50}',
)


def mangled(random_: random.Random) -> bytes:
    """A request with some of it cut, doubled, flipped, or made of nothing but noise."""
    data = bytearray(random_.choice(WORDS))
    for _ in range(random_.randrange(4)):
        at = random_.randrange(len(data) + 1)
        kind = random_.randrange(5)
        if kind == 0:
            del data[at : at + random_.randrange(8)]
        elif kind == 1:
            data[at:at] = random_.randbytes(random_.randrange(8))
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << random_.randrange(8)
        elif kind == 3:
            data[at:at] = data[:at]
        else:
            data[at:at] = random_.choice((b"\n", b"[" * 3000, b"9" * 5000, b"\\ud800", b"NaN", b"1e999", b"\x00", b"}"))
    return bytes(data)


def fuzz(path: Path, seed: int, until_s: float, sent: list[int]) -> None:
    """One who knocks, talks, hangs up in the middle, and does not read."""
    random_ = random.Random(seed)
    while time.monotonic() < until_s:
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(random_.choice((0.01, 0.2, 2.0)))
                one.connect(str(path))
                for _ in range(random_.randrange(1, 30)):
                    data = mangled(random_) if random_.random() < 0.9 else random_.randbytes(random_.randrange(70_000))
                    one.sendall(data + random_.choice((b"\n", b"\n", b"", random_.randbytes(400))))
                    sent[0] += 1
                    if random_.random() < 0.7:
                        one.recv(65536)
        except OSError:
            time.sleep(0.002)


def kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_whatever_comes_the_robot_is_answered(
    tmp_path: Path,
    runtime: Path,  # noqa: F811
    volume: Callable[[float], int],
    request: pytest.FixtureRequest,
) -> None:
    """0 readings lost at 200 Hz, memory bounded, the socket serves who asks rightly all along, and the replay of it
    all, requests included, has the same bits."""
    seconds, first = volume(SECONDS), request.config.getoption("--first-seed")
    sent = [0]
    with running(tmp_path, runtime) as run:
        before = kib(run.process.pid)
        until_s = time.monotonic() + seconds
        path = run.place / "control.sock"
        seeds = range(first * 1000, first * 1000 + CLIENTS)
        clients = [threading.Thread(target=fuzz, args=(path, seed, until_s, sent), daemon=True) for seed in seeds]
        for client in clients:
            client.start()
        asked = 0
        while time.monotonic() < until_s:
            with Control(run.place, 30) as control:
                assert control.ask({"do": "mark", "text": "right"})["ok"]
            asked += 1
            time.sleep(0.5)
        for client in clients:
            client.join(30)
        time.sleep(1)
        after = kib(run.process.pid)
        until(lambda: called("status", "--json").returncode == 0)
        assert called("stop", "--wait", "60").returncode == 0
        summary = run.summary()
    print(f"{sent[0]} requests, {asked} right ones, {before} → {after} KiB, {json.dumps(summary['control'])[:400]}")
    assert summary["lost"] == 0
    assert after - before < MOST_KIB
    assert sent[0] > seconds
    words = ["replay", str(tmp_path / "run.mcap"), "--verify", "--json"]
    done = subprocess.run([*EDGE_LSTM, *words], capture_output=True, text=True, timeout=1200, check=False)
    assert (done.returncode, json.loads(done.stdout)["comparison"]["differing_bits"]) == (0, 0)


def test_watchers_that_come_and_go(
    tmp_path: Path,
    runtime: Path,  # noqa: F811
    volume: Callable[[float], int],
) -> None:
    """Of the mapped block, in processes of their own: the run does not know of them."""
    with running(tmp_path, runtime) as run:
        for _ in range(volume(50)):
            command = [*EDGE_LSTM, "watch", "--seconds", "0.1"]
            watchers = [
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)
            ]
            watchers[0].kill()
            assert [one.wait(60) for one in watchers][1:] == [0, 0, 0]
        assert called("stop").returncode == 0
        assert run.summary()["lost"] == 0
