"""Message formats and the dictionary."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.dictionary import Dictionary, Field, Format
from firmware_bridge.errors import ActionError, DictionaryError
from firmware_bridge.formats import F32_MAX, TYPES
from firmware_bridge.links.own import bodies
from firmware_bridge.values import Action
from tests.support.robots import LIMITS, ROBOT, WHEELS

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def tree(**changes: Any) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(ROBOT.json)
    return out | changes


def test_a_dictionary_comes_back_from_its_bytes() -> None:
    """Compressed and read back, a dictionary is equal and has the same digest."""
    again = Dictionary.from_compressed(ROBOT.compressed)
    assert again == ROBOT
    assert again.digest == ROBOT.digest
    assert again.check == int.from_bytes(again.digest[:2], "little")


def test_the_digest_is_that_of_the_bytes_sent() -> None:
    """A device may write its JSON with spaces: same formats, but the digest is taken over what it sent."""
    spaced = json.dumps(tree(), indent=2).encode()
    again = Dictionary.from_compressed(zlib.compress(spaced, 1))
    assert again == ROBOT
    assert again.digest != ROBOT.digest
    assert Dictionary.from_compressed(zlib.compress(spaced, 9)).digest == again.digest


def test_whole_numbers_and_fractions_make_one_digest() -> None:
    """A scale of 1 and one of 1.0 are the same declaration with the same digest."""
    one, other = (
        Dictionary((Format("a", 1, "reading", (Field("x", "f32", "m", scale=scale),), rate),), "d", "v")
        for scale, rate in ((1, 50), (1.0, 50.0))
    )
    assert one.digest == other.digest


@given(numbers, numbers, st.integers(0, 65_535))
def test_readings_come_back(left: float, right: float, millivolts: int) -> None:
    """float32 fields come back bit by bit, scaled integers to within half a step."""
    got = WHEELS.unpack(WHEELS.pack((left, right, millivolts * 0.001)))
    assert got[:2] == (left, right)
    assert got[2] == pytest.approx(millivolts * 0.001, abs=1e-9)


@pytest.mark.parametrize("kind", list(TYPES))
def test_a_sensor_out_of_range_is_held_at_its_limit(kind: str) -> None:
    """A reading beyond its type's range is held at the limit, for every type, in both directions."""
    item = Format("a", 1, "reading", (Field("x", kind, ""),))
    _code, least, greatest = TYPES[kind]
    for value, limit in ((1e300, greatest), (-1e300, least)):
        (got,) = item.unpack(item.pack((value,)))
        assert got == {"f32": math.copysign(F32_MAX, value), "f64": value}.get(kind, limit)


def test_nan_passes_floats_and_not_integers() -> None:
    """A float field carries NaN; an integer field refuses it by name."""
    assert math.isnan(WHEELS.unpack(WHEELS.pack((math.nan, 0, 1)))[0])
    with pytest.raises(DictionaryError, match="'battery' is of type u16, which cannot say NaN"):
        WHEELS.pack((0, 0, math.nan))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0.8, 0.0), r"left = 0.8 N m is outside 0.0 … 0.7 N m"),
        ((0.5, -0.6), r"right = -0.6 N m is outside"),
        ((math.nan, 0.0), r"left = nan N m is outside"),
        ((0.5, math.inf), r"right = inf N m is outside"),
        ((0.5,), r"'limits' has 2 fields; 1 values were given"),
    ],
)
def test_an_action_outside_its_range_is_refused_by_name(values: tuple[float, ...], sentence: str) -> None:
    """An action with a value outside its limits, not finite, or of the wrong length raises ActionError naming it."""
    with pytest.raises(ActionError, match=sentence):
        LIMITS.pack(values)


def test_actions_are_made_by_field_name() -> None:
    """Values by name become an action in field order; an unknown or missing name is refused."""
    assert LIMITS.action({"right": 0.25, "left": 0.5}) == Action("limits", (0.5, 0.25))
    with pytest.raises(ActionError, match=r"has no field 'middle'; it has left, right"):
        LIMITS.action({"right": 0.25, "left": 0.5, "middle": 1})
    with pytest.raises(ActionError, match=r"needs a value for field 'left'"):
        LIMITS.action({"right": 0.25})
    with pytest.raises(ActionError, match=r"'wheels' is a reading"):
        WHEELS.action({"speed_left": 0, "speed_right": 0, "battery": 0})


