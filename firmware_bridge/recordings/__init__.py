"""What a port saw and what was sent, kept in MCAP, and read again as a port."""
