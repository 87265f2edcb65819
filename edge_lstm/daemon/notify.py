"""What a service tells systemd: that it runs, how it is, that it is alive, that it stops. sd_notify(3) in a few lines.

Its rule: nothing waits and nothing raises; without a service manager (no NOTIFY_SOCKET) everything does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """The socket of the service manager. watchdog_s: how long it waits for `alive` before it starts the program again;
    None: it does not watch."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._socket: socket.socket | None = None
        self.watchdog_s: float | None = None
        self._status = ""
        name = environment.get("NOTIFY_SOCKET", "")
        if name[:1] not in ("/", "@"):
            return
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            made.connect("\0" + name[1:] if name[0] == "@" else name)
        except OSError:
            made.close()
            return
        self._socket = made
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if microseconds.isdigit() and int(microseconds) and mine:
            self.watchdog_s = int(microseconds) / 1e6

    def ready(self) -> bool:
        """What was started runs. False: the manager takes nothing now, so it must be said again."""
        return self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent where it is a new one, or where the manager did not take it before."""
        if text != self._status and self._send("STATUS=" + " ".join(text.split())):
            self._status = text

    def alive(self) -> None:
        """The watchdog is fed."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """It ends, by a signal or by itself."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Nothing more is said."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()

    def _send(self, text: str) -> bool:
        """False: the manager takes nothing now, or is gone. True where there is none."""
        if self._socket is not None:
            try:
                self._socket.send(text.encode("utf-8", "replace"))
            except OSError:
                return False
        return True
