"""A Controller or Models that does what it is asked while it runs: commands, memory, another model, a shadow.

Its rule: a request is an event like a reading. It is obeyed between two readings, in the loop's thread, as a function
of its own bytes: live it comes from the control socket, in a replay from the recording, and both come to the same bits.
What takes long (a model is loaded, compiled and bound) may be prepared by another thread beforehand; where it was not,
as in a replay, it is done on the spot, to the same end.

A swap that may be undone lets the model before it go on beside the new one for a while: the first reading at which a
rule is broken is answered by it, with all its memory, and the new one is gone. A shadow runs beside in the same way.

Never: let a refused request change anything, or a shadow move the robot.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from edge_lstm.core.model import Model
from edge_lstm.core.storage import load_file
from edge_lstm.errors import ConfigError, EdgeLstmError, ModelFileError, nearest
from edge_lstm.robot.controller import Controller, Decision, said, taken
from edge_lstm.robot.decider import AroundDecider, Decider
from edge_lstm.robot.models import ONLY, Loaded, Models
from edge_lstm.robot.realtime import warm_up
from edge_lstm.robot.requests import Asked, Rule, numbers, read, rules
from edge_lstm.robot.watched import Watched
from firmware_bridge.errors import BridgeError
from firmware_bridge.events import Event, Hello, Reading, Request
from firmware_bridge.remembered import Tree
from firmware_bridge.values import Action

if TYPE_CHECKING:
    from edge_lstm.robot.config import RobotConfig
    from firmware_bridge.dictionary import Dictionary
    from firmware_bridge.recordings.series import Recorded

Inner = Controller | Models
WITHIN_S = 60.0  # how long a swap may be undone, where nothing else is said
_LONGEST_WITHIN_S = 86400.0
_READY = 2  # models that are prepared: one is loaded at a time, as long as a file takes the loop must not touch it
_GONE = 4  # changes of what runs whose models are freed elsewhere; in a replay only when more have followed
_KEPT = 32  # swaps that are told of; a run of weeks sees many


@dataclass
class Difference:
    """Of one output of the shadow and of what it is beside. t_ns: where it was largest."""

    largest: float = 0.0
    t_ns: int = 0
    total: float = 0.0


@dataclass
class Beside:
    """What runs beside the model that moves the robot, and how far the two are apart. role: "shadow", or "before": it
    was there before a swap that may be undone. Of `readings` that were looked at both made outputs of `both`, only one
    of `single`; `differing` of both had other bits."""

    role: str
    inner: Inner
    name: str
    digest: str
    models: Mapping[str, Model]
    since_ns: int
    rules: tuple[Rule, ...] = ()
    until_ns: int = 0
    refused: int = 0  # of the new model's counters, when it took over
    readings: int = 0
    both: int = 0
    single: int = 0
    differing: int = 0
    outputs: dict[str, Difference] = field(default_factory=dict)
    actions: dict[str, Difference] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """For people and programs."""

        def told(what: Mapping[str, Difference]) -> dict[str, Any]:
            return {
                name: {"largest": one.largest, "t_ns": one.t_ns, "mean": one.total / max(self.both, 1)}
                for name, one in what.items()
            }

        return {
            "role": self.role,
            "name": self.name,
            "digest": self.digest,
            "since_ns": self.since_ns,
            "readings": self.readings,
            "both": self.both,
            "single": self.single,
            "differing": self.differing,
            "outputs": told(self.outputs),
            "actions": told(self.actions),
        }


@dataclass
class Swap:
    """A swap that was made. undone: why it was undone again, "" where it was not."""

    t_ns: int
    before: str  # digests
    after: str
    file: str
    undone: str = ""


@dataclass
class Prepared:
    """A model in its place among the others, bound to the robot that was there; to be taken by the loop."""

    inner: Inner
    models: Mapping[str, Model]
    name: str
    digest: str
    content: bytes = b""


def _nowhere(digest: str) -> bytes:
    """For runs to which no model can have come before they began."""
    raise ModelFileError(f"the model {digest[:16]}…, which was swapped in, is in no file that is known here")


class Controlled(AroundDecider[Inner]):
    """See `Decider`. `answered` is called with what came of each request, in their order; `came` with the name
    and the content of each model file that a request brought, once it is at work; `gone` with its name when it will
    not be needed any more; `undone` with the time and each swap that is undone."""

    def __init__(self, inner: Inner, models: Mapping[str, Model], find: Callable[[str], bytes] = _nowhere) -> None:
        """models: what `inner` runs, by name. find: the content of a model that was swapped in before, by its digest;
        raises ModelFileError."""
        super().__init__(inner)
        self.answered: Callable[[dict[str, Any]], None] = lambda answer: None
        self.came: Callable[[str, bytes], None] = lambda name, content: None
        self.gone: Callable[[str], None] = lambda name: None
        self.undone: Callable[[int, Swap], None] = lambda t_ns, swap: None
        self._own, self._find = dict(models), find
        self._known = {model.digest: model for model in models.values()}
        self.swaps: list[Swap] = []
        self.beside: Beside | None = None
        self.requests: dict[str, int] = {}  # how often what was done
        self.refused = 0
        self._models = dict(models)
        self._gone: deque[object] = deque(maxlen=_GONE)  # what nobody needs any more, until `let_go`
        self._ready: dict[int, tuple[bytes, Asked, Prepared]] = {}  # by the identity of the request's bytes

    # ------------------------------------------------------------------------------------------ as what is inside

    @property
    def latest(self) -> Decision | None:
        return self.inner.latest

    def unbind(self) -> None:
        """As a Controller's."""
        super().unbind()
        if self.beside is not None:
            self.beside.inner.unbind()

    def handle(self, event: Event) -> Decision | None:
        """As a Controller's."""
        if type(event) is Request:
            return self._request(event)
        beside = self.beside
        try:
            decision = self.inner.handle(event)
        except ConfigError as error:
            if beside is None or beside.role != "before":
                raise
            return self._back(event, f"it does not fit the robot: {self.config.here(error)}")
        return decision if beside is None else self._both(beside, event, decision)

    def silence(self, t_ns: int) -> Decision | None:
        """As a Controller's."""
        decision, beside = self.inner.silence(t_ns), self.beside
        try:
            other = None if beside is None else beside.inner.silence(t_ns)
        except Exception as error:
            return decision if beside is None else self._without(beside, error, decision)
        return decision if beside is None or decision is None else self._kept(beside, t_ns, decision, other)

    def report(self) -> dict[str, Any]:
        """Swaps, shadow and requests, for --json and the status; empty where nothing was asked."""
        found: dict[str, Any] = {}
        if self.swaps:
            found["swaps"] = [asdict(swap) for swap in self.swaps]
        if (beside := self.beside) is not None:
            found[beside.role] = beside.report()
        if self.requests or self.refused:
            found |= {"requests": dict(self.requests), "refused": self.refused}
        return found

    def snapshot(self) -> Tree:
        """See `Deciding`. Of models that were swapped in their digests: the recording holds the files."""
        beside = self.beside
        return {
            "models": self._swapped(self._models),
            "inner": self.inner.snapshot(),
            "swaps": said(self.swaps, list[Swap]),
            "requests": dict(self.requests),
            "refused": self.refused,
            "beside": None
            if beside is None
            else {
                "models": self._swapped(beside.models),
                "inner": beside.inner.snapshot(),
                "rules": [rule.text for rule in beside.rules],
                **{name: said(getattr(beside, name), kind) for name, kind in _KEPT_BESIDE.items()},
            },
        }

    def take_up(self, tree: Tree) -> None:
        """See `Deciding`."""
        inner, models = self._of(taken(tree["models"], dict[str, str]))
        inner.take_up(tree["inner"])
        there, beside = tree["beside"], None
        if there is not None:
            other, others = self._of(taken(there["models"], dict[str, str]), beside=True)
            other.take_up(there["inner"])
            values = {name: taken(there[name], kind) for name, kind in _KEPT_BESIDE.items()}
            rules_ = rules(taken(there["rules"], list[str]), self.output_names)
            beside = Beside(inner=other, models=others, rules=rules_, **values)
        self.swaps = taken(tree["swaps"], list[Swap])
        self.requests, self.refused = taken(tree["requests"], dict[str, int]), taken(tree["refused"], int)
        self.inner, self._models, self.beside = inner, models, beside

    def _swapped(self, models: Mapping[str, Model]) -> dict[str, str]:
        """Name → digest, of those that robot.toml does not name."""
        return {name: model.digest for name, model in models.items() if model.digest != self._own[name].digest}

    def _of(self, swapped: Mapping[str, str], beside: bool = False) -> tuple[Inner, dict[str, Model]]:
        """What runs these models; beside: and is not what runs now."""
        models = dict(self._own)
        for name, digest in swapped.items():
            if name not in models:
                raise ConfigError(f"there is no model {name!r}{nearest(name, list(models))}")
            if digest not in self._known:
                self._known[digest] = load_file(io.BytesIO(self._find(digest)), f"the model {digest[:16]}…")
            models[name] = self._known[digest]
        if not beside and self._swapped(models) == self._swapped(self._models):
            return self.inner, models
        return self._running(models), models

    def _running(self, models: Mapping[str, Model]) -> Inner:
        return Models(models, self.config) if self.config.models else Controller(models[ONLY], self.config)

    # ------------------------------------------------------------------------------------------ requests

    def prepare(self, data: bytes) -> None:
        """From another thread: do now what a request with a model file takes long for. ConfigError or ModelFileError:
        it cannot be, and is better not asked."""
        asked = read(data)
        if asked.do in ("swap", "shadow") and asked.more:
            rules(asked.given.get("undo_if", []), self.output_names)
            self._ready[id(data)] = data, asked, self._load(asked, warm=True)
            while len(self._ready) > _READY:  # of those that never came to the loop
                self._ready.pop(list(self._ready)[0], None)  # noqa: RUF015  at once: the loop takes some meanwhile

    def _request(self, event: Request) -> Decision | None:
        """Obey, or refuse with a sentence."""
        decision = None
        try:
            data, asked, ready = self._ready.pop(id(event.data), (b"", None, None))
            if asked is None or data is not event.data:
                asked, ready = read(event.data), None
            decision, answer = self._obey(event.t_ns, asked, ready)
            self.requests[asked.do] = self.requests.get(asked.do, 0) + 1
            answer = {"ok": True, "t_ns": event.t_ns, **answer}
        except (EdgeLstmError, BridgeError) as error:
            self.refused += 1
            answer = {"ok": False, "t_ns": event.t_ns, "error": str(error)}
        except Exception as error:  # whatever somebody has asked must not end the run, nor let go of the robot
            self.refused += 1
            answer = {"ok": False, "t_ns": event.t_ns, "error": f"a defect of this program: {error!r:.200}"}
        self.answered(answer)
        return decision

    def _obey(self, t_ns: int, asked: Asked, ready: Prepared | None) -> tuple[Decision | None, dict[str, Any]]:
        given = asked.given
        if asked.do == "command":
            return self._command(t_ns, given["name"], numbers("command", given["values"]))
        if asked.do == "state":
            return None, self._state(given)
        if asked.do == "swap":
            return None, self._swap(t_ns, asked, ready)
        if asked.do == "undo":
            return None, self._undo(t_ns, given.get("why") or "it was asked for")
        if asked.do == "shadow":
            return None, self._shadow(t_ns, asked, ready)
        return None, {}  # a mark and a stop are for whoever records and ends the run

    def _command(self, t_ns: int, name: str, values: Mapping[str, float]) -> tuple[Decision | None, dict[str, Any]]:
        """A value for what [commands] declares, else an action that the robot declares."""
        latest, bound = self.inner.latest, self.inner.bound
        if bound is None or latest is None:
            raise ConfigError("there is no robot, or it has not said yet what it takes")
        declared = self.config.commands.get(name)
        if declared is not None:
            taken = declared.values(values)
            if name not in self.inner.others():
                raise ConfigError(f"the command {name!r} feeds nothing: no channel and no input is {name}.FIELD")
            if latest.reading is None:
                raise ConfigError("the robot has given no reading yet, by whose clock the age of a command counts")
            reading = Reading(t_ns, name, 0, latest.reading.t_device_us, taken)
            for inner in self._all():
                inner.handle(reading)
            return None, {"values": dict(zip((f.name for f in declared.form.fields), taken, strict=True))}
        actions = [form.name for form in bound.actions]
        if not self.inner.at_rate:
            raise ConfigError("readings come at another rate than the model was made for; until then nothing is sent")
        if name not in actions:
            known = [*self.config.commands, *actions]
            raise ConfigError(f"there is neither a command nor an action {name!r}{nearest(name, known)}")
        action = self._action(bound, name, values)
        decision = Decision(latest.binding, latest.reading, action, urgent=True)
        return decision, {"values": dict(values)}

    def _action(self, bound: Dictionary, name: str, values: Mapping[str, float]) -> Action:
        """ConfigError: a field is missing or unknown, or its value outside the limits."""
        form, own = bound[name], self.config.action
        fields = [item.name for item in form.fields]
        for key in values:
            if key not in fields:
                raise ConfigError(f"the robot's {name!r} has no field {key!r}{nearest(key, fields)}")
        for item in form.fields:
            if item.name not in values:
                raise ConfigError(f"{item.name!r} is missing, and {name!r} cannot be sent without it")
            least, most = item.minimum, item.maximum
            mapping = own.fields.get(item.name) if own is not None and own.format == name else None
            if mapping is not None:
                least = least if mapping.minimum is None else mapping.minimum
                most = most if mapping.maximum is None else mapping.maximum
            value = values[item.name]
            if (least is not None and value < least) or (most is not None and value > most):
                raise ConfigError(f"{item.name} = {value:g} is outside {least:g} to {most:g}")
        return Action(name, tuple(values[key] for key in fields))

    def _state(self, given: Mapping[str, Any]) -> dict[str, Any]:
        controllers = self.inner.controllers()
        model = given.get("model", "")
        if given["what"] == "snapshot":
            return {"snapshot": self.inner.snapshot(), "digest": self.inner.digest}
        if model and model not in controllers:
            raise ConfigError(f"there is no model {model!r}{nearest(model, list(controllers))}")
        chosen = {name: one for name, one in controllers.items() if not model or name == model}
        what = given["what"]
        if what == "get":
            states = {
                name: {key: value.tolist() for key, value in one.stream.state.items()} for name, one in chosen.items()
            }
            return {"state": states.get("", states)}
        if what == "reset":
            for one in chosen.values():
                one.filler.reset()
            return {}
        if what != "set":
            raise ConfigError(f"state: {what!r} is none of get, set, reset and snapshot")
        if len(chosen) != 1:
            raise ConfigError(f"state: of several models say whose it is: {', '.join(controllers)}")
        (one,) = chosen.values()
        state = {}
        for key, values in given.get("state", {}).items():
            row = values if isinstance(values, list) else [values]
            state[key] = list(numbers(f"state {key}", {str(k): value for k, value in enumerate(row)}).values())
            if any(abs(value) > 3.4e38 for value in state[key]):
                raise ConfigError(f"state {key}: a number is beyond float32")
        one.filler.missing(0)
        one.stream.resume(state)
        return {}

    # ------------------------------------------------------------------------------------------ another model

    def _load(self, asked: Asked, warm: bool = False) -> Prepared:
        """The model of a request in its place, bound to the robot that is there."""
        file = str(asked.given.get("file", "the model"))[:200]
        known = list(self._models)
        name = asked.given.get("model", ONLY if known == [ONLY] else "")
        if name not in known:
            which = f"there is no model {name!r}{nearest(name, known)}" if name else f"say which: {', '.join(known)}"
            raise ConfigError(f"{asked.do}: {which}")
        model = load_file(io.BytesIO(asked.more), file)
        models = {**self._models, name: model}
        inner = self._running(models)
        if inner.output_names != self.output_names or inner.output_units != self.output_units:
            theirs, ours = ", ".join(inner.output_names), ", ".join(self.output_names)
            raise ConfigError(f"{file}: its outputs are others ({theirs}) than those that the run is made for ({ours})")
        _bind(inner, self.inner.bound)
        if warm:
            warm_up(model)
        return Prepared(inner, models, file, model.digest, asked.more)

    def _taken(self, asked: Asked, ready: Prepared | None) -> Prepared:
        """The model of a request, bound to the robot that is there now."""
        if ready is None or not self._fits(ready, asked):
            ready = self._load(asked)
        _bind(ready.inner, self.inner.bound)
        self._known |= {model.digest: model for model in ready.models.values()}
        self.came(f"{SWAPPED}{ready.digest}.npz", ready.content)
        return ready

    def _fits(self, ready: Prepared, asked: Asked) -> bool:
        """Whether the other models are still those that it was prepared with."""
        changed = asked.given.get("model", ONLY)
        return all(ready.models[name] is model for name, model in self._models.items() if name != changed)

    def _swap(self, t_ns: int, asked: Asked, ready: Prepared | None) -> dict[str, Any]:
        given = asked.given
        undo = rules(given.get("undo_if", []), self.output_names)
        within_s = numbers("swap", {"within_s": given.get("within_s", WITHIN_S)})["within_s"]
        if not 0 < within_s <= _LONGEST_WITHIN_S:
            raise ConfigError(f"swap: within_s must be above 0 and {_LONGEST_WITHIN_S:g} at most, not {within_s:g}")
        if given.get("shadow"):
            if self.beside is None or self.beside.role != "shadow":
                raise ConfigError("swap: there is no shadow that could take over")
            new, models, name, digest = self.beside.inner, self.beside.models, self.beside.name, self.beside.digest
            new.keep_books(self.inner)  # type: ignore[arg-type]
        elif not asked.more:
            raise ConfigError("swap: the model file is missing")
        else:
            taken = self._taken(asked, ready)
            new, models, name, digest = taken.inner, taken.models, taken.name, taken.digest
            new.succeed(self.inner)  # type: ignore[arg-type]
        old = self.inner
        before = Beside("before", old, old.name, old.digest, self._models, t_ns)
        before.rules, before.until_ns, before.refused = undo, t_ns + round(within_s * 1e9), new.counts.refused
        self._run(new, models, before if "undo_if" in given else None)
        self.swaps = [*self.swaps[-_KEPT:], Swap(t_ns, old.digest, new.digest, name)]
        return {"before": old.digest, "after": new.digest, "model": digest}

    def _run(self, inner: Inner, models: Mapping[str, Model], beside: Beside | None) -> None:
        """These run from now on. Of what ran before, what nobody needs any more stays for `let_go`: to free a large
        model takes longer than a reading may wait."""
        old = self.inner, self._models, self.beside
        self.inner, self._models, self.beside = inner, dict(models), beside
        all_ = (self._own, models, beside.models if beside is not None else {})
        needed = {model.digest for some in all_ for model in some.values()}
        gone = [digest for digest in self._known if digest not in needed]
        self._gone.append((old, [self._known.pop(digest) for digest in gone]))
        for digest in gone:
            self.gone(f"{SWAPPED}{digest}.npz")

    def let_go(self) -> None:
        """From another thread: free what nobody needs any more."""
        self._gone.clear()

    def _undo(self, t_ns: int, why: str) -> dict[str, Any]:
        beside = self.beside
        if beside is None or beside.role != "before":
            raise ConfigError("undo: there is no swap that could be undone any more")
        beside.inner.keep_books(self.inner)  # type: ignore[arg-type]
        self._run(beside.inner, beside.models, None)
        self.swaps[-1].undone = why
        self.undone(t_ns, self.swaps[-1])
        return {"after": self.inner.digest, "why": why}

    def _shadow(self, t_ns: int, asked: Asked, ready: Prepared | None) -> dict[str, Any]:
        if asked.given.get("off"):
            if self.beside is None or self.beside.role != "shadow":
                raise ConfigError("shadow: there is none")
            report = self.beside.report()
            self._run(self.inner, self._models, None)
            return {"report": report}
        if not asked.more:
            raise ConfigError("shadow: the model file is missing")
        if self.beside is not None and self.beside.role == "before":
            raise ConfigError("shadow: a swap may still be undone; wait until that is settled")
        taken = self._taken(asked, ready)
        taken.inner.succeed(self.inner)  # type: ignore[arg-type]
        self.inner.keep_books(taken.inner)  # type: ignore[arg-type]  # the books stay with what moves the robot
        beside = Beside("shadow", taken.inner, taken.name, taken.digest, taken.models, t_ns)
        self._run(self.inner, self._models, beside)
        return {"model": taken.digest}

    def _both(self, beside: Beside, event: Event, decision: Decision | None) -> Decision | None:
        """The same event for what runs beside; what is decided."""
        try:
            other = beside.inner.handle(event)
        except Exception as error:  # the new robot fits the one and not the other; or whatever else befalls it
            return self._without(beside, error, decision)
        if type(event) is not Reading or decision is None:
            return decision
        if other is not None:
            _compare(beside, event.t_ns, decision, other)
        kept = self._kept(beside, event.t_ns, decision, other)
        if self.beside is beside and beside.role == "before" and event.t_ns >= beside.until_ns:
            self._run(self.inner, self._models, None)
        return kept

    def _without(self, beside: Beside, error: Exception, decision: Decision | None) -> Decision | None:
        """What is decided where what runs beside can do no more: it ends, and the robot is driven on."""
        self._run(self.inner, self._models, None)
        why = f"has failed ({type(error).__name__})"  # remembered: its text may be another in each process
        if isinstance(error, ConfigError):
            why = f"does not fit the robot: {self.config.here(error)}"
        note = f"{beside.name}, which ran beside as {beside.role}, {why}"
        return decision and decision._replace(notes=(*decision.notes, note))

    def _kept(self, beside: Beside, t_ns: int, decision: Decision, other: Decision | None) -> Decision | None:
        """What is decided of a reading, or of readings that are overdue: where a swap may be undone and this breaks its
        rules it is undone, and nothing of the new model reaches the robot. other: what runs beside has decided."""
        if beside.role == "shadow" or not (why := _broken(beside, decision, other, self.inner.counts.refused)):
            return decision
        self._undo(t_ns, why)
        return other and other._replace(notes=(*other.notes, f"the swap was undone: {why}"))

    def _back(self, event: Event, why: str) -> Decision | None:
        """Undo the swap before this event, which the new model cannot bear; what comes of it."""
        self._undo(event.t_ns, why)
        decision = self.inner.handle(event)
        return decision and decision._replace(notes=(*decision.notes, f"the swap was undone: {why}"))

    def _all(self) -> Iterator[Inner]:
        yield self.inner
        if self.beside is not None:
            yield self.beside.inner


