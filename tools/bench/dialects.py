"""What each dialect costs beside our own link: bytes to action, share of a processor, µs for each reading.

    python -m tools.bench.dialects [--rate 1000] [--seconds 10] [--rounds 3] [--output PAGE.md] [DIALECT …]

A log of four numbers is played as a robot (`edge-lstm simulate`), `edge-lstm run` drives it, each a process of its own;
dialects take turns, and what counts is the median over rounds of their figure in terms of our own link's in the same
round. Robots that are polled are asked as often as they can answer. In process: the same messages, one a chunk, through
the link alone (`receive`, `send`, `outgoing`). Writes tools/bench/results/DIALECTS.md. Nothing here judges it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_lstm.core.builder import Builder
from edge_lstm.core.channels import Channel
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.robot.config import link_of
from edge_lstm.robot.played import MOTOR, Play, play
from firmware_bridge.dictionary import Field, Format
from firmware_bridge.events import Reading
from firmware_bridge.links.dialect import Dialect
from firmware_bridge.links.link import Link
from firmware_bridge.values import Action, Chunk
from tools.bench.live import COMMAND, watch
from tools.bench.page import machine

OWN = "our own"
PAGE = Path(__file__).with_name("results") / "DIALECTS.md"
POLLED_HZ = 250.0  # a bus of four servos at 1 Mbit/s answers in about 1 ms, a flight controller in as much
IN_PROCESS = 2000  # readings a round
NAMES = ("a", "b", "c", "d")
LOG = Format("log", 1, "reading", tuple(Field(name, "f64", "") for name in NAMES))
INTRODUCTION = (
    """
# What each dialect costs

Written by `python -m tools.bench.dialects`. A log of four numbers played as a robot, `edge-lstm run` on it, each a
process of its own, without a recording. *p50, p99*: from the bytes' arrival to the action written. *Processor*: of one
core, the whole of `run`. *In process*: receive, send and outgoing of the link alone, for each reading. (n ×) is the
median over rounds of the figure in terms of our own link's in the same round; what counts are those. Polled robots
speak when they are asked, here %g times a second; their figures per second are fewer readings'.
""".strip()
    % POLLED_HZ
)
_FIELDS = ", ".join(f'"{name}"' for name in NAMES)
_TWO = "{ left = { min = -1, max = 1, safe = 0 }, right = { min = -1, max = 1, safe = 0 } }"
_LINE = f'[link.action.motor]\nfields = {_TWO}\nline = "m {{left:.4f}} {{right:.4f}}\\n"\n'


def _text(shape: str) -> str:
    return f'dialect = "lines"\n[link.reading.log]\n{shape}\nrate_hz = RATE\n{_LINE}'


def _servos(dialect: str) -> str:
    goals = ", ".join(f"goal_position_{n} = {{ min = -90, max = 90 }}" for n in (1, 2))
    return (
        f'dialect = "{dialect}"\nservos = [1, 2, 3, 4]\n'
        '[link.reading.log]\nregisters = ["present_position"]\nrate_hz = RATE\n'
        f'[link.action.motor]\nregister = "goal_position"\nsafe = "hold"\nfields = {{ {goals} }}\n'
    )


# [link] of each; our own has none.
LINKS: dict[str, str] = {
    OWN: "",
    "lines, csv": _text(f'shape = "csv"\nfields = ["us", {_FIELDS}]\ntime = "us"'),
    "lines, pairs": _text(f'shape = "pairs"\nfields = ["us", {_FIELDS}]\ntime = "us"'),
    "lines, json": _text(f'shape = "json"\nfields = ["us", {_FIELDS}]\ntime = "us"'),
    "lines, teleplot": _text(f'shape = "teleplot"\nfields = [{_FIELDS}]\nlast = "d"'),
    "lines, csv with NMEA's checksum": _text(
        f'shape = "csv"\nprefix = "$PIMU,"\nchecksum = "nmea"\nfields = ["us", {_FIELDS}]\ntime = "us"'
    ),
    "struct": (
        'dialect = "struct"\n[link.reading.log]\nhead = "AA 55"\nlayout = "<BI4f"\n'
        f'fields = ["seq", "us", {_FIELDS}]\ntime = "us"\ncounter = "seq"\nchecksum = "crc16-modbus"\nrate_hz = RATE\n'
        f'[link.action.motor]\nfields = {_TWO}\nhead = "A5 5A"\nlayout = "<2f"\nchecksum = "xor"\n'
    ),
    "slcan": (
        'dialect = "slcan"\nbitrate = 1000000\n[link.reading.log]\nrate_hz = RATE\n'
        '[[link.reading.log.frame]]\nid = 0x101\nlayout = "<2f"\nfields = ["a", "b"]\n'
        '[[link.reading.log.frame]]\nid = 0x102\nlayout = "<2f"\nfields = ["c", "d"]\n'
        f'[link.action.motor]\nid = 0x201\nlayout = "<2f"\nfields = {_TWO}\n'
    ),
    "mavlink": (
        'dialect = "mavlink"\n[link.reading.log]\nmessage = "HIGHRES_IMU"\n'
        'fields = ["xgyro", "ygyro", "zgyro", "xacc"]\ntime = "time_usec"\nrate_hz = RATE\n'
        '[link.action.motor]\nmessage = "MANUAL_CONTROL"\nconstant = { z = 500, r = 0, buttons = 0 }\n'
        "fields = { x = { min = -1000, max = 1000, safe = 0 }, y = { min = -1000, max = 1000, safe = 0 } }\n"
    ),
    "msp": (
        'dialect = "msp"\n[link.reading.log]\nmessage = "RAW_IMU"\nfields = ["acc_x", "acc_y", "acc_z", "mag_x"]\n'
        'rate_hz = RATE\n[link.action.motor]\nmessage = "SET_RAW_RC"\n'
        "fields = { rc_1 = { min = 1000, max = 2000, safe = 1500 }, rc_2 = { min = 1000, max = 2000, safe = 1500 } }\n"
    ),
    "feetech": _servos("feetech"),
    "dynamixel": _servos("dynamixel"),
}
POLLED = ("msp", "feetech", "dynamixel")


@dataclass(frozen=True)
class Setup:
    """A dialect at a rate: the files log.csv, robot.toml and model.npz in a folder of its own."""

    name: str
    folder: Path
    rate_hz: float

    @property
    def robot(self) -> Play:
        """The robot that plays the log."""
        return play(log=self.folder / "log.csv", loop=True, rate_hz=self.rate_hz, config=self._config)

    @property
    def simulate(self) -> list[str]:
        """The same as a command, without its port."""
        speaks = ["--dialect", "own"] if self._config is None else ["--config", str(self._config)]
        log = ["--from", str(self.folder / "log.csv"), "--loop", "--rate", str(self.rate_hz)]
        return [*COMMAND, "simulate", *log, *speaks]

    @property
    def _config(self) -> Path | None:
        return self.folder / "robot.toml" if LINKS[self.name] else None

    def link(self) -> Link:
        """The host's half."""
        return link_of((self.folder / "robot.toml").read_text(), "robot.toml", self.folder).open()


