"""A CAN bus behind a serial adapter: dialect "slcan". README.md has its keys."""
