"""All that `edge-lstm serve` is: one feed, whoever shows it, and the page's server.

Its rule: the main thread looks at the run twenty times a second and tells everybody; the page's readers have threads of
their own. The run does not know that any of it exists: a core that its loop has for itself is left to it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from edge_lstm.serve import commands
from edge_lstm.serve.feed import Feed
from edge_lstm.serve.gates import Gates
from edge_lstm.serve.live_page import LivePage
from edge_lstm.serve.metrics import Metrics
from edge_lstm.serve.sink import Sink
from edge_lstm.serve.web_server import Answer, Site, WebServer

LOOK_S = 0.05
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Server:
    """Serves the run in `folder` until `close`. OSError: the page's address cannot be had."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        host: str,
        port: int,
        token: str | None,
        names: frozenset[str] = frozenset(),
        metrics: Metrics | None = None,
        sinks: Sequence[Sink] = (),
        gates: bool = True,
    ) -> None:
        """token: of commands; None: there are none. names: by which strangers may call us, beside our own. gates:
        whether the page shows them."""
        self._feed = Feed(folder, name)
        self._page = LivePage(commands=token is not None)
        self._gates = Gates(folder) if gates else None
        self._sinks: list[Sink] = [*sinks, *([metrics] if metrics else [])]

        def command(asked: Mapping[str, Any], file: bytes) -> Answer:
            if file and self._gates is not None:
                self._gates.brought(file)
            return commands.answer(folder, asked, file)

        texts = {"/status.json": self._status}
        if metrics is not None:
            texts["/metrics"] = lambda: Answer(HTTPStatus.OK, metrics.text(), METRICS_TYPE)
        site = Site(self._page.live, texts, command if token is not None else None, token or "", names)
        self._latest: dict[str, Any] = {}
        self.web = WebServer(host, port, site)
        self.look()  # what happens from now on is passed on to everybody

    def run(self, ended: threading.Event) -> None:
        """Look and answer until somebody sets `ended`."""
        self.web.start()
        while not ended.wait(LOOK_S):
            self.look()

    def close(self) -> None:
        """Say goodbye to everybody."""
        self._page.close()
        self.web.close()
        for sink in self._sinks:
            sink.close()
        self._feed.close()

    def look(self) -> None:
        """One batch to everybody."""
        batch = self._feed.poll()
        now_ns = time.time_ns() if batch.status is None else batch.status.now_ns
        if batch.began and batch.status is not None:
            _keep_off(batch.status.pid)
        gates = None
        if self._gates is not None:
            gates = self._gates.take(batch, self._page.looked_at, time.monotonic())
        self._page.take(batch, now_ns, gates)
        verdict = self._page.verdict
        for sink in self._sinks:
            sink.take(batch, verdict, now_ns)
        status = None if batch.status is None else batch.status.as_dict()
        self._latest = {"verdict": verdict.as_dict(), "status": status}

    def _status(self) -> Answer:
        return Answer(HTTPStatus.OK, json.dumps(self._latest, default=str).encode())


def _keep_off(run: int) -> None:
    """Leave the core of a loop that has one for itself ([realtime] cpu), where there are others: each look of ours
    would fill its caches, and the next reading is answered the later for it."""
    with suppress(OSError):
        ours, its = os.sched_getaffinity(0), os.sched_getaffinity(run)
        if len(its) == 1 and (others := ours - its):
            for thread in Path("/proc/self/task").iterdir():  # those that begin later inherit it
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), others)
