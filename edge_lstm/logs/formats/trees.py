"""Messages that are trees of named values: JSON, and protobuf by the definitions that a log holds.

Its rule: a number is called by its way from the root, parts with dots between and places in lists as [0]. Which numbers
there are is found in a topic's first message (and, of protobuf, in its definition); true and false are 1 and 0.

Never: take a text for a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_lstm.logs.log import Doubles
from edge_lstm.logs.topic_log import MOST_COLUMNS, MOST_ELEMENTS, Topic

_DEEPEST = 32
Way = tuple[str | int, ...]


def name_of(way: Way) -> str:
    """ "pose.x", "gyro[0]" """
    text = ""
    for part in way:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def ways(tree: Any, way: Way = ()) -> dict[str, Way]:
    """The numbers of a message by name, and the way to each; what may be a number and is missing (null), too."""
    found: dict[str, Way] = {}
    if tree is None or isinstance(tree, (int, float)):
        return {name_of(way): way} if way else {}
    items: Sequence[tuple[str | int, Any]] = []
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, Sequence) and not isinstance(tree, (str, bytes)) and len(tree) <= MOST_ELEMENTS:
        items = list(enumerate(tree))
    for key, value in items if len(way) < _DEEPEST else ():
        found |= ways(value, (*way, key))
        if len(found) > MOST_COLUMNS:
            break
    return found


def _number(tree: Any, way: Way) -> float:
    for part in way:
        tree = tree[part]
    if not isinstance(tree, (int, float)):
        raise TypeError
    return tree


class Trees:
    """Reads the messages of one topic. load: a message as a tree, ValueError where it is none."""

    def __init__(self, load: Callable[[bytes], Any], names: Mapping[str, Way]) -> None:
        self._load, self._ways = load, dict(names)

    def __call__(self, messages: Sequence[bytes], names: Sequence[str]) -> Doubles:
        """As `Decode`."""
        values = np.full((len(messages), len(names)), np.nan)
        flat = all(len(self._ways[name]) == 1 for name in names)
        keys = [self._ways[name] for name in names]
        load, row = self._load, [np.nan] * len(names)
        for k, message in enumerate(messages):
            try:
                tree = load(message)
                row = [tree[key] for (key,) in keys] if flat else [_number(tree, way) for way in keys]
                if str in map(type, row):  # NumPy would read it
                    raise TypeError
                values[k] = row
            except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
                self._one_by_one(values[k], message, keys)
        return values

    def _one_by_one(self, row: Doubles, message: bytes, keys: Sequence[Way]) -> None:
        """The numbers that are there, of a message that lacks some."""
        try:
            tree = self._load(message)
        except (ValueError, RecursionError):
            return
        for j, way in enumerate(keys):
            try:
                row[j] = _number(tree, way)
            except (LookupError, TypeError, ValueError, OverflowError):
                row[j] = np.nan


def json_topic(name: str, schema: bytes, first: bytes) -> Topic:
    """A topic of JSON objects. ValueError: its first message is none."""
    try:
        found = ways(json.loads(first))
    except (ValueError, RecursionError):
        raise ValueError("its messages are not JSON") from None
    units = {}
    try:
        properties = json.loads(schema)["properties"]
        for field, says in properties.items():
            description = says.get("description", "")
            if field in found and description.startswith("in "):  # as our recordings of form 3 say units
                units[field] = description[3:]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return Topic(name, tuple(found), Trees(json.loads, found), units)


def protobuf_topic(name: str, kind: str, definitions: bytes, first: bytes) -> Topic:
    """A topic of protobuf messages. definitions: a FileDescriptorSet. ValueError: they cannot be read."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # onnx brings it
    from google.protobuf.message import DecodeError

    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(definitions)
        pool = descriptor_pool.DescriptorPool()
        waiting = {file.name: file for file in files.file}
        while ready := [f for f in waiting.values() if not waiting.keys() & {*f.dependency}]:
            for file in ready:
                pool.Add(file)
                del waiting[file.name]
        made = message_factory.GetMessageClass(pool.FindMessageTypeByName(kind))
        message = made.FromString(first)
    except Exception as error:  # of the library, about definitions of a stranger: of many kinds
        raise ValueError(f"its definition in protobuf is not understood ({type(error).__name__})") from None

    def load(data: bytes) -> Any:
        try:
            return made.FromString(data)
        except DecodeError as error:
            raise ValueError(str(error)) from None

    found = {name_of(way): way for way in _declared(message, ())}
    return Topic(name, tuple(found), _Protobuf(load, found), kind=kind)


class _Protobuf(Trees):
    """Protobuf's messages have attributes in the place of keys, and say which number a repeated field lacks."""

    def __call__(self, messages: Sequence[bytes], names: Sequence[str]) -> Doubles:
        values = np.full((len(messages), len(names)), np.nan)
        keys = [self._ways[name] for name in names]
        for k, data in enumerate(messages):
            try:
                message = self._load(data)
            except ValueError:
                continue
            for j, way in enumerate(keys):
                value = message
                try:
                    for part in way:
                        value = value[part] if isinstance(part, int) else getattr(value, part)
                    values[k, j] = value
                except (LookupError, AttributeError, TypeError, ValueError):
                    pass
        return values


def _declared(message: Any, way: Way) -> list[Way]:
    """The ways to the numbers of a message as it is defined; of repeated fields, as many as this message has."""
    found: list[Way] = []
    if len(way) > 8:  # definitions may contain themselves
        return found
    for field in message.DESCRIPTOR.fields:
        here = (*way, field.name)
        value = getattr(message, field.name)
        if field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            continue
        if not hasattr(value, "__len__"):
            of_message = field.message_type is not None
            found += _declared(value, here) if of_message else [here]
        elif field.message_type is None or not field.message_type.GetOptions().map_entry:
            for k, item in enumerate(value if len(value) <= MOST_ELEMENTS else ()):
                found += [(*here, k)] if field.message_type is None else _declared(item, (*here, k))
        if len(found) > MOST_COLUMNS:
            break
    return found
