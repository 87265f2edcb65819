"""`edge-lstm doctor`: a sound machine has no finding, and each of many prepared faults is named with its way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_lstm.cli import codes, main
from edge_lstm.daemon.doctor import Finding, Patient, look
from edge_lstm.daemon.machine import Machine
from edge_lstm.robot.config import load_config
from tests.support.robots import small_robot

CONFIG = small_robot.CONFIG + '[port]\ndevice = "DEVICE"\n[realtime]\npriority = 50\nlock_memory = true\n'
BY_ID = "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K-if00-port0"

SOUND = {
    "etc/group": "root:x:0:\ndialout:x:20:pi\n",
    "proc/self/status": "Name:\tpython\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n"
    "Groups:\t20 1000 \nCapEff:\t0000000000000000\n",
    "proc/self/limits": "Max locked memory         unlimited            unlimited            bytes\n"
    "Max realtime priority     50                   50\n",
    "proc/cmdline": "root=/dev/mmcblk0p2 console=tty1 rootwait",
    "proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable:    3000000 kB\n",
    "proc/1/comm": "systemd\n",
    "proc/812/comm": "sshd\n",
    "sys/bus/usb-serial/devices/ttyUSB0/latency_timer": "1\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "run/systemd/timesync/synchronized": "",
}


def written(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """A sound Raspberry Pi with a robot.toml that asks for a priority and records."""
    root, folder = tmp_path / "root", tmp_path / "robot"
    written(root, SOUND)
    link = root / "dev/serial/by-id" / Path(BY_ID).name
    link.parent.mkdir(parents=True)
    link.symlink_to("../../ttyUSB0")
    folder.mkdir()
    robot = load_config(small_robot.folder(folder, CONFIG.replace("DEVICE", BY_ID)))
    return Patient(
        Machine(root),
        robot,
        64,
        lambda path: 10**11,
        lambda: [tmp_path / "cache"],
        compiled=lambda: False,
        clock_is_set=lambda: None,
    )


def test_a_sound_machine_has_no_finding(patient: Patient):
    """Every check says ok, or nothing."""
    assert [finding for finding in look(patient) if finding.mark != "ok"] == []
    assert len(look(patient)) >= 6


def test_where_the_step_is_compiled_neither_a_cache_nor_memory_for_a_compiler_is_missed(patient: Patient):
    """A step that came with the package needs no folder to be kept in, and no 390 MiB."""
    poor = unkept(put("proc/meminfo", "MemAvailable: 200000 kB\n")(patient))
    assert {finding.what for finding in look(poor) if finding.mark == "warning"} == {"cache", "memory"}
    assert [finding for finding in look(replace(poor, compiled=lambda: True)) if finding.mark != "ok"] == []


def put(name: str, text: str) -> Callable[[Patient], Patient]:
    def change(patient: Patient) -> Patient:
        written(patient.machine.root, {name: text})
        return patient

    return change


def without_time(patient: Patient) -> Patient:
    (patient.machine.root / "run/systemd/timesync/synchronized").unlink()
    return replace(patient, clock_is_set=lambda: False)


def at(device: str, *more: Callable[[Patient], Patient]) -> Callable[[Patient], Patient]:
    def change(patient: Patient) -> Patient:
        for one in more:
            patient = one(patient)
        assert patient.robot is not None
        return replace(patient, robot=replace(patient.robot, port=replace(patient.robot.port, device=device)))

    return change


def unkept(patient: Patient) -> Patient:
    (patient.machine.root / "file").write_text("")
    return replace(patient, caches=lambda: [patient.machine.root / "file" / "cache"])


STATUS = SOUND["proc/self/status"]
FAULTS: dict[str, tuple[Callable[[Patient], Patient], str, str, str]] = {  # the fault → what, mark, way out
    "a 32-bit system": (lambda p: replace(p, bits=32), "64 bit", "error", "arm64"),
    "not in dialout": (
        put("proc/self/status", STATUS.replace("20 1000", "1000")),
        "group",
        "error",
        "usermod -aG dialout",
    ),
    "a name of the day": (at("/dev/ttyUSB0"), "name of the port", "warning", f'device = "{BY_ID}"'),
    "brltty": (put("proc/99/comm", "brltty\n"), "brltty", "error", "apt remove brltty"),
    "ModemManager": (put("proc/98/comm", "ModemManager\n"), "ModemManager", "warning", "apt remove modemmanager"),
    "a login on the UART": (
        at("/dev/ttyAMA0", put("proc/cmdline", "console=ttyAMA0,115200 console=tty1")),
        "console",
        "error",
        "raspi-config",
    ),
    "a slow adapter": (
        put("sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "16\n"),
        "latency timer",
        "warning",
        "low_latency = true",
    ),
    "undervoltage now": (put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"), "power", "error", "5.1 V"),
    "undervoltage before": (
        put("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
        "power",
        "error",
        "5.1 V",
    ),
    "heat": (put("sys/devices/platform/soc/soc:firmware/get_throttled", "80008\n"), "heat", "warning", "a fan"),
    "powersave": (
        put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        "governor",
        "warning",
        "schedutil",
    ),
    "no priority": (
        put("proc/self/limits", SOUND["proc/self/limits"].replace("50     ", "0      ")),
        "priority",
        "warning",
        "LimitRTPRIO=50",
    ),
    "no locked memory": (
        put("proc/self/limits", SOUND["proc/self/limits"].replace("unlimited", "8388608  ")),
        "locked memory",
        "warning",
        "LimitMEMLOCK=infinity",
    ),
    "a cache that cannot be written": (unkept, "cache", "warning", "EDGE_LSTM_CACHE_DIR"),
    "a full disk": (lambda p: replace(p, free_bytes=lambda path: 10**8), "disk", "warning", "old recordings"),
    "little memory": (put("proc/meminfo", "MemAvailable: 200000 kB\n"), "memory", "warning", "swap"),
    "a clock that is not set": (without_time, "clock", "warning", "set-ntp"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_way_out(fault: str, patient: Patient):
    """One finding, of the right weight, with what to type."""
    prepare, what, mark, way_out = FAULTS[fault]
    (found,) = [finding for finding in look(prepare(patient)) if finding.mark != "ok"]
    assert (found.what, found.mark) == (what, mark)
    assert way_out in found.way_out


def test_a_console_on_another_port_is_none_of_the_robot_s(patient: Patient):
    """A PC with its console on ttyS0 and the robot on ttyS1; and a name that leads to the console's."""
    changed = at("/dev/ttyS1", put("proc/cmdline", "console=ttyS0,115200"))(patient)
    assert not [finding for finding in look(changed) if finding.mark == "error"]
    (patient.machine.root / "dev/serial0").symlink_to("ttyAMA0")
    changed = at("/dev/serial0", put("proc/cmdline", "console=ttyAMA0,115200"))(patient)
    assert [finding.what for finding in look(changed) if finding.mark == "error"] == ["console"]


