"""Threads that live on between calls: who asks for help gets it without waiting for a thread to be made.

Its rule: whoever asks works too, and waits only for those that have begun. So help that comes late, on a busy machine,
costs nothing; where none can be had, the caller does it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Result = TypeVar("Result")
_pools: list[ThreadPoolExecutor] = []  # none, or the one of this process


def _pool() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # not at the top: every start would pay for it

    if not _pools:
        _pools.append(ThreadPoolExecutor(os.cpu_count() or 1, "edge-lstm"))
    return _pools[0]


os.register_at_fork(after_in_child=_pools.clear)  # a child has none of its parent's threads


def _take(asked: Future[Result], work: Callable[[], Result]) -> None:
    """What a thread of the pool does, unless nobody wants it any more."""
    if not asked.set_running_or_notify_cancel():
        return
    try:
        asked.set_result(work())
    except BaseException as error:  # whoever asked raises it
        asked.set_exception(error)


def with_help(threads: int, work: Callable[[], Result]) -> list[Result]:
    """Calls work() in this thread and in up to `threads` - 1 others at the same time; what those that began returned.
    Each call should take from what there is to do until nothing is left. Raises what a call raised; the others may
    then still be at work."""
    from concurrent.futures import Future

    others: list[Future[Result]] = []
    try:
        for _ in range(threads - 1):
            # Ours, not the pool's: where the system gives no more threads, `submit` raises and leaves what was asked in
            # its queue, from which a thread that becomes free may still take it.
            others.append(Future())
            _pool().submit(_take, others[-1], work)
    except RuntimeError:  # or the interpreter is about to end
        pass
    try:
        results = [work()]
    finally:
        begun = [other for other in others if not other.cancel()]
    return results + [other.result() for other in begun]
