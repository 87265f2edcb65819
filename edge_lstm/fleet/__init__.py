"""Many logs at once: replayed by several processes or a Dask cluster, and two models compared over all of them.

    fleet = Fleet(how, jobs=4)                 # run.py: what is asked for, and who works
    found = fleet.replay(logs_of(["drives/"]))

Its rule: a worker is one function (`work.py`), whoever calls it; what it gives depends on the log, the model and the
options, never on how many workers there are or who comes first. What people should know: README.md.

Never: let one log stop the others, or count one twice.
"""
