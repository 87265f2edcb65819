"""A model at work on a robot: configuration, reading → action, the one loop, and the same from a recording."""
