"""`edge-lstm replay --jobs`: results of many logs, the same whoever works, and only what is missing a second time."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import edge_lstm.fleet.plan as plan
import edge_lstm.fleet.together as together
from edge_lstm.cli import main
from edge_lstm.core.model import Model
from edge_lstm.core.storage import save
from edge_lstm.errors import LogError
from edge_lstm.fleet.job import How, Piece
from edge_lstm.fleet.plan import logs_of, pieces_of
from edge_lstm.fleet.run import Found, Progress, replay
from edge_lstm.fleet.work import work
from edge_lstm.fleet.workers import Pool, answers
from tests.fleet import drives
from tests.support.robots import small_robot
from tests.support.robots.here import Here, killed

SECONDS = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drives, a table, a damaged recording, and a file that is no log."""
    path = tmp_path_factory.mktemp("drives")
    drives.several(path, 4, SECONDS)
    drives.table(path / "table.csv", 500, seed=1)
    (path / "damaged.mcap").write_bytes((path / "drive_000.mcap").read_bytes()[:60])
    (path / "notes.md").write_text("nothing")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(small_robot.model(), tmp_path / "small.npz")
    return tmp_path / "small.npz"


def how(model: Path | None = None, **more: object) -> How:
    return How(model=model, digest=small_robot.model().digest if model else "", **more)


def run(folder: Path, how: How, pool: Pool | None = None) -> Found:
    return replay(logs_of([folder]), how, pool or Here())


def parquet(path: Path) -> dict[str, np.ndarray]:
    table = importlib.import_module("pyarrow.parquet").read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def test_each_log_has_its_results(folder: Path, model: Path, tmp_path: Path) -> None:
    """Recordings and tables alike: the outputs of one log alone are in its Parquet file, the failures in the summary by
    file, and they stop nothing."""
    out = tmp_path / "out"
    found = run(folder, how(model, results=out, form="parquet"))
    assert [Path(one.log).name for one in found.failed] == ["damaged.mcap"]
    assert len(found.outcomes) == 6
    summary = json.loads((out / "summary.json").read_text())
    assert summary["replayed"] == 5
    assert summary["failures"][0]["log"].endswith("damaged.mcap")
    (table,) = out.glob("table.csv-*.parquet")
    columns = parquet(table)
    main(["replay", str(folder / "table.csv"), "--model", str(model), "-o", str(tmp_path / "alone.csv")])
    alone = np.genfromtxt(tmp_path / "alone.csv", delimiter=",", names=True, dtype=None, deletechars="")
    for name in ("slip_left", "stall_right"):
        assert np.array_equal(columns[name], alone[name].astype(np.float32))
    (drive,) = out.glob("drive_001.mcap-*.parquet")
    columns = parquet(drive)
    assert {"t_ns", "slip_left", "action.torque_limit_left", "_not_real"} <= set(columns)
    assert summary["outputs"]["slip_left"]["count"] == sum(
        int(np.isfinite(parquet(path)["slip_left"]).sum()) for path in out.glob("*.parquet")
    )


def test_csv_is_what_replay_writes_of_one_log(folder: Path, model: Path, tmp_path: Path) -> None:
    """--form csv: byte for byte the file of `edge-lstm replay LOG -o`."""
    out = tmp_path / "out"
    run(folder, how(model, results=out, form="csv"))
    for name in ("table.csv", "drive_002.mcap"):
        (written,) = out.glob(f"{name}-*.csv")
        main(["replay", str(folder / name), "--model", str(model), "-o", str(tmp_path / "alone.csv")])
        assert written.read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_a_second_run_does_only_what_is_missing(folder: Path, model: Path, tmp_path: Path) -> None:
    """What is done is not done again, and the summary is the same; a log that has changed, results that are gone, other
    options and another model are done anew."""
    out, logs = tmp_path / "out", tmp_path / "logs"
    logs.mkdir()
    for k in range(3):
        drives.table(logs / f"{k}.csv", 100, seed=k)
    asked = how(model, results=out, form="csv")
    first = run(logs, asked)
    before = (out / "summary.json").read_bytes()
    (out / next(iter(first.outcomes)).file).unlink()
    os.utime(logs / "1.csv", ns=(1, 1))
    again = run(logs, asked)
    assert (first.kept, again.kept) == (0, 1)
    assert (out / "summary.json").read_bytes() == before
    assert run(logs, asked).kept == 3
    assert run(logs, how(model, results=out, form="csv", max_age=("50",))).kept == 0
    hashed = replay(logs_of([logs]), asked, Here(), by_hash=True)
    os.utime(logs / "1.csv", ns=(2, 2))
    assert (hashed.kept, replay(logs_of([logs]), asked, Here(), by_hash=True).kept) == (0, 3)
    (out / next(iter(out.glob("2.csv-*.json"))).name).write_text("{")
    assert replay(logs_of([logs]), asked, Here(), by_hash=True).kept == 2


