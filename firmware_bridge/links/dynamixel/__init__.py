"""Dialect "dynamixel": ROBOTIS' servos by protocol 2."""
