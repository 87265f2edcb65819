"""Quantize the shipped example (and networks made by others) in every scheme, score it, and write the measured part of
edge_lstm/quantization/README.md and edge_lstm/examples/scores/quantize.json.

    python -m tools.train.quantize_page [--real FOLDER] [--page-only | --check]

Needs the `train` extra (the drives' module imports PyTorch); about two minutes on two cores. --real: a folder with
models/ and logs/ of others; without it their rows stay as they were.
Its rule: calibrated on drives of the training, scored on the drives that scored the float32 model. Must never: choose
anything by the drives that are scored.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import edge_lstm
from edge_lstm.core.channels import Encoder
from edge_lstm.core.model import Model
from edge_lstm.logs import open_log
from edge_lstm.quantization import Report, quantize, report, rounding
from tools.train import slip_stall as task

ROOT = Path(__file__).resolve().parents[2] / "edge_lstm"
PAGE, SCORES, EXAMPLE = (
    ROOT / "quantization" / "README.md",
    ROOT / "examples/scores/quantize.json",
    ROOT / "examples/slip_stall.npz",
)
SCHEMES = ("int8", "int8-dynamic", "int16", "int8-weights")
CALIBRATE, JUDGE = range(1000, 1004), range(2000, 2012)  # seeds of drives
BEGIN, END = "<!-- measured: tools/train/quantize_page.py -->", "<!-- end of what is measured -->"
Logs = list[np.ndarray[Any, np.dtype[np.float32]]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what quantization costs.")
    parser.add_argument("--real", type=Path, help="a folder with models/ and logs/ of others")
    parser.add_argument("--page-only", action="store_true", help="only write the page from the scores again")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if F1 changes by over 0.5 %%")
    options = parser.parse_args()
    if options.check:
        sys.exit(check())
    found = json.loads(SCORES.read_text(encoding="utf-8")) if SCORES.exists() else {"others": []}
    if not options.page_only:
        found |= example()
        if options.real:
            found["others"] = [row for case in others(options.real) for row in measured(*case)]
        SCORES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n{END}{after}", encoding="utf-8")
    print(tables(found))


def check() -> int:
    """Whether slip and stall are told as well as before, measured now."""
    score = example()["f1"]
    worst = max(abs(v - score["float32"][k]) for scheme in SCHEMES for k, v in score[scheme].items())
    print(f"F1 of slip and stall changes by {100 * worst:.2f} % at most, 0.5 % is allowed")
    return int(worst > 0.005)


def example() -> dict[str, Any]:
    """The shipped model: errors, and F1 on the drives that nothing has seen."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        logs, held, unseen = (task.collect(pool, seeds) for seeds in (CALIBRATE, JUDGE, task.SPLITS["score"]))
    model = edge_lstm.load(EXAMPLE)
    y = unseen.y.numpy()
    score = {"float32": scores(model, unseen.x.numpy(), y)}
    rows = []
    for scheme, quantized, told, plain in every(model, list(logs.x.numpy()), list(held.x.numpy())):
        score[scheme] = scores(quantized, unseen.x.numpy(), y)
        rows.append(row("slip_stall", scheme, quantized, told, plain))
    return {
        "model_digest": model.digest,
        "calibrate": [CALIBRATE.start, len(CALIBRATE)],
        "judge": [JUDGE.start, len(JUDGE)],
        "score": [task.SPLITS["score"].start, len(task.SPLITS["score"])],
        "rows": rows,
        "f1": score,
    }


def scores(model: Model, x: Any, y: Any) -> dict[str, float]:
    """F1 at 0.5 of each output over all drives, each from the reset state."""
    p = np.stack([model.stream().run(log) for log in x]) > 0.5
    truth = y == 1
    return {
        name: float(2 * (p[..., k] & truth[..., k]).sum() / (p[..., k].sum() + truth[..., k].sum()))
        for k, name in enumerate(task.OUTPUTS)
    }


def every(model: Model, logs: Logs, held: Logs) -> Iterator[tuple[str, Model, Report, float]]:
    """Scheme, model, report, and the error that rounding each weight to the nearest would leave."""
    for scheme in SCHEMES:
        quantized = quantize(model, logs, scheme)  # type: ignore[arg-type]
        with patch.object(rounding, "compensated", nearest):
            plain = quantize(model, logs, scheme)  # type: ignore[arg-type]
        told = report(model, quantized, logs, held, time.perf_counter)
        yield scheme, quantized, told, report(model, plain, logs, held).error


def nearest(target: Any, step: Any, values: Any) -> Any:
    """Instead of `rounding.compensated`."""
    return np.clip(np.rint(target / step), -127, 127)


