"""A service on this machine: its unit, its udev rule, and the steps that put them there or take them away.

Its rule: everything is decided before anything is done, and is shown as it will be done: `--dry-run` prints the very
steps. What a person has made (robot.toml, models, recordings) is copied, never moved and never removed.
"""

from __future__ import annotations

import re
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.errors import ConfigError
from firmware_bridge.ports import network_names
from firmware_bridge.ports.serial_names import USB_NAME

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig

NAME = re.compile(r"edge-lstm(-[A-Za-z0-9._-]{1,40})?")
UNITS, RULES, STATE = Path("/etc/systemd/system"), Path("/etc/udev/rules.d"), Path("/var/lib")
WATCHDOG_S = 10  # without a sign that the loop goes round
_START_S = 300  # compiling on a slow machine whose cache is cold
_STOP_S = 35  # the robot is safe in half a second; a recording on a slow disk may take longer to be finished

UNIT = """\
[Unit]
Description=edge-lstm: the network of this robot ({name})
Documentation=file://{page}
After=network.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec={watchdog_s}
ExecStart={program} run {config} --wait
User={user}
Group={user}
SupplementaryGroups={groups}
WorkingDirectory={folder}
StateDirectory={name}
StateDirectoryMode=0750
CacheDirectory={name}
RuntimeDirectory={name}
UMask=0027
{limits}Restart=on-failure
RestartSec=1
RestartPreventExitStatus={never}
TimeoutStartSec={start_s}
TimeoutStopSec={stop_s}
OOMScoreAdjust=-500

# It may read the system, write its own folders, and open serial ports; nothing else.
# MemoryDenyWriteExecute= and RestrictRealtime= must stay away: Numba, which makes a step that did not come with the
# package, does not start under the one, and the loop may ask for a priority.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome={home}
{elsewhere}PrivateTmp=yes
DevicePolicy=closed
{devices}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""
_DEVICES = ("char-ttyACM", "char-ttyUSB", "char-ttyS", "char-ttyAMA", "char-rfcomm", "char-pts")


@dataclass(frozen=True)
class Step:
    """One thing to be done. what: for people; command: of a program; file, text, mode: a file to be written; source:
    copied to `file`; remove: files that go. may_fail: a note, and the others go on. user: whose the file is."""

    what: str
    command: tuple[str, ...] = ()
    file: Path | None = None
    text: str = ""
    source: Path | None = None
    folder: bool = False
    remove: bool = False
    may_fail: bool = False
    user: str = ""
    mode: int = 0o644

    def shown(self) -> str:
        """As `--dry-run` prints it: what it is, and the command or the file's text."""
        if self.command:
            return f"{self.what}\n    {shlex.join(self.command)}"
        if self.text:
            body = "".join(f"    {line}".rstrip() + "\n" for line in self.text.splitlines())
            return f"{self.what}: {self.file}\n{body}".rstrip()
        if self.source is not None:
            return f"{self.what}\n    {self.source} → {self.file}"
        return f"{self.what}: {self.file}"


