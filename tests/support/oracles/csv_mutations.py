"""What becomes of a damaged CSV log of any kind, with any options: one sentence, or rows.

Its rule: as for recordings (`log_mutations.py`); a sentence is short, and what is read at all is the same numbers
through blocks of any size.

    python -m tests.support.oracles.csv_mutations MIB      (a worker: seeds in, outcomes out)
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from edge_lstm.core.feedback import Policy
from edge_lstm.errors import EdgeLstmError
from edge_lstm.logs import text_file
from edge_lstm.logs.asked import Asked
from edge_lstm.logs.csv_log import CsvLog
from edge_lstm.logs.csv_out import CsvWriter
from edge_lstm.logs.matching import match
from edge_lstm.logs.replay_table import header, replay_table
from tests.support.oracles.log_mutations import TEXTS, damaged
from tests.support.oracles.mutation_run import worker
from tests.support.robots import small_robot

SENTENCE = 2000  # characters
NAMES = ("wheel_speed_left", "wheel_speed_right", "current_left", "current_right")
TIMES: dict[str, Callable[[int], str]] = {
    "t_s": lambda k: f"{k / 100}",
    "time": lambda k: str(1759512644784 + 10 * k),
    "micros": lambda k: str((2**32 - 300_000 + 10_000 * k) % 2**32),
    "timestamp": lambda k: f"2024-05-06T12:00:{k / 100:09.6f}Z",
    "Time": lambda k: f"23:59:{59 if k < 30 else 0:02d}.{k:03d}",
    "date": lambda k: f"06/05/2024 12:00:{k / 100:09.6f}",
    "n": lambda k: str(k % 20),
    "stamp.sec,stamp.nanosec": lambda k: f"{1_700_000_000 + k // 100},{k % 100 * 10_000_000}",
}
SPOKEN: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("time", ("t_s", "n", "nothing")),
    ("time_unit", ("s", "ms", "ns", "%d/%m/%Y %H:%M:%S.%f", "%")),
    ("rate_hz", (100.0, 1e-300, 1e300)),
    ("names", (("t", *NAMES), ("a",), ("", ""))),
    ("skip_lines", (1, 7, 10**9)),
    ("skip_bad", (True,)),
    ("encoding", ("latin-1", "utf-16", "utf-7", "rot13", "nothing", "idna", "cp037")),
    ("hex", (True, False)),
    ("episode", ("none", "n", "nothing", "current_left")),
    ("model_hz", (100.0, 1e-3, 1e6)),
)
LINES = (
    "",
    "# restart",
    "rst:0x1 (POWERON_RESET)",
    "=~=~= PuTTY log 2024.05.06 12:00:00 =~=~=",
    '"',
    ",,,,",
    "\t",
    "%",
)


def outcome(seed: int, folder: Path, stage: Callable[[str], None] = lambda _: None) -> tuple[str, str]:
    """(kind, text) for the file of this seed. Kinds: refused, runs, defect."""
    rng = np.random.default_rng(seed)
    path = folder / "m.csv"
    path.write_bytes(_data(rng))
    chosen = (SPOKEN[k] for k in rng.choice(len(SPOKEN), int(rng.choice([0, 0, 0, 1, 2])), replace=False))
    said: dict[str, Any] = {name: values[rng.integers(0, len(values))] for name, values in chosen}
    asked = Asked(**{"model_hz": 100.0, "skip_bad": bool(rng.integers(0, 2)), **said})
    stage("read")
    usual = text_file.BLOCK
    try:
        found = []
        for block in (usual, int(rng.choice([37, 300]))):
            text_file.BLOCK = block
            found.append(_replayed(path, asked, folder / "out.csv"))
    except (EdgeLstmError, UnicodeError) as error:
        text = str(error)
        fine = isinstance(error, EdgeLstmError) and text.strip() and len(text) < SENTENCE and "\n" not in text
        return ("refused" if fine else "defect"), f"{type(error).__name__}: {text}"[:300]
    except BaseException as error:
        return "defect", f"{asked}: {type(error).__name__}: {error}"[:600]
    finally:
        text_file.BLOCK = usual
    return ("runs", "") if found[0] == found[1] else ("defect", f"{asked}: other numbers in other blocks")


def _data(rng: np.random.Generator) -> bytes:
    time = str(rng.choice(list(TIMES)))
    mark, point = str(rng.choice([",", ";", "\t", "|", " ", "  ", ", "])), "."
    if mark not in (",", ", ") and rng.integers(0, 3) == 0:
        point = ","
    numbers = [[f"{x:.4f}".replace(".", point) for x in rng.normal(0, 3, 4)] for _ in range(60)]
    rows = [[*TIMES[time](k).split(","), *row] for k, row in enumerate(numbers)]
    for _ in range(rng.integers(0, 5)):
        rows[rng.integers(0, 60)][rng.integers(0, 5)] = str(rng.choice([*TEXTS, "#N/A", "1E10", "0x1F", "-1.#IND"]))
    lines = [mark.join(row) for row in [[*time.split(","), *NAMES], *rows]]
    if rng.integers(0, 4) == 0:
        lines = [line + mark.strip() for line in lines]
    for _ in range(rng.integers(0, 4)):
        lines.insert(int(rng.integers(0, len(lines))), str(rng.choice([*LINES, lines[0]])))
    end = str(rng.choice(["\n", "\n", "\r\n", "\r", "\n\n"]))
    coding = str(rng.choice(["utf-8"] * 7 + ["utf-8-sig", "utf-16", "utf-16-le"]))
    data = (end.join(lines) + end).encode(coding, errors="surrogatepass")
    if rng.integers(0, 2):
        data = damaged(rng, data)
    if (packed := rng.integers(0, 8)) < 2:
        data = (gzip.compress, zstandard.compress)[packed](data)
        data = damaged(rng, data) if rng.integers(0, 2) else data
    return data


def _replayed(path: Path, asked: Asked, out: Path) -> bytes:
    model = small_robot.model(rate_hz=100.0)
    log = CsvLog(path, asked)
    columns, _ = match(log, model)
    with CsvWriter(out, header(log, model, columns)) as writer:
        summary, _ = replay_table(log, model, columns, writer, policy=Policy("hold", 5))
    assert all(len(note) < SENTENCE for note in summary.notes)
    assert summary.readings == summary.steps + summary.missing + summary.refused
    return out.read_bytes()


if __name__ == "__main__":
    worker(outcome)
