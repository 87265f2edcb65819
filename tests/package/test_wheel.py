"""What is in the wheel and in the sdist. Made without the network; test_installed.py installs them."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.package.built import ROOT, build

pytest.importorskip("hatchling", reason="the extra `test` has it")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def tracked(*folders: str) -> set[str]:
    """Every file below these folders that is no product of a run."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_both_packages(wheel: Path) -> None:
    """Code, pages, examples, C sources and py.typed; LICENSE, README.md, CHANGELOG.md beside them; no tests, tools."""
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = tracked("edge_lstm", "firmware_bridge")
    assert {"edge_lstm/py.typed", "firmware_bridge/py.typed", "edge_lstm/examples/slip_stall.npz"} <= packages
    assert packages <= names
    others = {name.partition("/")[2] for name in names - packages}
    assert others == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
        *("data/share/doc/edge-lstm/README.md", "data/share/doc/edge-lstm/CHANGELOG.md"),
    }


def test_the_sdist_can_be_worked_with(tmp_path: Path) -> None:
    """Everything that the tests and tools need, and the top level's files."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("edge_lstm", "firmware_bridge", "tests", "tools") <= names
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml", ".pre-commit-config.yaml"} <= names
