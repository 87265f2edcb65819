"""A topic of ROS messages by the definition that its log holds; where it holds none, or one in IDL, by rosbags.

Its rule: that library is needed for ROS 2's sqlite bags of Humble and before, and for IDL; everything else brings its
definitions as text. Only definitions are asked of it; messages are read by `ros_messages.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_lstm.errors import LogError
from edge_lstm.logs.formats.ros_messages import Member, RosMessages, Types, short, types_of
from edge_lstm.logs.topic_log import Topic, TopicLog
from firmware_bridge.installing import not_importable


def ros_topic(log: TopicLog, name: str, kind: str, text: str, first: bytes, *, idl: bool, cdr: bool) -> Topic:
    """A topic of a log. text: the definition of its type, "" where the log holds none; idl: in IDL; cdr: as ROS 2
    writes messages, else as ROS 1. ValueError: it cannot be read; LogError: no rosbags."""
    if not text.strip():
        main, types = _of_ros_2(log.path, kind)
    elif idl:
        main, types = _of_idl(log.path, kind, text)
    else:
        main, types = types_of(kind, text)
    topic, left_out = RosMessages(main, types, cdr).topic(name, first)
    if left_out:
        more = ", …" if len(left_out) > 3 else ""
        log.note(f"{name}: too long for columns: {', '.join(left_out[:3])}{more}")
    return topic


def _of_ros_2(path: Path, kind: str) -> tuple[str, Types]:
    """One of the types that come with ROS 2 Humble. ValueError: it is none of them; LogError: no rosbags."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        why = "holds no definitions of its messages, and those of ROS come with"
        raise LogError(f"{path}: {why} {not_importable('rosbags', error)}") from error
    return _converted(kind, get_typestore(Stores.ROS2_HUMBLE).fielddefs)


def _of_idl(path: Path, kind: str, text: str) -> tuple[str, Types]:
    """A type by its definition in IDL. ValueError: it cannot be read; LogError: no rosbags."""
    try:
        from rosbags.typesys import get_types_from_idl
    except ImportError as error:
        why = "defines its messages in IDL, which needs"
        raise LogError(f"{path}: {why} {not_importable('rosbags', error)}") from error
    try:
        found = get_types_from_idl(text)
    except Exception as error:  # of the library's parser, which says no more about a text of a stranger
        raise ValueError(f"its definition in IDL is not understood ({type(error).__name__})") from None
    return _converted(kind, found)


def _converted(kind: str, found: Any) -> tuple[str, Types]:
    if kind not in found:
        raise ValueError("its definition is not in the log, and it is no type that comes with ROS")
    types: Types = {}
    missing = [kind]
    while missing:
        name = missing.pop()
        if short(name) in types:
            continue
        members = []
        for title, (form, detail) in found[name][1]:
            form, length = int(form), None
            if form in (3, 4):  # an array or a sequence of something
                length = int(detail[1]) if form == 3 else -1
                form, detail = int(detail[0][0]), detail[0][1]
            if form == 1:  # a type of ROS, or a text with its bound
                members.append(Member(detail[0] if isinstance(detail, tuple) else detail, title, length))
            else:
                missing.append(detail)
                members.append(Member(short(detail), title, length))
        types[short(name)] = tuple(members)
    return short(kind), types
