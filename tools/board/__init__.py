"""The emulated robot board: a Cortex-M4F in QEMU with the real firmware."""
