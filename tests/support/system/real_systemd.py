"""A real systemd as process 1 of namespaces of its own, for tests of services.

Its rule: nothing of this machine can be touched: in there it is read-only, all of it, but for overlays and folders in
memory that vanish (/etc, /var, /opt, /root, /run, /tmp), and control groups that are a branch of their own; and that is
checked before systemd is started. Units are only those that the test puts there. Whatever runs in there ends with it.
It needs root, systemd, and a kernel that lets root do this: `why_not` says what is lacking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[3]
SOURCE = "/opt/edge-lstm-source"  # where the tree is seen in there: /tmp is the service's own
_SYSTEMD = Path("/usr/lib/systemd/systemd")
_CGROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_UNITS = "/etc/systemd/system"  # the only place in which this systemd looks for units
# Isolation first, and checked, before systemd is started: a service pulls in sysinit.target, and what belongs to that
# (systemd-tmpfiles: "D /tmp") would empty this machine's /tmp. So its units are not there, and neither is /tmp.
_BEGIN = f"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/tree && mount --bind "$1" /mnt/tree && mount -o remount,bind,ro /mnt/tree
mount -t tmpfs tmpfs /run
for part in etc var opt root; do
    mkdir -p /run/over/$part /run/over/work-$part
    mount -t overlay overlay -o lowerdir=/$part,upperdir=/run/over/$part,workdir=/run/over/work-$part /$part
done
for place in /tmp /var/tmp /var/log /dev/shm {_UNITS}; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
chmod 1777 /tmp /var/tmp /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
mkdir -p {SOURCE} /run/lock /run/systemd/system && mount --move /mnt/tree {SOURCE}
umount /mnt
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
for place in / /dev /sys /proc/sys; do mount -o remount,bind,ro $place; done
ours="/run /tmp /var/tmp /var/log /dev/shm /etc /var /opt /root {_UNITS} /dev/pts /dev/ptmx /proc /sys/fs/cgroup"
ours="$ours {SOURCE}"
for place in $(cut -d" " -f5 /proc/self/mountinfo | sort -u); do  # whatever else is mounted here
    case " $ours " in *" $place "*) ;; *) mount -o remount,bind,ro $place;; esac
done
for place in / /usr /bin /sys /dev /proc/sys {SOURCE}; do
    if touch $place/edge-lstm-test-wrote-here 2>/dev/null; then echo "$place can be written"; exit 1; fi
done
for place in /tmp /var/tmp /dev/shm; do test "$(stat -f -c %T $place)" = tmpfs && test -z "$(ls -A $place)"; done
chmod 711 /root  # a Python may live there, which the service's user must reach
for unit in sysinit basic multi-user network time-sync shutdown alone; do
    printf '[Unit]\\nDefaultDependencies=no\\n' > {_UNITS}/$unit.target
done
cp /usr/lib/systemd/system/systemd-journald.service /usr/lib/systemd/system/systemd-journald.socket {_UNITS}/
printf 'Wants=systemd-journald.service\\nAfter=systemd-journald.service\\n' >> {_UNITS}/alone.target
: > /etc/fstab
exec setpriv --bounding-set -sys_time,-sys_boot,-sys_module,-syslog env -i container=test PATH="$PATH" \\
    SYSTEMD_UNIT_PATH={_UNITS} ${{2:-{_SYSTEMD} --system --unit=alone.target --show-status=no --log-target=null}}
"""


def why_not() -> str:
    """Why there is none here; "" where there is. A machine is asked for with EDGE_LSTM_SYSTEMD=1: whatever is wrong in
    its isolation would be wrong as root."""
    if os.environ.get("EDGE_LSTM_SYSTEMD") != "1":
        return "starts a real systemd as root: EDGE_LSTM_SYSTEMD=1 says that it may, on this machine"
    if os.geteuid() != 0:
        return "only root may make these namespaces"
    if not _SYSTEMD.exists() or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "no systemd, unshare or nsenter"
    return "" if _cgroup() else "no control groups of version 2"


def _cgroup() -> Path | None:
    return next((Path(path) for path in _CGROUPS if (Path(path) / "cgroup.procs").exists()), None)


class RealSystemd:
    """A context manager; `pid` is systemd's, seen from outside."""

    def __enter__(self) -> RealSystemd:
        above = _cgroup()
        assert above is not None
        self._group = above / f"edge-lstm-test-{os.getpid()}"
        self._group.mkdir()
        enter = f'echo $$ > {self._group}/cgroup.procs && exec "$@"'
        unshare = [
            "unshare",
            "--pid",
            "--fork",
            "--mount",
            "--cgroup",
            "--uts",
            "--ipc",
            "--mount-proc",
            "--net",
            "--kill-child",
        ]
        command = ["bash", "-c", enter, "bash", *unshare, "bash", "-c", _BEGIN, "bash", str(ROOT)]
        self._outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.pid = 0
        try:
            self.until(self._is_up, "systemd came up", 30)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # and with process 1 all others
        self._outer.kill()
        self._outer.wait(10)
        assert self._outer.stderr is not None
        self._outer.stderr.close()
        for _ in range(50):
            with contextlib.suppress(OSError):
                for folder in sorted((path for path in self._group.rglob("*") if path.is_dir()), reverse=True):
                    folder.rmdir()
                self._group.rmdir()
                return
            time.sleep(0.1)

    def _is_up(self) -> bool:
        if self._outer.poll() is not None:
            assert self._outer.stderr is not None
            raise RuntimeError(f"systemd did not come up: {self._outer.stderr.read().decode(errors='replace')}")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/exe").readlink() != _SYSTEMD.resolve():
            return False
        self.pid = int(children[0])
        return self.run("systemctl", "is-active", "alone.target").stdout.strip() == "active"

    @property
    def root(self) -> Path:
        """The files in there, seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def inside(self, *command: str, **environment: str) -> list[str]:
        """A command line that runs this one in there."""
        given = ["env", *(f"{key}={value}" for key, value in environment.items())]
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-p", "-C", "-n", *given, *command]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        words = self.inside(*command, **environment)
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)

    def done(self, *command: str, **environment: str) -> str:
        """The same, which must end well; what it printed."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def shows(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.done("systemctl", "show", "-P", key, unit).strip()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for it."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.1)
