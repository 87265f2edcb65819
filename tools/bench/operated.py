"""What it costs a run to be recorded, asked and shown: the live loop at 1 kHz in several ways, in turn, in one run of
this program.

    python -m tools.bench.operated [--kinds alone,recorded,operated,shown,burdened,served,shadow] [--apart | --core]
                                   [--rate HZ] [--seconds S] [--rounds N] [--run OPTIONS] [--json]

Each round is the robot behind a pseudo-terminal and `edge-lstm run` in a process of its own, once of each kind:

- alone: without a recorder and without [daemon] control;
- recorded: into a folder, a new file each five seconds, a keyframe each second;
- operated: recorded, and with status block and control socket two who watch all rows, events and the status, one
  through the socket and one in the mapped block, who also asks for the status and a mark each second, and one swap;
- shown: as alone, without a recorder, but shown as served is: what all of that costs a bare loop;
- burdened: the control of shown: as alone, with nothing of all that, but beside programs that work as much, as often
  and on the same cores as `serve` and those who look on did in the latest round of shown. What shown costs and burdened
  does not is the run's own doing; what both cost is the machine's, whose cores share caches and memory;
- served: recorded, and shown by `edge-lstm serve`: the page open in a browser, a broker, a viewer of Foxglove's
  protocol and a scrape each second, as far as there are chromium, mosquitto and the extras here (said on stderr);
- shadow: recorded, and the same model runs beside as [daemon] shadow, with nobody looking on.

The figures are the loop's own: from a reading's bytes to its action written. Each p99 is also told in terms of that of
the kind beside it in the same round, as the middle of the rounds with the least and the greatest; and how much of a
core the loop had, how much it waited for one while another process had it, what made answers late, and how much of a
core `serve` had, and those who looked on.

The simulated robot, the browser, the broker and the viewer are no part of a robot's machine, and a browser that draws
takes a core of it. With --apart they have all cores but the last, and the run and `serve` have that one, both of them,
of all kinds alike; and the robot has a priority (SCHED_FIFO) on its core, where that is granted: a real one sends in
time whatever our viewers do, and of several readings that come at once, since it was late, the last waits for the
others. With --core the loop has the last core for itself, as `[realtime] cpu` gives it, and all else has the others.
Without either all share all cores. `--run "--priority 50"` is a loop with [realtime] priority, again of all kinds: on a
machine that is busy with other things it shows what the run costs itself.

The rate is a little less than 1 kHz: the kernel's tick comes 250 times a second by the same clock, so at 1 kHz sharp it
would fall into a fourth of the answers or into none, as the two happened to begin, and not into as many of each kind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.client import Control
from edge_lstm.daemon.writer import Block
from edge_lstm.errors import DaemonError
from tools.bench.live import COMMAND, ROOT, configured

RATE_HZ = 997.0
_ROBOT_PRIORITY = 10
KEYS = ("latency_p50_ms", "latency_p99_ms", "latency_max_ms")
# kind → what it is held to
BESIDE = {
    "alone": "",
    "recorded": "alone",
    "operated": "recorded",
    "shown": "alone",
    "burdened": "alone",
    "served": "recorded",
    "shadow": "recorded",
}
# Works so many percent of a core, twenty times a second, as `serve` does: numbers and JSON over some MB.
BURDENING = """
import json, os, sys, time
import numpy as np
share = float(sys.argv[1]) / 100
if sys.argv[2] == "serve":
    os.setpriority(os.PRIO_PROCESS, 0, 10)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
rows = np.zeros((50_000, 16))
tree = {str(k): [k / 7] * 20 for k in range(100)}
while True:
    began = time.process_time()
    while time.process_time() - began < share / 20:
        rows[:] += 1.0
        json.loads(json.dumps(tree))
    time.sleep(0.05 * (1 - share) if share < 1 else 0)
"""
BURDEN = {"serve_percent": 10.0, "viewers_percent": 40.0}  # where no round of shown says it
RECORDING = """
[recording]
directory = "recordings"
rotate = "5 s"
keyframe = "1 s"
keep = "1 GB"
"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kinds", default=",".join(BESIDE))
    cores = parser.add_mutually_exclusive_group()
    cores.add_argument("--apart", action="store_true", help="robot and viewers on other cores than run and serve")
    cores.add_argument("--core", action="store_true", help="the loop alone on a core ([realtime] cpu)")
    parser.add_argument("--rate", type=float, default=RATE_HZ)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", default="", help="more options for `edge-lstm run`, as one argument")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - set(BESIDE):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(BESIDE)}")
    apart = "core" if options.core else "machine" if options.apart else ""
    found = measure(kinds, options.rate, options.seconds, options.rounds, options.run.split(), apart=apart)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print("\n".join(table(kinds, found)))
    return 0


