"""A machine that fails on demand: the n-th open, write, fsync, mkdir or rename under one folder (`faults.py`)."""
