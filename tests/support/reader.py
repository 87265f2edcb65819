"""A reader of the tutorial's pages: types what stands there, in a folder that was empty."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import edge_lstm
from edge_lstm.cli import COMMANDS, codes
from tests.cli.test_live import simulated
from tests.support.commands import run_long_enough

FOLDER = Path(edge_lstm.__file__).parent / "tutorial"


def page(name: str) -> str:
    """The text of a page of the tutorial."""
    return (FOLDER / name).read_text(encoding="utf-8")


def python_of(name: str) -> str:
    """The one block of Python on a page."""
    (code,) = re.findall(r"(?s)```python\n(.*?)```", page(name))
    return str(code)


class Terminal:
    """A page as its reader types it: commands in their order, `cd`, `> FILE`; `simulate` goes on in a second terminal.

    more: options by command, so that it ends soon. A block of TOML goes to the end of robot.toml, or is a whole one;
    of a block of text every line must be in what has been printed so far. What is done with a device
    (/dev/…) is only looked at: that there is such a command.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], more: Mapping[str, Sequence[str]]) -> None:
        self.ends = {"doctor": [codes.DONE, codes.DIFFERENT, codes.MEND]}  # as the machine is; others are done
        self.said = ""  # all that was printed
        self.ran: list[str] = []  # the commands' names
        self._capsys, self._more, self._second = capsys, more, ExitStack()

    def read(self, name: str) -> None:
        """The whole page, top to bottom."""
        with self._second:
            for command, language, block in _blocks(page(name)):
                if command:
                    self.type(command)
                elif language == "toml":
                    whole = block.startswith("[port]")
                    with Path("robot.toml").open("w" if whole else "a", encoding="utf-8") as file:
                        file.write(block if whole else f"\n{block}")
                elif language == "text":
                    printed = " ".join(self.said.split())
                    for line in block.splitlines():
                        assert " ".join(line.split()) in printed, f"{line}\n{self.said}"

    def type(self, line: str) -> None:
        program, *words = shlex.split(line, comments=True)
        if program == "cd":
            os.chdir(words[0])  # the fixture goes back
        if program != "edge-lstm":
            return
        self.ran.append(words[0])
        if any(word.startswith("/dev/") for word in words):
            assert words[0] in COMMANDS
            return
        if words[0] == "simulate":
            self._second.enter_context(simulated(Path(words[2]), *words[3:]))
            return
        words, target = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, "")
        code = run_long_enough(words, self._more.get(words[0], []), self._capsys.readouterr)
        out, err = self._capsys.readouterr()
        assert code in self.ends.get(words[0], [codes.DONE]), f"{line}\n{out}{err}"
        if target:
            Path(target).write_text(out, encoding="utf-8")
        self.said += out + err


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """(command, "", "") or ("", language, block), in the page's order."""
    yield from re.findall(r"(?ms)^ {4}(?: {2})?(\S[^\n]*)$|^```(\w+)\n(.*?)^```$", text)


def import_line() -> str:
    """The tutorial's third step."""
    (line,) = re.findall("(?m)^    (edge-lstm import .*)$", page("README.md"))
    return str(line)


def third_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Go to the tutorial's folder, copied to where we are, with wheels.npz from its third step."""
    terminal = Terminal(capsys, {})
    for command in ("edge-lstm example copy my-robot", "cd my-robot/tutorial", import_line()):
        terminal.type(command)
