"""Many random stacks with strides and look-ahead over time against ONNX Runtime: `python tools/random_stacks.py [how
many] [first seed]`.

The tests run the first 20 of them. Exit code 1 where one is refused, or any place of its output is further off than
1e-5 of the output's range, comes at another reading, or is missing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge_lstm.errors import EdgeLstmError  # noqa: E402
from edge_lstm.importers import import_onnx  # noqa: E402
from tests.support.stacks import agrees, random_lengths, random_stack  # noqa: E402


def main() -> int:
    count, first = (int(a) for a in [*sys.argv[1:], *["500", "0"][len(sys.argv) - 1 :]])
    places = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            stack, pace = random_stack(seed)
            path = stack.save(Path(folder) / "m.onnx")
            try:
                model = import_onnx(path, engine="machine")
                xs, lengths = random_lengths(seed, model)
                assert model.every == pace
                places += agrees(model, path, xs, lengths)
            except (EdgeLstmError, AssertionError) as error:
                failed += 1
                print(f"seed {seed}: {type(error).__name__} {error}")
    print(f"{count} stacks, {places} places of outputs compared, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
