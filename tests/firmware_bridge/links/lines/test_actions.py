"""Actions as lines: what is written, what makes the robot safe, and that the robot's side reads it back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.lines.link import LinesLink
from firmware_bridge.simulator.dialects.lines import LinesRobot
from firmware_bridge.values import Action
from tests.support.robots.text_robots import give, link_of

READING = '[link.reading.r]\nshape = "csv"\nfields = ["x"]\n'
FIELDS = "fields = { left = { min = -1, max = 1, safe = 0 }, right = { min = -100, max = 100, safe = 25 } }\n"


def running(action: str, before: str = "[link]\n") -> LinesLink:
    """A link with this [link.action.m] to a robot that has spoken."""
    link = link_of(before + READING + "[link.action.m]\n" + action)
    give(link, [b"\n1\n"])
    link.outgoing()
    return link


def written(action: str, *values: float) -> bytes:
    return running(action).send(0, Action("m", values))


def test_a_line_has_the_values_in_place_of_the_names() -> None:
    """In any order, with digits, signs, widths; a whole number is the nearest one; braces of JSON are written twice."""
    assert written(FIELDS + 'line = "m {left:.3f} {right:.1f}\\n"', 0.5, -7.25) == b"m 0.500 -7.2\n"
    assert written(FIELDS + 'line = "{right:+06.1f},{left:.2f}\\r"', 0.5, -7.25) == b"-007.2,0.50\r"
    assert written(FIELDS + 'line = "S{right:d}L{left:.2f}\\r\\n"', 0.5, 7.6) == b"S8L0.50\r\n"
    assert written(FIELDS + 'line = "{right:04d}{left:5.2f}\\n"', 0.5, -3) == b"-003 0.50\n"
    hexadecimal = 'fields = { s = { min = 0, max = 255, safe = 0 } }\nline = "#{s:02X}\\n"'
    assert written(hexadecimal, 171) == b"#AB\n"
    json = """line = '{{"T":1,"L":{left:.2f},"R":{right:.1f}}}\\n'\n"""
    assert written(FIELDS + json, 0.5, -7) == b'{"T":1,"L":0.50,"R":-7.0}\n'


CHOICES = """
fields = { gear = { choices = ["N", "D", "auto", "←"], safe = "N" }, way = { choices = ["S", "SS"], safe = 1 } }
line = "g {gear}{way} x\\n"
"""


def test_a_choice_is_written_as_its_text() -> None:
    """Its number rounded; the safe one by its text or its number; and what is written reads itself out."""
    assert written(CHOICES, 0, 1) == b"g NSS x\n"
    assert written(CHOICES, 1.6, 0.4) == b"g autoS x\n"
    assert written(CHOICES, 3, 0) == "g ←S x\n".encode()
    link = running(CHOICES)
    assert link.stop(0) == b"g NSS x\n"
    assert link.explain(b"g NSS x\n") == "'g NSS x\\n'"
    assert [(f.minimum, f.maximum, f.safe) for f in link.actions["m"].form.fields] == [(0, 3, 0), (0, 1, 1)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=5), st.integers(1, 9))
def test_the_robots_side_reads_choices_back(values: list[tuple[int, int]], piece: int) -> None:
    """Each line says one choice, however it is cut."""
    link = running(CHOICES)
    robot = LinesRobot(link)
    data = b"".join(link.send(0, Action("m", (float(gear), float(way)))) for gear, way in values)
    obeyed = [found for k in range(0, len(data), piece) for found in robot.receive(data[k : k + piece])]
    assert obeyed == [("m", (float(gear), float(way))) for gear, way in values]


def test_text_is_utf_8_and_needs_a_line_end_only_where_the_robot_does() -> None:
    """A robot that reads up to ">" or a letter says so."""
    assert written(FIELDS + 'line = "⟨{left:.1f}·{right:d}⟩"\nline_end = false', 0.5, 1) == "⟨0.5·1⟩".encode()


def test_stop_sends_the_safe_line() -> None:
    """The one that the file says, else the line with the safe values; and it is what `cut` may stand before."""
    link = running(FIELDS + 'line = "m {left:.1f} {right:d}\\r"')
    assert (link.stop(0), link.cut) == (b"m 0.0 25\r", b"\r")
    link = running('fields = { left = { min = -1, max = 1 } }\nline = "m {left:.1f}\\n"\nsafe = "stop\\n"')
    assert (link.stop(0), link.cut) == (b"stop\n", b"\n")


def test_start_is_written_after_opening_with_the_line_end_of_either_quotes() -> None:
    """JSON needs single quotes, in which TOML leaves a backslash and an n."""
    start = """{"T":131,"cmd":1}"""
    for quoted in (f"'{start}\\n'", '"{\\"T\\":131,\\"cmd\\":1}\\n"'):
        link = link_of(f"[link]\nstart = {quoted}\n{READING}")
        give(link, [])
        assert link.outgoing() == start.encode() + b"\n"


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-100, 100)), min_size=1, max_size=5), st.integers(1, 30))
def test_the_robots_side_obeys_what_was_written(values: list[tuple[float, float]], piece: int) -> None:
    """However it is cut, lines that it does not know in between; the safe line is the safe values."""
    link = running(FIELDS + 'line = "m {left:.4f} {right:d}\\n"\nsafe = "halt\\n"')
    robot = LinesRobot(link)
    data = b"".join(b"?\n" + link.send(0, Action("m", value)) for value in values) + link.stop(0)
    obeyed = [found for k in range(0, len(data), piece) for found in robot.receive(data[k : k + piece])]
    assert obeyed == [
        *(("m", (float(f"{left:.4f}"), float(round(right)))) for left, right in values),
        ("m", (0.0, 25.0)),
    ]