def test_float32_rounding_past_a_limit_is_clamped() -> None:
    """0.7 as a float32 is a little more than 0.7: the device holds it at the declared maximum."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", 0.7))
    assert LIMITS.unpack(LIMITS.pack((0.7, 0.0)))[0] == rounded
    assert LIMITS.clamp((1.5, -3.0)) == (0.7, -0.5)
    assert LIMITS.clamp((math.nan, 0.0)) is None
    assert LIMITS.safe_action() == Action("limits", (0.0, 0.1))


def field(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "type": "f32", "unit": "m"} | changes


def reading(**changes: Any) -> dict[str, Any]:
    return {"name": "r", "id": 1, "direction": "reading", "fields": [field()]} | changes


def action(**changes: Any) -> dict[str, Any]:
    return reading(direction="action", fields=[field(minimum=0, maximum=1, safe=0) | changes])


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown key", tree(colour="red"), "unknown key 'colour'; the keys are device, formats, protocol, version"),
    ("no version", {"device": "d", "formats": []}, "has no 'version'"),
    ("empty device", tree(device=""), "device is ''; it must be a non-empty text"),
    ("formats no list", tree(formats={}), "formats must be a list"),
    ("format no object", tree(formats=[3]), "A format must be an object"),
    ("unknown format key", tree(formats=[reading(rate=3)]), "unknown key 'rate'"),
    ("id 0", tree(formats=[reading(id=0)]), "'r' has id 0; it must be a whole number from 1 to 255"),
    ("id true", tree(formats=[reading(id=True)]), "has id True"),
    ("two ids", tree(formats=[reading(), reading(name="s")]), "Two formats of device 'test robot' have the id 1"),
    ("two names", tree(formats=[reading(), reading(id=2)]), "have the name 'r'"),
    ("direction", tree(formats=[reading(direction="up")]), "direction 'up'; it must be 'reading' or 'action'"),
    ("slash", tree(formats=[reading(name="a/b")]), "without '/', not 'a/b'"),
    ("no fields", tree(formats=[reading(fields=[])]), "'r' has no fields"),
    ("field twice", tree(formats=[reading(fields=[field(), field()])]), "declares field 'x' twice"),
    ("rate 0", tree(formats=[reading(rate_hz=0)]), "rate_hz 0.0; it must be a number from 1e-06 to"),
    ("rate of an action", tree(formats=[action() | {"rate_hz": 5}]), "is an action and has rate_hz 5"),
    ("type", tree(formats=[reading(fields=[field(type="f16")])]), "has type 'f16'; the types are f32"),
    ("type no text", tree(formats=[reading(fields=[field(type=[])])]), r"has type \[\]"),
    ("unit no text", tree(formats=[reading(fields=[field(unit=None)])]), "unit is None; it must be a text"),
    ("no unit", tree(formats=[reading(fields=[{"name": "x", "type": "f32"}])]), "has no 'unit'"),
    ("scale 0", tree(formats=[reading(fields=[field(scale=0)])]), "'x' has scale 0"),
    ("scale no number", tree(formats=[reading(fields=[field(scale="1")])]), "has scale '1'; it must be a finite"),
    ("reserved name", tree(formats=[reading(fields=[field(name="_x")])]), "begins with '_'"),
    ("empty name", tree(formats=[reading(fields=[field(name="")])]), "printable, non-empty text, not ''"),
    ("limit of a reading", tree(formats=[reading(fields=[field(safe=0)])]), "only a field of an action has"),
    ("no safe value", tree(formats=[action(safe=None)]), "'x' must declare safe"),
    ("safe outside", tree(formats=[action(safe=2)]), "minimum ≤ safe ≤ maximum, not 0.0 ≤ 2.0 ≤ 1.0"),
    ("later protocol", tree(protocol=3), "speaks version 3 of the link; this program knows 1 to 2"),
    ("protocol true", tree(protocol=True), "speaks version True"),
    ("no age", tree(protocol=2), "'limits' must declare max_age_ms: device 'test robot' speaks version 2"),
    ("age in version 1", tree(formats=[action() | {"max_age_ms": 5}]), "'r' cannot declare max_age_ms"),
    ("age of a reading", tree(formats=[reading(max_age_ms=5)]), "is a reading and has max_age_ms 5"),
    ("half an age", tree(formats=[action() | {"max_age_ms": 0.5}]), "max_age_ms 0.5; it must be a whole number"),
    ("too great an age", tree(formats=[action() | {"max_age_ms": 60_001}]), "max_age_ms 60001"),
    ("limit beyond type", tree(formats=[action(type="u8", maximum=300)]), "maximum 300.0, which u8 cannot carry"),
]


@pytest.mark.parametrize(("tree", "sentence"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_wrong_dictionary_is_refused_by_name(tree: dict[str, Any], sentence: str) -> None:
    """Each contradiction is a DictionaryError that names the format, field or key."""
    with pytest.raises(DictionaryError, match=sentence):
        Dictionary.from_json(json.dumps(tree).encode())


@pytest.mark.parametrize(
    "text", [b"", b"[", b"\xff", b'{"device":NaN}', b'{"device":"a","device":"b"}', b"[" * 100_000, b"3", b"null"]
)
def test_what_is_no_dictionary_raises_dictionary_error(text: bytes) -> None:
    """Text that is not one JSON object of that shape raises DictionaryError and nothing else."""
    with pytest.raises(DictionaryError):
        Dictionary.from_json(text)


@pytest.mark.parametrize("library", ["json", "zlib"])
def test_what_is_wrong_with_its_bytes_is_said_in_our_own_words(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link records it, and libraries word their own sentences otherwise from version to version: a replay on another
    machine must come to the same."""

    def refuse(*_: object, **__: object) -> None:
        raise json.JSONDecodeError("in other words", "", 0) if library == "json" else zlib.error("in other words")

    data = zlib.compress(b'{"a":1,}') if library == "json" else b"nothing"
    with pytest.raises(DictionaryError) as before:
        Dictionary.from_compressed(data)
    if library == "json":
        monkeypatch.setattr(json, "loads", refuse)
    else:
        monkeypatch.setattr(zlib, "decompressobj", lambda: SimpleNamespace(decompress=refuse))
    with pytest.raises(DictionaryError) as after:
        Dictionary.from_compressed(data)
    assert str(after.value) == str(before.value)


