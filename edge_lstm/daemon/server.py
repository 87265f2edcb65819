"""The control socket of a run: newline JSON over AF_UNIX, one answer for each request, in order.

    {"do": "status"}                                   → {"ok": true, "status": {…}}
    {"do": "schema"} {"do": "events", "after": 0}      → names and units; what happened
    {"do": "watch", "every_ms": 1000}                  → a line for each status and each event, until you go
    {"do": "mark", "text": "…", "last_s": 300}         and all of `robot/requests.py`; a model file follows its line,
    {"do": "swap", "file": "new.npz", "bytes": 51234}  so many bytes as it says
    {"do": "stop"}                                     → as SIGTERM
    anything wrong                                     → {"ok": false, "error": "a sentence"}

Its rule: whoever may use it is decided by the system: the socket's mode is 0660, and the other side's user must be this
one, root, or one of the group. A connection costs one sleeping thread and at most what one request holds; the loop is
asked through the mailbox, so no request, whole or half, slow or endless, is ever waited for by the robot.

Never: more than `CONNECTIONS` at once (the longest idle goes, before any that waits for an answer), a line beyond
`LINE_BYTES`, a file beyond `FILE_BYTES`, two files at the same time, or a request that takes longer than `REQUEST_S` to
arrive.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_lstm.daemon.block import BlockReader
from edge_lstm.daemon.lull import Lull
from edge_lstm.errors import DaemonError, EdgeLstmError
from edge_lstm.robot.realtime import beside
from edge_lstm.robot.requests import check, numbers
from firmware_bridge.recordings import keyframe

CONNECTIONS = 16
LINE_BYTES = 1 << 18
FILE_BYTES = 1 << 26
REQUEST_S, IDLE_S = 5.0, 600.0  # for a request to arrive once it has begun; between two
FILE_S = 30.0
WATCH_MS = (50, 60_000)
_MORE = {"mark": ("last_s",), "swap": ("bytes",), "shadow": ("bytes",)}  # keys of the socket alone


class Server:
    """Listens from the beginning; `close` ends it. OSError where the socket cannot be made."""

    def __init__(
        self,
        path: Path,
        ask: Callable[[bytes], dict[str, Any]],
        prepare: Callable[[bytes], None],
        block: Path,
        *,
        mark: Callable[[int, str, float], None] = lambda t_ns, text, last_s: None,
        stop: Callable[[], None],
        group: int | None = None,
        lull: Lull | None = None,
    ) -> None:
        """ask: gives a request to the loop and waits for what comes of it; prepare: before that, for what takes long;
        block: of `status`. mark: t_ns, text and how many seconds before it count, too. group: whose members may use
        the socket. lull: in which answers are begun; None: whenever a request comes."""
        self._ask, self._prepare, self._block = ask, prepare, block
        self._mark, self._group, self._lull = mark, group, lull
        self.stop = stop  # called when the one who asked has the answer: the connections end with the run
        self.path = path
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()  # of that list, and never the loop's
        self.uploading = threading.Lock()
        self._closing = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            fresh = path.with_name(path.name + ".new")  # never there with a mode that lets others in
            for old in (fresh, path):
                with contextlib.suppress(FileNotFoundError):
                    old.unlink()
            before = os.umask(0o177)
            try:
                self._socket.bind(os.fspath(fresh))
            finally:
                os.umask(before)
            if group is not None:
                os.chown(fresh, -1, group)
                fresh.chmod(0o660)
            self._socket.listen(CONNECTIONS)
            fresh.rename(path)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections; the socket's path is free again."""
        self._closing = True
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for one in self._connections:
                one.end()

    # ------------------------------------------------------------------------------------------ connections

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if self._closing or error.errno == errno.EBADF:
                    return
                time.sleep(0.1)  # no descriptors left, for now
                continue
            try:
                self._welcome(connection)
            except (OSError, RuntimeError):  # gone again, or no thread to be had
                connection.close()

    def _welcome(self, connection: socket.socket) -> None:
        uid, refused = _peer(connection, self._group)
        if refused:
            connection.settimeout(0.1)
            connection.sendall(_line({"ok": False, "error": refused}))
            connection.close()
            return
        one = _Connection(self, connection, uid, threading.get_native_id())
        with self._lock:
            if len(self._connections) >= CONNECTIONS:
                idle = min(self._connections, key=lambda other: (other.asking, other.busy_s))
                idle.end()
                self._connections.remove(idle)
            self._connections.append(one)
        one.start()

    def gone(self, one: _Connection) -> None:
        """It has ended."""
        with self._lock, contextlib.suppress(ValueError):
            self._connections.remove(one)

    # ------------------------------------------------------------------------------------------ requests

    def wait(self) -> None:
        """For the lull between two readings."""
        if self._lull is not None:
            self._lull.wait()

    def obey(self, tree: Mapping[str, Any], more: bytes, by: str) -> dict[str, Any]:
        """The answer to one request, but for "watch". EdgeLstmError: a refusal."""
        do = tree.get("do")
        if do in ("status", "schema", "events"):
            return self._look(str(do), tree)
        own = {key: tree[key] for key in _MORE.get(str(do), ()) if key in tree}
        asked = check({key: value for key, value in tree.items() if key not in own} | {"by": by}, more)
        last_s = numbers("mark", {"last_s": own.get("last_s", 0)})["last_s"]
        data = asked.bytes()
        if more:
            self._prepare(data)
        answer = self._ask(data)
        if "snapshot" in answer:  # here, and not in the loop: it is long
            try:
                answer |= {"snapshot": keyframe.encode(answer["snapshot"]).decode()}
            except (TypeError, ValueError) as error:
                raise DaemonError(f"what is remembered cannot be copied: {error}") from None
        if answer.get("ok") and do == "mark":
            self._mark(answer["t_ns"], str(asked.given.get("text", "")), last_s)
        return answer

    def _look(self, do: str, tree: Mapping[str, Any]) -> dict[str, Any]:
        with BlockReader(self._block) as block:
            if do == "schema":
                return {"ok": True, "schema": block.schema}
            if do == "status":
                return {"ok": True, "status": block.status().as_dict()}
            after, lost, events = block.events(int(numbers(do, {"after": tree.get("after", 0)})["after"]))
            return {"ok": True, "after": after, "lost": lost, "events": events}

    def reader(self) -> BlockReader:
        """Of a watcher."""
        return BlockReader(self._block)


