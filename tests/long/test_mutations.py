"""Ten thousand damaged model files (ONNX, .npz) and as many recordings, CSV logs and robot.toml;
`tests/importers/onnx/test_mutations.py` tries the first 200, `tests/logs/test_mutations.py` the first 150.

Each is tried in a process of its own with a cap on its memory beyond what the libraries take (CAP_MIB) and a time limit
(SECONDS); what dies or hangs in ONNX Runtime itself is counted apart.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
CAP_MIB, SECONDS = 1024, 20
DEFECTS = ("defect", "unlike", "crash", "hang")


class Worker:
    """A process that tries one seed after the other; a new one is begun when it dies."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.listener: threading.Thread | None = None

    def begin(self) -> subprocess.Popen[str]:
        """The running process."""
        if self.process is None:
            command = [sys.executable, "-m", f"tests.support.oracles.{self.module}", str(CAP_MIB)]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self.lines = queue.Queue()
            self.listener = threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True)
            self.listener.start()
        return self.process

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def end(self) -> int | None:
        """The exit code of the process, ended if need be."""
        process, self.process = self.process, None
        if process is None or self.listener is None or process.stdin is None or process.stdout is None:
            return None
        process.kill()
        code = process.wait()
        self.listener.join()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        return code

    def attempt(self, seed: int) -> dict[str, Any]:
        """What became of one seed."""
        fresh = self.process is None
        process = self.begin()
        assert process.stdin is not None
        process.stdin.write(f"{seed}\n")
        process.stdin.flush()
        stage, started = "begin", time.monotonic()
        while True:
            limit = SECONDS + (60 if fresh else 0) - (time.monotonic() - started)
            try:
                line = self.lines.get(timeout=max(limit, 0.01))
            except queue.Empty:
                self.end()
                return {"seed": seed, "kind": "oracle hangs" if stage == "oracle" else "hang", "text": f"in {stage}"}
            if line is None:
                code = self.end()
                kind = "oracle dies" if stage == "oracle" else "crash"
                return {"seed": seed, "kind": kind, "text": f"in {stage}, exit code {code}"}
            found: dict[str, Any] = json.loads(line)
            if "kind" in found:
                return found
            stage = found["stage"]


@pytest.fixture(scope="module")
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """One process for all the files that it survives."""
    worker = Worker(request.param)
    yield worker
    worker.end()


def tried(worker: Worker, seeds: range) -> None:
    """Every seed; fails with a line for each that is a defect."""
    found = [worker.attempt(seed) for seed in seeds]
    print(dict(Counter(result["kind"] for result in found).most_common()))
    print(f"peak {max(result.get('MiB', 0) for result in found)} MiB in all")
    failed = [f"seed {one['seed']}: {one['kind']}: {one['text']}" for one in found if one["kind"] in DEFECTS]
    assert not failed, "\n".join(failed)


@pytest.mark.seeds(10_000, 200)
@pytest.mark.parametrize("worker", ["mutation_run"], indirect=True)
def test_a_damaged_file_is_one_clear_error_or_what_it_says(worker: Worker, seeds: range) -> None:
    """Each ends in one clear error, or in a model that runs; a model from a graph that ONNX Runtime takes equals it."""
    tried(worker, seeds)


@pytest.mark.seeds(10_000, 500)
@pytest.mark.parametrize("worker", ["log_mutations"], indirect=True)
def test_a_damaged_log_is_one_clear_error_or_what_it_says(worker: Worker, seeds: range) -> None:
    """Recordings, CSV logs and robot.toml: each ends in one clear error, or in what it still holds."""
    tried(worker, seeds)


@pytest.mark.seeds(16_000, 1000)
@pytest.mark.parametrize("worker", ["format_mutations"], indirect=True)
def test_a_damaged_log_of_any_format_is_one_clear_error_or_what_it_says(worker: Worker, seeds: range) -> None:
    """A thousand of each of 16 formats (--volume 10: ten thousand): bags, MCAP, flight logs, Parquet, Arrow; packed,
    too."""
    tried(worker, seeds)


@pytest.mark.seeds(10_000, 500)
@pytest.mark.parametrize("worker", ["csv_mutations"], indirect=True)
def test_a_damaged_csv_log_is_one_sentence_or_rows(worker: Worker, seeds: range) -> None:
    """Of every delimiter, time, encoding and packing, with any options; the rows are the same in blocks of any size."""
    tried(worker, seeds)
