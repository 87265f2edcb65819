"""The mismatch report: what model and configuration need beside what the robot declares, field by field.

Its rule: it compares names and units and nothing else, and never decides; whether robot and configuration fit is
`binding.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_lstm.core.model import Model
from edge_lstm.core.units import convert
from edge_lstm.robot.config import RobotConfig
from edge_lstm.signals.programs import raw_names
from firmware_bridge.dictionary import Dictionary, Field, Format

Line = tuple[str, str]  # what is needed, what is declared


def mismatch_report(config: RobotConfig, model: Model, dictionary: Dictionary) -> str:
    """Lines of two columns, first the readings, then the action: what is needed | what the robot declares."""
    tick = _format(dictionary, "reading", config.reading)
    needed: dict[str, list[tuple[str, str]]] = {config.reading: []}
    direct = config.direct(model)
    fields = [(direct[channel.name], channel.unit) for channel in model.inputs if channel.name in direct]
    known = [name for name, _ in fields]
    fields += [(r.name, "") for r in raw_names(config.signals, model, config.channels) if r.name not in known]
    for full, unit in fields:
        form, name = _of_format(full, config.reading, tick, dictionary)
        needed.setdefault(form, []).append((name, unit))
    lines = [("needed", f"declared by the robot {dictionary.device!r}")]
    for form, fields in needed.items():
        lines += _table(f"reading {form}", fields, _format(dictionary, "reading", form))
    if config.action is not None:
        made, action = config.action, _format(dictionary, "action", config.action.format)
        values = [(name, mapping.unit) for name, mapping in made.fields.items()]
        if made.source is not None and action is not None:
            values = [(field.name, "") for field in action.fields]
        lines += _table(f"action {made.format}", values, action)
    lines += _others({("reading", form) for form in needed}, config, dictionary)
    width = min(max(len(left) for left, _ in lines), _WIDEST)
    return "\n".join(f"  {left:{width}} | {right}".rstrip() for left, right in lines)


def _format(dictionary: Dictionary, direction: str, name: str) -> Format | None:
    return next((f for f in dictionary.formats if (f.direction, f.name) == (direction, name)), None)


def _table(title: str, needed: Sequence[tuple[str, str]], declared: Format | None) -> Iterator[Line]:
    """What is needed in its order, each beside the robot's field of that name; then the fields that nothing needs."""
    yield title, title if declared else "MISSING"
    fields = {field.name: field for field in declared.fields} if declared else {}
    for name, unit in needed:
        yield f"  {_named(name, unit)}", _beside(fields.get(name), unit)
    names = {name for name, _ in needed}
    for field in fields.values():
        if field.name not in names:
            yield "  " + ("MISSING" if declared and declared.direction == "action" else ""), _field(field)


def _of_format(name: str, reading: str, tick: Format | None, dictionary: Dictionary) -> tuple[str, str]:
    """Format and field that a name says: FIELD of the tick's, or FORMAT.FIELD."""
    if "." not in name or (tick is not None and name in [field.name for field in tick.fields]):
        return reading, name
    known = [form.name for form in dictionary.readings if name.startswith(f"{form.name}.")]
    form = known[0] if known else name.partition(".")[0]
    return form, name[len(form) + 1 :]


def _others(named: set[tuple[str, str]], config: RobotConfig, dictionary: Dictionary) -> Iterator[Line]:
    """Messages of the robot that the configuration does not name, by the names of their fields."""
    wanted = named | {("action", config.action.format if config.action else "")}
    others = [form for form in dictionary.formats if (form.direction, form.name) not in wanted]
    for form in others[:_SHOWN]:
        more = f" and {len(form.fields) - _SHOWN} more" if len(form.fields) > _SHOWN else ""
        yield "", f"{form.direction} {form.name}: {', '.join(field.name for field in form.fields[:_SHOWN])}{more}"
    if len(others) > _SHOWN:
        yield "", f"and {len(others) - _SHOWN} more messages"


_WIDEST = 60  # columns of what is needed: one long name does not widen every line
_SHOWN = 32  # messages, and fields of each, that nothing needs: a robot may declare hundreds


def _beside(field: Field | None, unit: str) -> str:
    if field is None:
        return "  MISSING"
    way = convert(field.unit, unit)
    return _field(field) + (" (ANOTHER UNIT)" if way is None else "" if way == (1.0, 0.0) else " (converted)")


def _field(field: Field) -> str:
    limits = "" if field.minimum is None or field.maximum is None else f", {field.minimum:g} to {field.maximum:g}"
    return f"  {_named(field.name, field.unit)}{limits}"


def _named(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
