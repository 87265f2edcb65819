"""The machine: one compiled function that takes readings through a program, whatever the program is.

`run` gets the address of a frame (`layout.py`), takes STEPS readings and returns a status. It raises nothing, allocates
nothing, and asks no clock. A step has three parts: rows that compute, rows that commit the states, rows that write the
output; a step that fails leaves after the first part, so it has changed nothing that outlives it.

The frame may hold several copies of the arena, which advance together: each row is executed for all of them, in
groups, so a weight is read once for a whole group. They are different streams, each with its own readings, or they are
one stream in window meaning: an output belongs to the last T readings from the reset state, so T copies are under
way, each begun one reading after the other, and at every reading one of them is T readings old and speaks.
"""

from __future__ import annotations

from edge_lstm.kernels import layout, quantized
from edge_lstm.kernels.dense import dense
from edge_lstm.kernels.elementwise import binary, copy, finite, lookup, map_values, take, where
from edge_lstm.kernels.gru import gru
from edge_lstm.kernels.layout import BAD_INDEX, BAD_READING, BAD_STATE, NOT_YET, OK, ROW
from edge_lstm.kernels.lstm import lstm
from edge_lstm.kernels.rnn import rnn
from edge_lstm.kernels.rows import reduce, softmax
from edge_lstm.kernels.simd import arenas, floats, indices, integers, kernel, read, write


@kernel
def _execute(V, V1, table, row, weights, index, arena, x, y):
    """One row of the table; the status."""
    kind, function = read(table, row + layout.KIND), read(table, row + layout.F)
    w, n, m = read(table, row + layout.W), read(table, row + layout.N), read(table, row + layout.M)
    a, b, out = read(table, row + layout.A), read(table, row + layout.B), read(table, row + layout.Y)
    if kind == layout.LSTM:
        c, c_next = read(table, row + layout.C), read(table, row + layout.Z)
        lstm(V, weights, w, arena, a, b, c, out, c_next, n, m)
    elif kind == layout.DENSE:
        dense(V, V1, weights, w, arena, a, out, n, m, function)
    elif kind == layout.MAP:
        map_values(V, weights, w, arena, a, out, n, function)
    elif kind == layout.BINARY:
        binary(V, arena, a, b, out, n, m, function)
    elif kind == layout.GRU:
        gru(V, weights, w, arena, a, b, out, n, m)
    elif kind == layout.RNN:
        rnn(V, weights, w, arena, a, b, out, n, m, function)
    elif kind == layout.TAKE:
        take(V1, index, w, arena, out, n)
    elif kind == layout.SOFTMAX:
        softmax(V1, arena, a, out, n, m, function)
    elif kind == layout.REDUCE:
        reduce(V1, arena, a, out, n, m, function)
    elif kind == layout.WHERE:
        where(V, arena, a, b, read(table, row + layout.C), out, n)
    elif kind == layout.LOOKUP:
        if not lookup(V1, weights, w, arena, a, out, n, m, function):
            return BAD_INDEX
    elif kind == layout.INPUT:
        if not finite(V, V1, x, a, n):
            return BAD_READING
        copy(V, V1, x, a, arena, out, n)
    elif kind == layout.CHECK:
        if not finite(V, V1, arena, a, n):
            return BAD_STATE
    elif kind == layout.COMMIT:
        copy(V, V1, arena, a, arena, out, n)
    elif kind == layout.OUTPUT:
        copy(V, V1, arena, a, y, out, n)
    return OK


@kernel
def _from(copy, a):
    """The arrays without the first `copy`."""
    return arenas(a.address + 4 * copy * a.stride, a.stride)


@kernel
def _execute_rows(V, V1, G, G1, Q, table, first, last, weights, index, copies, arena, x, y, turn):
    """Each row for all copies, G.copies at a time and the rest one by one; rows of integers all one by one. turn: how
    often weights have been read before."""
    for number in range(first, last):
        row = number * ROW
        kind = read(table, row + layout.KIND)
        if kind >= layout.QUANTIZE:
            for k in range(copies):
                status = quantized.execute(V, V1, Q, table, row, kind, weights, _from(k, arena), (turn + k) & 1)
                if status != OK:
                    return status
            continue
        done = 0
        while done + G.copies <= copies:
            at, xs, ys = _from(done, arena), _from(done, x), _from(done, y)
            status = _execute(G, G1, table, row, weights, index, at, xs, ys)
            if status != OK:
                return status
            done += G.copies
        while done < copies:
            at, xs, ys = _from(done, arena), _from(done, x), _from(done, y)
            status = _execute(V, V1, table, row, weights, index, at, xs, ys)
            if status != OK:
                return status
            done += 1
    return OK


@kernel
def run(V, V1, G, G1, Q, frame_address):
    """Take STEPS readings; V: one copy, G: a group of copies, V1 and G1: one lane of each; Q: sums of integers."""
    frame = integers(frame_address)
    computed = read(frame, layout.STEP_ROWS)
    committed = computed + read(frame, layout.COMMIT_ROWS)
    written = committed + read(frame, layout.OUTPUT_ROWS)
    table = integers(read(frame, layout.TABLE))
    weights, index = floats(read(frame, layout.WEIGHTS)), indices(read(frame, layout.WEIGHTS))
    copies, size = read(frame, layout.COPIES), read(frame, layout.ARENA_SIZE)
    arena = arenas(read(frame, layout.ARENA), size)
    initial = floats(read(frame, layout.INITIAL))
    x_address, y_address = read(frame, layout.X), read(frame, layout.Y_OUT)
    windowed = read(frame, layout.WINDOW) != 0
    ready, every = read(frame, layout.READY), read(frame, layout.EVERY)
    seen = read(frame, layout.SEEN)
    status = OK
    write(frame, layout.DONE, 0)
    for t in range(read(frame, layout.STEPS)):
        x = arenas(x_address + 4 * t * read(frame, layout.X_STEP), read(frame, layout.X_COPY))
        y = arenas(y_address + 4 * t * read(frame, layout.Y_STEP), read(frame, layout.Y_COPY))
        begun = min(seen + 1, copies) if windowed else copies
        turn = seen * begun
        status = _execute_rows(V, V1, G, G1, Q, table, 0, computed, weights, index, begun, arena, x, y, turn)
        if status != OK:
            return status
        _execute_rows(V, V1, G, G1, Q, table, computed, committed, weights, index, begun, arena, x, y, turn)
        seen += 1
        write(frame, layout.SEEN, seen)
        status = NOT_YET
        if windowed:
            if seen >= copies:
                old = _from(seen % copies, arena)  # the copy whose window ends with this reading ...
                status = _execute_rows(V, V1, G, G1, Q, table, committed, written, weights, index, 1, old, x, y, turn)
                copy(V, V1, initial, 0, old, 0, size)  # ... and whose next one begins with the next
        elif seen >= ready and (every == 1 or (seen - ready) % every == 0):
            status = _execute_rows(V, V1, G, G1, Q, table, committed, written, weights, index, begun, arena, x, y, turn)
        write(frame, layout.DONE, t + 1)
    return status
