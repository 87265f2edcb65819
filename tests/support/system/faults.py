"""Commands on a machine that fails: for each n the n-th open, write, fsync, mkdir or rename.

    with Machine(folder, template) as machine:
        result = machine.run(["firmware", "{here}/model.npz"], Fault("write", 1, errno.ENOSPC))

Its rule: each command runs in a folder of its own, a copy of the template, and faults happen in there only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.support.robots.toolchain import need

KINDS = ("open", "write", "fsync", "mkdir", "rename")


@dataclass(frozen=True)
class Fault:
    """The n-th call of a kind fails with this errno; lasting: and all after it."""

    kind: str
    nth: int
    errno: int
    lasting: bool = False


@dataclass(frozen=True)
class Result:
    """What a command came to. counts: calls of each kind under the folder; files: what lies there, relative."""

    code: int
    out: str
    err: str
    counts: dict[str, int]
    folder: Path
    files: frozenset[str]


class Machine:
    """A context manager; skips the test where there is no compiler or no LD_PRELOAD."""

    def __init__(self, folder: Path, template: Path) -> None:
        need("gcc")
        self._folder, self._template, self._count = folder.resolve(), template, 0
        library = folder / "faults.so"
        source = Path(__file__).with_name("faults.c")
        build = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-ldl"]
        subprocess.run(build, check=True)
        environment = dict(os.environ, LD_PRELOAD=str(library), PYTHONWARNINGS="ignore")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.system.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def run(self, arguments: Sequence[str], fault: Fault | None = None) -> Result:
        """One command; {here} in its arguments is its folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        here = self._folder / str(self._count)
        shutil.copytree(self._template, here)
        (here / "tmp").mkdir()
        texts = [self._folder / f"{self._count}.{name}" for name in ("out", "err")]
        order = {
            "arguments": [argument.replace("{here}", str(here)) for argument in arguments],
            "folder": f"{here}/",
            "kind": KINDS.index(fault.kind) if fault else -1,
            "nth": fault.nth if fault else 0,
            "errno": fault.errno if fault else 0,
            "lasting": fault.lasting if fault else False,
            "out": str(texts[0]),
            "err": str(texts[1]),
        }
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        out, err = (path.read_text() for path in texts)
        files = frozenset(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
        return Result(answer["code"], out, err, dict(zip(KINDS, answer["counts"], strict=False)), here, files)
