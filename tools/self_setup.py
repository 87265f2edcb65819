"""For the tools that are Python: on a machine where the project is not installed, set it up as tools/test does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent


def with_environment() -> None:
    """Return where the project can be imported; elsewhere run this very command again in the project's environment."""
    try:
        import numpy  # noqa: F401

        import edge_lstm  # noqa: F401
    except ImportError:
        if os.environ.get("EDGE_LSTM_TOOL"):
            raise
        script = 'source "$0/environment" plot && exec "$python" "$@"'
        command = ["bash", "-c", script, str(TOOLS), *sys.argv]
        sys.exit(subprocess.run(command, env=os.environ | {"EDGE_LSTM_TOOL": "1"}, check=False).returncode)
