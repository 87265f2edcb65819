"""Inputs and outputs that robot.toml declares: what a model takes is made of raw numbers, and what a robot takes of
outputs, by two small programs of the same operations as the model's."""
