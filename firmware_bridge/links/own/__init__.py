"""The protocol of PROTOCOL.md: frames, handshake, numbered readings, clocks, both halves."""
