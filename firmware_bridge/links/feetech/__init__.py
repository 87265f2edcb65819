"""Dialect "feetech": Feetech's serial bus servos of the STS, SMS and SCS series."""
