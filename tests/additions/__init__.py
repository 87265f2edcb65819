"""Each kind of addition that the house is built for, made up: a log format, a dialect, an operation, added from outside
as `edge_lstm/ARCHITECTURE.md` says ("How to add"), and what it then goes through unchanged."""