# attribute of `Beside` → type, but for what runs and its rules
_KEPT_BESIDE: Mapping[str, Any] = {
    **dict.fromkeys(("role", "name", "digest"), str),
    **dict.fromkeys(("since_ns", "until_ns", "refused", "readings", "both", "single", "differing"), int),
    **dict.fromkeys(("outputs", "actions"), dict[str, Difference]),
}
SWAPPED = "swapped/"  # + digest + .npz: attachments of a recording that begins after a swap


def without_shadow(tree: Tree) -> str:
    """Take the shadow out of what a decider's `snapshot` gave, where there is one, and give its name: it moved nothing,
    and whoever goes on from this has no file of it."""
    inner = tree["inner"] if "watch" in tree else tree  # of a `Watched`
    beside = inner.get("beside")
    if beside is None or beside["role"] != "shadow":
        return ""
    inner["beside"] = None
    return str(beside["name"])


def brought(recording: Recorded) -> Callable[[str], bytes]:
    """Finds the models that were swapped in, in a recording: at its head, or in the requests before."""

    def find(digest: str) -> bytes:
        found = recording.attachments.get(f"{SWAPPED}{digest}.npz")
        if found is not None:
            return found
        for chunk in recording.chunks():
            if chunk.link == "control":
                more = chunk.data.partition(b"\n")[2]
                with suppress(EdgeLstmError):
                    if more and load_file(io.BytesIO(more), "a request").digest == digest:
                        return more
        return _nowhere(digest)

    return find


