"""The native engine: a program laid out for the compiled interpreter, and the loader of that."""
