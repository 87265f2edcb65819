"""The compiled step's cache: who may fill it, where it is found, what happens where it is damaged or not stored."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edge_lstm.engines.native import cpu, loader
from edge_lstm.errors import CacheError

# A number of lanes for which no step comes with the package, so that one must be made.
UNSHIPPED = 8 if cpu.this_cpu().lanes == 4 else 4
STEP = """
import sys, warnings
import edge_lstm
from tests.support.models.nets import network
bits = network().stream().step([1.0] * 8).tobytes().hex()
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(bits, {"numba", "llvmlite", "onnx"} & set(sys.modules), peak)
"""
ROOT = Path(__file__).parents[3]


def fresh_process(**environment: str) -> subprocess.CompletedProcess[str]:
    """One step in a new process with only these variables."""
    return subprocess.run(
        [sys.executable, "-c", STEP],
        env={"EDGE_LSTM_LANES": str(UNSHIPPED), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, the only one."""
    monkeypatch.setenv("EDGE_LSTM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_second_start_finds_the_compiled_step_and_never_imports_a_compiler():
    """With a warm cache, a new process makes a step without Numba, LLVM or onnx in it, in less than 60 MiB, with the
    same bits each time."""
    folder = loader.warm(UNSHIPPED).path.parent
    first, second = (fresh_process(EDGE_LSTM_CACHE_DIR=str(folder)).stdout.split() for _ in range(2))
    assert first[:2] == second[:2]
    assert first[1] == "set()"
    assert int(first[2]) < 60 * 1024


@pytest.mark.long  # compiles for nothing, twice
def test_where_nothing_can_be_kept_the_program_says_so_and_runs():
    """With no writable cache folder a step gives the same bits, and a warning names the folders and the variable."""
    expected = fresh_process(EDGE_LSTM_CACHE_DIR=str(loader.warm(UNSHIPPED).path.parent)).stdout.split()[0]
    done = fresh_process(EDGE_LSTM_CACHE_DIR="/dev/null/nowhere")
    assert done.stdout.split()[0] == expected
    assert "numba" in done.stdout
    assert "EDGE_LSTM_CACHE_DIR" in done.stderr
    assert "/dev/null/nowhere" in done.stderr


def test_what_is_kept_is_found(cache):
    """An object stored is found again, unchanged, readable by all and writable by its owner only."""
    path = loader._store("step.o", b"code")
    assert path == cache / "step.o"
    assert loader._find("step.o") == (path, b"code")
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in cache.iterdir()] == ["step.o"]


def test_a_damaged_object_is_not_loaded(cache):
    """A cut or changed object, or one without its digest, is not found, so it is made again."""
    path = loader._store("step.o", b"code")
    good = path.read_bytes()
    for bad in (good[:-1], good[:20], b"", good[:-1] + b"X", b"code"):
        path.write_bytes(bad)
        assert loader._find("step.o") is None


def test_an_object_that_others_could_have_written_is_not_loaded(cache):
    """An object, or a folder, that group or others may write to is passed over: what is loaded is run."""
    path = loader._store("step.o", b"code")
    for target, mode in ((path, 0o646), (path, 0o664), (cache, 0o777), (cache, 0o770)):
        before = target.stat().st_mode
        target.chmod(mode)
        assert loader._find("step.o") is None
        target.chmod(before)
    assert loader._find("step.o") is not None


def test_an_object_behind_a_link_is_not_loaded(cache):
    """A symbolic link in the cache is not followed."""
    elsewhere = cache.parent / "elsewhere.o"
    cache.mkdir(mode=0o700)
    elsewhere.write_bytes(hashlib.sha256(b"evil").digest() + b"evil")
    (cache / "step.o").symlink_to(elsewhere)
    assert loader._find("step.o") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_an_object_of_another_user_is_not_loaded(cache):
    """An object that belongs to neither this user nor root is passed over."""
    path = loader._store("step.o", b"code")
    os.chown(path, 65534, 65534)
    assert loader._find("step.o") is None