def controlled(loaded: Loaded, config: RobotConfig, find: Callable[[str], bytes] = _nowhere) -> Decider:
    """As `Loaded.controller`, and it does what it is asked. find: see `Controlled`. ConfigError as there."""
    inner: Inner = Controller(loaded.models[ONLY], config) if loaded.single else Models(loaded.models, config)
    made = Controlled(inner, loaded.models, find)
    return Watched(made) if config.events else made


def controllers_of(decider: Decider) -> dict[str, Controller]:
    """Of each model that is at work in it, by its name; "" is the only one's."""
    inner = decider.inner if isinstance(decider, Watched) else decider
    inner = inner.inner if isinstance(inner, Controlled) else inner
    return inner.controllers() if isinstance(inner, Controller | Models) else {}


def control_of(decider: Decider) -> Controlled | None:
    """What takes requests in it; None: nothing does."""
    inner = decider.inner if isinstance(decider, Watched) else decider
    return inner if isinstance(inner, Controlled) else None


def _bind(inner: Inner, dictionary: Dictionary | None) -> None:
    """As whoever it will follow. ConfigError where it does not fit the robot."""
    if dictionary is None:
        inner.unbind()
    elif inner.bound is not dictionary:
        inner.handle(Hello(0, dictionary.device, dictionary.version, 0, dictionary))