@dataclass(frozen=True)
class Service:
    """One service to be. name: of its unit and its folders; program: the words that start edge-lstm."""

    name: str
    user: str
    program: tuple[str, ...]
    robot: RobotConfig
    never: tuple[int, ...]  # exit codes after which it is not started again

    @property
    def folder(self) -> Path:
        """Where its robot.toml, its models and its recordings are."""
        return STATE / self.name

    @property
    def config(self) -> Path:
        return self.folder / "robot.toml"

    @property
    def unit_file(self) -> Path:
        return UNITS / f"{self.name}.service"

    @property
    def rule_file(self) -> Path:
        return RULES / f"70-{self.name}.rules"

    def unit(self) -> str:
        """The unit's text."""
        realtime = self.robot.realtime
        limits = [f"LimitRTPRIO={realtime.priority}"] if realtime.priority is not None else []
        limits += ["LimitMEMLOCK=infinity"] if realtime.lock_memory else []
        used = " ".join((*self.program, str(Path(sys.executable).resolve()), str(self.folder)))
        return UNIT.format(
            name=self.name,
            user=self.user,
            page=Path(__file__).with_name("SERVICE.md"),
            program=" ".join(map(quoted, self.program)),
            config=quoted(str(self.config)),
            folder=self.folder,
            groups=" ".join(("dialout", *filter(None, [self.robot.daemon.group]))),
            watchdog_s=WATCHDOG_S,
            limits="".join(f"{line}\n" for line in limits),
            never=" ".join(map(str, self.never)),
            start_s=_START_S,
            stop_s=_STOP_S,
            home="read-only" if re.search(r"(^| )/(home|root)/", used) else "yes",
            elsewhere="".join(f"ReadWritePaths={quoted(path)}\n" for path in self._elsewhere()),
            devices="\n".join(f"DeviceAllow={device} rw" for device in (*_DEVICES, *self._own_device())),
        )

    def _elsewhere(self) -> Iterator[str]:
        """Folders outside its own in which it records."""
        for name, folder in ((self.robot.recording.directory, True), (self.robot.recording.file, False)):
            if name and (path := Path(name)).is_absolute() and not path.is_relative_to(self.folder):
                yield str(path if folder else path.parent)

    def _own_device(self) -> Iterator[str]:
        """The port, where it is of a kind of its own: /dev/ttyTHS1 of a Jetson, /dev/ttymxc2, …"""
        device = self.robot.port.device or ""
        if device.startswith("/dev/") and not re.match(r"/dev/(serial/|rfcomm|pts/|tty(ACM|USB|S|AMA)\d)", device):
            yield quoted(device)

    def rule(self) -> str:
        """The udev rule's text; "" for a port that udev does not know."""
        return udev_rule(self.robot.port.device or "")

    def files(self) -> Iterator[tuple[Path, Path]]:
        """(from, to) of robot.toml and of each file in its folder that it names. ConfigError for one outside."""
        yield Path(self.robot.source), self.config
        for name in sorted(set(_names(self.robot))):
            source = self.robot.folder / name
            if Path(name).is_absolute() or not source.is_file():
                continue
            if ".." in Path(name).parts:
                why = f"{name!r} lies outside its folder, and would not be found from {self.folder}"
                raise ConfigError(f"{self.robot.source}: {why}; put it beside robot.toml, or give its whole path")
            yield source, self.folder / name

    def install(self) -> Iterator[Step]:
        """The steps, in order."""
        user = self.user
        script = f"getent passwd {shlex.quote(user)} >/dev/null || useradd --system --user-group --no-create-home "
        script += f"--home-dir {shlex.quote(str(self.folder))} --shell /usr/sbin/nologin {shlex.quote(user)}"
        yield Step(f"the user {user}, who may do nothing else", ("sh", "-c", script))
        yield Step("its folder", file=self.folder, folder=True, user=user, mode=0o750)
        for source, to in self.files():
            if source.resolve() == to.resolve():
                continue
            yield Step("a copy of", source=source, file=to, user=user, mode=0o640)
        if rule := self.rule():
            yield Step("the udev rule", file=self.rule_file, text=rule)
            yield Step("udev reads it", ("udevadm", "control", "--reload"), may_fail=True)
            yield Step("and applies it", ("udevadm", "trigger", "--subsystem-match=tty"), may_fail=True)
        yield Step("the unit", file=self.unit_file, text=self.unit())
        cache = Path("/var/cache") / self.name
        yield Step("the folder of the compiled step", file=cache, folder=True, user=user, mode=0o755)
        words = ("env", f"CACHE_DIRECTORY={cache}", *self.program, "compile")
        yield Step("compiled as that user, so that no start has to", ("runuser", "-u", user, "--", *words))
        yield Step("checked as that user", ("runuser", "-u", user, "--", *self.program, "check", str(self.config)))
        yield Step(
            "systemd finds nothing wrong with it", ("systemd-analyze", "verify", str(self.unit_file)), may_fail=True
        )
        yield Step("systemd reads it", ("systemctl", "daemon-reload"))
        yield Step("and starts it with the machine", ("systemctl", "enable", self.unit_file.name))

    def uninstall(self) -> Iterator[Step]:
        """The steps, in order. Recordings and robot.toml stay, and so does the user, whose they are."""
        yield Step(
            "stopped, the robot made safe", ("systemctl", "disable", "--now", self.unit_file.name), may_fail=True
        )
        yield Step("the unit goes", file=self.unit_file, remove=True)
        yield Step("the udev rule goes", file=self.rule_file, remove=True)
        yield Step("systemd forgets it", ("systemctl", "daemon-reload"), may_fail=True)
        yield Step("udev forgets it", ("udevadm", "control", "--reload"), may_fail=True)


