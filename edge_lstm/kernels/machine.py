"""The machine: one compiled function that takes readings through a program, whatever the program is.

`run(V, frame)` gets the address of a frame (`layout.py`), takes STEPS readings and returns a status. It raises nothing,
allocates nothing, and asks no clock. A step has three parts: rows that compute, rows that commit the states, rows
that write the output; a step that fails leaves after the first part, so it has changed nothing that outlives it.

Window meaning: an output belongs to the last T readings, from the reset state. T copies of the arena are advanced
together, each started one reading after the other; at every reading one of them is T readings old and speaks.
"""

from __future__ import annotations

from edge_lstm.kernels import layout
from edge_lstm.kernels.dense import dense
from edge_lstm.kernels.elementwise import binary, copy, finite, map_values, take
from edge_lstm.kernels.gru import gru
from edge_lstm.kernels.layout import BAD_READING, BAD_STATE, NOT_YET, OK, ROW
from edge_lstm.kernels.lstm import lstm
from edge_lstm.kernels.rnn import rnn
from edge_lstm.kernels.rows import reduce, softmax
from edge_lstm.kernels.simd import floats, indices, integers, kernel, read, write


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
        dense(V, weights, w, arena, a, out, n, m)
    elif kind == layout.MAP:
        map_values(V, weights, w, arena, a, out, n, function)
    elif kind == layout.BINARY:
        binary(V, arena, a, b, out, n, m, function)
    elif kind == layout.GRU:
        gru(V, weights, w, arena, a, b, out, n, m)
    elif kind == layout.RNN:
        rnn(V, weights, w, arena, a, b, out, n, m, function)
    elif kind == layout.TAKE:
        take(index, w, arena, out, n)
    elif kind == layout.SOFTMAX:
        softmax(V1, arena, a, out, n, m, function)
    elif kind == layout.REDUCE:
        reduce(V1, arena, a, out, n, m, function)
    elif kind == layout.INPUT:
        if not finite(V1, x, a, n):
            return BAD_READING
        copy(x, a, arena, out, n)
    elif kind == layout.CHECK:
        if not finite(V1, arena, a, n):
            return BAD_STATE
    elif kind == layout.COMMIT:
        copy(arena, a, arena, out, n)
    elif kind == layout.OUTPUT:
        copy(arena, a, y, out, n)
    return OK


@kernel
def _execute_rows(V, V1, table, first, last, weights, index, arena, x, y):
    for number in range(first, last):
        status = _execute(V, V1, table, number * ROW, weights, index, arena, x, y)
        if status != OK:
            return status
    return OK


@kernel
def run(V, V1, frame_address):
    frame = integers(frame_address)
    computed = read(frame, layout.STEP_ROWS)
    committed = computed + read(frame, layout.COMMIT_ROWS)
    written = committed + read(frame, layout.OUTPUT_ROWS)
    table = integers(read(frame, layout.TABLE))
    weights, index = floats(read(frame, layout.WEIGHTS)), indices(read(frame, layout.WEIGHTS))
    copies, size = read(frame, layout.COPIES), read(frame, layout.ARENA_SIZE)
    windowed = read(frame, layout.WINDOW) != 0
    arenas, initial = read(frame, layout.ARENA), floats(read(frame, layout.INITIAL))
    seen = read(frame, layout.SEEN)
    status = OK
    write(frame, layout.DONE, 0)
    for t in range(read(frame, layout.STEPS)):
        x = floats(read(frame, layout.X) + 4 * t * read(frame, layout.X_SIZE))
        y = floats(read(frame, layout.Y_OUT) + 4 * t * read(frame, layout.Y_SIZE))
        begun = min(seen + 1, copies) if windowed else copies
        for number in range(begun):
            arena = floats(arenas + 4 * size * number)
            status = _execute_rows(V, V1, table, 0, computed, weights, index, arena, x, y)
            if status != OK:
                return status
        for number in range(begun):
            arena = floats(arenas + 4 * size * number)
            _execute_rows(V, V1, table, computed, committed, weights, index, arena, x, y)
        if windowed:
            seen += 1
            write(frame, layout.SEEN, seen)
        if windowed and seen < copies:
            status = NOT_YET
        else:
            arena = floats(arenas + 4 * size * (seen % copies))  # the copy whose window ends with this reading ...
            status = _execute_rows(V, V1, table, committed, written, weights, index, arena, x, y)
            if windowed:  # ... and whose next one begins with the next
                copy(initial, 0, arena, 0, size)
        write(frame, layout.DONE, t + 1)
    return status