def test_the_folders_are_tried_from_the_most_to_the_least_particular(monkeypatch, tmp_path):
    """systemd's folder, the user's cache, the system's, then a private temporary one; a chosen folder stands alone."""
    for name in ("EDGE_LSTM_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setattr(loader.tempfile, "gettempdir", lambda: "/tmp")  # type: ignore[attr-defined]
    monkeypatch.setattr(loader.os, "geteuid", lambda: 1000)  # type: ignore[attr-defined]
    private = Path(f"/tmp/edge-lstm-{os.getuid()}")
    assert [*loader.folders()] == [Path("/home/ann/.cache/edge-lstm"), Path("/var/cache/edge-lstm"), private]
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/robot:/other")
    assert [*loader.folders()][:2] == [Path("/var/cache/robot/edge-lstm"), Path("/x/edge-lstm")]
    monkeypatch.setattr(loader.os, "geteuid", lambda: 0)  # type: ignore[attr-defined]
    assert [*loader.folders()][:2] == [Path("/var/cache/robot/edge-lstm"), Path("/var/cache/edge-lstm")]
    monkeypatch.setenv("EDGE_LSTM_CACHE_DIR", str(tmp_path))
    assert [*loader.folders()] == [tmp_path]


def test_a_user_without_a_home_keeps_it_in_a_private_temporary_folder(monkeypatch, tmp_path):
    """Where home and system folder cannot be written, the object goes to a folder that only this user can enter."""
    for name in ("EDGE_LSTM_CACHE_DIR", "CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/none")
    real = [*loader.folders()][-1]
    monkeypatch.setattr(
        loader, "folders", lambda: iter([Path("/dev/null/a"), Path("/dev/null/b"), tmp_path / real.name])
    )
    path = loader._store("step.o", b"code")
    assert path == tmp_path / real.name / "step.o"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert loader._find("step.o") == (path, b"code")


def test_a_wrong_number_of_lanes_is_named(monkeypatch):
    """EDGE_LSTM_LANES other than 4, 8 or 16 is an error that names it."""
    monkeypatch.setenv("EDGE_LSTM_LANES", "5")
    with pytest.raises(CacheError, match="EDGE_LSTM_LANES is '5'; it can be 4, 8 or 16"):
        cpu.default_lanes.__wrapped__()


TOGETHER = """
import threading
import numba
from edge_lstm.engines.native.kernels import compile
from numba.core.codegen import JITCodeLibrary
from tests.support.models.nets import network

def take_none(kinds, frame):
    return 0

real, untouched, made = compile.compile_image, JITCodeLibrary._finalize_specific, []
# Instead of the interpreter something that is soon compiled.
compile.compile_image = lambda lanes: made.append(lanes) or real(lanes, run=numba.njit(take_none))
model, streams, results, own = network(), [], [], []
done = threading.Event()

def compile_own():
    while not done.is_set() or len(own) < 3:
        number = len(own)
        own.append(numba.njit(lambda x: x * 2 + number)(3.0) == 6.0 + number)

def first_stream():
    streams.append(model.stream())
    results.append(streams[-1].step([1.0] * 8).size)

other, threads = threading.Thread(target=compile_own), [threading.Thread(target=first_stream) for _ in range(2)]
for thread in (other, *threads):
    thread.start()
for thread in threads:
    thread.join()
done.set()
other.join()
print(len(made), results, all(own), JITCodeLibrary._finalize_specific is untouched, numba.njit(lambda x: x + 1)(1))
"""


def test_threads_that_start_with_a_cold_cache_compile_once_and_leave_numba_whole(cache):
    """Two threads make their first stream with nothing in the cache while a third compiles functions of its own: the
    interpreter is compiled once, all functions are right, and Numba compiles as before."""
    command = [sys.executable, "-X", "faulthandler", "-c", TOGETHER]
    environment = {"EDGE_LSTM_CACHE_DIR": str(cache), "EDGE_LSTM_LANES": str(UNSHIPPED)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split("\n")[0] == "1 [4, 4] True True 2"


def test_a_child_that_is_forked_while_another_thread_loads_loads_for_itself(monkeypatch):
    """It waits for no thread that it does not have."""
    monkeypatch.setattr(loader, "_loaded", {})
    held, forked = threading.Event(), threading.Event()

    def load() -> None:
        with loader._loading:
            held.set()
            forked.wait(60)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert held.wait(60)
        child = multiprocessing.get_context("fork").Process(target=loader.warm)
        child.start()
        child.join(30)
        assert child.exitcode == 0
    finally:
        forked.set()
        thread.join()
        child.kill()


APART = """
import os, sys, time
import numba
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.kernels import compile

def take_none(kinds, frame):
    return 0

real = compile.compile_image

def slowly(lanes):
    with open(sys.argv[1], "a") as made:
        made.write(f"{os.getpid()}\\n")
    time.sleep(1.5)
    return real(lanes, run=numba.njit(take_none))

compile.compile_image = slowly
print(loader.warm(int(sys.argv[2])).compiled)
"""


def test_processes_that_start_with_a_cold_cache_compile_once(tmp_path):
    """Four starts in the same moment: one makes the step, the others wait for it and load what it has kept."""
    environment = {**os.environ, "EDGE_LSTM_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", APART, str(tmp_path / "made"), str(UNSHIPPED)]
    started = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert sorted(said) == ["False", "False", "False", "True"]
    assert len((tmp_path / "made").read_text().splitlines()) == 1


def test_a_folder_that_is_exchanged_while_it_is_read_is_not_believed(cache, tmp_path, monkeypatch):
    """What was checked is what is read: the file itself, by its descriptor, not whatever its path leads to later."""
    loader._store("step.o", b"code")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "step.o").write_bytes(hashlib.sha256(b"evil").digest() + b"evil")
    real = os.fstat

    def exchanged(descriptor):
        found = real(descriptor)
        if cache.exists() and stat.S_ISDIR(found.st_mode):  # just after the folder was found trusted
            cache.rename(tmp_path / "away")
            foreign.rename(cache)
        return found

    monkeypatch.setattr(os, "fstat", exchanged)
    assert loader._find("step.o") == (cache / "step.o", b"code")


SWITCH = """
import sys
from edge_lstm.errors import CacheError
from edge_lstm.engines.native import loader
try:
    found = loader._in_python()
except CacheError as error:
    found = error
print(found, "numba" in sys.modules)
import numba
print(bool(numba.config.DISABLE_JIT), loader._in_python())
"""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ["False False", "False False"]),
        pytest.param("", ["False False", "False False"], marks=pytest.mark.long),
        pytest.param("1", ["True False", "True True"], marks=pytest.mark.long),
        (" 2", ["True False", "True True"]),
        ("true", ["NUMBA_DISABLE_JIT is 'true'; Numba takes 0 or 1 False", "False False"]),
    ],
)
def test_numbas_switch_is_read_as_numba_reads_it(value, expected):
    """NUMBA_DISABLE_JIT means what it means to Numba, before Numba is imported and afterwards; what Numba cannot read
    is an error that names it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SWITCH],
        env={"NUMBA_DISABLE_JIT": value},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == expected


BECOME_NOBODY = """
import os
import stat
import numba
from edge_lstm.engines.native.kernels import compile
from edge_lstm.engines.native import loader
from edge_lstm.engines.native.cpu import default_lanes, this_cpu
from edge_lstm.engines.native.session import layout_of
from tests.support.models.nets import network
# Everything is imported before: the interpreter may lie where nobody cannot read.
layout_of(network(), 4), loader.file_name(this_cpu(), 4), compile.target_machine(this_cpu())
numba.njit("i8(i8)")(lambda x: x + 1)
loader._SYSTEM = loader.Path("/dev/null/none")  # as where root has not filled it
os.setgid(65534)
os.setuid(65534)
stream = network().stream()
print(stream.step([1.0] * 8).tobytes().hex(), loader.warm(default_lanes()).path)
"""


@pytest.mark.long  # compiles afresh
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_service_user_without_a_home_runs_and_keeps_the_step():
    """User nobody, without a home, gets the same bits and stores the compiled step in a folder of its own."""
    with tempfile.TemporaryDirectory() as temporary:  # not tmp_path: no other user may enter pytest's folder
        Path(temporary).chmod(0o1777)
        environment = {"HOME": "/nonexistent", "TMPDIR": temporary, "EDGE_LSTM_LANES": str(UNSHIPPED)}
        command = [sys.executable, "-c", BECOME_NOBODY]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
        )
        bits, path = done.stdout.split()
        assert Path(path).parent == Path(temporary, "edge-lstm-65534")
        assert Path(path).stat().st_uid == 65534
    expected = fresh_process(EDGE_LSTM_CACHE_DIR=str(loader.warm(UNSHIPPED).path.parent)).stdout.split()[0]
    assert bits == expected
