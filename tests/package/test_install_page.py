"""INSTALL.md and what lies in tools/container are held to pyproject.toml, and to the rule that Debian refuses nothing.

tests/long/test_clean_root.py types the page's lines in a clean Debian.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.package.built import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

PAGE = (ROOT / "edge_lstm/INSTALL.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {"onnx", "onnxruntime", "numba"}  # what a robot that runs native models does without (test_slim.py)


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", one)[0] for one in requirements}


def test_a_robot_gets_all_that_edge_lstm_needs_but_what_imports_and_compiles() -> None:
    """The packages of the page's line for a robot that only runs models, and tomli where it says so."""
    (line,) = re.findall(r"(?m)^    ~/edge-lstm/bin/pip install (numpy .*)$", PAGE)
    assert set(line.split()) | HEAVY | {"tomli"} == names(PROJECT["dependencies"])


def test_the_extras_on_the_page_are_those_that_users_have() -> None:
    """All but those for work on edge-lstm itself."""
    (section,) = re.findall(r"(?s)\n## Extras\n\n(.*?)\. What needs one", PAGE)
    said = set(re.findall(r"`([a-z]+)`", section))
    assert said == set(PROJECT["optional-dependencies"]) - {"test", "fuzz", "train"}


@pytest.mark.parametrize("page", ["README.md", "edge_lstm/INSTALL.md", "edge_lstm/daemon/SERVICE.md"])
def test_no_line_writes_into_the_systems_own_python(page: str) -> None:
    """Each line that calls pip calls that of an environment; Debian since 12 refuses any other."""
    lines = re.findall(r"(?m)^    .*\bpip install.*$", (ROOT / page).read_text())
    assert not [line for line in lines if not re.match(r"    (sudo )?[~/][\w./~-]*/bin/pip install ", line)]


def test_the_container_opens_the_ports_of_boards() -> None:
    """compose.yaml: /dev, the kernel's numbers of ttyACM and ttyUSB, and real time."""
    yaml = pytest.importorskip("yaml", reason="the extra `yaml` has it")
    folder = ROOT / "tools/container"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    robot = compose["services"]["robot"]
    assert (folder / robot["build"]["context"]).resolve() == ROOT
    assert (ROOT / robot["build"]["dockerfile"]).samefile(folder / "Containerfile")
    assert set(robot["volumes"]) == {"${ROBOT:-./robot}:/robot", "/dev:/dev"}
    assert {"c 166:* rmw", "c 188:* rmw"} == set(robot["device_cgroup_rules"])
    assert robot["ulimits"] == {"rtprio": 99, "memlock": -1}
