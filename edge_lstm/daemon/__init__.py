"""A run that is operated from outside: what it says of itself, and what it is asked to do.

Its rule: the loop writes one mapped block and takes requests as it takes bytes, between two chunks; everything that
talks to the world lives in other threads and processes, and none of them can make it wait.
"""
