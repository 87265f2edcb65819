"""Every command line on every page is one that the program understands, whether a test runs it or it needs a robot, a
cluster or root."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_lstm.cli import _root
from edge_lstm.cli.docs import pages

_LINE = re.compile(r"^\s*(?:\$ )?(?:sudo )?(?:[A-Z_]+=\S+ )*(edge-lstm .*)$", re.M)  # as one types it
_INLINE = re.compile(r"`(?:sudo )?edge-lstm ([^`]+)`")
_AFTER = ("|", ">", ">>", "2>", "&", "&&", "||")  # what a shell takes


def _found(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that these words are for, and the words behind its name. AssertionError: there is none."""
    command: click.Command = _root
    while isinstance(command, click.Group) and words and re.fullmatch("[a-z][a-z-]*", words[0]):
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, words
        command, words = inner, words[1:]
    return command, words


def _lines(text: str) -> Iterator[list[str]]:
    for line in _LINE.findall(re.sub(r"\\\n\s*", " ", text)):
        words = shlex.split(line, comments=True)[1:]
        ends = [words.index(one) for one in _AFTER if one in words]
        yield words[: min(ends, default=len(words))]


@pytest.mark.parametrize("name", list(pages()))
def test_every_line_on_a_page_is_understood(name: str) -> None:
    """Each has a command that there is, options that it has, values that may be, and all that must be said; one with
    NAME or [ ] in it shows a form, and has at least its command and options. So has what stands in a sentence."""
    text = Path(pages()[name].path).read_text(encoding="utf-8")
    for words in _lines(text):
        command, rest = _found(words)
        if isinstance(command, click.Group):
            assert not rest or rest[0].isupper() or rest[0].startswith("-"), words
            continue
        try:
            command.make_context("edge-lstm", list(rest), parent=click.Context(_root)).close()
        except click.exceptions.Exit:  # --help
            continue
        except click.ClickException as error:
            pytest.fail(f"{' '.join(words)}: {error.format_message()}")
    for said in _INLINE.findall(text):
        command, rest = _found(said.split())
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
        options = [found[1] for word in rest if (found := re.match(r"\[?(--?[a-z][a-z-]*)", word))]
        assert set(options) <= known, said


def test_a_line_that_is_not_understood_is_found() -> None:
    """The reader of pages sees what stands indented, fenced, behind sudo, and goes on over a backslash."""
    text = "    sudo edge-lstm run a.toml --wat 3 | head\n```\nedge-lstm replay a.csv \\\n    --model m.npz\n```\n"
    first, second = _lines(text)
    assert first == ["run", "a.toml", "--wat", "3"]
    assert second == ["replay", "a.csv", "--model", "m.npz"]
    command, rest = _found(first)
    with pytest.raises(click.NoSuchOption):
        command.make_context("edge-lstm", rest, parent=click.Context(_root))
    with pytest.raises(AssertionError):
        _found(["reply", "a.csv"])