def test_a_log_is_done_when_its_worker_says_so(folder: Path, model: Path, tmp_path: Path) -> None:
    """Whoever replays a log writes its record: of a run that was stopped nothing is done again, also what it had not
    heard of. What a worker that was killed has left half-written is removed, and nothing else."""
    out, asked = tmp_path / "out", how(model, results=tmp_path / "out", form="csv")
    logs = [folder / f"drive_{k:03}.mcap" for k in range(4)]
    with pytest.raises(KeyboardInterrupt):
        replay(logs, asked, Here(), progress=Stop(1))
    done = sorted(path.name for path in out.glob("*.json"))
    assert len(done) == 2
    half, other = out / f".{done[0].replace('drive_000', 'drive_003')[:-5]}.csv.12.partial", out / ".a.csv.12.partial"
    half.write_text("half")
    other.write_text("somebody's")
    assert replay(logs, asked, Here()).kept == 2
    assert (half.exists(), other.exists()) == (False, True)


class Stop:
    """Progress that is interrupted at the first log that is done."""

    def __init__(self, at: int) -> None:
        self._at = at

    def __call__(self, now: Progress) -> None:
        if now.done == self._at:
            raise KeyboardInterrupt


def test_a_long_recording_is_cut_between_keyframes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts together are the whole: the same rows byte for byte, the same writes compared, and the same summary."""
    logs = tmp_path / "logs"
    logs.mkdir()
    drives.record(logs / "long.mcap", 10.0, 5, keyframe_s=2.0)
    whole = run(logs, how(results=tmp_path / "whole", form="csv", verify=True))
    monkeypatch.setattr(plan, "LONG", 50_000)
    (pieces,) = pieces_of(logs_of([logs]), how())
    assert len(pieces) >= 3
    parts = run(logs, how(results=tmp_path / "parts", form="csv", verify=True))
    assert parts.outcomes[0].same
    assert whole.outcomes[0].same
    (one,), (other,) = (tmp_path / "whole").glob("*.csv"), (tmp_path / "parts").glob("*.csv")
    assert one.read_bytes() == other.read_bytes()
    found, wanted = (one.outcomes[0].numbers["slip_left"] for one in (parts, whole))
    assert (found["counts"], found["buckets"]) == (wanted["counts"], wanted["buckets"])
    assert parts.outcomes[0].readings == whole.outcomes[0].readings > 1500


def test_a_recording_is_not_cut_where_its_keyframes_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model remembers nothing of a keyframe: the recording is one piece."""
    monkeypatch.setattr(plan, "LONG", 50_000)
    path = drives.record(tmp_path / "long.mcap", 10.0, 5, keyframe_s=2.0)
    save(small_robot.model(), tmp_path / "m.npz")
    assert [len(pieces) for pieces in pieces_of([path], how(tmp_path / "m.npz"))] == [1]


