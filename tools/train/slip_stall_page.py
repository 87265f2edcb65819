"""The page that ships with the example: its table of scores and what they mean, made from scores.json's content.

Its rule: every number on the page comes from the measured scores. Must never: measure or judge anything itself.
"""

from __future__ import annotations

import textwrap
from typing import Any

INTRODUCTION = """
`slip_stall.npz` reads the simulated robot's {rate_hz:.0f} Hz readings (wheel speeds, motor currents, duties, battery
voltage, gyro, accelerometer) and reports for each wheel how likely it slips and how likely it stalls. `robot.toml`
makes a torque limit of that: a wheel that slips or stalls gets less.
"""

MEANING = """
`slip`: the tyre's contact point moves over the floor at more than 0.08 m/s and at more than a quarter of the faster of
tread and floor, for at least 20 ms. `stall`: the wheel turns slower than 0.5 rad/s though its motor gives more than
0.06 N m, for at least 100 ms. A locked wheel that is dragged along does both.

These definitions are not the first: with a stall of 50 ms and current noise of 0.10 A a memoryless network told
stalls as well. Stalls became 100 ms, the noise 0.15 A, and inching legs came into the drives; the scored seeds were
drawn after that. The gap in slip was there before.
"""

TRIED = """
On {drives} drives of {seconds} s with seeds never used before. "Memoryless" is the best of {tried} perceptrons of one
reading ({plain} parameters; the LSTM has {lstm}), trained on the same drives with the same number of passes.
"""

WHY = """
F1 is at a threshold of 0.5. One reading cannot tell a wheel that turns slowly from one that stands (one encoder tick
per reading is 5 rad/s), nor a slipping wheel from a fast one; a memory of some tenths of a second can, mostly.
"""

LOOP = """
With the model in the loop through `robot.toml`, over {drives} other drives the wheels slid {with_slid:.0f} m instead of
{without_slid:.0f} m with the limit always at its largest, on {with_driven:.0f} m instead of {without_driven:.0f} m
driven.
"""

MADE = """
Made by `python -m tools.train.examples` (seed {seed}, PyTorch {torch}); over a whole drive the model file agrees with
PyTorch to {agreement:.0e}.
"""


def paragraph(text: str, **values: Any) -> str:
    """One paragraph, filled in and wrapped."""
    return textwrap.fill(" ".join(text.format(**values).split()), 120, break_on_hyphens=False)


def page(scores: dict[str, Any]) -> str:
    """README.md of the examples' folder."""
    lstm, plain, loop = scores["lstm"], scores["memoryless"], scores["closed_loop"]
    rows = []
    for name, a in lstm["scores"].items():
        b = plain["scores"][name]
        seen = f"{a['seen']} of {a['events']}, {a['median_delay_ms']:.0f} ms"
        rows.append(f"| `{name}` | {a['f1']:.3f} | {b['f1']:.3f} | {a['auc']:.4f} | {b['auc']:.4f} | {seen} |")
    parts = [
        "# The example: slip and stall of a robot's wheels",
        paragraph(INTRODUCTION, rate_hz=scores["rate_hz"]),
        "| file | what it is |\n|---|---|\n"
        f"| `slip_stall.onnx` | from PyTorch: normalization, LSTM of {scores['units']} units, dense, sigmoid |\n"
        "| `slip_stall.npz` | the same as `edge-lstm import` makes it, with channel names, units and rate |\n"
        "| `robot.toml` | a configuration for `edge-lstm run` |\n"
        "| `scores.json` | seeds, sizes and scores, from which this page is made |",
        "## What the outputs mean",
        paragraph(MEANING),
        "## Scores",
        paragraph(
            TRIED,
            drives=scores["drives"]["score"][1],
            seconds=scores["seconds_per_drive"],
            tried=len(plain["tried"]),
            plain=plain["parameters"],
            lstm=lstm["parameters"],
        ),
        "| output | F1 LSTM | F1 memoryless | AUC LSTM | AUC memoryless | LSTM: events ≥ 0.1 s seen, median delay |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows),
        paragraph(WHY),
        paragraph(
            LOOP,
            drives=loop["drives"],
            with_slid=loop["with"]["slid_m"],
            without_slid=loop["without"]["slid_m"],
            with_driven=loop["with"]["driven_m"],
            without_driven=loop["without"]["driven_m"],
        ),
        paragraph(MADE, seed=scores["seed"], torch=scores["torch"], agreement=scores["agreement"]),
    ]
    return "\n\n".join(parts) + "\n"
