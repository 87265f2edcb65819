"""What the page may ask of the run: mark, stop, reset, swap. A few requests of the control socket, and no others.

Its rule: only these pass, each with its own fields, checked here; the run decides, and its answer is the page's. A new
model comes with the request: no file of this machine is opened by a name from outside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from edge_lstm.daemon.client import Control, Refused
from edge_lstm.errors import DaemonError
from edge_lstm.serve.web_server import Answer

MARK = 200  # letters
_MODEL = re.compile(r"[\w][\w .()+-]{0,79}\.npz", re.ASCII)
_DONE = {"mark": "Marked.", "swap": "The new model drives.", "reset": "The memory is reset.", "stop": "The run ends."}


def request_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The control socket's request for what the page asks. ValueError: a sentence why not."""
    what = asked.get("do")
    if what == "mark":
        text = asked.get("text", "")
        if not isinstance(text, str) or len(text) > MARK or not text.isprintable():
            raise ValueError(f"text is a line of at most {MARK} letters")
        return {"do": "mark", "text": text}
    if what == "swap":
        if not _MODEL.fullmatch(str(asked.get("file"))):
            raise ValueError("a model is a file .npz, with letters, digits and spaces in its name")
        return {"do": "swap", "file": asked["file"]}
    if what in ("stop", "reset"):
        return {"do": "stop"} if what == "stop" else {"do": "state", "what": "reset"}
    raise ValueError("the commands are mark, stop, reset and swap")


def answer(folder: Path, asked: Mapping[str, Any], file: bytes) -> Answer:
    """What the run in `folder` says to it."""
    try:
        request = request_of(asked)
    except ValueError as error:
        return _answer(HTTPStatus.BAD_REQUEST, {"ok": False, "error": str(error)})
    try:
        with Control(folder) as control:
            reply = control.ask(request, file)
    except Refused as error:
        return _answer(HTTPStatus.CONFLICT, {"ok": False, "error": str(error)})
    except DaemonError as error:
        return _answer(HTTPStatus.BAD_GATEWAY, {"ok": False, "error": str(error)})
    return _answer(HTTPStatus.OK, {**reply, "said": _DONE[asked["do"]]})


def _answer(status: HTTPStatus, tree: Mapping[str, Any]) -> Answer:
    return Answer(status, json.dumps(tree).encode())
