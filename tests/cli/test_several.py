"""Several models and events from the command line: a live run, what people see of it, and the file that init makes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from edge_lstm.cli import main
from edge_lstm.cli.live import LiveView
from edge_lstm.core.storage import save
from edge_lstm.robot.config import parse_config
from edge_lstm.robot.loop import run
from firmware_bridge.links.own.bridge import Bridge
from firmware_bridge.recordings.reader import open_recording
from firmware_bridge.simulator.port import SimulatedPort
from firmware_bridge.simulator.robot import Robot
from tests.cli.test_live import EDGE_LSTM, for_seconds, simulated
from tests.robot.test_models import EVENTS, MODELS, THREE, deciding
from tests.support.commands import heard

AT_ONCE = '[link]\nask_first = true\n[daemon]\nstatus_every = "1 s"\n'


def test_a_live_run_of_three_models_is_recorded_shown_and_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Against a robot behind a pseudo-terminal: events are lines while it runs, the summary has each model and each
    event, the recording each model's file and topic, and it verifies."""
    for name, model in MODELS.items():
        save(model, tmp_path / f"{name}.npz")
    (tmp_path / "robot.toml").write_text(THREE.replace("rate_hz = 50", "rate_hz = 10") + EVENTS + AT_ONCE)
    recording = tmp_path / "run.mcap"
    with simulated(tmp_path / "port"):
        run = [*EDGE_LSTM, "run", str(tmp_path / "robot.toml"), "--port", str(tmp_path / "port")]
        run += ["--record", str(recording)]
        with_a_new_file = ["bash", "-c", f'rm -f {recording}; exec "$@"', "bash", *run]
        done = for_seconds(2.5, with_a_new_file, lambda done: "event slips (the left wheel slips): " in done.stdout)
    assert done.returncode == 0, done.stderr
    assert "slips begins: the left wheel slips (policy.left = " in done.stdout
    assert "event slips (the left wheel slips): " in done.stdout
    assert "watchdog: small, every 20 readings" in done.stdout
    assert "estimator.slip_left" in done.stdout
    assert {f"/outputs/{name}" for name in MODELS} | {"/events"} < set(open_recording(recording).topics())
    assert main(["replay", str(recording), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"]["policy"]["steps"] > 0


def test_the_live_view_says_how_old_each_model_s_outputs_are():
    """Now, so many ms ago, or none; events that began are lines, each once; rate and recording are in the table."""
    controller, bridge = deciding(THREE + EVENTS), Bridge()
    port = SimulatedPort(Robot(4, 1000.0), 1.3)
    view = LiveView(controller, bridge, port, "port", io.StringIO(), recorded=lambda: "drive.mcap 1.2 MB")
    assert view._ages() == ""
    run(port, bridge, controller)
    ages = view._ages()
    assert ages.startswith("outputs: estimator now, policy ")
    assert ages.count(" ms ago") >= 1
    lines = [text for _, text in view.happened()]
    assert any("slips begins" in line for line in lines)
    assert list(view.happened()) == []
    assert "policy.left" in view.legend()
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=160).print(view.table(160))
    assert ages in out.getvalue()
    assert re.search(r" [1-9]\d* readings/s  drive.mcap 1.2 MB\n", out.getvalue())


def test_init_takes_no_two_models_of_one_name(tmp_path: Path):
    """The names are those of the files."""
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "m.npz", tmp_path / "b" / "m.npz"):
        save(MODELS["watchdog"], path)
    with simulated(tmp_path / "port"):
        files = [str(tmp_path / "m.npz"), str(tmp_path / "b" / "m.npz")]
        done = heard(1.5, "init", tmp_path / "port", *files, code=2)
    assert "two models would be called 'm'" in done.stderr


def test_init_writes_several_models_that_feed_each_other(tmp_path: Path):
    """Fields and outputs of equal names feed the channels, and what nothing feeds is a comment and a note; with those
    filled in it is a valid file, in which the policy is fed by the estimator."""
    for name, model in MODELS.items():
        save(model, tmp_path / f"{name}.npz")
    files = [str(tmp_path / f"{name}.npz") for name in MODELS]
    with simulated(tmp_path / "port"):
        done = heard(1.5, "init", tmp_path / "port", *files)
    text, err = done.stdout, done.stderr
    assert 'speed = "estimator.speed"' in text
    assert "policy: nothing feeds 'slip'" in err
    assert '# slip = ""' in text
    made = parse_config(text.replace('# slip = ""', 'slip = "estimator.slip_left"'), "robot.toml", tmp_path)
    assert [one.name for one in made.models] == list(MODELS)
    assert made.models[1].fed == {"slip": ("estimator", "slip_left"), "speed": ("estimator", "speed")}