@given(st.binary(max_size=100))
def test_bytes_that_are_no_dictionary_raise_dictionary_error(data: bytes) -> None:
    """Any other bytes, cut or lengthened ones too, raise DictionaryError and nothing else."""
    for wrong in (data, ROBOT.compressed[: len(data)], ROBOT.compressed + data + b"!", zlib.compress(data)):
        with pytest.raises(DictionaryError):
            Dictionary.from_compressed(wrong)


def test_a_zip_bomb_is_refused() -> None:
    """A small blob that grows beyond a megabyte is refused without being unpacked whole."""
    with pytest.raises(DictionaryError, match="not one whole zlib stream below"):
        Dictionary.from_compressed(zlib.compress(b" " * 50_000_000, 9))


def test_names_are_looked_up_with_help() -> None:
    """An unknown format or field raises DictionaryError that lists those there are."""
    assert ROBOT["wheels"] is WHEELS
    assert "wheels" in ROBOT
    assert "wheel" not in ROBOT
    assert WHEELS.index("battery") == 2
    with pytest.raises(DictionaryError, match="no format 'wheel'; it declares wheels, button, limits"):
        ROBOT["wheel"]
    with pytest.raises(DictionaryError, match="no field 'speed'; it has speed_left, speed_right, battery"):
        WHEELS.index("speed")


def test_what_a_host_of_version_1_takes_is_written_as_it_was() -> None:
    """A dictionary of version 1 has the bytes, and so the digest, that it had before there was a version 2; one of
    version 2 has a key that such a host refuses by name."""
    assert list(json.loads(ROBOT.json)) == ["device", "version", "formats"]
    dated = Dictionary((replace(LIMITS, max_age_ms=250),), "d", "1", protocol=2)
    assert next(iter(json.loads(dated.json))) == "protocol"
    assert Dictionary.from_compressed(dated.compressed) == dated
    assert dated.digest != Dictionary((LIMITS,), "d", "1").digest


def test_the_time_that_an_action_answers_takes_four_bytes_of_its_frame() -> None:
    """An action of 240 bytes fits in version 1 and not in version 2."""
    fields = tuple(Field(f"x{n}", "f32", "", minimum=0.0, maximum=1.0, safe=0.0) for n in range(60))
    long = Format("long", 1, "action", fields)
    bodies.check_sizes(Dictionary((long,), "d", "1"))
    with pytest.raises(DictionaryError, match=r"'long' is 240 bytes long; a message carries at most 238\. Split"):
        bodies.check_sizes(Dictionary((replace(long, max_age_ms=5),), "d", "1", protocol=2))
