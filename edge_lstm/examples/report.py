"""What an example comes to: lines for people in either language, the same as JSON, and a picture on request.

Its rule: the numbers stand in `data`; lines and picture are made from them.

Never: measure anything.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load
from edge_lstm.errors import EdgeLstmError

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """title, lines: in the language asked for. data: JSON values. picture(path, lang) draws it: PNG, SVG or PDF."""

    name: str
    title: str
    lines: tuple[str, ...]
    data: dict[str, Any]
    picture: Callable[[Path, str], None]


def shipped(name: str) -> Model:
    """A model file of this folder."""
    return load(FOLDER / f"{name}.npz")


def columns(text: str, width: int) -> str:
    """The text with blanks behind it, for a table on a terminal: a Chinese sign is two columns wide there."""
    return text + " " * (width - sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text))


class Text:
    """Sentences in both languages: `text("English {x}", "中文 {x}", x=1)` gives the one that is wanted."""

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise EdgeLstmError(f"there is no language {lang!r} here; use {' or '.join(LANGUAGES)}")
        self.lang = lang

    def __call__(self, en: str, zh: str, **values: Any) -> str:
        return (zh if self.lang == "zh" else en).format(**values)
