"""What people read of a command's tables: on a terminal of any width, through a pipe, in a file.

Its rule: a line is as long as what it says, and a terminal breaks it by itself, so a digest is copied whole and `grep`
finds a sentence. A table keeps its own width: a column that is squeezed would show "0.00…" of a number, and nobody
knows what was cut off. What a file says of itself is text, neither markup nor an order to the terminal.

Never: cut, or shorten, a number, a name or a digest. Commands import this when they print: it imports rich.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from edge_lstm.cli.common import plain

_UNBOUNDED = 1 << 14  # columns: no line of ours is longer


class Paper(Console):
    """A console on stdout whose tables are never squeezed."""

    _whole = False  # a table is being laid out

    def __init__(self) -> None:
        super().__init__(highlight=False, soft_wrap=True)
        if not self.is_terminal:
            self.width = _UNBOUNDED

    @property
    def is_dumb_terminal(self) -> bool:
        """Rich takes a dumb terminal to be 80 columns wide, whatever is asked for: not while a table is whole."""
        return not self._whole and super().is_dumb_terminal

    def whole(self, table: Table) -> None:
        """Print it at its own width, whatever the terminal's is: a terminal breaks what is longer by itself."""
        width = self.width
        self.width, self._whole = _UNBOUNDED, True
        with self.capture() as captured:
            self.print(table)
        self.width, self._whole = width, False
        self.file.write("\n".join(line.rstrip() for line in captured.get().split("\n")))

    def on_broken_pipe(self) -> None:
        """Rich would end with exit code 1, which says that a check found a difference."""
        raise BrokenPipeError


def columns(*titles: str, numbers: bool = False) -> Table:
    """An empty table without lines. numbers: all columns but the first are, and stand right."""
    made = Table(box=None, header_style="dim", pad_edge=False)
    for k, title in enumerate(titles):
        made.add_column(title, justify="right" if numbers and k else "left", no_wrap=True)
    return made


def text(words: str) -> str:
    """What a file or a device says, as it is."""
    return escape_markup(plain(words, ""))
