"""Dialect "msp": flight controllers by the MultiWii Serial Protocol (Betaflight, iNav, MultiWii, Cleanflight)."""
