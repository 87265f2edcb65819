"""Mistakes in the tables of the dialect: each names file, table, key and reason, before a byte is sent."""

from __future__ import annotations

import pytest

from firmware_bridge.errors import TableError
from tests.support.robots.text_robots import link_of

CSV = '[link.reading.r]\nshape = "csv"\nfields = ["a", "b"]\n'
PAIRS = '[link.reading.r]\nshape = "pairs"\nfields = ["left", "right"]\n'
JSON = '[link.reading.r]\nshape = "json"\nfields = ["left", "right"]\n'
ACTION = CSV + "[link.action.m]\nfields = { left = { min = -1, max = 1, safe = 0.25 } }\n"
WHOLE = CSV + "[link.action.m]\nfields = { left = { min = 0, max = 0.4, safe = 0 } }\n"
TWO = CSV + "[link.action.m]\nfields = { a = { min = 0, max = 99, safe = 0 }, b = { min = 0, max = 9, safe = 0 } }\n"
CHOICE = CSV + '[link.action.m]\nline = "m {way} {b:.1f}\\n"\n'
CHOICE += "[link.action.m.fields]\nb = { min = 0, max = 1, safe = 0 }\n"
WAY = "[link.action.m.fields.way]"

# table, where the error is, what it says
MISTAKES = [
    ('[link.reading.r]\nfields = ["a"]', "[link.reading.r] shape", "is missing"),
    ('[link.reading.r]\nshape = "cvs"\nfields = ["a"]', "[link.reading.r] shape", "'cvs' is unknown; did you mean"),
    (CSV + 'seperator = ";"', "[link.reading.r] seperator", "did you mean 'separator'?"),
    (CSV + 'separator = ""', "[link.reading.r] separator", "is empty"),
    (CSV + 'separator = "x"', "[link.reading.r] separator", "could be a part of a number"),
    (CSV + 'decimal = ","', "[link.reading.r] separator", 'is "," where it is left out, and decimal = ","'),
    (CSV + 'decimal = ","\nseparator = ", "', "[link.reading.r] separator", "makes it a part of numbers"),
    (CSV + 'decimal = "."\nbase = "hex"', "[link.reading.r] decimal", 'stands beside base = "hex"'),
    (CSV + 'base = "octal"', "[link.reading.r] base", "'octal' is unknown"),
    (CSV + 'prefix = ""', "[link.reading.r] prefix", "is empty"),
    (CSV + 'suffix = ">\\n"', "[link.reading.r] suffix", "holds a line end"),
    (CSV + 'checksum = "nema"', "[link.reading.r] checksum", "'nema' is unknown; did you mean 'nmea'?"),
    (CSV + "where = { c = 1 }", "[link.reading.r] where", "there is no field 'c'"),
    (CSV + "where = { a = true }", "[link.reading.r] where", "of 'a' must be a number or a text, not true"),
    (CSV + 'labels = { a = "A" }', "[link.reading.r] labels", 'with shape = "csv"; it is a key of "pairs" or "json"'),
    (CSV + 'request = "e"\nrate_hz = 50', "[link.reading.r] request", "has no line end"),
    (CSV + 'request = "e\\r"', "[link.reading.r] rate_hz", "is missing: how often is the robot asked?"),
    ("[link]\ntimeout_ms = 5\n" + CSV, "[link] timeout_ms", "no reading has a request"),
    (
        "[link]\ntimeout_ms = 30\n" + CSV + 'request = "e\\r"\nrate_hz = 50',
        "[link] timeout_ms",
        "must be from 0.1 to 20, the time between two requests, not 30",
    ),
    ('[link]\nignore = [""]\n' + CSV, "[link] ignore", "with which every line begins"),
    ('[link]\nigonre = ["#"]\n' + CSV, "[link] igonre", "did you mean 'ignore'?"),
    (PAIRS + 'labels = { lft = "L" }', "[link.reading.r] labels", "there is no field 'lft'; did you mean 'left'?"),
    (PAIRS + 'labels = { left = "right" }', "[link.reading.r] labels", "'right' is the label of two fields"),
    (PAIRS + 'labels = { left = " " }', "[link.reading.r] labels", "of 'left' is empty"),
    (PAIRS.replace('"right"', '"_"'), "[link.reading.r] fields", '"_" cannot be one of them'),
    (JSON + 'labels = { left = "m[x]" }', "[link.reading.r] labels", "'m[x]' must be names with dots"),
    (JSON + "where = { T = [1] }", "[link.reading.r] where", "of 'T' must be a number, a text, or true or false"),
    (JSON + 'separator = ","', "[link.reading.r] separator", 'means nothing with shape = "json"'),
    (JSON.replace("json", "teleplot") + 'last = "rigth"', "[link.reading.r] last", "did you mean 'right'?"),
    (JSON.replace("json", "regex"), "[link.reading.r] pattern", "is missing"),
    (JSON.replace("json", "regex") + 'pattern = "(?P<left>"', "[link.reading.r] pattern", "is no regular expression"),
    (
        JSON.replace("json", "regex") + "pattern = '(?P<left>.) (?P<rigth>.)'",
        "[link.reading.r] pattern",
        "has no group (?P<right>…) for the field 'right'; did you mean 'rigth'?",
    ),
    (
        JSON.replace("json", "regex") + "pattern = '(?P<left>.) (?P<right>.) (?P<up>.)'",
        "[link.reading.r] pattern",
        "has a group 'up', which is no field",
    ),
    (
        CSV + '[link.reading.s]\nshape = "csv"\nfields = ["c", "d"]',
        "[link] reading",
        "lines of 'r' and 's' cannot be told apart: both are 2 columns of numbers, with no prefix; give each",
    ),
    (PAIRS + '[link.reading.s]\nshape = "pairs"\nfields = ["right"]', "[link] reading", "all the labels of the other"),
    (
        JSON + 'where = { T = 1 }\n[link.reading.s]\nshape = "json"\nfields = ["left"]\nwhere = { T = 1 }',
        "[link] reading",
        "one has all the names of the other",
    ),
    (ACTION, "[link.action.m] line", "is missing"),
    (CHOICE + 'way = { choices = ["S", "F"] }', f"{WAY} safe", "is missing"),
    (CHOICE + 'way = { choices = ["S", "F"], safe = 0, min = 0 }', f"{WAY} min", "stands beside choices, which are"),
    (CHOICE + 'way = { choices = ["S", "F"], safe = 0, max = 1 }', f"{WAY} max", "numbers from 0 to 1; leave it out"),
    (CHOICE + 'way = { choices = ["S", "F"], safe = 0, unit = "m" }', f"{WAY} unit", "stands beside choices"),
    (CHOICE + "way = { choices = [], safe = 0 }", f"{WAY} choices", "needs two texts or more"),
    (CHOICE + 'way = { choices = ["S"], safe = 0 }', f"{WAY} choices", "needs two texts or more"),
    (CHOICE + 'way = { choices = "SF", safe = 0 }', f"{WAY} choices", "must be a list"),
    (CHOICE + "way = { choices = [0, 1], safe = 0 }", f"{WAY} choices", "text in quotes"),
    (CHOICE + 'way = { choices = ["S", ""], safe = 0 }', f"{WAY} choices", "holds an empty text"),
    (CHOICE + 'way = { choices = ["S", "S"], safe = 0 }', f"{WAY} choices", "names 'S' twice"),
    (CHOICE + 'way = { choices = ["S", "F\\n"], safe = 0 }', f"{WAY} choices", "holds a line end"),
    (CHOICE + "way = { choices = ['S', 'F\\n'], safe = 0 }", f"{WAY} choices", "holds a line end"),
    (CHOICE + 'way = { choices = ["stop", "go"], safe = "stp" }', f"{WAY} safe", "did you mean 'stop'?"),
    (CHOICE + 'way = { choices = ["S", "F"], safe = 2 }', f"{WAY} safe", "2 is none of the choices, which are 0 to 1"),
    (CHOICE + 'way = { choices = ["S", "F"], safe = 0.5 }', f"{WAY} safe", "must be a whole number"),
    (CHOICE + 'way = { choises = ["S", "F"], safe = 0 }', f"{WAY} choises", "did you mean 'choices'?"),
    (CHOICE + "way = { safe = 0 }", f"{WAY} min", "is missing"),
    (
        CHOICE + 'way = { choices = ["a", "a b"], safe = 0 }',
        "[link.action.m] line",
        "'a b' begins with 'a' where {way}",
    ),
    (
        CHOICE.replace("{way} ", "{way:d} ") + 'way = { choices = ["S", "F"], safe = 0 }',
        "[link.action.m] line",
        "{way:d} is a choice, which is written as it stands: {way}",
    ),
    (
        CHOICE.replace("{way} ", "") + 'way = { choices = ["S", "F"], safe = 0 }',
        "[link.action.m] line",
        "does not say 'way': where does {way} belong?",
    ),
    (
        CHOICE.replace("[link.action.m]", '[link.action.m]\nsafe = "m F 0\\n"', 1) + 'way = { choices = ["S", "F"] }',
        "[link.action.m] safe",
        'says way = "F", but the field\'s safe value is "S"; if the line is right, give the field safe = "F"',
    ),
    (
        CHOICE.replace("m {way} {b:.1f}", '{{\\"a\\":\\"{way}\\",\\"b\\":{b:.1f}}}')
        + """way = { choices = ["S", '"', "F"], safe = 0 }""",
        "[link.action.m] line",
        "is not JSON",
    ),
    (ACTION + 'line = "m {left:.2f}"', "[link.action.m] line", r"has no line end, so the robot would wait for more"),
    (ACTION + "line = 'm {left:.2f}\\'", "[link.action.m] line", "or say line_end = false"),
    (ACTION + 'line = "m\\n"', "[link.action.m] line", "does not say 'left': where does {left:.3f} belong?"),
    (ACTION + 'line = "m {lft:.2f}\\n"', "[link.action.m] line", "there is no field 'lft'; did you mean 'left'?"),
    (ACTION + 'line = "m {}\\n"', "[link.action.m] line", "there is no field ''"),
    (ACTION + 'line = "m {left.real:.2f}\\n"', "[link.action.m] line", "there is no field 'left.real'"),
    (ACTION + 'line = "m {left[0]:.2f}\\n"', "[link.action.m] line", "there is no field 'left[0]'"),
    (ACTION + 'line = "m {left!r}\\n"', "[link.action.m] line", "{left!r} must say how a number is written"),
    (ACTION + 'line = "m {left}\\n"', "[link.action.m] line", "one near 0 is written with an exponent (1e-07)"),
    (ACTION + 'line = "m {left:g}\\n"', "[link.action.m] line", "{left:g} must say how a number is written"),
    (ACTION + 'line = "m {left:*>9.2f}\\n"', "[link.action.m] line", "must say how a number is written"),
    (ACTION + 'line = "m {left:{left}}\\n"', "[link.action.m] line", "must say how a number is written"),
    (ACTION + 'line = "m {left:.2f\\n"', "[link.action.m] line", "a brace that the robot shall see is written"),
    (ACTION + 'line = "m {left:d}\\n"', "[link.action.m] line", "{left:d} writes safe = 0.25 as 0; give it more"),
    (WHOLE + 'line = "m {left:d}\\n"', "[link.action.m] line", "{left:d} writes max = 0.4 as 0"),
    (ACTION + 'line = "m {left:.2d}\\n"', "[link.action.m] line", "{left:.2d} does not write a number"),
    (TWO + 'line = "{a:d}{b:d}\\n"', "[link.action.m] line", "between {a:d} and the next number must stand"),
    (TWO + 'line = "{a:d}7{b:d}\\n"', "[link.action.m] line", "between {a:d} and the next number must stand"),
    (TWO + 'line = "{a:01d}{b:d}\\n"', "[link.action.m] line", "cannot be read back as its numbers"),
    (ACTION + """line = '{"L":{left:.2f}}\\n'""", "[link.action.m] line", "write {{ and }} for its braces"),
    (ACTION + """line = '{{"L":{left:+.2f}}}\\n'""", "[link.action.m] line", "is not JSON"),
    (
        ACTION + 'line = "m {left:.2f}\\n"\nsafe = "m 1\\n"',
        "[link.action.m] safe",
        "says left = 1, but the field's safe value is 0.25",
    ),
    (ACTION + 'line = "m {left:.2f}\\n"\nsafe = "stop"', "[link.action.m] safe", "has no line end"),
    (ACTION + """line = "m {left:.2f}\\n"\nsafe = '{{"L":0}}\\n'""", "[link.action.m] safe", "a brace is written once"),
    (
        CSV + '[link.action.m]\nfields = { left = { min = 0, max = 1 } }\nline = "m {left:.2f}\\n"',
        "[link.action.m.fields.left] safe",
        "is missing",
    ),
]


@pytest.mark.parametrize(("text", "where", "why"), MISTAKES, ids=[f"{where} {why[:40]}" for _, where, why in MISTAKES])
def test_a_mistake_names_table_key_and_reason(text: str, where: str, why: str) -> None:
    """In one sentence, with the nearest name where there is one."""
    with pytest.raises(TableError) as error:
        link_of(text)
    assert str(error.value).startswith(f"robot.toml: {where}: ")
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_two_readings_that_can_be_told_apart_are_no_mistake() -> None:
    """By prefix, suffix, width, a column, their labels, or because both are asked for."""
    other = '[link.reading.s]\nshape = "csv"\nfields = ["c", "d"]\n'
    link_of(CSV + 'prefix = "A,"\n' + other)
    link_of(CSV + 'suffix = "A"\n' + other + 'suffix = "B"')
    link_of(CSV + other.replace('"d"', '"d", "e"'))
    link_of(CSV + "where = { a = 1 }\n" + other.replace('"c"', '"a"') + "where = { a = 2 }")
    link_of(CSV + 'request = "r\\n"\nrate_hz = 5\n' + other + 'request = "s\\n"\nrate_hz = 5')
    link_of(PAIRS + '[link.reading.s]\nshape = "pairs"\nfields = ["up"]')
