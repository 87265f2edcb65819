"""The page "Your robot": each of its examples reads what it says is sent; its keys are the code's."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from firmware_bridge import links
from firmware_bridge.events import Fault, Reading
from firmware_bridge.links.dialects import DIALECTS, LinkConfig
from firmware_bridge.table import Table
from firmware_bridge.values import Chunk
from tests.support.robots import MS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

PAGE = (Path(links.__file__).parent / "README.md").read_text()
ROBOTS = re.findall(
    r"^### ([^\n]+)\n+```(text|hex)\n(.*?)```\n+```toml\n(.*?)```\n+Readings: ([^\n]+)$", PAGE, flags=re.M | re.S
)


def messages(kind: str, sent: str) -> list[bytes]:
    return [bytes.fromhex(line) if kind == "hex" else line.encode() + b"\r\n" for line in sent.splitlines()]


def test_the_page_has_every_kind_of_robot() -> None:
    """Ten of text and three others are enough that nobody has to guess."""
    assert len(ROBOTS) >= 13
    assert len(ROBOTS) == PAGE.count("\n### ")
    assert all(f"`{name}`" in PAGE for name in DIALECTS)


@pytest.mark.parametrize(
    ("kind", "sent", "toml", "readings"), [robot[1:] for robot in ROBOTS], ids=[robot[0] for robot in ROBOTS]
)
def test_an_example_reads_what_it_says_is_sent(kind: str, sent: str, toml: str, readings: str) -> None:
    """Opened in the middle of a message, then what the page shows, each message when it may come: just its readings,
    and no fault."""
    link = LinkConfig(tomllib.loads(toml)["link"], "README.md", Path()).open()
    events = link.receive(Chunk(0, b"/dev/robot", "opened"))
    t_ns = MS
    if "request" not in toml:
        events += link.receive(Chunk(t_ns, messages(kind, sent)[-1][-3:]))  # the end of one that began before
        events = [event for event in events if not isinstance(event, Fault)]
    for message in messages(kind, sent):
        t_ns += 10 * MS
        while "request" in toml and not link.outgoing():
            t_ns += MS
            events += link.receive(Chunk(t_ns))
        events += link.receive(Chunk(t_ns + 2 * MS, message))
    assert not [event for event in events if isinstance(event, Fault)]
    got = [" ".join(f"{value:g}" for value in event.values) for event in events if isinstance(event, Reading)]
    assert got == re.findall("`([^`]+)`", readings)


def test_every_shared_key_is_on_the_page_and_the_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that the base asks for, and no others, are in the page's table."""
    asked: set[tuple[str, str]] = set()
    take = Table.take

    def noting(table: Table, key: str, *more: object) -> object:
        asked.add((re.sub(r"\.(imu|motor)(.*)", r".NAME\2", table.name), key))
        return take(table, key, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "take", noting)
    from tests.firmware_bridge.links.test_dialect import link

    link()
    tables = {f"[{name}]" for name, _ in asked if name in ("link", "link.reading.NAME", "link.action.NAME")}
    found, table = set(), ""
    for row in re.findall(r"^\| (`\[[^|]+|) ?\| (`[^|]+) \| [^|]+ \| [^|]+ \|$", PAGE, flags=re.M):
        table = row[0].strip(" `") or table
        found |= {(table, key) for key in re.findall("`([a-z_]+)`", row[1])}
    wanted = {(f"[{name}]", key) for name, key in asked if f"[{name}]" in tables}
    wanted |= {("[link.reading.NAME]", "time_unit"), ("[link.reading.NAME]", "counter_bits")}
    wanted -= {("[link]", "reading"), ("[link]", "action")}
    assert found == wanted


def test_the_shared_example_is_one_and_the_class_of_ones_own_runs(tmp_path: Path) -> None:
    """The first block of the page loads; the class at its end, in a file beside robot.toml, reads."""
    first = re.search(r"```toml\n(.*?)```", PAGE, flags=re.S)
    assert first
    LinkConfig(tomllib.loads(first[1])["link"], "README.md", Path()).open()
    own = re.search(r"```python\n(.*?)```", PAGE, flags=re.S)
    assert own
    (tmp_path / "my_scale.py").write_text("from __future__ import annotations\n\n" + own[1])
    values = {"dialect": "my_scale.py:Scale", "reading": {"weight": {"fields": ["left kg", "right kg"]}}}
    events = LinkConfig(values, "robot.toml", tmp_path).open().receive(Chunk(0, b"12.5;3\n"))
    assert [event.values for event in events if isinstance(event, Reading)] == [(12.5, 3.0)]
