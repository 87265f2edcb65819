"""`edge-lstm serve` and `replay --foxglove` as processes beside a real run of a simulated robot: what they show is what
the recording has, and their death costs the run nothing."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="the extra `metrics` has it")

from edge_lstm.core.storage import save
from edge_lstm.serve.web_server import Answer, Site, WebServer
from firmware_bridge.recordings.reader import open_recording
from tests.cli.test_live import grown, simulated, until
from tests.daemon.test_controlled import other
from tests.support.browser import CHROMIUM, WHY_NOT, browser
from tests.support.foxglove_client import PROTOCOL, Viewer
from tests.support.free_port import free_port
from tests.support.written_run import WrittenRun

pytestmark = pytest.mark.long
EDGE_LSTM = [sys.executable, "-m", "edge_lstm"]
EXAMPLES = Path(__file__).parents[2] / "edge_lstm" / "examples"
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def running(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *simulate: str, more: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A run `cart` of the example's robot, recorded in drive.mcap; ended in good order. more: of its robot.toml."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.chdir(folder)
    shutil.copy(EXAMPLES / "slip_stall.npz", folder)
    config = (EXAMPLES / "robot.toml").read_text().replace("/tmp/robot", str(folder / "port"))
    (folder / "cart.toml").write_text(config.replace("[model]\n", "[model]\nany_rate = true\n") + more)
    with simulated(folder / "port", *simulate):
        command = [*EDGE_LSTM, "run", "cart.toml", "--record", "drive.mcap"]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until((folder / "edge-lstm" / "cart" / "status").exists)
            yield run
        finally:
            run.terminate()
            run.wait(60)


@contextmanager
def serving(*more: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """(process, address, token) of `serve cart`."""
    process = subprocess.Popen([*EDGE_LSTM, "serve", "cart", "--port", "0", *more], stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline()]
        while "#" not in lines[-1] and not lines[-1].startswith("cart:"):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        found = re.fullmatch(r"cart: (http://[^#]*)(?:#token=(.*))?\n", lines[-1])
        yield process, found[1], found[2]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def get(address: str) -> bytes:
    with OPEN.open(address, timeout=60) as answer:
        return bytes(answer.read())


def command(address: str, token: str, tree: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}command", json.dumps(tree).encode(), headers)
    with OPEN.open(request, timeout=60) as answer:
        return dict(json.load(answer))


def readings(address: str) -> int:
    found = re.search(rb'edge_lstm_readings_total\{run="cart"\} ([0-9.e+]+)', get(f"{address}metrics"))
    return int(float(found[1])) if found else 0


def test_a_run_is_served_and_operated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page, status and metrics of a real run; a mark and a reset through the page's commands; serve is killed and
    started again in the middle, and no reading of the recording is missing; a stop ends the run in good order."""
    with running(tmp_path, monkeypatch) as run:
        with serving() as (_process, address, token):
            until(lambda: readings(address) > 100)
            assert b"<title>edge-lstm</title>" in get(address)
            verdict = json.loads(get(f"{address}status.json"))["verdict"]
            assert verdict["link"] is True
            assert command(address, token, {"do": "mark", "text": "here"})["ok"]
            with pytest.raises(urllib.error.HTTPError, match="401"):
                command(address, "x" * 22, {"do": "stop"})
            before = readings(address)
        with serving("--no-commands") as (process, address, token):
            assert token is None
            until(lambda: readings(address) > before)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        with serving() as (_process, address, token):
            assert command(address, token, {"do": "stop"})["ok"]
            assert run.wait(60) == 0
            until(lambda: json.loads(get(f"{address}status.json"))["verdict"]["title"] == "No run")
    numbers = [tree["_seq"] for _, tree in open_recording("drive.mcap").values("/readings/imu_wheels")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) > 100


def test_serve_may_be_there_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a run that is named, and shows it when it begins."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with serving() as (_process, address, _token):
        assert json.loads(get(f"{address}status.json"))["verdict"]["title"] == "No run"
        run = WrittenRun(tmp_path / "edge-lstm")
        run.opened()
        run.row((1, 2, 3), (1, 2), (1, 2))
        run.tell()
        until(lambda: json.loads(get(f"{address}status.json"))["verdict"]["level"] != "bad")
        run.close()


