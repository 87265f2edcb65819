"""The robots' halves of the dialects: what firmware that is not ours says and understands, a file for each dialect.

Its rule: as `robot_side.py` has it. They are for tests and `edge-lstm simulate`; no link uses them.
"""
