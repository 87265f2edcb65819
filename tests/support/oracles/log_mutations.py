"""What becomes of a damaged recording, CSV log or robot.toml: one clear error, or what it still holds.

Its rule: as for model files (`mutation_run.py`): only errors of the two packages are errors. A recording is damaged
outside and inside its blocks, with the checksums made right again, so that what lies behind them is reached.

    python -m tests.support.oracles.log_mutations MIB      (a worker: seeds in, outcomes out)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.core.feedback import Policy
from edge_lstm.core.storage import load
from edge_lstm.errors import EdgeLstmError
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import replay_table
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.controller import Controller
from edge_lstm.robot.replay import replay
from firmware_bridge.errors import BridgeError
from firmware_bridge.recordings.mcap_reader import McapReader
from firmware_bridge.recordings.mcap_writer import McapWriter
from firmware_bridge.recordings.port import RecordingPort
from tests.support.oracles.mutation_run import LOUD, worker
from tests.support.robots import small_robot

RECORDING = Path(__file__).parents[2] / "vectors" / "recordings" / "format_0_1.mcap"
TEXTS = (
    *("1e308", "-1e400", "nan", "inf", "1e-320", "9" * 5000, "18446744073709551616", "-0", "0x1p3", "1_0", "٣"),
    *('"', "'", '"""', "\\", "\0", "\x1b[2J", "\ud7ff", "\n", "\r", ",", ";", "\t", "=", "[", "]", "[[", "{", "}", "#"),
    *("2026-11-28T10:00:00Z", "2026-11-28T10:00:00", "9999-12-31T23:59:59.999999999Z", "true", "[" * 3000, "_", " "),
)
TABLE = (
    "t_s,wheel_speed_left (rad/s),wheel_speed_right,current_left (A),current_right\n",
    "time (ms);wheel_speed_left;wheel_speed_right;current_left;current_right\n",
    "# made by hand\nstamp\twheel_speed_left\twheel_speed_right\tcurrent_left\tcurrent_right\n",
)


def outcome(seed: int, folder: Path, stage: Callable[[str], None] = lambda _: None) -> tuple[str, str]:
    """(kind, text) for the file of this seed. Kinds: refused, runs, defect."""
    rng = np.random.default_rng(seed)
    what = (_recording, _table, _config)[seed % 3]
    stage(what.__name__)
    try:
        what(rng, folder)
    except (EdgeLstmError, BridgeError) as error:
        text = str(error)
        return ("refused" if text.strip() and len(text) < LOUD else "defect"), text[:300]
    except BaseException as error:
        return "defect", f"{what.__name__}: {type(error).__name__}: {error}"[:600]
    return "runs", ""


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """Some places changed, cut out, doubled, filled with a text or with numbers at their ends."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, len(found) + 1))
        size = int(rng.integers(1, 30))
        kind = rng.integers(0, 7)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size] * int(rng.integers(1, 4))
        elif kind == 3:
            found[at:at] = str(rng.choice(TEXTS)).encode(errors="surrogatepass")
        elif kind == 4:
            width = int(rng.choice([1, 2, 4, 8]))
            found[at : at + width] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * width
        elif kind == 5:
            found[at : at + size] = rng.bytes(size)
        else:
            del found[at:]
    return bytes(found)


def _recording(rng: np.random.Generator, folder: Path) -> None:
    path = folder / "m.mcap"
    path.unlink(missing_ok=True)
    if rng.integers(0, 3) == 0:
        path.write_bytes(damaged(rng, RECORDING.read_bytes()))
    else:
        reader = McapReader(RECORDING)
        messages: list[Any] = list(reader.messages(None))
        schemas = {kind.topic: kind.schema for kind, *_ in reader.read(None)}
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, len(messages)))
            topic, t_ns, data = messages[at]
            kind = rng.integers(0, 4)
            if kind == 0:
                messages[at] = topic, (0, t_ns + 10**9, t_ns + 10**17, 2**64 - 1)[rng.integers(0, 4)], data
            elif kind == 1:
                messages[at] = str(rng.choice([m[0] for m in messages])), t_ns, data
            else:
                messages[at] = topic, t_ns, damaged(rng, data)
        attachments = dict(reader.attachments)
        if rng.integers(0, 4) == 0:
            name = str(rng.choice(list(attachments)))
            attachments[name] = damaged(rng, attachments[name])
        writer = McapWriter(path, reader.metadata, attachments)
        for topic, t_ns, data in messages:
            writer.add(topic, schemas.get(topic, b""), t_ns, data)
        writer.finish({"dropped": str(rng.choice(["0", "0", "7", "many"]))})
    port = RecordingPort(path)
    (folder / "m.npz").write_bytes(port.recording.attachments.get("model.npz", b""))
    text = port.recording.attachments.get("robot.toml", b"").decode(errors="replace")
    config = parse_config(text, "robot.toml", folder)
    model = load(folder / "m.npz")
    port.recording.span()
    _summary, comparison, _marks = replay(port, Controller(model, config), rows=lambda rows: None, derived=True)
    assert len(comparison.sentence()) < LOUD


def _table(rng: np.random.Generator, folder: Path) -> None:
    head = str(rng.choice(TABLE))
    mark = next(c for c in ";\t," if c in head)
    rows = [[f"{k / 100}", *map(repr, rng.normal(0, 3, 4).tolist())] for k in range(60)]
    for _ in range(rng.integers(0, 6)):
        rows[rng.integers(0, 60)][rng.integers(0, 5)] = str(rng.choice(TEXTS))
    data = (head + "".join(mark.join(row) + "\n" for row in rows)).encode(errors="surrogatepass")
    path = folder / "m.csv"
    path.write_bytes(data if rng.integers(0, 2) else damaged(rng, data))
    model = small_robot.model(rate_hz=float(rng.choice([100.0, 1e-3, 1e6])))
    log = CsvLog(path)
    columns, _ = match(log, model)
    replay_table(log, model, columns, policy=Policy(str(rng.choice(["skip", "hold"]))))  # type: ignore[arg-type]


def _config(rng: np.random.Generator, folder: Path) -> None:
    policy = '[policy]\nmissing = "hold"\nlongest_gap = 60\n[realtime]\npriority = 10\n'
    text = damaged(rng, (small_robot.CONFIG + policy).encode()).decode(errors="replace")
    Controller(small_robot.model(), parse_config(text, "robot.toml", folder))


if __name__ == "__main__":
    worker(outcome)
