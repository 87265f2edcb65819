"""Train the shipped example and write edge_lstm/examples: slip_stall.onnx, slip_stall.npz, scores.json, README.md.

    python -m tools.train.examples [--out FOLDER] [--quick | --reimport]

Needs the `train` extra (PyTorch); five to ten minutes on two cores, the LSTM less than one of them. `slip_stall.py`
beside this file says what is trained on what.
Its rule: every number in the files is measured by this run. Must never: choose anything by the drives that are scored.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import edge_lstm
from edge_lstm.core.model import Model
from edge_lstm.robot.config import load_config
from firmware_bridge.simulator.drive import Drive
from firmware_bridge.simulator.robot import READING, READING_FIELDS, robot_dictionary
from tools.train import slip_stall as task
from tools.train.slip_stall_page import page

EXAMPLES = Path(__file__).resolve().parents[2] / "edge_lstm" / "examples"
CLOSED_LOOP = range(4000, 4016)  # seeds of drives with the model in the loop


def export(net: task.Recurrent, path: Path) -> None:
    """The network as PyTorch exports it: whole sequence, dynamic time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter of this shape of graph is the older one, and says so
        torch.onnx.export(
            task.Exported(net).eval(),
            (torch.zeros(task.CHUNK, 1, len(READING_FIELDS)),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["readings"],
            output_names=["probabilities"],
            dynamic_axes={"readings": {0: "time"}, "probabilities": {0: "time"}},
        )


def to_model(onnx_path: Path) -> Model:
    """The exported file as a model with the robot's channel names and units."""
    model = edge_lstm.import_onnx(onnx_path, name="slip_stall")
    return replace(
        model,
        inputs=tuple(edge_lstm.Channel(name, unit) for name, unit in READING_FIELDS),
        outputs=tuple(edge_lstm.Channel(name) for name in task.OUTPUTS),
        rate_hz=task.RATE_HZ,
    )


def closed_loop(model: Model | None, config_path: Path, seed: int) -> dict[str, float]:
    """What one drive came to: treads slid, way driven, seconds of slip and stall. Without a model: largest limits."""
    action = load_config(config_path).action
    assert action is not None
    rules = [action.fields[name] for name in ("torque_limit_left", "torque_limit_right")]
    form = robot_dictionary(task.RATE_HZ)[READING]
    robot = Drive(seed, task.RATE_HZ)
    ranges = [(rule.minimum, rule.maximum) for rule in rules if rule.minimum is not None and rule.maximum is not None]
    robot.torque_limits = (ranges[0][1], ranges[1][1])
    stream = None if model is None else model.stream()
    out = dict.fromkeys(("slid_m", "driven_m", "slip_s", "stall_s"), 0.0)
    for _ in range(round(task.SECONDS * task.RATE_HZ)):
        values = form.unpack(form.pack(robot.advance()))
        if stream is not None:
            y = stream.step(np.array(values, np.float32))
            assert y is not None
            named = dict(zip(task.OUTPUTS, y, strict=True))
            wanted = [rule.offset + sum(g * float(named[name]) for name, g in rule.gain.items()) for rule in rules]
            limits = [min(most, max(least, w)) for (least, most), w in zip(ranges, wanted, strict=True)]
            robot.torque_limits = (limits[0], limits[1])
        vehicle, truth = robot.vehicle, robot.truth()
        out["slid_m"] += (abs(vehicle.left.slip_speed) + abs(vehicle.right.slip_speed)) / task.RATE_HZ
        out["driven_m"] += abs(vehicle.velocity) / task.RATE_HZ
        out["slip_s"] += sum(truth[:2]) / task.RATE_HZ
        out["stall_s"] += sum(truth[2:]) / task.RATE_HZ
    return out


def agreement(model: Model, net: task.Recurrent, drives: task.Drives) -> float:
    """The largest difference between PyTorch and the imported model over one whole drive."""
    expected = task.predict(net, task.Drives(drives.x[:1], drives.y[:1]))[0][0]
    return float(np.abs(model.stream().run(drives.x[0].numpy()) - expected).max())


def train(
    pool: Executor, data: dict[str, task.Drives], epochs: int, say: Callable[[str], None]
) -> tuple[task.Recurrent, dict[str, Any]]:
    """The LSTM and the memoryless networks beside it; the scores of both."""
    share = data["train"].y.mean((0, 1)).tolist()
    say(f"drives are made; share of readings: {dict(zip(task.OUTPUTS, share, strict=True))}")
    torch.manual_seed(task.SEED)
    net = task.Recurrent(data["train"].x, task.UNITS)
    task.train(net, data["train"], epochs, task.RATE, memory=True)
    cost = task.predict(net, data["choose"])[1]
    say(f"LSTM with {task.parameters(net)} parameters: cost {cost:.4f}")
    plain, tried = task.best_memoryless(pool, data["train"], data["choose"], task.parameters(net), epochs)
    best = min(tried, key=lambda t: t["cost"])
    say(f"best of {len(tried)} memoryless networks: {best}")
    y = data["score"].y.numpy()
    found = {
        name: {"parameters": task.parameters(n), "cost": c, "scores": task.scores(task.predict(n, data["score"])[0], y)}
        for name, n, c in (("lstm", net, cost), ("memoryless", plain, best["cost"]))
    }
    found["memoryless"]["tried"] = tried
    found["share"] = {name: round(v, 4) for name, v in zip(task.OUTPUTS, y.mean((0, 1)).tolist(), strict=True)}
    return net, found


def drive_with_and_without(model: Model) -> dict[str, Any]:
    """Sums over the drives with the model in the loop and without."""
    out: dict[str, Any] = {"first_seed": CLOSED_LOOP.start, "drives": len(CLOSED_LOOP)}
    for name, used in (("with", model), ("without", None)):
        runs = [closed_loop(used, EXAMPLES / "robot.toml", seed) for seed in CLOSED_LOOP]
        out[name] = {key: round(sum(run[key] for run in runs), 2) for key in runs[0]}
    return out


def reimport(folder: Path) -> None:
    """The model file anew from the ONNX file as it is, after a change of the importer or of the file's format."""
    model = to_model(folder / "slip_stall.onnx")
    edge_lstm.save(model, folder / "slip_stall.npz")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    scores["model_digest"] = model.digest
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped example model.")
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder to write into")
    parser.add_argument("--quick", action="store_true", help="two passes only, to see that everything works")
    parser.add_argument("--reimport", action="store_true", help="only make the model file from the ONNX file again")
    options = parser.parse_args()
    if options.reimport:
        reimport(options.out)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    epochs = 2 if options.quick else task.EPOCHS
    torch.set_num_threads(1)  # faster than two on a network this small
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        data = {name: task.collect(pool, seeds) for name, seeds in task.SPLITS.items()}
        net, found = train(pool, data, epochs, say)
    onnx_path, npz_path = options.out / "slip_stall.onnx", options.out / "slip_stall.npz"
    export(net, onnx_path)
    model = to_model(onnx_path)
    edge_lstm.save(model, npz_path)
    say(f"{onnx_path.name} {onnx_path.stat().st_size} bytes, {npz_path.name} {npz_path.stat().st_size} bytes")
    scores = {
        "seed": task.SEED,
        "torch": torch.__version__,
        "rate_hz": task.RATE_HZ,
        "units": task.UNITS,
        "epochs": epochs,
        "seconds_per_drive": task.SECONDS,
        "drives": {name: [seeds.start, len(seeds)] for name, seeds in task.SPLITS.items()},
        **found,
        "closed_loop": drive_with_and_without(model),
        "agreement": agreement(model, net, data["score"]),
        "model_digest": model.digest,
        "onnx_sha256": hashlib.sha256(onnx_path.read_bytes()).hexdigest(),
    }
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (options.out / "README.md").write_text(page(scores), encoding="utf-8")
    say("done")
    print(page(scores))


if __name__ == "__main__":
    main()
