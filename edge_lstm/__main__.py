"""`python -m edge_lstm` is `edge-lstm`."""

import sys

from edge_lstm.cli import main

sys.exit(main())
