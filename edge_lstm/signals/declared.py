"""[inputs.X] and [outputs.X] of robot.toml → declarations.

Its rule: what the file alone can say wrong is found here: unknown keys and steps, no source or two of them, numbers
that cannot be. Whether names, widths, units and rates go together is for `programs.py` to find, which has the model and
what the robot declares.

    [inputs.gyro_z]                          # a channel of the model, or all of its channels gyro_z[0], gyro_z[1], …
    from = "gyro_z"                          # a source: one of SOURCES
    do = [ { low_pass_hz = 20 }, { scale = 0.25 } ]
    [[inputs.obs.part]]                      # parts, in order, instead of a source; each with its own steps
    gravity = ["qw", "qx", "qy", "qz"]
    [[inputs.obs.part]]
    previous = "action"
    [outputs.targets]
    from = "action"                          # an output of the model, or all action[k]; left out: every one
    do = [ { scale = 0.25 }, { offset = [0.1, 0.8, -1.5] } ]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from edge_lstm.signals.steps import Given, Numbers, numbers, steps_of
from firmware_bridge.errors import nearest
from firmware_bridge.table import Table, show

# source → what it is, for the page and for errors.
SOURCES: Mapping[str, str] = {
    "from": "fields: FIELD of the tick's format, or FORMAT.FIELD; one or a list of them",
    "gravity": "the direction of gravity as the body sees it, 3 numbers of length 1 (0, 0, -1 when it stands level):"
    ' from the fields of its orientation, ["qw", "qx", "qy", "qz"] (any length) or { roll = "r", pitch = "p" }',
    "previous": "what an output was with the reading before: the model's or one of [outputs]; 0 after a reset",
    "constant": "a number or a list",
    "input": "another of [inputs], steps included",
    "model": "MODEL.OUTPUT: an output of another model",
}


Choices = tuple[str, ...]  # texts; a number counts them from 0


@dataclass(frozen=True)
class Part:
    """Numbers from one source, and what is done to them.

    kind: one of SOURCES, or "angles" for gravity from roll and pitch; names: of fields or outputs; values: of a
    constant. default: what stands for fields that are missing or too old, one for all or one for each; None: the
    reading is missing. max_age_ms: of the fields; None: as their format's. unit: see the page; "": not said.
    """

    kind: str
    names: tuple[str, ...]
    values: Numbers
    steps: tuple[Given, ...]
    table: Table = field(compare=False, repr=False)
    key: str = field(compare=False)
    unit: str = ""
    default: Numbers | None = None
    max_age_ms: float | None = None

    def fail(self, why: str, key: str | None = None) -> Exception:
        """The error to raise about its source, or another key of its table."""
        return self.table.fail(key or self.key, why)


@dataclass(frozen=True)
class Input:
    """[inputs.NAME]: parts one after the other, then steps over all of them."""

    name: str
    parts: tuple[Part, ...]
    steps: tuple[Given, ...]
    table: Table = field(compare=False, repr=False)


@dataclass(frozen=True)
class Output:
    """[outputs.NAME]: of these outputs of the model (none named: all of them). unit: of the result; "": theirs."""

    name: str
    names: tuple[str, ...]
    steps: tuple[Given, ...]
    table: Table = field(compare=False, repr=False)
    unit: str = ""


@dataclass(frozen=True)
class Declared:
    """What a file declares, by name, in its order."""

    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)

    def texts(self) -> dict[str, Choices]:
        """Name of an output → its choices, where it is the number of a text."""
        return {name: one.steps[-1].texts for name, one in self.outputs.items() if one.steps and one.steps[-1].texts}

    def steps(self) -> Iterator[Given]:
        """Every step of it."""
        for made in self.inputs.values():
            for part in made.parts:
                yield from part.steps
            yield from made.steps
        for output in self.outputs.values():
            yield from output.steps


def chosen(choices: Choices | None, value: float) -> str | None:
    """The text that a number says; None where it says none."""
    return choices[round(value)] if choices and 0 <= value <= len(choices) - 1 else None


def numbered(choices: Choices) -> str:
    """All of them, for people: "0 stop, 1 go"."""
    return ", ".join(f"{number} {choice}" for number, choice in enumerate(choices))


def declared(root: Table) -> Declared:
    """Tables `inputs` and `outputs` of a table (of the file, or of one of its models); none where they are not there.
    Raises the table's error."""
    return Declared(
        {name: _input(name, table) for name, table in root.tables("inputs").items()},
        {name: _output(name, table) for name, table in root.tables("outputs").items()},
    )


