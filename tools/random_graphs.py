"""Many random recurrent graphs against ONNX Runtime: `python tools/random_graphs.py [how many] [first seed]`.

The tests run the first 60 of them. Exit code 1 where one is refused, or further off than 1e-5 of the output's range
while ONNX Runtime is much nearer to the same program computed in float64: then the fault is ours.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge_lstm.analysis.verify import verify  # noqa: E402
from edge_lstm.errors import EdgeLstmError  # noqa: E402
from edge_lstm.importers import import_onnx  # noqa: E402
from tests.support.nearer_to_float64 import FACTOR, from_exact  # noqa: E402
from tests.support.random_graphs import RandomGraph  # noqa: E402


def main() -> int:
    count, first = (int(a) for a in [*sys.argv[1:], *["500", "0"][len(sys.argv) - 1 :]])
    found: Counter[str] = Counter()
    worst = (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            graph = RandomGraph(Path(folder), seed)
            try:
                model = import_onnx(graph.path, engine="machine")
                report = verify(model, graph.path, short=True)
            except EdgeLstmError as error:
                print(f"seed {seed}: refused: {error}\n  {graph.story}")
                found["refused"] += 1
                continue
            worst = max(worst, (report.error, seed))
            if report.ok:
                found["equal"] += 1
            else:
                ours, theirs = from_exact(model, graph.path)
                found["wrong" if ours > FACTOR * theirs else "float64 is as far from ONNX Runtime"] += 1
                print(f"seed {seed}: off by {report.error:.1e}; from float64: {ours:.1e}, ONNX Runtime {theirs:.1e}")
                print(f"  {graph.story}")
            graph.path.unlink()
    print(f"{dict(found)}; the largest error is {worst[0]:.1e} of the output's range (seed {worst[1]})")
    return 1 if found["wrong"] or found["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