def test_replay_for_foxglove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`replay --foxglove` plays a recording until Ctrl-C; what does not go with it is refused."""
    pytest.importorskip("foxglove", reason="the extra `foxglove` has it")
    with running(tmp_path, monkeypatch):
        until(grown(tmp_path / "drive.mcap", 300_000))
    words = [*EDGE_LSTM, "replay", "drive.mcap", "--foxglove", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    port = int(re.search(r"ws://127.0.0.1:(\d+)", process.stdout.readline())[1])
    viewer = Viewer(port)
    viewer.until(lambda: any(one["topic"] == "/outputs" for one in viewer.channels.values()))
    viewer.settle()
    first = viewer.info["dataStartTime"]
    viewer.control(play=True, seek_ns=first["sec"] * 10**9 + first["nsec"])  # it began before anybody looked
    viewer.until(lambda: len(viewer.on("/outputs")) > 20)
    viewer.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()
    done = subprocess.run([*words, "--verify"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "--foxglove" in done.stderr) == (2, True)


def test_its_death_costs_the_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: Callable[[float], int]
) -> None:
    """At 1 kHz serve is killed a hundred times, each time while a page is open: 0 readings are lost, and each next one
    shows the run at once."""
    times = volume(100)
    with running(tmp_path, monkeypatch, "--rate", "1000"):
        until(grown(tmp_path / "drive.mcap", 300_000))  # the robot has been heard
        for _ in range(times):
            with serving() as (process, address, _token), OPEN.open(f"{address}live", timeout=60) as live:
                while b"event: status" not in live.readline():
                    pass
                process.kill()
        until(grown(tmp_path / "drive.mcap", (tmp_path / "drive.mcap").stat().st_size + 100_000))
    numbers = [tree["_seq"] for _, tree in open_recording("drive.mcap").values("/readings/imu_wheels")]
    steps = [(b - a) % (1 << 16) for a, b in pairwise(numbers)]
    print(f"killed {times} times, {len(numbers)} readings, {sum(steps) - len(steps)} lost")
    assert len(numbers) > 500
    assert set(steps) == {1}


def test_gates_of_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are on the page a moment after it was opened, of the run's model; after a swap by another program they are
    those of the new one, which the recording has."""
    with running(tmp_path, monkeypatch), serving("--no-commands") as (_process, address, _token):
        save(other(), tmp_path / "other.npz")
        with OPEN.open(f"{address}live", timeout=60) as live:
            assert _layer_of_columns(live, 2) == ("lstm_0", 32)
            subprocess.run([*EDGE_LSTM, "swap", "other.npz"], check=True, timeout=60)
            assert _layer_of_columns(live, 2, unlike="lstm_0") == ("lstm", 6)
        status = json.loads(get(f"{address}status.json"))["status"]
    assert status["control"]["requests"]["state"] <= 6


def _layer_of_columns(live: Any, count: int, unlike: str = "") -> tuple[str, int]:
    """Name and units of the layer of which so many columns have come."""
    layer, until_s = ("", 0), time.monotonic() + 60
    while time.monotonic() < until_s:
        kind = live.readline().decode().strip()
        if kind == "event: gates":
            for one in json.loads(live.readline()[len("data: ") :])["layers"]:
                layer = (one["name"], one["units"])
        elif kind == "event: columns" and layer[0] not in ("", unlike):
            count -= 1
            if not count:
                return layer
    raise AssertionError(f"no columns of {layer}")


