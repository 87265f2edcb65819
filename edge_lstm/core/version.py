"""Which edge-lstm this is. The number itself is in pyproject.toml alone, and is read from what was installed.

Never: imported before somebody asks; importlib.metadata takes longer than the rest of `import edge_lstm`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("edge-lstm")
except PackageNotFoundError:  # run from a checkout or a copied folder
    __version__ = "0+unknown"