def setup(folder: Path, name: str, rate_hz: float) -> Setup:
    """Write the files of a dialect."""
    folder.mkdir()
    made = Setup(name, folder, min(rate_hz, POLLED_HZ) if name in POLLED else rate_hz)
    text = LINKS[name].replace("RATE", f"{made.rate_hz:g}")
    (folder / "robot.toml").write_text(f"[link]\n{text}" if text else "")
    link = made.link()
    if isinstance(link, Dialect):
        (reading,), (action,) = ([item.form for item in part.values()] for part in (link.readings, link.actions))
    else:
        reading, action = LOG, MOTOR
    titles = ",".join(field.name for field in reading.fields)
    rows = [",".join(f"{k / 100:g}" for k in (n, *range(n, n + len(reading.fields)))) for n in range(100)]
    (folder / "log.csv").write_text("\n".join([f"time (s),{titles}", *rows]) + "\n")
    save(_model(reading), folder / "model.npz")
    config = f'[model]\nfile = "model.npz"\n[readings]\nformat = "{reading.name}"\n[action]\nformat = "{action.name}"\n'
    for number, field in enumerate(action.fields):
        middle = ((field.minimum or 0.0) + (field.maximum or 0.0)) / 2
        gain = f"gain = {{ y{number} = 0.1 }}"
        config += f'[action.{field.name}]\nunit = "{field.unit}"\noffset = {middle:g}\n{gain}\n'
    (folder / "robot.toml").write_text(config + (folder / "robot.toml").read_text())
    return made


def _model(reading: Format) -> Model:
    """A head on the numbers, so that what is measured is the link: y = tanh(W x)."""
    inputs = tuple(Channel(field.name, field.unit) for field in reading.fields)
    builder = Builder()
    x = builder.input("x", len(inputs))
    W, b = np.eye(2, len(inputs), dtype=np.float32), np.zeros(2, np.float32)
    builder.output("y", builder.dense(x, W=W, b=b, activation="tanh", name="head"))
    return Model(builder.build(), inputs, (Channel("y0"), Channel("y1")), name="bench")


# ------------------------------------------------------------------------------ whole runs


