"""The simulated robot: physics, sensors, a plan of its own, the real protocol, a real pseudo-terminal and faults.

Its rule: everything but `pty` is a deterministic function of a seed and of the bytes received; `pty` alone sees a
clock. Must never: know the truth through the wire (slip and stall leave the robot only by `Robot.truth`), or import
edge_lstm.
"""
