"""Five hundred simulated drives: a defect that shows in three of them, workers that are killed, damaged files, a Dask
cluster; and what a second run does.

EDGE_LSTM_DRIVES says how many drives, EDGE_LSTM_DRIVE_S how many seconds each (default 500 of 2 s).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_lstm.core.storage import save
from edge_lstm.fleet.gate import gate
from edge_lstm.fleet.job import How
from edge_lstm.fleet.plan import logs_of
from edge_lstm.fleet.report import report
from edge_lstm.fleet.run import replay
from edge_lstm.fleet.workers import Dask, Pool
from tests.fleet import drives
from tests.support.robots import small_robot
from tests.support.robots.here import Here

pytestmark = pytest.mark.long

DRIVES, SECONDS = int(os.environ.get("EDGE_LSTM_DRIVES", "500")), float(os.environ.get("EDGE_LSTM_DRIVE_S", "2"))
SHOWS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet")
    (path / "drives").mkdir()
    drives.several(path / "drives", DRIVES, SECONDS)
    save(small_robot.model(), path / "old.npz")
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a local Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as made:
        yield made.scheduler_address


def test_a_defect_in_three_drives(folder: Path) -> None:
    """Of all drives exactly the three in which the planted defect shows differ, and they come first."""
    model, shows = drives.planted((folder / "drives").glob("*.mcap"), SHOWS)
    save(model, folder / "new.npz")
    found = gate(logs_of([folder / "drives"]), folder / "new.npz", folder / "old.npz", Here())
    assert len(found.compared) == DRIVES
    assert {Path(one.log).name for one in found.differing} == shows
    assert {Path(one.log).name for one in found.runs[:SHOWS]} == shows
    (folder / "one.html").write_text(report(found))


@pytest.mark.filterwarnings("ignore")  # Dask's own
@pytest.mark.parametrize("workers", ["1", "2", "4", "dask"])
def test_any_number_of_workers_gives_the_same_bytes(folder: Path, workers: str, cluster: str) -> None:
    """The gate's report of forty drives and the defect's: the same bytes with 1, 2 and 4 processes and on Dask."""
    model, shows = drives.planted((folder / "drives").glob("*.mcap"), SHOWS)
    save(model, folder / "new.npz")
    logs = [log for k, log in enumerate(logs_of([folder / "drives"])) if k < 40 or log.name in shows]
    pool = Dask(cluster) if workers == "dask" else Pool(int(workers))
    try:
        found = gate(logs, folder / "new.npz", folder / "old.npz", pool)
    finally:
        pool.close()
    assert report(found) == report(gate(logs, folder / "new.npz", folder / "old.npz", Here()))


def test_a_killed_worker_loses_nothing(folder: Path, tmp_path: Path) -> None:
    """A worker of the running command is killed, and a file among the drives is damaged: the command ends, all others
    are done, the damaged one is told; the second run does nothing again but that one."""
    logs = tmp_path / "logs"
    logs.mkdir()
    count = min(60, DRIVES)
    for log in logs_of([folder / "drives"])[:count]:
        (logs / log.name).symlink_to(log)
    (logs / "damaged.mcap").write_bytes((folder / "drives" / "drive_000.mcap").read_bytes()[:70])
    command = [sys.executable, "-m", "edge_lstm", "replay", str(logs), "--jobs", "2", "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob("drive*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(_workers(process.pid)[0], signal.SIGKILL)
        out, error = process.communicate(timeout=600)
    assert process.returncode == 1
    assert f"{count} of {count + 1} logs" in out
    assert "damaged.mcap" in error
    assert "worker was killed" not in error
    found = replay(logs_of([logs]), How(results=tmp_path / "out", form="parquet"), Here())
    assert (found.kept, len(found.failed)) == (count, 1)


def _workers(parent: int) -> list[int]:
    """The processes that it has started for work, and not the one that keeps track of semaphores."""
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
    return found