def _input(name: str, table: Table) -> Input:
    parts: tuple[Part, ...]
    if "part" in table.values:
        for source in SOURCES:
            if source in table.values:
                raise table.fail(source, "stands beside parts; make it a part, too")
        parts = tuple(_part(inner) for inner in table.list("part", dict))
        if not parts:
            raise table.fail("part", "is an empty list")
        made = Input(name, parts, _of_input(steps_of(table)), table)
        table.done()
        return made
    return Input(name, (_part(table),), (), table)


def _part(table: Table) -> Part:
    given = [source for source in SOURCES if source in table.values]
    if len(given) > 1:
        raise table.fail(given[1], f"is a second source beside {given[0]!r}; a part takes one")
    if not given:
        for source in (*SOURCES, "do", "unit", "default", "max_age_ms"):
            table.taken.append(source)
        table.done()
        raise table.fail("from", f"is missing: a part needs a source, one of {', '.join(SOURCES)}")
    (key,) = given
    kind = key
    names: tuple[str, ...] = ()
    values: Numbers = ()
    default: Numbers | None = None
    age: float | None = None
    if key == "constant":
        values = numbers(table, key)
    elif key == "gravity":
        kind, names = _gravity(table)
    else:
        names = _names(table, key)
        if key != "from" and len(names) != 1:
            raise table.fail(key, f"takes one name, not {len(names)}")
        if key == "model" and not all(names[0].partition(".")[::2]):
            raise table.fail(key, f"takes MODEL.OUTPUT, not {names[0]!r}")
    if key in ("from", "gravity"):
        default, age = _default(table, len(names)), table.take("max_age_ms", float, None)
        if age is not None and not age > 0:
            raise table.fail("max_age_ms", f"must be above 0, not {age:g}")
    unit = "" if kind in ("input", "constant", "gravity") else table.take("unit", str, "")
    part = Part(kind, names, values, _of_input(steps_of(table)), table, key, unit, default, age)
    table.done()
    return part


def _of_input(steps: tuple[Given, ...]) -> tuple[Given, ...]:
    if steps and steps[-1].texts:
        raise steps[-1].fail("makes a text of it, and an input is numbers; list numbers instead")
    return steps


def _default(table: Table, count: int) -> Numbers | None:
    if "default" not in table.values:
        return None
    found = numbers(table, "default")
    if len(found) not in (1, count):
        raise table.fail("default", f"has {len(found)} numbers for {count}")
    return found * count if len(found) == 1 else found


def _names(table: Table, key: str) -> tuple[str, ...]:
    """One name, or a list of them."""
    given = table.values[key]
    if not isinstance(given, str | list):
        raise table.fail(key, f"must be a name or a list of names, not {show(given)}")
    names = (table.take(key, str),) if isinstance(given, str) else tuple(table.list(key, str))
    if not names or "" in names:
        raise table.fail(key, "names nothing")
    return names


def _gravity(table: Table) -> tuple[str, tuple[str, ...]]:
    """Kind and fields: of a quaternion, w x y z, or of roll and pitch."""
    if isinstance(table.values["gravity"], dict):
        angles = cast(Table, table.table("gravity"))
        roll_pitch = (angles.take("roll", str), angles.take("pitch", str))
        angles.done()
        return "angles", roll_pitch
    names: tuple[str, ...] = tuple(table.list("gravity", str))
    if len(names) != 4:
        why = f"takes the four fields of a quaternion, w x y z, not {len(names)}"
        raise table.fail("gravity", f'{why} (or {{ roll = "…", pitch = "…" }})')
    if len(set(names)) != 4:
        raise table.fail("gravity", f"names a field twice: {show(list(names))}")
    return "gravity", names


def _output(name: str, table: Table) -> Output:
    names = _names(table, "from") if "from" in table.values else ()
    table.taken.append("from")
    for source in SOURCES:
        if source != "from" and source in table.values:
            raise table.fail(source, f"is no source of an output{nearest(source, ['from'])}")
    made = Output(name, names, steps_of(table), table, table.take("unit", str, ""))
    table.done()
    return made
