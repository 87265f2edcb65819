"""How to bring a package that is missing to the very Python that runs: a command to be typed as it stands.

Its rule: it follows the way by which edge-lstm came here (a Debian package, pipx, uv, pip), for each of them refuses
the others' commands or loses what they did; and it asks for the version that edge-lstm's own requirements name.
"""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

_DEBIAN = Path("/usr/lib/edge-lstm")  # where tools/deb puts it


def how_to_install(package: str) -> str:
    """The command that installs `package`, one of those that edge-lstm's extras name, or another."""
    wanted, extra = _requirement(package)
    place = Path(sys.prefix)
    if place == _DEBIAN:
        return f"build the Debian package with it: tools/deb {extra or 'without --slim'}"
    if place.parts[-3:-1] == ("pipx", "venvs"):
        return f"pipx inject {place.name} {shlex.quote(wanted)}"
    pip = f"{shlex.quote(sys.executable)} -m pip install" if find_spec("pip") else ""
    return f"{pip or f'uv pip install --python {shlex.quote(sys.executable)}'} {shlex.quote(wanted)}"


def not_importable(package: str, error: ImportError) -> str:
    """The end of a sentence that `package` begins: why importing it failed with `error`, and what helps."""
    if isinstance(error, ModuleNotFoundError):
        return f"{package}, which is not installed: {how_to_install(package)}"
    return f"{package}, which is installed and cannot be loaded: {' '.join(str(error).split()) or type(error).__name__}"


def _requirement(package: str) -> tuple[str, str]:
    """Package and bounds as edge-lstm asks for it, and the extra that brings it; the name and "" where it does not."""
    try:
        lines = requires("edge-lstm") or []
    except PackageNotFoundError:  # a checkout that is not installed
        lines = []
    for line in lines:
        asked, _, marker = line.partition(";")
        found = re.search(r"extra == ['\"]([^'\"]+)", marker)
        if re.match(rf"{re.escape(package)}(?![\w.-])", asked) and not (found and found[1] == "test"):
            return asked.strip(), found[1] if found else ""
    return package, ""
