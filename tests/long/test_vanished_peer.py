"""A robot on the network that vanishes without a word (switched off, out of reach), in a network of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
ALONE = ["unshare", "--map-root-user", "--net"]

PROGRAM = """
import socket, subprocess, sys, time
from firmware_bridge.ports.tcp_port import TcpPort

def network(state):
    subprocess.run(["ip", "link", "set", "lo", state], check=True)

def until(link):
    begun = time.monotonic()
    for chunk in chunks:
        if writing:
            port.write(b"action")
        if chunk.link == link:
            return time.monotonic() - begun, chunk.data.decode()
        assert time.monotonic() - begun < 60, link

network("up")
server = socket.create_server(("127.0.0.1", 5000))
for writing in (False, True):
    port = TcpPort("tcp://127.0.0.1:5000")
    chunks = port.chunks()
    next(chunks)
    network("down")
    print(*until("lost"), sep="\\t")
    print(*until("lost"), sep="\\t")
    network("up")
    print(*until("opened"), sep="\\t", flush=True)
    port.close()
"""


@pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("ip")), reason="needs unshare and ip")
def test_a_peer_that_vanishes_is_lost_and_found_again() -> None:
    """Without a word of goodbye, listened to or written to: "lost" after about 5 s, then why it is not opened, and
    opened again once the network is back."""
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network of one's own")
    command = [*ALONE, sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 6
    for lost, why, opened in (rows[:3], rows[3:]):
        assert 4 < float(lost[0]) < 30
        assert "timed out" in lost[1]
        assert "does not answer. Is it switched on" in why[1]
        assert opened[1] == "127.0.0.1 port 5000 as tcp://127.0.0.1:5000"