@pytest.mark.seeds(40, 10)
def test_strangers_do_not_get_through(seeds: range) -> None:
    """Requests of random bytes, and good ones with random damage: no command is obeyed, nothing but an answer of HTTP
    comes back, and the page is served afterwards as before."""
    report = []
    asked: list[object] = []

    def obeyed(tree: object, file: bytes) -> Answer:
        asked.append(tree)
        return Answer(HTTPStatus.OK, b"{}")

    server = WebServer("127.0.0.1", 0, Site(lambda: iter([b"data: 1\n\n"]), {}, obeyed, "0123456789abcdef"))
    server.start()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            answer = _talk(server.server_port, _damaged(rng))
            if answer and not answer.startswith(b"HTTP/1.1 "):
                report.append((seed, answer[:80]))
        good = _talk(server.server_port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        if not good.startswith(b"HTTP/1.1 200"):
            report.append((seed, good[:80]))
    server.close()
    assert not report
    assert not asked


def _damaged(rng: np.random.Generator) -> bytes:
    """A request as no browser makes it."""
    paths = (b"/", b"/command", b"/swap?file=a.npz", b"/live", b"/metrics", b"/../x", b"//", b"/page.js")
    heads = (
        *(b"Host: 127.0.0.1", b"Host: evil", b"Origin: null", b"Authorization: Bearer x", b":"),
        *(b"Content-Type: application/json", b"Content-Length: 2", b"Content-Length: 99999999999"),
        b"Transfer-Encoding: chunked",
    )
    first = b" ".join((rng.choice([b"GET", b"POST", b"HEAD", b"PUT", b""]), rng.choice(paths), b"HTTP/1.1"))
    lines = [first, *(bytes(rng.choice(heads)) for _ in range(rng.integers(0, 6)))]
    data = bytearray(b"\r\n".join(lines) + b"\r\n\r\n{}")
    for _ in range(rng.integers(0, 4)):
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
    return bytes(data) if rng.random() < 0.9 else rng.bytes(300)


def _talk(port: int, data: bytes) -> bytes:
    """What is answered; the other direction is closed, so that nobody waits for more."""
    with socket.create_connection(("127.0.0.1", port), 10) as one:
        answer = b""
        try:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while part := one.recv(65536):
                answer += part
        except ConnectionError:
            pass
        return answer


def test_the_page_notices_that_its_server_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it has no contact, and for how long, in place of a verdict that is old; and when the server is back
    under its address, all is as before."""
    pytest.importorskip("websockets", reason="the extra `test` has it")
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    port = str(free_port())
    with browser() as tabs:
        page = tabs()
        with serving("--port", port) as (_process, address, _token):
            page.open(address)
            page.until("document.querySelector('#title').textContent === 'No run'")
        page.until("document.querySelector('#title').textContent === 'No contact'")
        assert page.run("document.body.dataset.level") == "bad"
        with serving("--port", port):
            page.until("document.querySelector('#title').textContent === 'No run'")


def test_foreign_pages_do_not_look_on_by_foxgloves_websocket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a real browser: a page of another site is refused, and serve says once what would let it in; told so, it lets
    it in. A page without an origin (a file, a frame that is shut in) is refused."""
    pytest.importorskip("websockets", reason="the extra `test` has it")
    pytest.importorskip("foxglove", reason="the extra `foxglove` has it")
    if CHROMIUM is None:
        pytest.skip(WHY_NOT)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "page.html").write_text("<title>a page</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.2", 0), handler) as site, browser() as tabs:  # another site than 127.0.0.1
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page, foreign = tabs(), f"http://127.0.0.2:{site.server_port}"

        def first_word(port: int) -> str:
            return str(
                page.run(f"""new Promise(done => {{
                    const one = new WebSocket("ws://127.0.0.1:{port}", "{PROTOCOL}");
                    one.onmessage = message => done(JSON.parse(message.data).op);
                    one.onerror = () => done("refused"); }})""")
            )

        for told, answer in ((), "refused"), (("--origin", foreign), "serverInfo"):
            port = free_port()
            with serving("--foxglove", str(port), *told):
                for path, expected in (foreign, answer), (tmp_path.as_uri(), "refused"):
                    page.open(f"{path}/page.html")
                    assert first_word(port) == expected
                    assert first_word(port) == expected
        site.shutdown()
    assert capfd.readouterr().err.count(f"a page of {foreign} wanted to connect to --foxglove and may not") == 1