def test_a_rule_that_nobody_may_read_is_passed_over(patient: Patient):
    """As is a folder in its place."""
    written(patient.machine.root, {"proc/98/comm": "ModemManager\n"})
    (patient.machine.root / "etc/udev/rules.d/70-x.rules").mkdir(parents=True)
    assert [finding.what for finding in look(patient) if finding.mark != "ok"] == ["ModemManager"]


def test_a_rule_that_keeps_modem_manager_away_is_enough(patient: Patient):
    """Where udev tells it to ignore the port, it may run."""
    put("proc/98/comm", "ModemManager\n")(patient)
    put("etc/udev/rules.d/70-edge-lstm.rules", 'SUBSYSTEM=="tty", ENV{ID_MM_PORT_IGNORE}="1"\n')(patient)
    assert Finding("ModemManager", "ok", "it runs, and a udev rule keeps it from the port") in look(patient)


def test_a_network_robot_needs_no_serial_port(patient: Patient):
    """Groups, adapters and modem programs are nothing to tcp://."""
    for fault in ("not in dialout", "brltty", "ModemManager", "a slow adapter"):
        FAULTS[fault][0](patient)
    found = look(at("tcp://192.168.4.1:5760")(patient))
    assert not [finding for finding in found if finding.mark != "ok"]


def test_the_command_says_it_with_a_code(
    patient: Patient, capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path: Path
):
    """Lines for people, JSON for scripts; 0, 1 and 2 for nothing, warnings and errors."""
    monkeypatch.setenv("EDGE_LSTM_CACHE_DIR", str(tmp_path))
    root = str(patient.machine.root)
    monkeypatch.setattr("edge_lstm.daemon.doctor._clock_is_set", lambda: True)
    assert main(["doctor", "--root", root]) == codes.DONE
    put("proc/98/comm", "ModemManager\n")(patient)
    assert main(["doctor", "--root", root]) == codes.DIFFERENT
    assert "→ sudo apt remove modemmanager" in capsys.readouterr().out
    put("proc/99/comm", "brltty\n")(patient)
    assert main(["doctor", "--root", root, "--json"]) == codes.MEND
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert [one["what"] for one in said["findings"] if one["mark"] == "error"] == ["brltty"]
