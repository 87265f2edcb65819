"""The program that faults happen to: one process, everything imported, which forks for each command it is given.

    {"arguments": [...], "folder": "...", "kind": -1, "nth": 0, "errno": 0, "lasting": false, "out": "...", "err": ...}

a line on stdin, {"code": ..., "counts": [...]} a line on stdout. After `LONGEST_S` a command is killed by SIGALRM.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from typing import Any

LONGEST_S = 60
KINDS = 5
# What commands import when they run: here once, so that each of them is there in milliseconds.
HEAVY = (
    "edge_lstm.firmware.export",
    "edge_lstm.importers.onnx",
    "edge_lstm.logs.replay_table",
    "edge_lstm.quantization",
    "edge_lstm.robot.replay",
    "firmware_bridge.ports.open_port",
    "firmware_bridge.recordings.recorder",
    "onnx.reference",
    "rich.console",
)


def obey(order: dict[str, Any], result: int) -> None:
    """In the forked process: the command, with its faults; never returns."""
    from edge_lstm.cli import main

    for fd, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    signal.alarm(LONGEST_S)
    os.environ["TMPDIR"] = f"{order['folder']}tmp"
    faults = ctypes.CDLL(None)
    faults.faults_arm(order["folder"].encode(), order["kind"], order["nth"], order["errno"], order["lasting"])
    code = main(order["arguments"])
    sys.stdout.flush()
    os.write(result, json.dumps({"code": code, "counts": [faults.faults_count(k) for k in range(KINDS)]}).encode())
    os._exit(0)


def serve() -> None:
    """Until stdin ends."""
    from edge_lstm.cli import COMMANDS
    from edge_lstm.engines.native import loader

    for file in (*COMMANDS.values(), *HEAVY):
        importlib.import_module(file)
    loader.warm()
    for line in sys.stdin:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            try:
                obey(json.loads(line), theirs)
            finally:
                os._exit(99)
        os.close(theirs)
        with os.fdopen(ours) as answer:
            text = answer.read()
        _, status = os.waitpid(pid, 0)
        print(text or json.dumps({"code": -status, "counts": []}), flush=True)


if __name__ == "__main__":
    serve()
