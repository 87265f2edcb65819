"""The live page in a real browser: what a person sees of a run that is well, troubled, gone; on a phone and at a desk,
light and dark; and that it asks for nothing but its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the extra `test` has it")

from edge_lstm.daemon.server import Server as Control
from edge_lstm.serve.gate_picture import Layer
from edge_lstm.serve.gates import Shown
from edge_lstm.serve.server import Server
from tests.support.browser import CHROMIUM, WHY_NOT, Page, browser
from tests.support.written_run import WrittenRun

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
TOKEN = "token-of-the-test-1234"
JOINTS = range(12)


@pytest.fixture(scope="module")
def tabs() -> Iterator[Callable[[], Page]]:
    with browser() as made:
        yield made


class Driven:
    """A run that goes on by itself in a thread, 100 readings a second, until it is told otherwise."""

    def __init__(self, run: WrittenRun) -> None:
        self.run = run
        self.silent = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        readings, outputs = (len(run.binding.reading.fields), len(run.binding.output_names))
        self._widths = readings, outputs, len(run.binding.action.fields)
        run.opened()
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def _go(self) -> None:
        k = 0
        while not self._ended.wait(0.01):
            k += 1
            with self._lock:
                if self.silent:
                    self.run.turn()
                else:
                    a, b, c = self._widths
                    self.run.row([k % 50] * a, [(k % 20) / 20] * b, [0.5] * c)
                if k % 10 == 0:
                    self.run.tell()

    def lose(self) -> None:
        with self._lock:
            self.silent = True
            self.run.lost()

    def tell(self, **changed: object) -> None:
        with self._lock:
            self.run.tell(**changed)

    def event(self, tree: dict[str, object]) -> None:
        with self._lock:
            self.run.event(tree)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class Painted:
    """Gates of two layers, of which one has more units than are shown; every column is lighter than the one before."""

    LAYERS = (
        Layer("lstm_0", 64, 512, (("f", "forgetting", "forgotten", "kept", False), ("c", "memory", "-1", "1", True))),
        Layer("<b>gru</b>", 1, 1, (("z", "forgetting", "renewed", "kept", False),)),
    )

    def __init__(self) -> None:
        self.value = 0

    def take(self, batch: object, looked_at: bool, now_s: float) -> Shown:
        self.value = (self.value + 10) % 255
        return Shown(self.LAYERS, "", [(time.time_ns(), np.full(129, self.value, np.uint8))] if looked_at else ())


@contextmanager
def served(run: WrittenRun, gates: Painted | None = None) -> Iterator[tuple[str, Driven]]:
    """The address of its page, and the run. gates: in place of what can be known of a run that is only written."""
    server = Server(run.folder, "cart", host="127.0.0.1", port=0, token=TOKEN)
    if gates is not None:
        server._gates = gates  # type: ignore[assignment]
    ended, driven = threading.Event(), Driven(run)
    thread = threading.Thread(target=server.run, args=(ended,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.web.server_port}/", driven
    finally:
        driven.end()
        ended.set()
        thread.join()
        server.close()


def colour(page: Page, level: str) -> str:
    """Of the verdict, at a moment at which it is this one."""
    shown = "getComputedStyle(document.querySelector('#verdict')).backgroundColor"
    while not (found := page.run(f"document.body.dataset.level === '{level}' && {shown}")):
        time.sleep(0.05)
    return str(found)


def test_what_a_person_sees_first(tmp_path: Path, tabs: Callable[[], Page]) -> None:
    """All is well; a trouble; the link is lost; the run is gone: each in colour, words, sign and the tab's title, and
    nothing but our own files is ever asked for."""
    page = tabs()
    page.size(1280, 900)
    run = WrittenRun(tmp_path)
    with served(run) as (address, driven):
        page.open(address)
        # Each at one moment: on a busy machine rows come late now and then, and the page says so.
        title, detail = (
            "document.querySelector('#title').textContent",
            "document.querySelector('#detail').textContent",
        )
        well = f"document.body.dataset.level === 'ok' && {title} === 'All is well'"
        page.until(f"{well} && document.title === '✓ cart: All is well'")
        colours = {"ok": colour(page, "ok")}
        page.until("document.querySelectorAll('.chart').length === 4")
        page.until("document.querySelector('.why')?.textContent.includes('no robot.toml')")
        page.until("document.querySelector('.legend .value').textContent !== '–'")
        driven.tell(counts={**run.tree["counts"], "lost": 12})
        page.until(f"document.body.dataset.level === 'warn' && {detail} === 'In the last minute: 12 readings lost.'")
        colours["warn"] = colour(page, "warn")
        driven.lose()
        page.until(f"document.body.dataset.level === 'bad' && {title}.startsWith('Link lost for')")
        truths = "[...document.querySelectorAll('#truths li')].map((one) => one.dataset.level).join()"
        page.until(f"['ok,bad,ok,ok', 'ok,bad,also,also'].includes({truths})")
        page.until(
            "document.querySelector('.legend .value').textContent === '–'"
        )  # an old value is not the present one
        colours["bad"] = colour(page, "bad")
        assert len(set(colours.values())) == 3
        signs = "[...document.querySelectorAll('.sign path')].filter((one) => getComputedStyle(one).display !== 'none')"
        assert page.run(f"{signs}.map((one) => one.className.baseVal).join()") == "for-bad"
        driven.end()
        run.close()
        page.until("document.querySelector('#title').textContent === 'No run'")
        own = [request for request in page.requests if not request.startswith("about:")]
        assert own
        assert all(request.startswith((address, "data:")) for request in own), own
        assert page.wrong == []


BETWEEN = [pytest.param(*size, marks=pytest.mark.long) for size in ((768, 1024), (1280, 900))]


@pytest.mark.parametrize(("width", "height"), [(390, 844), *BETWEEN, (2560, 1300)])
def test_it_fits(tmp_path: Path, tabs: Callable[[], Page], width: int, height: int) -> None:
    """48 channels and gates, on a phone, a tablet, at a desk: nothing is wider than the window, nothing is cut, the
    verdict and the four truths are in the first screen, texts have contrast, light and dark; gates are painted."""
    page = tabs()
    names = {
        "readings": [f"joint_pos_{k} rad" for k in JOINTS] + [f"joint_vel_{k} rad/s" for k in JOINTS],
        "outputs": [f"policy_{k}" for k in JOINTS],
        "actions": [f"target_{k} rad" for k in JOINTS],
    }
    run = WrittenRun(tmp_path, **names)  # type: ignore[arg-type]
    with served(run, Painted()) as (address, driven):
        long = "a very long sentence about_a_field_with_a_very_long_name_without_any_spaces_in_it_at_all " * 2
        driven.event({"event": "gap", "text": long})
        for dark in (False, True):
            page.size(width, height, dark=dark)
            page.open(address)
            page.until("document.querySelectorAll('.chart:not(.gate)').length === 8")
            page.until("document.querySelectorAll('.gate').length === 3")
            page.run("document.querySelector('#gates').scrollIntoView()")
            for gate in range(3):
                page.until(f"({_PAINTED})({gate}) > 1")
            page.run("scrollTo(0, 0)")
            assert page.run("document.querySelectorAll('b').length") == 0  # a layer's name is text
            assert [page.run(f"document.querySelectorAll('.units')[{k}].textContent") for k in (0, 2)] == [
                "the first 64 of 512 units",
                "1 unit",
            ]
            page.until("document.querySelector('.legend .value').textContent !== '–'")
            assert page.run("document.documentElement.scrollWidth") == width
            truths = "[...document.querySelectorAll('#truths li')]"
            bottom = f"Math.max(...{truths}.map((one) => one.getBoundingClientRect().bottom))"
            assert page.run(bottom) < height * 0.6
            assert page.run(f"({_CUT})()") == []
            assert page.run(f"({_FAINT})()") == []
    run.close()
    assert page.wrong == []


# how many colours of a gate's picture are to be seen
_PAINTED = """(k) => {
    const canvas = document.querySelectorAll('.gate canvas')[k];
    if (!canvas.width) return 0;
    const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(all.buffer).filter((one) => one >>> 24 === 255)).size;
}"""
_TEXTS = "h1, h2, h3, p, dt, dd, .said, .more, .text, .value, .scale span, figcaption span"
_CUT = (
    f"() => [...document.querySelectorAll('{_TEXTS}')]"
    + """
    .filter((one) => one.offsetParent && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
        && getComputedStyle(one).display !== 'inline')
    .map((one) => one.className + one.textContent)"""
)
# WCAG: 4.5 : 1, of every text against what lies behind it
_FAINT = """() => {
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = parts(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const ratio = (one) => {
        const [a, b] = [light(parts(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const texts = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll('body *')].filter((one) => one.offsetParent && texts(one) && ratio(one) < 4.5)
        .map((one) => `${ratio(one).toFixed(2)} ${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`);
}"""


def test_texts_of_a_robot_are_text(tmp_path: Path, tabs: Callable[[], Page]) -> None:
    """Names, units, sentences and notes that are markup, script or quotes are shown as they are, and nothing runs."""
    page = tabs()
    page.size(1280, 900)
    evil = "<img src=x onerror=window.hurt=1>"
    run = WrittenRun(
        tmp_path, outputs=(f"{evil.replace(' ', chr(160))}_left", "</script><script>window.hurt=1</script>_x")
    )
    with served(run) as (address, driven):
        page.open(address)
        driven.tell(trouble=evil, late={evil: 3})
        driven.event({"event": evil, "text": evil})
        page.until("document.querySelector('#events .text')")
        page.until(f"document.querySelector('#detail').textContent.includes({json.dumps(evil[:20])})")
        assert page.text("#events .text") == evil
        assert page.run("window.hurt === undefined && document.querySelectorAll('img, script:not([src])').length") == 0
    run.close()
    assert page.wrong == []


class Loop:
    """Takes requests in a run's place."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.files: list[bytes] = []
        self.stopped = False

    def ask(self, data: bytes) -> dict[str, object]:
        line, _, more = data.partition(b"\n")
        self.asked.append(json.loads(line))
        self.files.append(more)
        return {"ok": True, "t_ns": time.time_ns()}

    def stop(self) -> None:
        self.stopped = True


def test_commands_reach_the_run(tmp_path: Path, tabs: Callable[[], Page]) -> None:
    """With the address that serve prints: a mark goes through the control socket; what is grave is asked for twice,
    and not done where it is cancelled; a model arrives whole. Without the token there is no button."""
    page = tabs()
    page.size(390, 844)
    run, loop = WrittenRun(tmp_path), Loop()
    with served(run) as (address, _driven):
        control = Control(
            run.folder / "control.sock", loop.ask, lambda data: None, run.folder / "status", stop=loop.stop
        )
        page.open(address)
        page.until("document.querySelector('.chart')")
        assert page.run("document.querySelector('#commands').hidden")
        page.open("about:blank")
        page.open(f"{address}#token={TOKEN}")
        page.until("!document.querySelector('#commands').hidden")
        assert page.run("location.href") == address
        page.run("document.querySelector('#mark input').value = 'it slipped'")
        page.run("document.querySelector('#mark button').click()")
        page.until("document.querySelector('#answer').textContent === 'Marked.'")
        page.run("document.querySelector('#stop').click()")
        page.until("document.querySelector('#sure').open")
        page.run("document.querySelector('#sure button[value=no]').click()")
        page.run("document.querySelector('#reset').click()")
        page.until("document.querySelector('#sure').open")
        page.run("document.querySelector('#sure-yes').click()")
        page.until("document.querySelector('#answer').textContent === 'The memory is reset.'")
        model = "new File([new Uint8Array([1, 2, 250, 10, 13])], 'new one.npz')"
        page.run(
            f"{{ const all = new DataTransfer(); all.items.add({model});"
            " document.querySelector('#swap input').files = all.files;"
            " document.querySelector('#swap button').click(); }"
        )
        page.until("document.querySelector('#sure').open")
        page.run("document.querySelector('#sure-yes').click()")
        page.until("document.querySelector('#answer').textContent === 'The new model drives.'")
        assert [one["do"] for one in loop.asked] == ["mark", "state", "swap"]
        assert loop.asked[0]["text"] == "it slipped"
        assert (loop.asked[2]["file"], loop.files[2]) == ("new one.npz", bytes([1, 2, 250, 10, 13]))
        assert not loop.stopped
        control.close()
    run.close()
    assert page.wrong == []
