"""What reading a device's declarations costs, and where their values end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firmware_bridge.declared import LONGEST_TEXT, first_twin
from firmware_bridge.dictionary import MAX_FIELDS, Dictionary
from firmware_bridge.errors import DictionaryError
from firmware_bridge.formats import Field, Format


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def names(count: int) -> list[Counted]:
    return [Counted(f"n{at}") for at in range(count)]


@pytest.mark.parametrize("count", [200, 2000])
def test_looking_for_twins_compares_each_name_a_few_times_at_most(count: int) -> None:
    """Fields of a format and formats of a dictionary: the comparisons grow as the names do, not as their square."""
    Counted.compared = 0
    fields = tuple(Field(name, "u8", "") for name in names(count))
    Format("many", 1, "reading", fields)
    formats = tuple(Format(name, at + 1, "reading", (Field("x", "u8", ""),)) for at, name in enumerate(names(250)))
    Dictionary(formats, "d", "1")
    assert first_twin(names(count)) is None
    assert Counted.compared <= 4 * (count + 250)


def test_too_many_fields_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """One field too many, in one format or over all of them: a sentence, and no more than the allowed ones made."""
    made = 0
    check = Field.__post_init__

    def counting(item: Field) -> None:
        nonlocal made
        made += 1
        check(item)

    monkeypatch.setattr(Field, "__post_init__", counting)
    fields: list[dict[str, Any]] = [{"name": f"n{at}", "type": "u8", "unit": ""} for at in range(240)]
    for formats in ([fields * 5], [fields] * 5):
        tree = [{"name": f"f{at}", "id": at + 1, "direction": "reading", "fields": f} for at, f in enumerate(formats)]
        made = 0
        with pytest.raises(DictionaryError, match=f"{MAX_FIELDS} in all formats is the most"):
            Dictionary.from_json(json.dumps({"device": "d", "version": "1", "formats": tree}).encode())
        assert made <= MAX_FIELDS


@pytest.mark.parametrize("rate_hz", [1.7e308, 5e-324, 10**400, 2e6, 1e-7])
def test_a_rate_that_no_clock_has_is_refused(rate_hz: float) -> None:
    """Rates whose period is no time: a sentence, an integer beyond float64 too."""
    with pytest.raises(DictionaryError, match="rate_hz"):
        Format("r", 1, "reading", (Field("x", "f32", ""),), rate_hz)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("u8", {"scale": 1.7e308}),
        ("i16", {"offset": 1.7e308, "scale": 1e306}),
        ("f32", {"scale": 10**400}),
    ],
)
def test_a_scale_whose_values_are_infinite_is_refused(kind: str, numbers: dict[str, float]) -> None:
    """An integer's ends are finite in physical units, and every number is a float64."""
    with pytest.raises(DictionaryError, match="'x'"):
        Field("x", kind, "", **numbers)


def test_an_action_without_limits_in_effect_is_possible_and_beyond_float64_is_not() -> None:
    """A limit at float64's end is one that the wire carries; with a scale that takes it past that, it is refused."""
    most = 1.7976931348623157e308
    Format("a", 1, "action", (Field("x", "f64", "", minimum=-most, maximum=most, safe=0.0),))
    with pytest.raises(DictionaryError, match="which f64 cannot carry"):
        Format("a", 1, "action", (Field("x", "f64", "", scale=0.1, minimum=-most, maximum=most, safe=0.0),))


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202egpj", "\ud800", "\x9b2J", "n" * (LONGEST_TEXT + 1)])
def test_texts_are_for_people(text: str) -> None:
    """Device, version, names and units hold nothing that a terminal obeys and are not longer than a line or two."""
    item = Format("r", 1, "reading", (Field("x", "f32", ""),))
    for make in (
        lambda: Dictionary((item,), text, "1"),
        lambda: Dictionary((item,), "d", text),
        lambda: Format(text, 1, "reading", (Field("x", "f32", ""),)),
        lambda: Field(text, "f32", ""),
        lambda: Field("x", "f32", text),
    ):
        with pytest.raises(DictionaryError) as caught:
            make()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


def test_letters_of_all_languages_are_no_control_characters() -> None:
    """Units and names as people write them stay: signs, other scripts, a space that does not break."""
    Dictionary((Format("мотор", 1, "reading", (Field("θ̇", "f32", "N\u00a0m"),)),), "ロボット", "1.0 β")
