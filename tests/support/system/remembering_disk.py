"""A disk that remembers each write and each flush, so that one can see what a power cut at any moment leaves (Linux,
root).

    python -m tests.support.system.remembering_disk FILE BYTES LOG

A file system of one file, by the kernel's own protocol of user space (/dev/fuse), of which a loop device makes a disk.
What a disk has said to be flushed is there after a cut; of what was written since, each sector is there or is not, as
chance wants. Its rule: one thread, so the log's order is the disk's. SIGTERM ends it.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import errno
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
_ENTRY = struct.Struct("<qQI")  # t_ns, offset, length; length 0: a flush
_IN, _OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_WORDS = struct.Struct("<QQIIQII")  # of a read or a write: handle, offset, size …
GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 3, 4, 14, 15, 16, 17, 18, 20, 25, 26
_SILENT = {2, 36, 42}  # forget, interrupt: nobody waits for an answer
_LONGEST = 1 << 17


def why_not() -> str:
    """Why there can be no such disk here; "" where there can."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "needs Linux, root, /dev/fuse and loop devices"
    missing = [one for one in ("mkfs.ext4", "losetup", "mount", "umount") if shutil.which(one) is None]
    return f"there is no {', '.join(missing)} here" if missing else ""


class Cut(NamedTuple):
    """What a power cut left. t_ns: when; kept: how many of the unflushed sectors, of how many."""

    t_ns: int
    image: bytes
    kept: int
    unflushed: int


class Log:
    """All that was done to a disk."""

    def __init__(self, path: Path, before: bytes) -> None:
        """before: what was on the disk at first."""
        self._before, self._entries = before, list(_entries(path.read_bytes()))
        self._times = [t_ns for t_ns, _, _ in self._entries]
        self.flushes = sum(not data for _, _, data in self._entries)

    def cut(self, t_ns: int, rng: random.Random) -> Cut:
        """At this moment: nothing of what was not flushed, all of it, or any of its sectors."""
        done = self._entries[: bisect.bisect_right(self._times, t_ns)]
        flushed = max((number + 1 for number, (_, _, data) in enumerate(done) if not data), default=0)
        image, kept, unflushed = bytearray(self._before), 0, 0
        for _, offset, data in done[:flushed]:
            image[offset : offset + len(data)] = data
        share = rng.choice((0.0, 0.5, 0.9, 1.0))
        for _, offset, data in done[flushed:]:
            for at in range(0, len(data), SECTOR):
                unflushed += 1
                if rng.random() < share:
                    kept += 1
                    image[offset + at : offset + at + SECTOR] = data[at : at + SECTOR]
        return Cut(t_ns, bytes(image), kept, unflushed)


def _entries(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _ENTRY.size <= len(data):
        t_ns, offset, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size + length
        yield t_ns, offset, data[at - length : at]


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    """A disk's file system, for the time of the block."""
    device = _said("losetup", "--find", "--show", str(image)).strip()
    try:
        _said("mount", "-t", "ext4", device, str(at))
        try:
            yield
        finally:
            _said("umount", str(at))
    finally:
        _said("losetup", "--detach", device)


@contextlib.contextmanager
def remembering(folder: Path, at: Path, size: int) -> Iterator[None]:
    """An empty ext4 at `at`, on a disk that remembers; afterwards `log_of(folder)` has what was done to it."""
    disk, first = folder / "disk", folder / "first"
    first.write_bytes(b"")
    os.truncate(first, size)
    _said("mkfs.ext4", "-q", "-F", str(first))
    disk.touch()
    command = [
        sys.executable,
        "-m",
        "tests.support.system.remembering_disk",
        str(disk),
        str(first),
        str(folder / "log"),
    ]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 20
        while disk.stat().st_size != size:
            assert server.poll() is None, "the disk does not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with mounted(disk, at):
            yield
    finally:
        server.terminate()
        server.wait(20)


def log_of(folder: Path) -> Log:
    return Log(folder / "log", (folder / "first").read_bytes())


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def main(place: str, first: str, log: str) -> None:
    """The server: a file system whose root is the file."""
    image = bytearray(Path(first).read_bytes())
    fuse = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},rootmode=100000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"remembering", place.encode(), b"fuse", 6, options):  # nosuid, nodev
        raise OSError(ctypes.get_errno(), "mount")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Path(log).open("wb", buffering=1 << 20) as file:
            while True:
                try:
                    message = os.read(fuse, _LONGEST + 8192)
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.EINTR):
                        continue
                    return  # ENODEV: it was unmounted
                _, opcode, unique, *_ = _IN.unpack_from(message)
                if opcode in _SILENT:
                    continue
                answer = _answer(opcode, message[_IN.size :], image, file.write)
                code = -errno.ENOSYS if answer is None else 0
                os.write(fuse, _OUT.pack(_OUT.size + len(answer or b""), code, unique) + (answer or b""))
    finally:
        libc.umount2(place.encode(), 2)  # lazily


def _answer(opcode: int, body: bytes, image: bytearray, log: object) -> bytes | None:
    """None: there is no such thing here."""
    assert callable(log)
    if opcode == INIT:
        head = struct.pack("<IIIIHHIIHHI", 7, 31, 0, 1 << 5 | 1 << 22, 16, 12, _LONGEST, 1, _LONGEST >> 12, 0, 0)
        return head + bytes(28)
    if opcode in (GETATTR, SETATTR):
        attributes = struct.pack(
            "<QQQQQQIIIIIIIIII", 1, len(image), len(image) // 512, *[0] * 6, *(0o100600, 1), *[0] * 3, 4096, 0
        )
        return struct.pack("<QII", 3600, 0, 0) + attributes
    if opcode == OPEN:
        return struct.pack("<QII", 0, 1, 0)  # nothing of it is cached
    if opcode == READ:
        _, offset, size, *_ = _WORDS.unpack_from(body)
        return bytes(image[offset : offset + size])
    if opcode == WRITE:
        _, offset, size, *_ = _WORDS.unpack_from(body)
        data = body[_WORDS.size : _WORDS.size + size]
        image[offset : offset + size] = data
        log(_ENTRY.pack(time.time_ns(), offset, size) + data)
        return struct.pack("<II", size, 0)
    if opcode == FSYNC:
        log(_ENTRY.pack(time.time_ns(), 0, 0))
        return b""
    if opcode == STATFS:
        return bytes(80)
    return b"" if opcode in (RELEASE, FLUSH) else None


if __name__ == "__main__":
    main(*sys.argv[1:])