def row(name: str, scheme: str, quantized: Model, told: Report, plain: float) -> dict[str, Any]:
    """What the page tells of one model in one scheme: the worst output."""
    worst = max(told.outputs, key=lambda o: o.held_out.rms_of_range)
    return {
        "model": name,
        "scheme": scheme,
        "scaling": dict(quantized.provenance)["quantized"]["scaling"],
        "output": worst.name,
        "rms_of_range": worst.held_out.rms_of_range,
        "rms_of_range_nearest": plain,
        "largest_of_range": worst.held_out.largest_of_range,
        "rms_of_change": worst.held_out.rms / worst.change,
        "drift": worst.drift[-1] / worst.drift[0] if worst.drift[0] else 1.0,
        "weight_bytes": told.weight_bytes,
        "step": told.step.ratio if told.step else None,
        "log": told.log.ratio if told.log else None,
        "keep": told.keep,
    }


def measured(name: str, model: Model, logs: Logs, held: Logs) -> Iterator[dict[str, Any]]:
    """The rows of a model of others; with a softmax, also how often the most probable class stays the same."""
    for scheme, quantized, told, plain in every(model, logs, held):
        found = row(name, scheme, quantized, told, plain)
        if model.program.output_size > 1:
            expected, got = (np.concatenate([m.stream().run(log) for log in held]) for m in (model, quantized))
            there = ~np.isnan(expected).any(axis=1)
            found["same_class"] = float((expected[there].argmax(axis=1) == got[there].argmax(axis=1)).mean())
        yield found


def others(folder: Path) -> Iterator[tuple[str, Model, Logs, Logs]]:
    """Networks made by others, with the readings there are: name, model, logs to calibrate by and to judge by."""
    models, rng = folder / "models", np.random.default_rng(0)
    with np.load(models / "anydrive_reference.npz") as file:
        x = file["x"].astype(np.float32)
    joints = [np.ascontiguousarray(x[:, joint]) for joint in range(x.shape[1])]
    yield "anydrive", edge_lstm.import_onnx(models / "anydrive_seq_legacy_op17.onnx"), joints[:6], joints[6:]
    with np.load(models / "pose_gru_ref.npz") as file:
        mean, deviation = file["in_input"].mean(), file["in_input"].std()
    normal = rng.normal(mean, deviation, (2, 5000, 34)).astype(np.float32)
    yield "pose_gru", edge_lstm.import_onnx(models / "pose_gru.onnx"), [normal[0]], [normal[1]]
    log = open_log(folder / "logs/xio_imu_99hz.csv")
    column = next(c for c in log.columns if c.name.lower().startswith("accel"))
    values = np.concatenate([block.values for block in log.blocks([column])])
    shaken = ((values - values.mean()) / values.std()).astype(np.float32)
    model = edge_lstm.import_onnx(models / "seismic_lstm_tf2onnx.onnx")
    assert Encoder(model.inputs).width == 1
    yield "seismic_lstm", model, [shaken[:8000]], [shaken[8000:]]


def tables(found: dict[str, Any]) -> str:
    """The measured part of the page."""
    lines = [
        f"The shipped example, calibrated on {found['calibrate'][1]} drives of a minute, errors over"
        f" {found['judge'][1]} others, F1 at 0.5 over the {found['score'][1]} drives that nothing was chosen by:",
        "",
        "| scheme | " + " | ".join(f"F1 `{name}`" for name in task.OUTPUTS) + " |",
        "|---|" + "---|" * len(task.OUTPUTS),
    ]
    plain = found["f1"]["float32"]
    for scheme, score in found["f1"].items():
        change = [f" ({100 * (v - plain[k]):+.2f} %)" if scheme != "float32" else "" for k, v in score.items()]
        lines.append(
            f"| {scheme} | " + " | ".join(f"{v:.4f}{c}" for v, c in zip(score.values(), change, strict=True)) + " |"
        )
    lines += [
        "",
        "The worst output of each model:",
        "",
        "| model | scheme | output | error, rms of range | weights rounded to the nearest |"
        " of its change per reading | largest | last to first pass of"
        " 10,000 steps | same class | weights, bytes | a step's speed | a log's |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in (*found["rows"], *found["others"]):
        before, after = r["weight_bytes"]
        same = f"{r['same_class']:.1%}" if "same_class" in r else ""
        lines.append(
            f"| {r['model']} | {r['scheme']} | `{r['output']}` | {r['rms_of_range']:.2%} |"
            f" {r['rms_of_range_nearest']:.2%} | {r['rms_of_change']:.2f} |"
            f" {r['largest_of_range']:.1%} | {r['drift']:.2f} | {same} | {before:,} → {after:,} |"
            f" × {r['step']:.2f} | × {r['log']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
