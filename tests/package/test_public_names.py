"""What other programs may rely on: the names in `edge_lstm`, its version and `python -m edge_lstm`."""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edge_lstm
from edge_lstm import errors

ROOT = Path(__file__).parents[2]
(VERSION,) = re.findall(r'(?m)^version = "(.*)"$', (ROOT / "pyproject.toml").read_text())
NOT_INSTALLED = "0+unknown"


def bare(program: str) -> str:
    """What a program prints in a Python that sees this tree and no installed package."""
    command = [sys.executable, "-S", "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_type_checkers_are_told_the_names_that_are_there() -> None:
    """`__all__` has what the lazy table has, and the imports for type checkers take each from the same file."""
    (block,) = (node for node in ast.parse(Path(edge_lstm.__file__).read_text()).body if isinstance(node, ast.If))
    shown = {name.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert shown == edge_lstm._HOMES
    assert sorted(shown) == edge_lstm.__all__ == dir(edge_lstm)


@pytest.mark.parametrize("name", edge_lstm.__all__)
def test_every_name_is_found(name: str) -> None:
    """Each public name is there when it is asked for."""
    assert getattr(edge_lstm, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    """A name that is not public is refused as Python does, so that `hasattr` works."""
    with pytest.raises(AttributeError, match="no attribute 'stem'"):
        _ = edge_lstm.stem


def test_every_error_is_public() -> None:
    """A program that catches an error of ours needs no second import."""
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EdgeLstmError)
    }
    assert ours == {name for name, home in edge_lstm._HOMES.items() if home == "edge_lstm.errors"}


def test_the_version_is_that_of_the_project() -> None:
    """`edge_lstm.__version__` is the version in pyproject.toml, where the package is installed."""
    assert edge_lstm.__version__ in (VERSION, NOT_INSTALLED)


def test_a_checkout_that_is_not_installed_says_so() -> None:
    """Without an installed package the version is still a valid one, and no error."""
    assert bare("import edge_lstm; print(edge_lstm.__version__)") == NOT_INSTALLED


def test_the_version_costs_nothing_before_it_is_asked_for() -> None:
    """`import edge_lstm` needs no other package, and does not read what is installed."""
    program = "import sys, edge_lstm; print('importlib.metadata' in sys.modules, len(dir(edge_lstm)) > 20)"
    assert bare(program) == "False True"


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_python_m_is_the_command(option: str) -> None:
    """`python -m edge_lstm` is `edge-lstm`, and says its name."""
    command = [sys.executable, "-m", "edge_lstm", option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    first = done.stdout.splitlines()[0]
    assert (
        first
        == {
            "--version": f"edge-lstm, version {edge_lstm.__version__}",
            "--help": "Usage: edge-lstm [OPTIONS] COMMAND [ARGS]...",
        }[option]
    )


@pytest.mark.parametrize(
    "name",
    [
        *("load", "save", "import_onnx", "from_arrays", "quantize", "record", "verify", "Translator", "Policy"),
        *("Channel", "Model", "Stream", "Streams", "MissingReadings", "Feedback", "Timing"),
    ],
)
def test_help_is_a_screen(name: str) -> None:
    """`help()` of what people use is at most 70 lines, says what it is for, and nothing that every class has."""
    text = pydoc.plain(pydoc.render_doc(getattr(edge_lstm, name)))
    lines = text.rstrip().splitlines()
    assert len(lines) <= 70, text  # since Python 3.13 long signatures take several
    assert "__" not in text
    assert len(text) > 150
