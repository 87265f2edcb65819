"""The command line, called in this process: what it prints and its exit code, without the second in which a process
of its own imports everything anew.

Its rule: for commands of which the sentence under test is about what they say and do. Where it is about a process (its
signals, descriptors, limits, death, or that it is another one than the run's), the test starts one.
"""

from __future__ import annotations

import contextlib
import io
import subprocess

from edge_lstm.cli import main


def called(*words: object) -> subprocess.CompletedProcess[str]:
    """`edge-lstm WORDS`, to its end."""
    arguments, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
