"""CONFIG.md is held to config.py: the same keys in both, and its example is a valid robot.toml with all of them."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_lstm.cli import codes
from edge_lstm.cli.run import command
from edge_lstm.robot import config
from edge_lstm.robot.realtime import Realtime
from firmware_bridge.table import Table

PAGE = (Path(config.__file__).parent / "CONFIG.md").read_text()


def on_the_page() -> dict[tuple[str, str], str]:
    """(table, key) → default, from the page's tables."""
    found = {}
    table = ""
    for line in PAGE.splitlines():
        if heading := re.fullmatch(r"## \[(.*)\]", line):
            table = heading[1]
        elif row := re.match(r"\| `(\w+)` \| [^|]+ \| ([^|]+) \|", line):
            found[table, row[1]] = row[2].strip()
    return found


def examples() -> list[str]:
    """The two whole files on the page: of one model and of several."""
    parts = PAGE.split("\n## ")
    several = next(part for part in parts if part.startswith("[[model]]"))
    return [
        "".join(f"{line[4:]}\n" for line in part.splitlines() if line.startswith("    "))
        for part in (parts[0], several)
    ]


def on_the_page_as(table: str) -> str:
    """The heading on the page for a table as errors name it."""
    table = re.sub(r'^model(\[\d+\]| "\w+")$', "[model]", table)
    table = re.sub(r'^model "\w+"\.', "model.", table)
    return re.sub(
        r"^(action|events)\.\w+", lambda name: f"{name[1]}.{'FIELD' if name[1] == 'action' else 'NAME'}", table
    )


def test_every_key_of_the_code_is_on_the_page_and_the_reverse(monkeypatch: pytest.MonkeyPatch):
    """The keys that parsing the page's examples asks for are the keys in the page's tables, no more and no less."""
    asked: set[tuple[str, str]] = set()
    take = Table.take

    def noting(table: Table, key: str, *more: object) -> object:
        value = take(table, key, *more)
        if table.name and (not isinstance(value, dict) or key in ("gain", "action")):
            asked.add((table.name, key))
        return value

    monkeypatch.setattr(Table, "take", noting)
    robot, several = (config.parse_config(example, "CONFIG.md", Path()) for example in examples())
    assert robot.channels == {"wheel_speed_left": "speed_l", "x[5]": "gyro_z", "current_left": "motor.current"}
    assert [event.name for event in robot.events] == ["stall", "grip"]
    assert [model.every for model in several.models] == [None, 4, None]
    keys = {
        (on_the_page_as(table), key)
        for table, key in asked
        if not table.endswith((".gain", ".action", ".values", ".channels", ".ages", ".missing"))
        and not table.startswith(("inputs.", "outputs."))
        and key not in ("channels", "policy", "inputs", "outputs")
        and (on_the_page_as(table), key) not in (("readings", "missing"), ("readings", "ages"), ("[model]", "missing"))
    }
    named = {("readings.channels", "CHANNEL"), ("readings.ages", "FORMAT"), ("readings.missing", "CHANNEL")}
    named |= {("model.channels", "CHANNEL"), ("model.missing", "CHANNEL")}
    assert keys | named == set(on_the_page())


def test_the_defaults_on_the_page_are_the_code_s():
    """Every default of [port] and [realtime] that the page gives is the code's, and it gives all of them."""
    for name, defaults in (("port", config.PortConfig()), ("realtime", Realtime()), ("robot", config.RobotIdentity())):
        shown = {key: default for (table, key), default in on_the_page().items() if table == name}
        for key, default in shown.items():
            value = getattr(defaults, key)
            nothing = "any" if name == "robot" else "none"
            text = nothing if value is None else f'`"{value}"`' if isinstance(value, str) else f"`{str(value).lower()}`"
            assert default == text, key
        assert set(shown) == set(vars(defaults))


def test_the_service_on_the_page_is_a_valid_unit(tmp_path: Path):
    """systemd finds nothing to say about the unit (where it is installed), the command line is one that `edge-lstm run`
    takes, the limits allow what it asks for, and only what a person must mend keeps it from being started again."""
    text = PAGE.split("## As a service")[1]
    unit = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ") or not line)
    unit = unit[unit.index("[Unit]") :]
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    program, verb, *arguments = shlex.split(parser["Service"]["ExecStart"])
    with command.make_context(verb, arguments) as context:
        asked = context.params
    assert (Path(program).name, verb, asked["lock_memory"]) == ("edge-lstm", "run", True)
    assert int(parser["Service"]["LimitRTPRIO"]) == asked["priority"]
    assert parser["Service"]["LimitMEMLOCK"] == "infinity"
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert parser["Service"]["Restart"] == "on-failure"
    assert parser["Service"]["RestartPreventExitStatus"].split() == [str(codes.MEND)]
    if shutil.which("systemd-analyze"):
        path = tmp_path / "edge-lstm.service"
        path.write_text(unit.replace(program, "/bin/true"))
        verify = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_exit_codes_on_the_page_are_the_code_s():
    """Every code with its meaning, and after which of them the unit is started again: all but done and MEND."""
    shown = {int(row[1]): (row[2], row[3]) for row in re.finditer(r"(?m)^\| (\d+) \| (.*?) \| (yes|no) \|$", PAGE)}
    never = (codes.DONE, codes.MEND)
    assert shown == {code: (text, "no" if code in never else "yes") for code, text in codes.MEANINGS.items()}
    (row,) = re.findall(r"(?m)^\| bad input \| (.*) \|$", (Path(config.__file__).parents[2] / "README.md").read_text())
    assert re.findall(r"(?:code: |, )(\d+) ", row) == list(map(str, codes.MEANINGS))