class _Connection(threading.Thread):
    """One that is connected."""

    def __init__(self, server: Server, connection: socket.socket, uid: int, of: int) -> None:
        """of: the thread whose level it takes."""
        super().__init__(name="control connection", daemon=True)
        self._server, self._socket, self._of = server, connection, of
        self._by = _user(uid)
        self._buffer = b""
        self.asking = False  # a request of its is being answered
        self.busy_s = time.monotonic()  # when it last asked for something, or was told what it watches

    def end(self) -> None:
        """From another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        beside(self._of)
        try:
            while (line := self._line()) is not None:
                self.busy_s = time.monotonic()
                if line.strip():
                    self.asking = True
                    self._one(line)
                    self.asking = False
        except (OSError, _Over):
            pass
        finally:
            self._socket.close()
            self._server.gone(self)

    def _one(self, line: bytes) -> None:
        tree: dict[str, Any] = {}
        self._server.wait()
        try:
            tree = _tree(line)
            if tree.get("do") == "watch":
                self._watch(tree)
                return
            answer = self._with_file(tree) if tree.get("bytes") else self._server.obey(tree, b"", self._by)
        except EdgeLstmError as error:
            answer = {"ok": False, "error": str(error)}
        except (OSError, _Over):
            raise
        except (MemoryError, RuntimeError) as error:
            answer = {"ok": False, "error": f"the machine refuses for now: {error!r}"[:300]}
        except Exception as error:  # whatever somebody has asked must not end his connection without a word
            answer = {"ok": False, "error": f"a defect of this program: {error!r}"[:300]}
        try:
            self._send(answer)
        finally:
            if answer.get("ok") and tree["do"] == "stop":
                self._server.stop()

    def _with_file(self, tree: dict[str, Any]) -> dict[str, Any]:
        """A request whose file follows its line."""
        size = tree["bytes"]
        if str(tree.get("do")) not in _MORE or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            self._over({"ok": False, "error": "bytes: no file can follow this"})
        if size > FILE_BYTES:
            self._over({"ok": False, "error": f"a file of {size} bytes is too large; {FILE_BYTES} are taken"})
        if not self._server.uploading.acquire(timeout=REQUEST_S):
            self._over({"ok": False, "error": "another file is on its way; try again"})
        try:
            more, deadline_s = self._take(size), time.monotonic() + FILE_S
            parts, got = [more], len(more)
            while got < size:
                self._socket.settimeout(max(min(REQUEST_S, deadline_s - time.monotonic()), 0.001))
                part = self._receive(min(size - got, 1 << 16))
                if not part or time.monotonic() > deadline_s:
                    self._over({"ok": False, "error": "the file did not arrive whole"})
                parts.append(part)
                got += len(part)
            return self._server.obey(tree, b"".join(parts), self._by)
        finally:
            self._server.uploading.release()

    def _watch(self, tree: Mapping[str, Any]) -> None:
        """Lines until the other side goes, or does not read them."""
        every_ms = numbers("watch", {"every_ms": tree.get("every_ms", 1000)})["every_ms"]
        if not WATCH_MS[0] <= every_ms <= WATCH_MS[1]:
            raise DaemonError(f"watch: every_ms must be {WATCH_MS[0]} to {WATCH_MS[1]}, not {every_ms:g}")
        with self._server.reader() as block:
            after, due_s = block.next_event, time.monotonic()
            while not block.ended:
                self._server.wait()
                after, lost, events = block.events(after)
                if lost:
                    self._send({"ok": True, "lost": lost})
                for event in events:
                    self._send({"ok": True, "event": event})
                if time.monotonic() >= due_s:
                    due_s += every_ms / 1000
                    self._send({"ok": True, "status": block.status().as_dict()})
                    self.busy_s = time.monotonic()
                self._socket.settimeout(WATCH_MS[0] / 1000)
                with contextlib.suppress(TimeoutError):
                    if not self._receive(4096):
                        return
        self._send({"ok": True, "ended": True})

    # ------------------------------------------------------------------------------------------ bytes

    def _line(self) -> bytes | None:
        """The next request's; None where the other side has gone."""
        deadline_s = time.monotonic() + (REQUEST_S if self._buffer else IDLE_S)
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_BYTES:
                self._over({"ok": False, "error": f"a request's line is longer than {LINE_BYTES} bytes"})
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                why = f"the request did not arrive within {REQUEST_S:g} s"
                self._over({"ok": False, "error": why if self._buffer else f"nothing was asked for {IDLE_S:g} s"})
            self._socket.settimeout(left_s)
            try:
                data = self._receive(4096)
            except TimeoutError:
                continue
            if not data:
                return None
            if not self._buffer:
                deadline_s = time.monotonic() + REQUEST_S
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        if len(line) > LINE_BYTES:
            self._over({"ok": False, "error": f"a request's line is longer than {LINE_BYTES} bytes"})
        return line

    def _receive(self, most: int) -> bytes:
        return self._socket.recv(most)

    def _take(self, size: int) -> bytes:
        """What is there already of a file."""
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _send(self, answer: Mapping[str, Any]) -> None:
        self._socket.settimeout(REQUEST_S)
        self._socket.sendall(_line(answer))

    def _over(self, answer: Mapping[str, Any]) -> None:
        """Say why, and end the connection: what follows cannot be told apart."""
        with contextlib.suppress(OSError):
            self._send(answer)
        raise _Over


