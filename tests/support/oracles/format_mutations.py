"""What becomes of a damaged log of any format: one clear error, or the rows that it still holds.

Its rule: as for recordings (`log_mutations.py`): only a LogError is an error, a sentence that names the file. Bytes are
damaged anywhere; within packed blocks, too, by packing the damaged bytes again; and lengths are set to their ends.

    python -m tests.support.oracles.format_mutations MIB      (a worker: seeds in, outcomes out)
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import zstandard

from edge_lstm.errors import LogError
from edge_lstm.logs import kind_of, open_log
from edge_lstm.logs.survey import survey
from tests.support.logs import tiny
from tests.support.oracles.log_mutations import damaged
from tests.support.oracles.mutation_run import LOUD, worker

MAKERS: dict[str, tiny.Maker] = tiny.MAKERS | {
    "blackbox": lambda folder: tiny.blackbox(folder / "tiny.bbl"),
    "nested parquet": lambda folder: tiny.nested(folder / "tiny.parquet"),
    "nested feather": lambda folder: tiny.nested(folder / "tiny.feather"),
}
FORMATS = list(MAKERS)


@cache
def _whole(name: str) -> tuple[str, bytes]:
    """The name and bytes of the tiny log in a format."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        path = MAKERS[name](place)
        return path.name, path.read_bytes()


def _inside(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage that leaves the length, the beginning and the last third as they are: where the index of a file stands at
    its end, anything else is refused before a row is read."""
    start, stop = 16, len(data) - len(data) // 3
    middle = data[start:stop]
    found = damaged(rng, middle)[: len(middle)]
    return data[:start] + found + middle[len(found) :] + data[stop:]


def outcome(seed: int, folder: Path, stage: Callable[[str], None] = lambda _: None) -> tuple[str, str]:
    """(kind, text) for the file of this seed. Kinds: refused, read, defect."""
    rng = np.random.default_rng(seed)
    name = FORMATS[seed % len(FORMATS)]
    stage(name)
    title, data = _whole(name)
    data = damaged(rng, data) if rng.integers(0, 2) else _inside(rng, data)
    if rng.integers(0, 12) == 0:
        packed = gzip.compress(data) if rng.integers(0, 2) else zstandard.ZstdCompressor().compress(data)
        data = damaged(rng, packed) if rng.integers(0, 2) else packed
    path = folder / title
    path.write_bytes(data)
    try:
        kind_of(path)
        log = open_log(path)
        survey(log)
        for block in log.blocks([c for c in log.columns if c is not log.time][:40]):
            assert block.values.shape[0] == len(block.lines) == len(block.t_s) == len(block.time_text)
        assert all(len(note) < LOUD for note in log.notes)
    except LogError as error:
        text = str(error)
        return ("refused" if str(path) in text and len(text) < LOUD else "defect"), text[:300]
    except BaseException as error:
        return "defect", f"{name}: {type(error).__name__}: {error}"[:600]
    return "read", ""


if __name__ == "__main__":
    worker(outcome)
