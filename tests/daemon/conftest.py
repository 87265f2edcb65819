"""A runtime directory of the tests' own, with a path short enough for a socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which runs of this test have theirs."""
    with tempfile.TemporaryDirectory(prefix="el-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
        yield Path(folder) / "edge-lstm"