class _Over(Exception):
    """The connection is ended."""


def _tree(line: bytes) -> dict[str, Any]:
    """A request. DaemonError: it is none."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DaemonError(f"a request is one line of JSON; this is none: {error}"[:300]) from None
    if not isinstance(tree, dict):
        raise DaemonError("a request is a JSON object on one line")
    return tree


def _line(tree: Mapping[str, Any]) -> bytes:
    """NaN becomes null, which JSON has."""
    try:
        return json.dumps(tree, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"
    except ValueError:
        return json.dumps(_plain(tree), separators=(",", ":"), default=str).encode() + b"\n"


def _plain(tree: Any) -> Any:
    if isinstance(tree, float):
        return tree if tree - tree == 0 else None
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


def _peer(connection: socket.socket, group: int | None) -> tuple[int, str]:
    """(user id, why it is refused or "") of the other side, as the system knows it."""
    _pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid in (0, os.getuid()) or (group is not None and (gid == group or group in _groups(uid, gid))):
        return uid, ""
    return uid, "this run belongs to another user, and you are not in the group that may operate it ([daemon] group)"


def _groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except (KeyError, OSError):
        return []


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(name: str) -> tuple[int | None, str]:
    """The number of [daemon] group, or why its members cannot be let in; neither where none is named."""
    try:
        group = group_id(name)
    except DaemonError as error:
        return None, f"{error} (sudo groupadd {name}); {_ALONE}"
    if group is not None and os.geteuid() and group not in (os.getegid(), *os.getgroups()):
        why = f"this run is not in the group {name!r} itself, and cannot let it in"
        way = f"sudo usermod -aG {name} {_user(os.geteuid())}, then log in anew"
        return None, f"[daemon] group: {why} ({way}); {_ALONE}"
    return group, ""


_ALONE = "so only the user that runs it, and root, may operate this run"


def group_id(name: str) -> int | None:
    """Of [daemon] group; None: none is named. DaemonError: there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        raise DaemonError(f"[daemon] group: this machine has no group {name!r}") from None
