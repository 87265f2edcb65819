"""Logs of other programs, made by hand: what tests of their readers read."""
