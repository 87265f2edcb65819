"""What experiments say a graph means, against proofs: `python tools/random_meanings.py [how many] [first seed]`.

For random graphs that both can hold. Exit code 1 where one is taken in another meaning, or more than one in ten is
refused for want of an experiment that tells.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge_lstm.errors import ImportModelError  # noqa: E402
from tests.support.meanings import compared  # noqa: E402
from tests.support.random_graphs import RandomGraph  # noqa: E402


def main() -> int:
    count, first = (int(a) for a in [*sys.argv[1:], *["300", "0"][len(sys.argv) - 1 :]])
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            graph = RandomGraph(Path(folder), seed)
            try:
                what = compared(graph.path, seed)
            except ImportModelError:
                what = "the machine refuses it"
            found[what.partition(":")[0]] += 1
            if what != "equal":
                print(f"seed {seed}: {what}\n  {graph.story}")
            graph.path.unlink()
    print(dict(found))
    return 1 if found["wrong"] or 10 * found["refused"] > count else 0


if __name__ == "__main__":
    sys.exit(main())