def table(kinds: Sequence[str], found: dict[str, Any]) -> list[str]:
    """Medians over the rounds, for people."""
    lines = [
        "|  | p50, ms | p99, ms (each round) | max, ms | p99 in terms of | loop on a core, waiting for one, % | late "
        "| serve, viewers, % | lost | readings | files |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        rounds, beside = found[kind], BESIDE[kind]
        p50, p99, most = ([one[key] for one in rounds] for key in KEYS)
        ratio = ""
        if beside in kinds:
            ratios = [a / b[KEYS[1]] for a, b in zip(p99, found[beside], strict=True)]
            ratio = f"{beside}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        counts = [str(sum(one[key] for one in rounds)) for key in ("lost", "readings", "files")]
        each = " ".join(f"{value:.3f}" for value in p99)
        cells = [f"{statistics.median(p50):.3f}", f"{statistics.median(p99):.3f} ({each})"]
        shares = [f"{statistics.median(one[key] for one in rounds):.1f}" for key in ("ran_percent", "waited_percent")]
        causes = sum((Counter(one["late"]["causes"]) for one in rounds), Counter[str]())
        late = ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "0"
        served = ", ".join(f"{statistics.median(one[key] for one in rounds):.1f}" for key in _AUDIENCE)
        cells += [f"{statistics.median(most):.2f}", ratio, ", ".join(shares), late, served]
        lines.append(f"| {' | '.join([kind, *cells, *counts])} |")
    gathered = found["keyframe_us"]
    return [
        *lines,
        "",
        f"block, ns per reading: {found['block_ns']:.0f}",
        f"keyframe, µs of the loop between two chunks: {gathered['median']:.0f}, at most {gathered['max']:.0f}",
        f"load: {found['load']}",
    ]


def measure(
    kinds: Sequence[str], rate: float, seconds: float, rounds: int, more: Sequence[str] = (), *, apart: str = ""
) -> dict[str, Any]:
    """The kinds in turn, so many times each: the summaries' figures. apart: "machine": run and `serve` have the last
    core, all else the others; "core": the loop has the last one, all else the others; "": all have all. SystemExit:
    there is one core, and apart wants two."""
    found: dict[str, Any] = {kind: [] for kind in kinds}
    machine = elsewhere = serving = os.sched_getaffinity(0)
    if apart:
        if len(machine) < 2:
            raise SystemExit("two cores at least are wanted")
        last = max(machine)
        elsewhere = machine - {last}
        if apart == "core":
            more, serving = [*more, "--cpu", str(last)], elsewhere
        else:
            machine = serving = {last}
    with tempfile.TemporaryDirectory(prefix="el-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        environment = {**os.environ, "XDG_RUNTIME_DIR": name}
        stack.enter_context(_on(elsewhere))
        link = folder / "robot"
        simulate = [*COMMAND, "simulate", "--link", str(link), "--rate", str(rate)]
        robot = stack.enter_context(subprocess.Popen(simulate, stdout=subprocess.DEVNULL))
        stack.callback(robot.terminate)
        if apart:
            try:
                os.sched_setscheduler(robot.pid, os.SCHED_FIFO, os.sched_param(_ROBOT_PRIORITY))
            except PermissionError:
                print("no priority is granted: what the viewers do delays the simulated robot, too", file=sys.stderr)
        while not link.is_symlink():
            time.sleep(0.05)
        audiences = {
            kind: stack.enter_context(_served(kind, folder, environment, machine))
            for kind in ("shown", "served")
            if kind in kinds
        }
        for _ in range(rounds):
            for kind in kinds:
                control = "true" if kind in ("operated", "shown", "served", "shadow") else "false"
                shadow = 'shadow = "slip_stall.npz"\n' if kind == "shadow" else ""
                more_tables = f'{RECORDING}\n[daemon]\nname = "{kind}"\ncontrol = {control}\n{shadow}'
                words = [
                    "run",
                    str(configured(folder, kind, more_tables)),
                    "--port",
                    str(link),
                    "--seconds",
                    str(seconds),
                    "--json",
                ]
                bare = kind in ("alone", "shown", "burdened")
                command = [*COMMAND, *words, *(["--no-record"] if bare else []), *more]
                with contextlib.ExitStack() as beside_it:
                    if kind == "burdened":
                        percent = found["shown"][-1] if found.get("shown") else BURDEN
                        for cores, key in ((serving, "serve"), (elsewhere, "viewers")):
                            beside_it.enter_context(_burden(cores, key, percent[f"{key}_percent"]))
                    audience = audiences.get(kind)
                    found[kind].append(_once(command, kind, folder, seconds, environment, machine, audience))
    found["block_ns"], found["keyframe_us"] = block_ns(), keyframe_us()
    found["load"] = [round(one, 2) for one in os.getloadavg()]
    return found


def block_ns(rounds: int = 40) -> float:
    """What the loop pays for the block, ns per reading of eleven fields with four outputs and an action: the best of so
    many rounds over three seconds at 1 kHz."""
    from edge_lstm.robot.config import load_config
    from edge_lstm.robot.loop import run
    from edge_lstm.robot.models import load_models
    from firmware_bridge.events import Event
    from firmware_bridge.simulator.port import SimulatedPort
    from firmware_bridge.simulator.robot import Robot
    from firmware_bridge.values import Chunk

    kept: list[tuple[Chunk, list[tuple[Event, Any]], int]] = []
    config = load_config(ROOT / "edge_lstm/examples/robot.toml").at_any_rate()

    def keep(chunk: Chunk, done: Sequence[tuple[Event, Any]], sent: int) -> None:
        kept.append((chunk, list(done), sent))

    run(SimulatedPort(Robot(1, 1000.0), 3.0), config.open_link(), load_models(config).controller(config), tap=keep)
    readings = sum(len(done) for _, done, _ in kept)
    best = float("inf")
    with tempfile.TemporaryDirectory(prefix="el-") as name:
        block = Block(Path(name) / "status", {}, lambda: 0)
        for _ in range(rounds):
            began_ns = time.thread_time_ns()  # other programs are not its business
            for one in kept:
                block(*one)
            best = min(best, (time.thread_time_ns() - began_ns) / readings)
        block.close()
    return best


def keyframe_us(seconds: float = 20.0) -> dict[str, float]:
    """What the loop pays for gathering a keyframe, µs of its thread: of one each tenth of a second."""
    from edge_lstm.robot import loop
    from edge_lstm.robot.config import load_config
    from edge_lstm.robot.models import load_models
    from firmware_bridge.simulator.port import SimulatedPort
    from firmware_bridge.simulator.robot import Robot

    spent: list[float] = []
    config = load_config(ROOT / "edge_lstm/examples/robot.toml").at_any_rate()
    bridge, controller = config.open_link(), load_models(config).controller(config)

    class Keyframes:
        """Wants one each tenth of a second, and keeps none."""

        at_ns = begun_ns = 0

        def keyframe_due(self, t_ns: int, idle: bool = True) -> bool:
            self.begun_ns = time.thread_time_ns()
            return t_ns >= self.at_ns + 100_000_000

        def keyframe(self, t_ns: int, state: object) -> None:
            self.at_ns = t_ns
            spent.append((time.thread_time_ns() - self.begun_ns) / 1000)

    with loop.steady():
        loop.run(SimulatedPort(Robot(1, 1000.0), seconds), bridge, controller, keyframes=Keyframes())
    return {"count": len(spent), "median": statistics.median(spent), "max": max(spent)}


def _once(
    command: list[str],
    kind: str,
    folder: Path,
    seconds: float,
    environment: dict[str, str],
    machine: set[int],
    audience: _Audience | None,
) -> dict[str, Any]:
    before = len([*(folder / "recordings").glob("*.mcap")])
    with _on(machine):
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    with run:
        books = _Books(run.pid, audience, seconds - 1)
        if kind == "operated":
            _operate(folder / "edge-lstm" / kind, folder / "slip_stall.npz", seconds)
        elif audience is not None:
            audience.scrape(seconds)
        out, _ = run.communicate()
    files = len([*(folder / "recordings").glob("*.mcap")]) - before
    return {**json.loads(out), "files": files, **books.shares()}


@contextlib.contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """This thread, and all that it starts meanwhile, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _burden(cores: set[int], as_whom: str, percent: float) -> Iterator[None]:
    """A program on these cores that works so much of one, for the time of the block."""
    with _on(cores), subprocess.Popen([sys.executable, "-c", BURDENING, str(percent), as_whom]) as process:
        try:
            yield
        finally:
            process.kill()


_AUDIENCE = "serve_percent", "viewers_percent"


class _Books:
    """What the kernel writes down of a run's loop, its first thread, and of those who look on, of its latest `seconds`:
    before them it is starting."""

    def __init__(self, run: int, audience: _Audience | None, seconds: float) -> None:
        self._run, self._audience, self._seconds = run, audience, seconds
        self._seen: list[tuple[float, ...]] = []
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        audience = self._audience
        with contextlib.suppress(OSError, IndexError):  # it has ended
            while True:
                ran, waited = (int(word) / 1e9 for word in Path(f"/proc/{self._run}/schedstat").read_text().split()[:2])
                watched = (0.0, 0.0) if audience is None else (_cpu_s(audience.serve), audience.viewers())
                self._seen.append((time.monotonic(), ran, waited, *watched))
                time.sleep(0.5)

    def shares(self) -> dict[str, float]:
        """Percent of a core."""
        last = self._seen[-1]
        first = next(one for one in self._seen if one[0] >= last[0] - self._seconds)
        spent = [100 * (b - a) / (last[0] - first[0]) for a, b in zip(first[1:], last[1:], strict=True)]
        return dict(zip(("ran_percent", "waited_percent", *_AUDIENCE), spent, strict=True))


def _cpu_s(pid: int) -> float:
    """CPU s of all threads of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_s_of_sessions(leaders: Sequence[int]) -> float:
    """CPU s of all processes of these sessions, and of this one, which reads for some of them."""
    spent = time.process_time()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if os.getsid(int(path.name)) in leaders:
                spent += _cpu_s(int(path.name))
    return spent


def _operate(place: Path, model: Path, seconds: float) -> None:
    """What people and programs do with a run, from a second after its beginning on to its end."""
    end_s, asked_s = time.monotonic() + seconds - 3, 0.0
    while not (place / "control.sock").exists():
        time.sleep(0.05)
    time.sleep(1)
    with Control(place) as control, Control(place) as watcher, BlockReader(place) as block:
        watching = threading.Thread(target=_drain, args=(watcher,), daemon=True)
        watching.start()
        control.ask({"do": "swap", "file": model.name}, model.read_bytes())
        row = event = 0
        while time.monotonic() < end_s and not block.ended:
            row, _, _ = block.rows(row)
            event, _, _ = block.events(event)
            if time.monotonic() - asked_s > 1:
                asked_s = time.monotonic()
                control.ask({"do": "status"})
                control.ask({"do": "mark", "text": "a second"})
            time.sleep(0.1)


def _drain(watcher: Control) -> None:
    with contextlib.suppress(DaemonError, ValueError):
        for _ in watcher.watch(200):
            pass


class _Audience(NamedTuple):
    """Who looks on. serve: its process; viewers: CPU s of all others so far; scrape: reads the metrics each second, for
    so many."""

    serve: int
    viewers: Callable[[], float]
    scrape: Callable[[float], None]


@contextlib.contextmanager
def _served(name: str, folder: Path, environment: dict[str, str], machine: set[int]) -> Iterator[_Audience]:
    """`edge-lstm serve` on these cores, and all who look on, for the time of the block."""
    with contextlib.ExitStack() as stack:

        def started(*command: str, **more: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True, env=environment, **more)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        told: list[str] = []
        viewers: list[int] = []  # each leads a session
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if mosquitto is not None:
            port, config = _free_port(), folder / f"{name}.conf"
            config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
            broker = started(mosquitto, "-c", str(config), stdout=subprocess.DEVNULL, start_new_session=True)
            viewers.append(broker.pid)
            told += ["--mqtt", f"127.0.0.1:{port}"]
        foxglove = _free_port()
        with contextlib.suppress(ImportError):
            told += ["--foxglove", str(foxglove)]
        with _on(machine):
            serve = started(*COMMAND, "serve", name, "--port", "0", *told, stdout=subprocess.PIPE)
        assert serve.stdout is not None
        address = ""
        while not address:
            line = serve.stdout.readline()
            if not line:
                raise SystemExit("edge-lstm serve did not start: are its extras installed?")
            address = found[0] if (found := re.search(r"http://[^#\s]*", line)) else ""
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if chromium is not None:
            quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / name}-browser")
            seen_by = [chromium, *quiet, "--remote-debugging-port=0", address]
            viewers.append(started(*seen_by, stdout=subprocess.DEVNULL, start_new_session=True).pid)
        if "--foxglove" in told:
            threading.Thread(target=_view, args=(foxglove,), daemon=True).start()
        print(f"serve {' '.join(told)}, browser {chromium or 'none'}", file=sys.stderr)

        def scrape(seconds: float) -> None:
            opener, end_s = urllib.request.build_opener(urllib.request.ProxyHandler({})), time.monotonic() + seconds
            while time.monotonic() < end_s:
                opener.open(f"{address}metrics", timeout=10).read()
                time.sleep(1)

        yield _Audience(serve.pid, lambda: _cpu_s_of_sessions(viewers), scrape)


def _view(port: int) -> None:
    """Subscribes to everything, as a viewer of Foxglove's protocol does, and takes it."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    protocol = [Subprotocol("foxglove.sdk.v1")]
    with (
        contextlib.suppress(ConnectionClosed),
        connect(f"ws://127.0.0.1:{port}", subprotocols=protocol, max_size=None, proxy=None) as connection,
    ):
        for message in connection:
            if isinstance(message, str) and (tree := json.loads(message))["op"] == "advertise":
                wanted = [{"id": one["id"], "channelId": one["id"]} for one in tree["channels"]]
                connection.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
