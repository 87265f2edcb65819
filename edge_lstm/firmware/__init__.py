"""A model as C: the header that `firmware_bridge/c/edge_lstm.c` runs."""
