"""Which device file a port's name means, and what to say when it cannot be opened.

Its rule: a name is stable, a device file is not (ttyACM0 comes back as ttyACM1), so a name is resolved at every
opening. It never picks one of several boards: two that match are an error that tells how to name one of them.
"""

from __future__ import annotations

import errno
import grp
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from firmware_bridge.errors import PortError, PortMissing

USB_NAME = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::(.+))?")


class PortInfo(Protocol):
    """What pyserial's `comports()` knows of a port."""

    device: str
    description: str
    vid: int | None
    pid: int | None
    serial_number: str | None


def check(name: str) -> None:
    """Raises PortError for what is no name of a port, whichever ports there are."""
    if "/" not in name and not USB_NAME.fullmatch(name) and not Path(name).exists():
        raise PortError(
            f"{name!r} is not a port name. Give a path such as /dev/{name or 'ttyACM0'} or /dev/serial/by-id/…, "
            f"VID:PID[:SERIAL] such as 2341:0043, ./{name or 'name'} for one in this folder (where none "
            "is of that name now), or tcp://HOST:PORT or udp://HOST:PORT for one on the network."
        )


def resolve(name: str, present: Sequence[PortInfo]) -> str:
    """The device file for a path, /dev/serial/by-id/… or VID:PID[:SERIAL]. Raises PortError unless one matches."""
    usb = USB_NAME.fullmatch(name)
    if usb is None:
        if not Path(name).exists():
            raise PortMissing(f"There is no port {name}. {there_are(present)} Plug the board in, or name another port.")
        return name
    vid, pid, serial_number = int(usb[1], 16), int(usb[2], 16), usb[3]
    found = [
        item for item in present if (item.vid, item.pid) == (vid, pid) and serial_number in (None, item.serial_number)
    ]
    if not found:
        raise PortMissing(f"No USB port is {name}. {there_are(present)} Plug the board in, or name another port.")
    if len(found) > 1:
        names = " or ".join(usb_name(item) for item in found)
        raise PortError(f"{len(found)} ports are {name}. Name one of them with its serial number: {names}.")
    return found[0].device


def usb_name(item: PortInfo) -> str:
    """VID:PID:SERIAL of a USB port, as far as it has them; empty for one that is not USB."""
    if item.vid is None or item.pid is None:
        return ""
    return f"{item.vid:04x}:{item.pid:04x}" + (f":{item.serial_number}" if item.serial_number else "")


def there_are(present: Iterable[PortInfo]) -> str:
    """A sentence naming the ports that exist."""
    notes = {item.device: usb_name(item) or item.description for item in present}
    names = [device if note in ("", "n/a") else f"{device} ({note})" for device, note in notes.items()]
    return f"Ports here: {', '.join(names)}." if names else "This machine has no serial port now."


def explain(path: str, error: OSError, present: Iterable[PortInfo]) -> str:
    """Why a port could not be opened, and what to do, in one or two sentences."""
    if error.errno == errno.EACCES:
        group, lets_in = _group(path)
        if lets_in:
            return (
                f"You may not open {path}: it belongs to group {group!r}. "
                f"Run `sudo usermod -aG {group} $USER`, then log out and in again."
            )
        return (
            f"You may not open {path}: only its owner may, and no group that a person should be in. A udev rule opens "
            f"it for good; until it is plugged in again, `sudo chown :dialout {path} && sudo chmod 660 {path}` does."
        )
    if "exclusively lock" in str(error) or error.errno in (errno.EBUSY, errno.EWOULDBLOCK):
        return f"Another program is using {path}. Close it (`fuser {path}` names it), or set exclusive = false."
    if Path(path).is_file() or Path(path).is_dir():
        return f"{path} is a {'file' if Path(path).is_file() else 'folder'} and no port. {there_are(present)}"
    return f"{path} cannot be opened: {os.strerror(error.errno) if error.errno else error}. {there_are(present)}"


def _group(path: str) -> tuple[str, bool]:
    """Its group, and whether being in that is the way in: root's is not one to join, and another may have no rights."""
    try:
        found = Path(path).stat()
        rights = stat.S_IRGRP | stat.S_IWGRP
        return grp.getgrgid(found.st_gid).gr_name, found.st_gid != 0 and found.st_mode & rights == rights
    except (OSError, KeyError):
        return "dialout", True
