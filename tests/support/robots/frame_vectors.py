"""tests/vectors/frames.json as a C header, so that C reads the same vectors as Python.

Its rule: every case of the file becomes one; a case that C cannot hold is an error here, not left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.robots.toolchain import ROOT

VECTORS = ROOT / "tests" / "vectors" / "frames.json"
STATUSES = {
    "cobs": "BRIDGE_BAD_COBS",
    "short": "BRIDGE_BAD_SHORT",
    "long": "BRIDGE_BAD_LONG",
    "crc": "BRIDGE_BAD_CRC",
    "version": "BRIDGE_BAD_VERSION",
}


def _text(values: str) -> str:
    """Bytes in hexadecimal as a C string, in pieces (C99 promises 4095 characters) of which none runs into the next."""
    data = bytes.fromhex(values)
    pieces = [data[at : at + 16] for at in range(0, len(data), 16)]
    return " ".join('"' + "".join(f"\\{byte:03o}" for byte in piece) + '"' for piece in pieces) or '""'


def _case(*parts: Any) -> str:
    return "    {" + ", ".join(str(part) for part in parts) + "},"


def write_header(path: Path) -> int:
    """Write the header; the number of cases."""
    found = json.loads(VECTORS.read_text())
    lines = [f"/* Made from tests/vectors/{VECTORS.name}. */"]
    lines.append("static const crc_case CRC_CASES[] = {")
    lines += [_case(_text(c["data"]), len(c["data"]) // 2, c["crc"]) for c in found["crc"]]
    lines += ["};", "static const cobs_case COBS_CASES[] = {"]
    lines += [
        _case(_text(c["data"]), len(c["data"]) // 2, _text(c["encoded"]), len(c["encoded"]) // 2) for c in found["cobs"]
    ]
    lines += ["};", "static const frame_case FRAME_CASES[] = {"]
    for c in found["frames"]:
        head = (f"{c['time_us']}u", c["type"], c["stream"], c["seq"], c["check"])
        lines.append(_case(*head, *(part for key in ("payload", "wire") for part in (_text(c[key]), len(c[key]) // 2))))
    lines += ["};", "static const damaged_case DAMAGED_CASES[] = {"]
    lines += [_case(STATUSES[c["status"]], _text(c["wire"]), len(c["wire"]) // 2) for c in found["damaged"]]
    path.write_text("\n".join([*lines, "};", ""]))
    return sum(len(found[key]) for key in ("crc", "cobs", "frames", "damaged"))
