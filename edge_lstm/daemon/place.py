"""Where a run keeps what others find it by: a folder of its name, with `control.sock` and `status` in it.

Its rule: the folder belongs to whoever runs, and nobody else may write there. It lies in the service's runtime
directory ($RUNTIME_DIRECTORY, as systemd gives it), else in the user's ($XDG_RUNTIME_DIR/edge-lstm), else in
/tmp/edge-lstm-UID, which is made with mode 0700 and refused where somebody else has made it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from edge_lstm.errors import DaemonError

SOCKET, STATUS = "control.sock", "status"
SERVICES = Path("/run/edge-lstm")  # what a service's $RUNTIME_DIRECTORY is, for those who look for it from outside
TEMPORARY = "/tmp/edge-lstm-{}"  # of a user
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_LONGEST = 100  # bytes of a socket's path: the system takes 107


def base(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder in which the folders of all runs of this user lie."""
    if given := environment.get("RUNTIME_DIRECTORY", ""):
        return Path(given.partition(":")[0])
    if given := environment.get("XDG_RUNTIME_DIR", ""):
        return Path(given) / "edge-lstm"
    return Path(TEMPORARY.format(os.getuid()))


def own(name: str, group: int | None = None) -> Path:
    """The folder of the run `name`, made where it is missing. group: may enter it. Raises DaemonError."""
    if not NAME.fullmatch(name):
        raise DaemonError(f"{name!r} is no name of a run: up to 40 letters, digits, '.', '_' and '-'")
    root = base()
    folder = root / name
    if len(os.fsencode(folder / SOCKET)) > _LONGEST:
        raise DaemonError(f"{folder / SOCKET}: is longer than a socket's path may be; choose a shorter [daemon] name")
    try:
        for path in (root, folder):
            if path.parent.is_dir() or path is folder:
                path.mkdir(mode=0o700, exist_ok=True)
            else:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _is_ours(path)
        if group is not None:
            os.chown(folder, -1, group)
            folder.chmod(0o710)
    except OSError as error:
        raise DaemonError(f"{error.filename or folder}: {error.strerror or error}") from error
    return folder


def closed_to(group: int, folder: Path) -> Path | None:
    """The first folder on the way to this one that members of the group may not enter; None: they come there."""
    for path in reversed((folder, *folder.parents)):
        found = path.stat()
        if not found.st_mode & (stat.S_IXGRP if found.st_gid == group else stat.S_IXOTH):
            return path
    return None


def _is_ours(path: Path) -> None:
    """DaemonError where another user could put a file of his there."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
        raise DaemonError(f"{path}: belongs to somebody else, or others may write there; remove it")


def runs() -> dict[str, Path]:
    """The folder of each run that can be found, by name: of this user, then of services."""
    found: dict[str, Path] = {}
    for root in (base(), *sorted(_services())):
        try:
            if root == base({}):  # in /tmp anybody could have made one of our name, with a run of his own in it
                _is_ours(root)
            folders = sorted(filter(_is_run, root.iterdir()))
        except (OSError, DaemonError):
            continue
        for folder in folders:
            found.setdefault(folder.name, folder)
    return found


def _is_run(folder: Path) -> bool:
    """One that this user may look into."""
    try:
        return (folder / STATUS).exists() or (folder / SOCKET).exists()
    except OSError:
        return False


def _services() -> list[Path]:
    """Runtime directories of services: /run/edge-lstm and /run/edge-lstm-*."""
    try:
        return [path for path in SERVICES.parent.glob("edge-lstm*") if path.is_dir()]
    except OSError:
        return []


def find(name: str | None) -> Path:
    """The folder of the run `name` (a name or a path); None: of the only one. Raises DaemonError."""
    if name is not None and "/" in name:
        return Path(name)
    known = runs()
    if name is None:
        if len(known) == 1:
            return next(iter(known.values()))
        if not known:
            raise DaemonError("no run is to be found here; is edge-lstm run there, with [daemon] and by this user?")
        raise DaemonError(f"there are several runs, name one of them: {', '.join(known)}")
    if name not in known:
        there = f"only {', '.join(known)}" if known else "there is none at all"
        raise DaemonError(f"there is no run {name!r}, {there}")
    return known[name]
