"""YAML of a stranger → dictionaries, lists and scalars.

Its rule: nodes are read, never constructed: no tag makes an object. Isaac Lab writes `!!python/tuple`, which is a list
here, `!!python/name:X`, which is the text X, and `slice(None)`, which is null (all of them); any other Python object
is an `Opaque`, an error where somebody takes it. Size, depth and the number of values, aliases counted as often as they
stand, are bounded.

PyYAML is imported here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Any

from edge_lstm.errors import ConfigError
from firmware_bridge.installing import not_importable

LONGEST = 1 << 18  # characters: an env.yaml of Isaac Lab has 40,000; the parser takes seconds for this many
DEEPEST = 40  # tables and lists in each other
MOST = 50_000  # values, aliases counted as often as they stand
_PYTHON = "tag:yaml.org,2002:python/"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # 1e-3, too, which is a text in YAML 1.1


class Opaque:
    """A Python object that the file asks for, which is never made."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    def __repr__(self) -> str:
        return f"a Python object ({self.tag}), which is never made"


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """The file's keys. ConfigError: it is no YAML, no table, too long, too deep, or PyYAML is not installed."""
    if len(text) > LONGEST:
        raise ConfigError(f"{source}: has more than {LONGEST:,} characters; is it really a deployment file?")
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(f"{source}: needs the package {not_importable('PyYAML', error)}") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
        """Composes nodes no deeper than DEEPEST."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > DEEPEST:
                raise ConfigError(f"{source}: is nested more than {DEEPEST} deep")
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    loader: Any = None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        found = _Values(source, loader).of(node, "", 0) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{source}{where}: is not valid YAML: {str(what)[:200]}") from None
    except (ValueError, OverflowError) as error:  # a number with thousands of digits, a character that is none
        raise ConfigError(f"{source}: is not valid YAML: {str(error)[:200]}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(found, dict):
        raise ConfigError(f"{source}: is no table of keys; is it really a deployment file?")
    return found


class _Values:
    """Nodes → values."""

    def __init__(self, source: str, loader: Any) -> None:
        self.source, self.loader, self.count = source, loader, 0

    def of(self, node: Any, place: str, depth: int) -> Any:
        """The value of a node. place: its keys, for errors."""
        self.count += 1
        if self.count > MOST or depth > DEEPEST:
            why = f"more than {MOST:,} values" if self.count > MOST else f"more than {DEEPEST} levels"
            raise ConfigError(f"{self.source}, line {node.start_mark.line + 1}: {place}: makes {why} of its aliases")
        tag = node.tag.removeprefix(_PYTHON) if node.tag.startswith(_PYTHON) else ""
        if tag.startswith("name:"):
            return tag[5:]
        if tag == "object/apply:builtins.slice" and self._plain(node, place, depth) == [None, None, None]:
            return None
        if (tag and tag != "tuple") or not node.tag.startswith("tag:yaml.org,2002:"):
            return Opaque(f"!!python/{tag}" if tag else node.tag)
        return self._plain(node, place, depth)

    def _plain(self, node: Any, place: str, depth: int) -> Any:
        """The value without regard to its tag, but for scalars."""
        if node.id == "sequence":
            return [self.of(item, f"{place}[{k}]", depth + 1) for k, item in enumerate(node.value)]
        if node.id == "mapping":
            found: dict[str, Any] = {}
            for key, value in node.value:
                line = f"{self.source}, line {key.start_mark.line + 1}"
                if key.id != "scalar":
                    raise ConfigError(f"{line}: {place}: a key that is no text")
                name = str(key.value)
                if name in found:
                    raise ConfigError(f"{line}: [{place.strip('.')}] {name}: stands there twice")
                found[name] = self.of(value, f"{place}.{name}", depth + 1)
            return found
        kind = node.tag.rpartition(":")[2]
        if kind == "str":
            return float(node.value) if node.style is None and _NUMBER.fullmatch(node.value) else node.value
        if kind in ("null", "bool", "int", "float"):
            return self.loader.construct_object(node)
        return str(node.value)  # a date, and the like