def test_tables_share_passes_over_the_weights(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several logs together give the bits of each alone; one with a hole in it goes by itself."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for k in range(8):
        drives.table(logs / f"{k}.csv", 200 + 50 * k, seed=k)
    lines = (logs / "3.csv").read_text().splitlines()
    lines[9] = lines[9].split(",")[0] + ",,1,1,1"
    (logs / "3.csv").write_text("\n".join(lines) + "\n")
    alone = run(logs, how(model, results=tmp_path / "alone", form="csv"))
    shared: list[int] = []
    outputs = together.outputs

    def counted(model: Model, logs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        shared.append(len(logs))
        return outputs(model, logs)

    monkeypatch.setattr(together, "WORTH", 1)
    monkeypatch.setattr(together, "outputs", counted)
    some = run(logs, how(model, results=tmp_path / "some", form="csv"))
    assert sorted(shared) == [3, 4]
    assert some.summary() == alone.summary()
    for path in (tmp_path / "alone").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "some" / path.name).read_bytes()


def test_folders_and_patterns(folder: Path) -> None:
    """A folder is its logs, a pattern what fits it, each once and sorted; what names nothing is said."""
    assert [path.name for path in logs_of([folder])] == [
        "damaged.mcap", "drive_000.mcap", "drive_001.mcap", "drive_002.mcap", "drive_003.mcap", "table.csv",
    ]  # fmt: skip
    found = logs_of([folder / "drive_*[12].mcap", folder / "drive_001.mcap"])
    assert [path.name for path in found] == ["drive_001.mcap", "drive_002.mcap"]
    with pytest.raises(LogError, match="no file fits"):
        logs_of([folder / "*.ulg"])
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(LogError, match="holds no log"):
        logs_of([folder / "empty"])


def test_a_copy_of_a_recording_is_no_further_file_of_its_run(tmp_path: Path, model: Path) -> None:
    """Copies in one folder, whole or cut off, are logs of their own: their readings are not strung together as those of
    rotated files are, and each is judged by itself."""
    drive = drives.record(tmp_path / "drive.mcap", SECONDS, 0)
    (tmp_path / "drive (copy).mcap").write_bytes(drive.read_bytes())
    (tmp_path / "drive.cut.mcap").write_bytes(drive.read_bytes()[: drive.stat().st_size // 2])
    files = [pieces[0].files for pieces in pieces_of(logs_of([tmp_path]), how(model))]
    assert sorted(len(one) for one in files) == [1, 1, 1]
    found = run(tmp_path, how(model))
    readings = {Path(one.log).name: one.readings for one in found.outcomes}
    assert readings["drive.mcap"] == readings["drive (copy).mcap"] > readings["drive.cut.mcap"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_results_among_the_logs_are_no_logs(tmp_path: Path, model: Path, form: str) -> None:
    """With -o inside the folder of the logs a second run reads the same logs again, not what the first one wrote, by
    folder and by pattern; named, such a file is one. A table of one's own with such a name is read."""
    drives.table(tmp_path / "table.csv", 50, seed=1)
    drives.table(tmp_path / "drive-0123abcd.csv", 50, seed=2)
    mine = logs_of([tmp_path])
    assert len(mine) == 2
    found = run(tmp_path, how(model, results=tmp_path / "results", form=form))
    assert len(found.outcomes) == 2
    written = sorted((tmp_path / "results").glob(f"*.{form}"))
    assert len(written) == 2
    assert logs_of([tmp_path]) == logs_of([tmp_path / "**" / "*.csv"]) == mine
    assert logs_of(written) == written


def test_a_worker_that_is_killed_costs_one_more_try(tmp_path: Path) -> None:
    """Each job is answered once: one whose worker is killed once is done again, one that always kills its worker
    fails, and the others go on."""
    tasks = [("well", tmp_path / str(k)) for k in range(4)]
    tasks[1:1] = [("once", tmp_path / "once"), ("always", tmp_path / "always")]
    found = dict(answers(Pool(2), killed, tasks))
    assert len(found) == 6
    assert [found[task] for task in tasks if task[0] != "always"] == ["well", "once", "well", "well", "well"]
    assert isinstance(found["always", tmp_path / "always"], BaseException)


def test_two_processes_say_what_one_says(folder: Path, tmp_path: Path) -> None:
    """The command with --jobs 2, by each recording's own model: the summary has the bytes of one worker's, the damaged
    file is told, and the exit code is 1."""
    assert main(["replay", str(folder), "--jobs", "2", "--verify", "-o", str(tmp_path / "two")]) == 1
    run(folder, how(results=tmp_path / "one", form="parquet", verify=True))
    assert (tmp_path / "one" / "summary.json").read_bytes() == (tmp_path / "two" / "summary.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", "2", "--plot", "x.png"], "--plot is for one log"),
        (["--jobs", "2", "--speed", "1"], "--speed is for one log"),
        (["--jobs", "2", "--form", "csv"], "needs a folder"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one of them"),
        (["--form", "csv"], "is for many logs"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], said: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each is a sentence, before any work."""
    assert main(["replay", str(folder), *options]) == 2
    assert said in capfd.readouterr().err


def test_a_model_that_changes_meanwhile_is_refused(folder: Path, model: Path) -> None:
    """A worker that finds another model at the path says so, for each log."""
    job = next(iter(plan.jobs_of([Piece((folder / "table.csv",))], How(model=model, digest="0" * 64), 1)))
    (outcome,) = work(job)
    assert "when this began" in outcome.error


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a local Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as made:
        yield made.scheduler_address


@pytest.mark.filterwarnings("ignore")
def test_dask_says_what_processes_say(folder: Path, tmp_path: Path, cluster: str) -> None:
    """The same worker function on a cluster: the same bytes in the summary."""
    from edge_lstm.fleet.workers import Dask

    pool = Dask(cluster)
    try:
        run(folder, how(results=tmp_path / "dask", form="parquet"), pool)
    finally:
        pool.close()
    run(folder, how(results=tmp_path / "here", form="parquet"))
    assert (tmp_path / "dask" / "summary.json").read_bytes() == (tmp_path / "here" / "summary.json").read_bytes()


def test_nobody_answers_at_the_scheduler(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Without Dask the command that brings it is named."""
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["replay", str(folder), "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert re.search(r"needs Dask distributed, which is not installed: .*distributed", capfd.readouterr().err)
