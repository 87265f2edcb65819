"""The one arithmetic: kernels that read like arithmetic, compiled to vector code. Only here is numba imported, and
only when the compiled step is not in the cache (`../loader.py`)."""
