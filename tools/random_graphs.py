"""Many random recurrent graphs against ONNX Runtime: `python tools/random_graphs.py [how many] [first seed]`.

The tests run the first 60 of them. Exit code 1 where one is refused, or further off than 1e-5 of the output's range.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge_lstm.errors import EdgeLstmError  # noqa: E402
from edge_lstm.importers import import_onnx  # noqa: E402
from edge_lstm.verify import verify  # noqa: E402
from tests.importers.random_graphs import RandomGraph  # noqa: E402


def main() -> int:
    count, first = (int(a) for a in [*sys.argv[1:], *["500", "0"][len(sys.argv) - 1 :]])
    found: Counter[str] = Counter()
    worst = (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            graph = RandomGraph(Path(folder), seed)
            try:
                report = verify(import_onnx(graph.path), graph.path, short=True)
            except EdgeLstmError as error:
                print(f"seed {seed}: refused: {error}\n  {graph.story}")
                found["refused"] += 1
                continue
            worst = max(worst, (report.error, seed))
            found["equal" if report.ok else "wrong"] += 1
            if not report.ok:
                print(f"seed {seed}: off by {report.error:.1e}\n  {graph.story}")
            graph.path.unlink()
    print(f"{dict(found)}; the largest error is {worst[0]:.1e} of the output's range (seed {worst[1]})")
    return 0 if set(found) == {"equal"} else 1


if __name__ == "__main__":
    sys.exit(main())
