"""Asking a run through its control socket.

    with Control(find("cart")) as control:
        answer = control.ask({"do": "mark", "text": "it slipped"})

Its rule: an answer is returned as it came where the run says ok; a refusal is a `Refused` with the run's own sentence,
and a run that cannot be reached is a DaemonError.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_lstm.daemon.place import SOCKET
from edge_lstm.errors import DaemonError

ANSWER_S = 60.0  # a model that is compiled for a new machine takes a while
_BUSY_S = 5.0
_LONGEST = 1 << 26  # bytes of an answer


class Refused(DaemonError):
    """The run does not do what was asked, and says why."""


class Control:
    """A connection to the run in `folder` (see `place.find`)."""

    def __init__(self, folder: Path, timeout_s: float = ANSWER_S) -> None:
        path = folder / SOCKET if folder.is_dir() else folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_s)
        try:
            self._connect(os.fspath(path), min(timeout_s, _BUSY_S))
        except PermissionError as error:
            self._socket.close()
            raise DaemonError(f"{path}: you may not use it; [daemon] group says who may") from error
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise DaemonError(f"{path}: nobody listens there: the run has ended, or has no control socket") from None
        except OSError as error:
            self._socket.close()
            raise DaemonError(f"{path}: {error.strerror or error}") from error
        self._file = self._socket.makefile("rb")

    def _connect(self, path: str, patience_s: float) -> None:
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                self._socket.connect(path)
                return
            except BlockingIOError:  # many knock at the same time
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """May be called twice."""
        self._file.close()
        self._socket.close()

    def ask(self, request: Mapping[str, Any], file: bytes = b"") -> dict[str, Any]:
        """The answer. Refused: the run's sentence; DaemonError: there is no answer."""
        return self._checked(self._exchange(request, file))

    def watch(self, every_ms: int = 1000) -> Iterator[dict[str, Any]]:
        """{"status": …} and {"event": …} as they come, until the run ends."""
        answer = self._exchange({"do": "watch", "every_ms": every_ms})
        while True:
            yield self._checked(answer)
            if answer.get("ended"):
                return
            answer = self._read()

    def _exchange(self, request: Mapping[str, Any], file: bytes = b"") -> dict[str, Any]:
        line = json.dumps({**request, **({"bytes": len(file)} if file else {})}, separators=(",", ":")).encode()
        try:
            self._socket.sendall(line + b"\n" + file)
        except OSError as error:
            try:  # it may have said why before it hung up
                return self._read()
            except DaemonError:
                raise DaemonError(f"the run did not take the request: {error.strerror or error}") from error
        return self._read()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._file.readline(_LONGEST)
        except OSError as error:
            raise DaemonError(f"the run does not answer: {error.strerror or error}") from error
        try:
            answer = json.loads(line)
        except ValueError:
            raise DaemonError("the run has ended the connection without an answer") from None
        if not isinstance(answer, dict):
            raise DaemonError("the run's answer is none")
        return answer

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer.get("ok") is not True:
            raise Refused(str(answer.get("error", "the run refuses, and does not say why")))
        return answer
