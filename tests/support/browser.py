"""A real browser, driven by its own debugging protocol: headless Chromium (Debian: `apt install chromium`).

Its rule: what the page asks for, logs or throws is kept, so that a test can say that nothing went wrong.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = "" if CHROMIUM else "there is no Chromium here (tools/check --install brings it, on Debian)"
PATIENCE_S = 90.0


class Page:
    """One tab. requests: addresses that it asked for; wrong: what it threw, logged as an error or was refused."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.wrong: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the debugging protocol; returns its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(PATIENCE_S))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.wrong.append(json.dumps(given["exceptionDetails"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.wrong.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
            self.wrong.append(json.dumps(given["args"]))

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """The window, and what the system says it likes."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """What a JavaScript expression comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What stands in the first element of it."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def until(self, script: str, seconds: float = PATIENCE_S) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"!!({script})"):
            if time.monotonic() > deadline:
                shown = self.run("document.body.innerText")
                raise AssertionError(f"it never came: {script}\n{shown}\n{self.wrong}")
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """What is to be seen, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Callable[[], Page]]:
    """A browser for the time of the block; called, it opens a tab."""
    from websockets.sync.client import connect

    assert CHROMIUM is not None
    own = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")
    quiet = ("--disable-background-networking", "--disable-component-update", "--no-first-run", "--lang=en-GB")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        command = [CHROMIUM, *own, *quiet, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(_end, process)
        told = Path(folder) / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE_S
        while not (told.exists() and told.read_text().count("\n")):
            assert process.poll() is None, "the browser does not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        base = f"http://127.0.0.1:{told.read_text().split()[0]}"

        def page() -> Page:
            asked = urllib.request.Request(f"{base}/json/new?about:blank", method="PUT")
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=PATIENCE_S) as answer:
                address = json.load(answer)["webSocketDebuggerUrl"]
            made = Page(
                stack.enter_context(connect(address, max_size=None, ping_interval=None, proxy=None, close_timeout=0.2))
            )
            for domain in ("Runtime", "Log", "Page", "Network"):
                made.call(f"{domain}.enable")
            return made

        yield page


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
