"""Formats of logs, one file each: how their topics and messages come out of the file (`edge_lstm/logs/README.md`).

Its rule: a file may come from a stranger, or from a robot that lost its power. What cannot be read is a sentence, what
stands before the damage is read, nothing is unpacked beyond a limit, and nothing loops.
"""
