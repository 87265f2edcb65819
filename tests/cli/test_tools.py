"""The checks in tools/ are programs of their own; here they run small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"


def test_the_fault_run_finds_everything_in_order():
    """60,000 damaged bytes: every check of the fault run holds, and faults really were made."""
    command = [sys.executable, str(TOOLS / "fault_run"), "--bytes", "60000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    figures = json.loads(done.stdout)
    assert done.returncode == 0, figures["checks"]
    assert all(figures["checks"].values())
    assert figures["faults made"]["flip"] > 5
