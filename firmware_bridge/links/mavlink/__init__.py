"""MAVLink 1 and 2: frames, messages and the dialect "mavlink" (README.md)."""