def _broken(beside: Beside, made: Decision, before: Decision | None, refused: int) -> str:
    """Which rule the new model breaks; "" where it keeps all."""
    if refused > beside.refused:
        return "a step was refused: the memory would have become infinite"
    outputs = made.outputs
    if outputs is None:
        return ""
    if not made.made and not all(map(isfinite, outputs)):
        return "an output is not finite"
    old = None if before is None else before.outputs
    return next((rule.text for rule in beside.rules if rule.broken(outputs, old)), "")


def _compare(beside: Beside, t_ns: int, decision: Decision, other: Decision) -> None:
    beside.readings += 1
    ours, theirs = decision.outputs, other.outputs
    if ours is None or theirs is None:
        beside.single += ours is not theirs
        return
    beside.both += 1
    if ours != theirs:
        beside.differing += 1
        _apart(beside.outputs, t_ns, decision.binding.output_names, ours, theirs)
    if decision.action is not None and other.action is not None and decision.action != other.action:
        form = decision.binding.action
        names = [field.name for field in form.fields] if form is not None else []
        _apart(beside.actions, t_ns, names, decision.action.values, other.action.values)


def _apart(found: dict[str, Difference], t_ns: int, names: Any, ours: Any, theirs: Any) -> None:
    for name, one, other in zip(names, ours, theirs, strict=False):
        apart = abs(one - other)
        if not isfinite(apart):
            apart = 0.0 if one != one and other != other else 1e300
        if apart:
            difference = found.get(name)
            if difference is None:
                difference = found[name] = Difference()
            difference.total += apart
            if apart > difference.largest:
                difference.largest, difference.t_ns = apart, t_ns