def live(made: Setup, seconds: float) -> dict[str, float]:
    """One run, each side a process: latencies in µs, processor in % of one core."""
    port = made.folder / "port"
    quiet = subprocess.DEVNULL
    robot = subprocess.Popen([*made.simulate, "--link", str(port)], stdout=quiet, stderr=quiet)
    try:
        while not port.is_symlink():
            if robot.poll() is not None:
                sys.exit(f"{made.name}: the robot did not start")
            time.sleep(0.05)
        run = [*COMMAND, "run", str(made.folder / "robot.toml"), "--port", str(port), "--json", "--no-record"]
        summary, samples = watch([*run, "--seconds", str(seconds)], plain=True)
    finally:
        robot.terminate()
        robot.wait()
    (begun_s, _, begun_cpu), (end_s, _, end_cpu) = samples[min(2, len(samples) - 1)], samples[-1]
    return {
        "p50": 1000 * summary["latency_p50_ms"],
        "p99": 1000 * summary["latency_p99_ms"],
        "processor": 100 * (end_cpu - begun_cpu) / max(end_s - begun_s, 1e-9),
        "readings": summary["readings"] / seconds,
        "lost": summary["lost"] or 0,
    }


# ------------------------------------------------------------------------------ in process


def conversation(made: Setup) -> list[Chunk]:
    """What a port gives while a robot and its link talk, in the robot's time: a chunk where something came, or where
    the link wanted one."""
    board, link = made.robot.board, made.link()
    action = _safe(made)
    chunks = [Chunk(0, b"the bench", "opened")]
    readings, answers = 0, b""
    while readings < IN_PROCESS:
        chunk = chunks[-1]
        events = link.receive(chunk)
        came = sum(isinstance(event, Reading) for event in events)
        readings += came
        out = link.send(chunk.t_ns, action) if came else b""
        out += link.outgoing()
        while True:
            if out:
                board.receive(out)
                answers, out = board.outgoing(), b""
            data = answers + board.advance(1000)
            t_ns, answers = board.now_us * 1000, b""
            if data or (link.due_ns is not None and link.due_ns <= t_ns) or t_ns - chunk.t_ns >= 20_000_000:
                chunks.append(Chunk(t_ns, data))
                break
    return chunks[:-1]


def in_process(made: Setup, chunks: list[Chunk]) -> float:
    """µs for each reading: the link alone, on chunks that were there before."""
    link, action, readings = made.link(), _safe(made), 0
    begun = time.perf_counter_ns()
    for chunk in chunks:
        for event in link.receive(chunk):
            if isinstance(event, Reading):
                readings += 1
                link.send(chunk.t_ns, action)
        link.outgoing()
    return (time.perf_counter_ns() - begun) / 1000 / max(readings, 1)


def _safe(made: Setup) -> Action:
    link = made.link()
    (form,) = (item.form for item in link.actions.values()) if isinstance(link, Dialect) else (MOTOR,)
    return form.safe_action()


# ------------------------------------------------------------------------------ the page


def page(rows: dict[str, list[dict[str, float]]], rate_hz: float, seconds: float, load: str) -> str:
    """The table. rows: of each dialect its figures in each round; our own link is among them."""
    lines = [INTRODUCTION, ""]
    lines += [f"- {what}: {value}" for what, value in machine().items()]
    rounds = len(rows[OWN])
    lines.append(f"- {rate_hz:g} Hz, {rounds} rounds of {seconds:g} s; load average before and after: {load}")
    lines += ["", "| | readings/s | p50 µs | | p99 µs | | processor % | | in process, µs | | lost |"]
    lines.append("|---" * 11 + "|")
    for name, found in rows.items():
        cells = [f"{statistics.median(row['readings'] for row in found):,.0f}"]
        for key in ("p50", "p99", "processor", "in process"):
            middle = statistics.median(row[key] for row in found)
            ratio = statistics.median(row[key] / own[key] for row, own in zip(found, rows[OWN], strict=True))
            cells += [f"{middle:,.1f}", f"{ratio:.1f} ×"]
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(row['lost'] for row in found):.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("dialects", nargs="*", metavar="DIALECT", help="; ".join(LINKS))
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    if unknown := set(options.dialects) - set(LINKS):
        parser.error(f"there is no {min(unknown)!r}; there are: {'; '.join(LINKS)}")
    names = [OWN, *(name for name in options.dialects or LINKS if name != OWN)]
    before = os.getloadavg()[0]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: setup(Path(folder) / f"{k}", name, options.rate) for k, name in enumerate(names)}
        talks = {name: conversation(item) for name, item in made.items()}
        for turn in range(options.rounds):
            for name, item in made.items():
                print(f"round {turn + 1}: {name} ...", file=sys.stderr, flush=True)
                inside = min(in_process(item, talks[name]) for _ in range(3))
                rows[name].append({**live(item, options.seconds), "in process": inside})
    text = page(rows, options.rate, options.seconds, f"{before:.2f}, {os.getloadavg()[0]:.2f}")
    options.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