def nothing() -> RobotConfig:
    """In place of a robot.toml, where none is needed."""
    from edge_lstm.robot.config import parse_config

    return parse_config('[model]\nfile = ""\n[readings]\nformat = ""\n', "robot.toml", Path())


def program() -> tuple[str, ...]:
    """The words that start this edge-lstm."""
    script = Path(sys.executable).with_name("edge-lstm")
    return (str(script),) if script.exists() else (sys.executable, "-m", "edge_lstm")


def closed(words: tuple[str, ...]) -> Path | None:
    """A folder on the way to a program that its owner alone may enter, as homes are since Debian 12: nobody else can
    start what is in it. None: everybody can."""
    for file in (Path(words[0]).absolute(), Path(sys.executable).resolve()):
        for folder in reversed(file.parents):
            with suppress(OSError):
                if not folder.stat().st_mode & stat.S_IXOTH:
                    return folder
    return None


def quoted(word: str) -> str:
    """A word of a command line as systemd reads it."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def udev_rule(device: str) -> str:
    """What udev shall do with this port: hand it to group dialout, keep ModemManager from it, and let an FTDI adapter
    pass bytes on at once. "" where the name says too little of it to know it again."""
    if network_names.scheme(device):
        return ""
    if usb := USB_NAME.fullmatch(device):
        vendor, product = usb[1].lower(), usb[2].lower()
        tty = f'ENV{{ID_VENDOR_ID}}=="{vendor}", ENV{{ID_MODEL_ID}}=="{product}"'
        usb_device = f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}"'
        if usb[3] and re.fullmatch(r"[A-Za-z0-9._-]+", usb[3]):
            tty += f', ENV{{ID_SERIAL_SHORT}}=="{usb[3]}"'
            usb_device += f', ATTR{{serial}}=="{usb[3]}"'
    elif by_id := re.fullmatch(r"/dev/serial/by-id/usb-([A-Za-z0-9._#@+:-]+?)-if[0-9a-f]{2}(-port\d+)?", device):
        tty, usb_device = f'ENV{{ID_BUS}}=="usb", ENV{{ID_SERIAL}}=="{by_id[1]}"', ""
    else:
        return ""
    lines = [
        f"# edge-lstm: the robot at {device}",
        f'SUBSYSTEM=="tty", {tty}, GROUP="dialout", MODE="0660", ENV{{ID_MM_PORT_IGNORE}}="1", '
        'ENV{ID_MM_DEVICE_IGNORE}="1"',
    ]
    if usb_device:
        lines.append(f'SUBSYSTEM=="usb", ENV{{DEVTYPE}}=="usb_device", {usb_device}, ENV{{ID_MM_DEVICE_IGNORE}}="1"')
    lines.append('ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"')
    return "\n".join(lines) + "\n"


def _names(robot: RobotConfig) -> Iterator[str]:
    """Every text in robot.toml, and the names of the models: some of them name files."""
    yield from _texts(robot.link.values)
    yield from (one.file for one in robot.models)
    yield from filter(None, (robot.model_file, robot.daemon.shadow))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and "\n" not in value and "\0" not in value and len(value) < 256:
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
