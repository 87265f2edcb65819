"""`edge-lstm service install robot.toml` and `uninstall`: this robot's network as a service of systemd.

Its rule: what will be done is printed before it is done, and `--dry-run` prints it only. Only root may do it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import click

from edge_lstm.cli import codes
from edge_lstm.cli.common import Commands, Failure, note, say
from edge_lstm.daemon.unit import NAME, Service, Step

_dry = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
_name = click.option(
    "--name", default="edge-lstm", show_default=True, help="Of the unit and its folders: edge-lstm, or edge-lstm-…."
)


@click.group(name="service", cls=Commands, short_help="This robot's network as a service of systemd.")
def command() -> None:
    """Make this robot's network a service that starts with the machine, or take the service away."""


@command.command(short_help="User, folders, unit, udev rule, compiled step.")
@click.argument("config", type=click.Path(path_type=Path))
@_name
@click.option("--user", help="Who runs it; made where missing (default: the service's name).")
@_dry
def install(config: Path, name: str, user: str | None, dry_run: bool) -> None:
    """Install ROBOT.toml as a service: a user of its own, a copy of it and its models in /var/lib/NAME, a
    unit that systemd watches and starts again, a udev rule for the port, and the step compiled beforehand.

    It starts with the machine; `systemctl start NAME` starts it now. What a person must mend (exit code 2) ends it for
    good, everything else is started again after a second.
    """
    from edge_lstm.daemon.server import group_id
    from edge_lstm.daemon.unit import closed, program
    from edge_lstm.errors import DaemonError
    from edge_lstm.robot.config import load_config
    from edge_lstm.robot.models import load_models

    robot = load_config(config)
    loaded = load_models(robot)
    loaded.controller(robot)  # what can be found wrong without the robot is found now
    if robot.port.device is None:
        raise Failure(codes.MEND, f"{config}: [port] device is missing; a service has nobody to say --port")
    try:
        group_id(robot.daemon.group)
    except DaemonError as error:
        raise Failure(codes.MEND, f"{config}: {error}") from None
    service = Service(_checked(name), user or name, program(), robot, codes.NEVER)
    if not (robot.recording.directory or robot.recording.file):
        note(f"{config} has no [recording]: nothing of what the service does is kept")
    device = robot.port.device
    if device.startswith(("/tmp/", "/var/tmp/")):
        note(f"{device} is seen by no service: each has a /tmp of its own (PrivateTmp); it would wait there for ever")
    if service.user != "root" and (folder := closed(service.program)):
        why = f"only its owner may enter {folder}, where this program lies: the user {service.user} cannot start it"
        note(f"{why}; install it in /opt, as edge-lstm docs service does, or as a Debian package")
    _do(service.install(), dry_run)
    if not dry_run:
        say(f"installed; it starts with the machine, and now with: systemctl start {name}")
        say(f"watch it with: journalctl -fu {name}; look the machine through with: edge-lstm doctor {service.config}")


@command.command(short_help="Take the service away; recordings stay.")
@_name
@_dry
def uninstall(name: str, dry_run: bool) -> None:
    """Stop the service, and take away its unit and its udev rule. Its folder with robot.toml, models and recordings
    stays, and so does the user whose they are."""
    from edge_lstm.daemon.unit import nothing

    service = Service(_checked(name), name, (), nothing(), codes.NEVER)
    if not dry_run and not service.unit_file.exists():
        raise Failure(codes.MEND, f"there is no service {name} here: no {service.unit_file}")
    _do(service.uninstall(), dry_run)
    say(f"{service.folder} stays, with its recordings; so does its user" + (" (userdel removes it)" * (not dry_run)))


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Failure(codes.MEND, f"--name {name!r}: is edge-lstm, or edge-lstm- and up to 40 letters, digits, '._-'")
    return name


def _do(steps: Iterable[Step], dry_run: bool) -> None:
    steps = list(steps)
    if not dry_run and os.geteuid() != 0:
        raise Failure(codes.MEND, "only root may do this; with sudo, or look at it first with --dry-run")
    for step in steps:
        say(step.shown() if dry_run else step.what + (f" {step.file}" if step.file else ""))
        if not dry_run:
            take(step)


def take(step: Step) -> None:
    """Do one step. Failure where it cannot be done and must be."""
    try:
        _take(step)
    except OSError as error:
        _failed(step, f"{error.filename or step.file}: {error.strerror or error}", codes.of_system(error))


def _take(step: Step) -> None:
    file = step.file
    if step.command:
        if step.may_fail and shutil.which(step.command[0]) is None:
            note(f"{step.what}: there is no {step.command[0]} here, left out")
            return
        done = subprocess.run(step.command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            _failed(step, f"{step.command[0]}: {said}", codes.MEND)
        elif step.may_fail and done.stderr.strip():
            note(f"{step.what}: {done.stderr.strip()}")
        return
    assert file is not None
    if step.remove:
        file.unlink(missing_ok=True)
        return
    if step.folder:
        file.mkdir(mode=step.mode, parents=True, exist_ok=True)
    elif step.source is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.read_bytes() != step.source.read_bytes():
            kept = file.with_name(f"{file.name}.before")
            shutil.copy2(file, kept)
            note(f"{file} was another one; it is kept as {kept.name}")
        shutil.copyfile(step.source, file)
    else:
        file.write_text(step.text)
    file.chmod(step.mode)
    if step.user:
        shutil.chown(file, step.user, step.user)


def _failed(step: Step, why: str, code: int) -> None:
    if not step.may_fail:
        raise Failure(code, f"{step.what}: {why}")
    note(f"{step.what}: {why}")
