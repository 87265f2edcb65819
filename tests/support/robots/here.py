"""A worker in this very process, for tests of what it does: no process is started, and what is patched holds for it.
And work that kills its worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from edge_lstm.fleet.workers import Pool


class Now(Executor):
    """Does what it is given at once."""

    def submit(self, function: Callable[..., Any], /, *values: Any, **named: Any) -> Future[Any]:
        """See `Executor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*values, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


class Here(Pool):
    """One worker."""

    def __init__(self) -> None:
        super().__init__(1)

    def open(self) -> Executor:
        """See `Pool.open`."""
        return Now()


def killed(task: tuple[str, Path]) -> str:
    """What the task is called; "once" kills the process that does it the first time, "always" each time."""
    what, mark = task
    if what == "always" or (what == "once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return what
