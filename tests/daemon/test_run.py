"""`edge-lstm run` as a service manager and a journal hear it, both of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from edge_lstm.engines.native import loader
from tests.cli.test_live import EDGE_LSTM, simulated, until
from tests.daemon.test_notify import Manager
from tests.support.robots import small_robot


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Compile once, here, where it may take its time."""
    loader.warm()


def test_a_run_tells_its_manager_and_its_journal_what_happens(tmp_path: Path):
    """Without a robot it is READY and fed; then it runs, loses its robot and gets it back, each said at once with its
    priority; a status line on the journal, then STOPPING, code 0, and late answers in the summary."""
    with contextlib.closing(Manager(tmp_path / "notify")) as manager:
        _told(manager, tmp_path)


def _told(manager: Manager, tmp_path: Path) -> None:
    link, text = tmp_path / "port", small_robot.AT_ONCE + '[daemon]\nstatus_every = "1 s"\n'
    config = small_robot.folder(tmp_path, text)
    told: list[str] = []

    def heard(words: str) -> bool:
        told.extend(manager.told())
        return any(words in one for one in told)

    with (tmp_path / "journal").open("w") as journal:
        found = os.fstat(journal.fileno())
        environment = {key: value for key, value in manager.environment.items() if key != "WATCHDOG_PID"}
        environment |= {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        command = [*EDGE_LSTM, "run", str(config), "--port", str(link), "--wait", "--no-record", "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=journal, env=os.environ | environment, text=True
        ) as process:
            try:
                until(lambda: heard("READY=1"))
                until(lambda: heard("WATCHDOG=1"))
                until(lambda: heard(f"STATUS=waiting for {link}"))
                told.clear()
                with simulated(link):
                    until(lambda: heard("STATUS=running; "))
                told.clear()
                until(lambda: heard(f"STATUS=waiting for {link}"))
                with simulated(link):
                    until(lambda: heard("WATCHDOG=1") and "  back after " in (tmp_path / "journal").read_text())
                    process.send_signal(signal.SIGTERM)
                    # Heard meanwhile: the manager's socket keeps ten messages, and STOPPING would find no room.
                    until(lambda: heard("STOPPING=1"))
                    out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 0
    lines = (tmp_path / "journal").read_text().splitlines()
    assert all(line[0] == "<" and line[2] == ">" for line in lines if "  " in line)
    levels = {
        words: line[1]
        for line in lines
        for words in ("the link was lost: ", "  back after ", "readings")
        if words in line
    }
    assert (levels["the link was lost: "], levels["  back after "], levels["readings"]) == ("4", "5", "6")
    assert set(json.loads(out)["late"]) == {"count", "worst_ms", "causes"}
