"""Names, units and scaling of a model's channels, as `edge-lstm import` takes them: `--channels`, `--outputs`,
`--normalize`.

    --channels "speed (rad/s), az (m/s²) *2 +9.81"    NAME (UNIT) *SCALE +OFFSET, the unit and the scaling as needed:
                                                      physical = network * SCALE + OFFSET, so *STD +MEAN
    --normalize stats.json | stats.csv | stats.npz    mean and standard deviation by name

Its rule: whatever is not understood is an error; nothing of it is left aside, and nothing is scaled twice.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.cli.common import Failure, no_file
from edge_lstm.errors import nearest

if TYPE_CHECKING:
    from edge_lstm.core.channels import Channel
    from edge_lstm.core.model import Model

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SCALING = re.compile(
    rf"(?P<title>.*?)(?:\s+[*×]\s*(?P<scale>{_NUMBER}))?(?:\s+(?P<sign>[+-])\s*(?P<offset>{_NUMBER}))?\s*"
)
_BEHIND_UNIT = re.compile(r"[(\[](?P<unit>[^()\[\]]*)[)\]]\s*(?P<rest>\S.*)")
MOST = 1 << 24  # bytes of a file of means and deviations
Stats = dict[str, tuple[float, float]]  # name -> mean, standard deviation


def renamed(model: Model, channels: tuple[Channel, ...], text: str | None, option: str) -> tuple[Channel, ...]:
    """The channels with names, units and scaling from the text of an option. Failure(2) where that is not one."""
    if text is None:
        return channels
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(channels):
        raise Failure(2, f"{option}: {len(parts)} names for the {len(channels)} channels of {model.name!r}")
    return tuple(_named(c, k, part, option) for k, (c, part) in enumerate(zip(channels, parts, strict=True)))


def _named(channel: Channel, place: int, text: str, option: str) -> Channel:
    from edge_lstm.logs.log import column

    found = _SCALING.fullmatch(text)
    assert found is not None  # its title takes anything
    title = found["title"]
    behind = _BEHIND_UNIT.search(title)
    if behind and not behind["unit"].isdigit():  # x[3] is a place, not a unit
        raise Failure(
            2,
            f"{option}: {behind['rest']!r} behind the unit of {text!r} is not understood; "
            "NAME (UNIT) *SCALE +OFFSET is",
        )
    named = column(place, title)
    channel = replace(channel, name=named.name, unit=named.unit or channel.unit)
    if not (found["scale"] or found["offset"]):
        return channel
    offset = float((found["sign"] or "") + (found["offset"] or "0"))
    return replace(channel, scale=float(found["scale"] or 1.0), offset=offset)


def normalized(model: Model, path: Path) -> Model:
    """The model with the means and standard deviations of a file as offsets and scales of its channels.

    Failure(2) where a name is none of its channels, an input is not in the file, or a channel is scaled already."""
    stats = _read(path, [c.name for c in model.inputs])
    known = {c.name: c for c in (*model.inputs, *model.outputs)}
    for name, (mean, deviation) in stats.items():
        if name not in known:
            raise Failure(
                2, f"{path}: {name!r} is no channel of {model.name!r}{nearest(name, known)} (--channels names them)"
            )
        if not 0 < deviation < float("inf") or mean != mean:
            raise Failure(
                2, f"{path}: {name!r} has mean {mean} and deviation {deviation}; the deviation must be above 0"
            )
        if (known[name].scale, known[name].offset) != (1.0, 0.0):
            raise Failure(2, f"{path}: {name!r} is scaled by --channels or --outputs already")
    if missing := [c.name for c in model.inputs if c.name not in stats]:
        raise Failure(2, f"{path}: the input {missing[0]!r} is not in it; all inputs must be")

    def scaled(channels: Sequence[Channel]) -> tuple[Channel, ...]:
        return tuple(
            replace(c, offset=stats[c.name][0], scale=stats[c.name][1]) if c.name in stats else c for c in channels
        )

    return replace(model, inputs=scaled(model.inputs), outputs=scaled(model.outputs))


def are_raw(model: Model) -> bool:
    """Whether the network gets the readings as they are."""
    return all((c.scale, c.offset) == (1.0, 0.0) for c in model.inputs)


# --- files of means and deviations ------------------------------------------------------------------------------------

_MEAN, _DEVIATION = ("mean", "mu", "offset"), ("std", "sd", "stddev", "sigma", "scale", "deviation")


def _read(path: Path, names: list[str]) -> Stats:
    """Mean and deviation by name; lists without names are those of the inputs, in their order."""
    if not path.is_file():
        raise no_file(path)
    if path.stat().st_size > MOST:
        raise Failure(2, f"{path}: is too large for means and deviations")
    readers = {".json": _json, ".csv": _csv, ".npz": _npz}
    if path.suffix.lower() not in readers:
        raise Failure(2, f"{path}: --normalize reads .json, .csv and .npz")
    try:
        return readers[path.suffix.lower()](path, names)
    except (ValueError, TypeError, KeyError, OSError, UnicodeError, zipfile.BadZipFile) as error:
        raise Failure(2, f"{path}: mean and std by name are meant, which cannot be read ({error})") from None


def _json(path: Path, names: list[str]) -> Stats:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError("it is no table")
    lower = {str(key).lower(): value for key, value in found.items()}
    mean, deviation = _pick(lower, _MEAN), _pick(lower, _DEVIATION)
    if mean is None or deviation is None:  # {name: {"mean": …, "std": …}} or {name: [mean, std]}
        return {name: _pair(value) for name, value in found.items()}
    if isinstance(mean, Mapping):
        if set(mean) != set(deviation):
            raise ValueError("mean and std have not the same names")
        return {name: (float(mean[name]), float(deviation[name])) for name in mean}
    return _listed(mean, deviation, lower.get("names", names))


def _csv(path: Path, names: list[str]) -> Stats:
    with path.open(newline="") as file:
        rows = [{(k or "").strip().lower(): v for k, v in row.items()} for row in csv.DictReader(file)]
    found: Stats = {}
    for row in rows:
        name = next((row[k] for k in ("name", "channel", "feature", "column", "") if row.get(k)), None)
        mean, deviation = _pick(row, _MEAN), _pick(row, _DEVIATION)
        if name is None or mean is None or deviation is None:
            raise ValueError("its columns must be name, mean and std")
        if name.strip() in found:
            raise ValueError(f"{name!r} is in it twice")
        found[name.strip()] = float(mean), float(deviation)
    return found


def _npz(path: Path, names: list[str]) -> Stats:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        found = {key.lower(): file[key] for key in file.files}
    mean, deviation = _pick(found, _MEAN), _pick(found, _DEVIATION)
    if mean is None or deviation is None:
        raise ValueError("it must hold mean and std")
    given = found.get("names")
    return _listed(
        mean.reshape(-1).tolist(), deviation.reshape(-1).tolist(), names if given is None else given.tolist()
    )


def _pick(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, Mapping):
        lower = {str(key).lower(): one for key, one in value.items()}
        value = [_pick(lower, _MEAN), _pick(lower, _DEVIATION)]
    mean, deviation = value
    return float(mean), float(deviation)


def _listed(mean: Sequence[Any], deviation: Sequence[Any], names: Sequence[Any]) -> Stats:
    if not len(mean) == len(deviation) == len(names):
        raise ValueError(f"{len(mean)} means and {len(deviation)} deviations for {len(names)} names")
    return {str(n): (float(m), float(d)) for n, m, d in zip(names, mean, deviation, strict=True)}
