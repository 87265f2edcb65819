"""CAN frames over a serial adapter."""
