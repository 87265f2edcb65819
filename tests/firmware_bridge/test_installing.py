"""What a person is told who lacks a package: a command that works where they are."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from firmware_bridge import installing
from firmware_bridge.installing import how_to_install, not_importable

REQUIRES = [
    "numpy>=1.26",
    "matplotlib>=3.10.8; extra == 'plot'",
    "paho-mqtt>=2.0; extra == 'test'",
    "paho-mqtt>=2.0; extra == 'mqtt'",
]


@pytest.mark.parametrize(
    ("prefix", "pip", "says"),
    [
        ("/home/ann/lstm", True, "'/home/ann/lstm/a b/python' -m pip install 'paho-mqtt>=2.0'"),
        ("/home/ann/lstm", False, "uv pip install --python '/home/ann/lstm/a b/python' 'paho-mqtt>=2.0'"),
        ("/home/ann/.local/share/pipx/venvs/edge-lstm", True, "pipx inject edge-lstm 'paho-mqtt>=2.0'"),
        ("/usr/lib/edge-lstm", False, "build the Debian package with it: tools/deb mqtt"),
    ],
)
def test_the_command_is_that_of_the_way_it_was_installed(
    monkeypatch: pytest.MonkeyPatch, prefix: str, pip: bool, says: str
) -> None:
    """pip of this Python, with its path and quoted for a shell; uv where there is no pip; pipx; the Debian package."""
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "executable", "/home/ann/lstm/a b/python")
    monkeypatch.setattr(installing, "find_spec", lambda name: pip or None)
    monkeypatch.setattr(installing, "requires", lambda name: REQUIRES)
    assert how_to_install("paho-mqtt") == says


def test_what_the_slim_debian_package_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No extra brings it: the package is built as it usually is."""
    monkeypatch.setattr(sys, "prefix", "/usr/lib/edge-lstm")
    monkeypatch.setattr(installing, "requires", lambda name: ["onnxruntime>=1.23", "onnx>=1.19"])
    assert how_to_install("onnx") == "build the Debian package with it: tools/deb without --slim"


def test_a_package_that_nothing_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a checkout that is not installed: the package by its name."""

    def gone(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    for requires in (gone, lambda name: None, lambda name: ["paho-mqtt-extra>=1", "paho-mqtt>=2; extra == 'test'"]):
        monkeypatch.setattr(installing, "requires", requires)
        monkeypatch.setattr(installing, "find_spec", lambda name: True)
        assert how_to_install("paho-mqtt").endswith(" -m pip install paho-mqtt")


def test_what_is_there_and_does_not_load_is_not_called_missing() -> None:
    """A package that lacks a library, or is given too little memory: what its loader said, in one line."""
    gone = ModuleNotFoundError("No module named 'onnx'", name="onnx")
    assert "onnx, which is not installed: " in not_importable("onnx", gone)
    refused = ImportError("libonnx.so: failed to map segment\nfrom shared object")
    says = "onnx, which is installed and cannot be loaded: libonnx.so: failed to map segment from shared object"
    assert not_importable("onnx", refused) == says
