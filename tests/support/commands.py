"""The command line, called in this process: what it prints and its exit code, without the second in which a process
of its own imports everything anew.

Its rule: for commands of which the sentence under test is about what they say and do. Where it is about a process (its
signals, descriptors, limits, death, or that it is another one than the run's), the test starts one.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from edge_lstm.cli import codes, main

Done = TypeVar("Done")
_LONGEST_S = 30.0


def long_enough(seconds: float, once: Callable[[float], Done], came: Callable[[Done], object]) -> Done:
    """What `once(seconds)` comes to, which ends by itself after so long. A busy machine may not come to it in that
    time: then once more with four times as long, and so on, and at last whatever it came to."""
    while True:
        done = once(seconds)
        if came(done) or seconds > _LONGEST_S:
            return done
        seconds *= 4


def run_long_enough(words: Sequence[str], more: Sequence[str], again: Callable[[], object]) -> int:
    """The exit code of a page's command that `more` ends soon, by --seconds at its end: longer where a busy machine has
    not heard the robot in that time. again: called before another try, for what was printed so far."""
    if "--seconds" not in more:
        return main([*words, *more])

    def once(seconds: float) -> int:
        again()
        if words[0] == "run":
            Path("drive.mcap").unlink(missing_ok=True)  # as the pages call it; of the try before
        return main([*words, *more[:-1], str(seconds)])

    return long_enough(float(more[-1]), once, lambda code: code != codes.PORT)


def heard(seconds: float, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`edge-lstm WORDS --seconds …` that listens to a board, until it ends with this code: see `long_enough`."""
    done = long_enough(
        seconds, lambda seconds: called(*words, "--seconds", seconds), lambda done: done.returncode == code
    )
    assert done.returncode == code, done.stderr
    return done


def called(*words: object) -> subprocess.CompletedProcess[str]:
    """`edge-lstm WORDS`, to its end."""
    arguments, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
