"""Who works: processes of this machine or a Dask cluster, both as a `concurrent.futures.Executor` of one function.

    for job, answer in answers(pool, work, jobs): …

Its rule: where a worker is killed, the jobs that were under way are done again, each alone; one that kills its worker
twice when it is alone fails, and the others go on. No more jobs wait in a pool than keep it busy, so that few have to
be done again.

Never: fork: threads and locks of this process are not copied into a worker that then waits for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Generic, TypeVar

from edge_lstm.errors import EdgeLstmError
from firmware_bridge.installing import not_importable

Task = TypeVar("Task")
Answer = TypeVar("Answer")
_AHEAD = 2  # jobs that wait for each worker
_PATIENCE_S = 10


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """In a new worker: Ctrl-C is the parent's business, and when the parent is gone, so is the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Pool:
    """Workers, made when they are needed and made again where one of them was killed."""

    def __init__(self, jobs: int) -> None:
        self.workers = jobs

    def open(self) -> Executor:
        """New ones."""
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin)

    def close(self) -> None:
        """Nothing else is to be closed."""


class Dask(Pool):
    """The workers of a cluster. EdgeLstmError: Dask distributed is not
    installed, or nobody answers there."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise EdgeLstmError(f"needs Dask {not_importable('distributed', error)}") from error
        try:
            self._client = Client(address, timeout=_PATIENCE_S)
        except (OSError, ValueError) as error:
            raise EdgeLstmError(f"{address}: no Dask scheduler answers there ({error})") from None
        super().__init__(max(1, sum(self._client.nthreads().values())))

    def open(self) -> Executor:
        """The cluster's."""
        found: Executor = self._client.get_executor(pure=False)
        return found

    def close(self) -> None:
        """Leave the cluster, which goes on."""
        self._client.close()


class _Work(Generic[Task, Answer]):
    """Jobs under way."""

    def __init__(self, pool: Pool, function: Callable[[Task], Answer], tasks: Iterable[Task]) -> None:
        self._pool, self._function = pool, function
        self._waiting = deque(tasks)
        self._suspects: deque[Task] = deque()  # were under way when a worker was killed: one at a time
        self._killed: list[Task] = []  # were alone when it was killed
        self._under_way: dict[Future[Answer], Task] = {}

    def run(self) -> Iterator[tuple[Task, Answer | BaseException]]:
        executor = self._pool.open()
        try:
            while self._waiting or self._suspects or self._under_way:
                alone = bool(self._suspects) and not self._under_way
                if not self._submit(executor, alone):
                    executor = self._again(executor)
                    continue
                done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
                broken = False
                for future in done:
                    task = self._under_way.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        broken = True
                        if alone and task in self._killed:
                            yield task, error
                            continue
                        if alone:
                            self._killed.append(task)
                        self._suspects.append(task)
                    else:
                        yield task, future.result() if error is None else error
                if broken:
                    executor = self._again(executor)
        finally:
            for future in self._under_way:
                future.cancel()
            executor.shutdown(wait=True)

    def _submit(self, executor: Executor, alone: bool) -> bool:
        """Fill up; False where a worker has been killed in the meantime."""
        try:
            if alone:
                self._under_way[executor.submit(self._function, self._suspects[0])] = self._suspects[0]
                self._suspects.popleft()
                return True
            while self._waiting and not self._suspects and len(self._under_way) < _AHEAD * self._pool.workers:
                self._under_way[executor.submit(self._function, self._waiting[0])] = self._waiting[0]
                self._waiting.popleft()
        except BrokenProcessPool:
            return False
        return True

    def _again(self, executor: Executor) -> Executor:
        """New workers; what was under way is done again."""
        for future, task in self._under_way.items():
            with suppress(BaseException):
                if future.done() and future.exception() is None:
                    continue
            self._suspects.append(task)
        finished = {
            f: t for f, t in self._under_way.items() if f.done() and not f.cancelled() and f.exception() is None
        }
        self._under_way = finished
        executor.shutdown(wait=False, cancel_futures=True)
        return self._pool.open()


def answers(
    pool: Pool, function: Callable[[Task], Answer], tasks: Iterable[Task]
) -> Iterator[tuple[Task, Answer | BaseException]]:
    """Each task with what the function gives, or with what it or its worker died of, as they come."""
    yield from _Work(pool, function, tasks).run()


def died(error: BaseException) -> str:
    """What became of a worker, for people."""
    if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
        return "its worker was killed, twice (by the system, for memory?); the other logs went on"
    return f"its worker failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
