"""Thousands of damaged model files (ONNX, .npz): `python tools/mutate.py [how many] [first seed] [--show KIND]`.

Each must end in one clear error, or in a model that runs; a model from a graph that ONNX Runtime takes must equal it.
Two workers, each with a cap on its memory beyond what the libraries take (CAP_MIB) and a time limit for each file
(SECONDS); what dies or hangs in ONNX Runtime itself is counted apart. The tests run the first 200. Exit code 1 where
anything else happened.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CAP_MIB, SECONDS, WORKERS = 1024, 20, 2
DEFECTS = ("defect", "unlike", "crash", "hang")


class Worker:
    """A process that tries one seed after the other; a new one is begun when it dies."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()

    def begin(self) -> subprocess.Popen[str]:
        """The running process."""
        if self.process is None:
            command = [sys.executable, "-m", "tests.support.mutation_run", str(CAP_MIB)]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self.lines = queue.Queue()
            threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()
        return self.process

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def end(self) -> int | None:
        """The exit code of the process, ended if need be."""
        if self.process is None:
            return None
        self.process.kill()
        code, self.process = self.process.wait(), None
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


def run(seeds: range) -> list[dict[str, Any]]:
    """What became of each seed, with all workers."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    results: list[dict[str, Any]] = []

    def work() -> None:
        worker = Worker()
        while True:
            try:
                seed = waiting.get_nowait()
            except queue.Empty:
                worker.end()
                return
            results.append(worker.attempt(seed))

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results, key=lambda r: int(r["seed"]))


def main() -> int:
    """Runs and tells."""
    arguments = sys.argv[1:]
    shown = set(DEFECTS)
    if "--show" in arguments:
        at = arguments.index("--show")
        shown |= set(arguments[at + 1].split(","))
        del arguments[at : at + 2]
    count, first = (int(a) for a in [*arguments, *["10000", "0"][len(arguments) :]])
    results = run(range(first, first + count))
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for result in results:
        if result["kind"] in shown:
            examples[result["kind"]].append(f"seed {result['seed']}: {result['text']}")
    for kind, lines in examples.items():
        print(f"{kind}:", *lines[:40], sep="\n  ")
    counts = Counter(r["kind"] for r in results)
    peak = max((r.get("MiB", 0) for r in results), default=0)
    print(
        f"{count} files: {dict(counts.most_common())}; cap {CAP_MIB} MiB beyond the libraries, peak {peak} MiB in all"
    )
    return int(any(counts[kind] for kind in DEFECTS))


if __name__ == "__main__":
    sys.exit(main())
