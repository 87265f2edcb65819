"""Train the founding text's examples and write their model files, scores and page into edge_lstm/examples.

    python -m tools.train.founding [NAME …] [--out FOLDER] [--onnx FOLDER [--reimport]]

Needs the `train` extra (PyTorch); a few minutes on two cores for all of them.
Its rule: seeds are fixed; a model reaches its file through PyTorch's ONNX exporter and `import_onnx`, as users' models
do.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import edge_lstm
from edge_lstm.core.channels import Channel
from edge_lstm.core.feedback import Feedback, Policy
from edge_lstm.core.model import Model
from edge_lstm.examples.book import WORD
from edge_lstm.examples.bursts import CHANNELS, RATE_HZ
from edge_lstm.examples.calendar import DINNER, VOTERS
from tools.train import founding_book, founding_dinner, founding_dropout, founding_translate

EXAMPLES = Path(__file__).resolve().parents[2] / "edge_lstm" / "examples"


def export(net: nn.Module, width: int, path: Path) -> None:
    """As a whole sequence with open time axis: (T, 1, width). Without memory: one reading, (1, width)."""
    memory = any(isinstance(part, nn.RNNBase) for part in net.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter of this shape of graph is the older one, and says so
        torch.onnx.export(
            net.eval(),
            (torch.zeros((7, 1, width) if memory else (1, width)),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "time"}, "y": {0: "time"}} if memory else {},
        )


def dropout() -> nn.Module:
    with ProcessPoolExecutor(2) as pool:
        return founding_dropout.train(pool)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, and what people may know of its channels."""

    train: Callable[[], nn.Module]
    inputs: Sequence[Channel]
    outputs: Sequence[Channel]
    rate_hz: float | None = None

    def model(self, name: str, path: Path) -> Model:
        """What the importer makes of the exported file."""
        model = edge_lstm.import_onnx(path, "continuous", name=name)
        width = sum(c.width for c in self.inputs)
        if model.program.input_size != width:
            raise SystemExit(f"{path.name}: imported with {model.program.input_size} inputs instead of {width}")
        same = [c.name for c in self.outputs if c in self.inputs]  # such an output predicts the next reading
        return replace(
            model,
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            rate_hz=self.rate_hz,
            feedback=tuple(Feedback(n, n) for n in same),
            policy=Policy("predict" if same else "skip"),
        )


ENGLISH = Channel("english", vocabulary=founding_translate.ENGLISH)
CHINESE = Channel("chinese", vocabulary=founding_translate.CHINESE)
UNITS = [Channel(f"thought_{k}") for k in range(founding_translate.UNITS)]
RECIPES = {
    "dinner_voting": Recipe(founding_dinner.voting, VOTERS, [DINNER]),
    "dinner_rnn": Recipe(founding_dinner.cycle, [DINNER], [DINNER]),
    "book_rnn": Recipe(founding_book.rnn, [WORD], [WORD]),
    "book_lstm": Recipe(founding_book.lstm, [WORD], [WORD]),
    "translate_encoder": Recipe(lambda: founding_translate.both()[0], [ENGLISH], UNITS),
    "translate_decoder": Recipe(lambda: founding_translate.both()[1], [CHINESE], [CHINESE]),
    "robot_dropout": Recipe(dropout, CHANNELS, CHANNELS, RATE_HZ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the founding text's examples.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(RECIPES)}")
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder for the model files")
    parser.add_argument("--onnx", type=Path, help="folder in which the exported files stay")
    parser.add_argument("--reimport", action="store_true", help="train nothing: take the exported files as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or RECIPES:
            recipe, path = RECIPES[name], (options.onnx or Path(folder)) / f"{name}.onnx"
            if not options.reimport:
                export(recipe.train(), sum(c.width for c in recipe.inputs), path)
            model = recipe.model(name, path)
            edge_lstm.save(model, options.out / f"{name}.npz")
            print(f"{name}.npz: {(options.out / f'{name}.npz').stat().st_size} bytes, digest {model.digest[:12]}")


if __name__ == "__main__":
    main()
