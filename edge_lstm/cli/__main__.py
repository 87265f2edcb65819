"""`python -m edge_lstm.cli` is `edge-lstm`."""

from edge_lstm.cli import entry

entry()
