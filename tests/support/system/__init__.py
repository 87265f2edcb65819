"""A machine that fails on demand (`faults.py`), and one with guard pages round each array (`guard_pages.py`)."""
