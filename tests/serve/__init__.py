"""`edge_lstm.serve`: what a run shows the world."""
