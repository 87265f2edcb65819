"""Arm without Arm hardware: the compiled step for Cortex-A72 and A76, read and run under emulation."""
