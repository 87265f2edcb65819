"""The interpreter: one compiled function that takes readings through a program, whatever the program is.

`run` gets the address of a frame (`abi.py`), takes STEPS readings and returns a status. It raises nothing, allocates
nothing, and asks no clock. A step has three parts: instructions that compute, that commit the states, and that write
the output; a step that fails leaves after the first part, so it has changed nothing that outlives it.

The frame may hold several copies of the arena, which advance together: each instruction is executed for all of them, in
groups, so a weight is read once for a whole group. They are different streams, each with its own readings, or they are
one stream in window mode: an output belongs to the last T readings from the reset state, so T copies are under way,
each begun one reading after the other, and at every reading one of them is T readings old and gives the output. What
only an output needs (the decoder of an autoencoder) is computed for that one alone.

A log goes through the instructions many readings at a time, each reading in an arena of its own: an instruction is
executed for all of them before the next one is. Only recurrent instructions have to take one reading after the other;
they find h and c in the arena of the reading before. Nothing else may read a state then (`../layout.py` checks it).
"""

from __future__ import annotations

from numba import int64

from edge_lstm.engines.native.kernels import abi, quantized
from edge_lstm.engines.native.kernels.abi import ROW
from edge_lstm.engines.native.kernels.dense import dense
from edge_lstm.engines.native.kernels.elementwise import (
    binary,
    finite,
    give_out,
    lookup,
    map_values,
    move,
    take,
    take_in,
    where,
)
from edge_lstm.engines.native.kernels.gru import gru
from edge_lstm.engines.native.kernels.lstm import lstm
from edge_lstm.engines.native.kernels.rnn import rnn
from edge_lstm.engines.native.kernels.rows import reduce, softmax
from edge_lstm.engines.native.kernels.simd import (
    arenas,
    floats,
    halves,
    indices,
    integers,
    kernel,
    per_float,
    read,
    write,
)
from edge_lstm.engines.status import BAD_INDEX, BAD_READING, BAD_STATE, NOT_YET, OK


@kernel
def _recurrent(kinds, weights, w, span, places, sizes, kind, function):
    if kind == abi.LSTM:
        return lstm(kinds, weights, w, span, places, sizes)
    if kind == abi.GRU:
        return gru(kinds, weights, w, span, places, sizes)
    return rnn(kinds, weights, w, span, places, sizes, function)


@kernel
def _execute_recurrent(kinds, code, row, kind, span):
    """A recurrent instruction for the arenas of a span (`cells.py`); the status. Where there are no floats from one
    reading to the next one, it takes the state of before from its own arena."""
    table, weights, _, half_weights = code
    w, n, m = read(table, row + abi.W), read(table, row + abi.N), read(table, row + abi.M)
    a, b, c = read(table, row + abi.A), read(table, row + abi.B), read(table, row + abi.C)
    out, z, sums = read(table, row + abi.Y), read(table, row + abi.Z), read(table, row + abi.SUMS)
    step, function = span[2], read(table, row + abi.F)
    places = (a, out - step, z - step, out, z, sums) if step else (a, b, c, out, z, sums)
    if read(table, row + abi.HALF):
        fine = _recurrent(kinds, half_weights, w * per_float(half_weights), span, places, (n, m), kind, function)
    else:
        fine = _recurrent(kinds, weights, w, span, places, (n, m), kind, function)
    return OK if fine or not read(table, row + abi.KEPT) else BAD_STATE


@kernel
def _execute(V, code, row, kind, arena, x, y):
    """One of the instructions that a species of copies executes together; the status."""
    table, weights, _, half_weights = code
    function, w = read(table, row + abi.F), read(table, row + abi.W)
    n, m = read(table, row + abi.N), read(table, row + abi.M)
    a, b, out = read(table, row + abi.A), read(table, row + abi.B), read(table, row + abi.Y)
    if kind == abi.DENSE:
        if read(table, row + abi.HALF):
            dense(V, half_weights, w * per_float(half_weights), arena, a, out, n, m, function)
        else:
            dense(V, weights, w, arena, a, out, n, m, function)
    elif kind == abi.INPUT:
        return OK if take_in(V, x, a, arena, out, n) else BAD_READING
    elif kind == abi.CHECK:
        return OK if finite(V, arena, a, n) else BAD_STATE
    elif kind == abi.COMMIT:
        move(V, arena, a, arena, out, n)
    elif kind == abi.OUTPUT:
        give_out(V, arena, a, y, out, n)
    elif kind == abi.MAP:
        map_values(V, weights, w, arena, a, out, n, function)
    elif kind == abi.BINARY:
        binary(V, arena, a, b, out, n, m, function)
    elif kind == abi.WHERE:
        where(V, arena, a, b, read(table, row + abi.C), out, n)
    return OK


@kernel
def _execute_alone(V, V1, Q, code, row, kind, arena, turn):
    """One of the instructions that are executed for one copy after the other; the status."""
    table, weights, index, _ = code
    if kind >= abi.QUANTIZE:
        return quantized.execute(V, V1, Q, table, row, kind, weights, arena, turn)
    function, w = read(table, row + abi.F), read(table, row + abi.W)
    n, m = read(table, row + abi.N), read(table, row + abi.M)
    a, out = read(table, row + abi.A), read(table, row + abi.Y)
    if kind == abi.TAKE:
        take(V1, index, w, arena, out, n)
    elif kind == abi.SOFTMAX:
        softmax(V, V1, arena, a, out, n, m, function)
    elif kind == abi.REDUCE:
        reduce(V1, arena, a, out, n, m, function)
    elif not lookup(weights, w, arena, a, out, n, m, function):
        return BAD_INDEX
    return OK


@kernel
def _from(copy, a):
    """The arrays without the first `copy`."""
    return arenas(a.address + 4 * copy * a.stride, a.stride)


@kernel
def _execute_rows(kinds, code, first, last, copies, arena, ahead, x, step, y, y_step):
    """Each instruction for `copies` streams and some readings of each, G.copies arenas at a time and the rest one by
    one; some instructions all one by one.

    arena, x, y: of the streams, at the first of the readings; step, y_step: floats from one reading to the next one;
    ahead: number of the first reading, how many, floats from one reading's arenas to the next one's. That is 0 where
    there is one reading; otherwise nothing is committed."""
    V, P, V1, G, Q = kinds
    table = code[0]
    turn, readings, apart = ahead
    for number in range(first, last):
        row = number * ROW
        kind = read(table, row + abi.KIND)
        if apart and kind == abi.COMMIT:
            continue
        if kind < abi.RECURRENT:
            status = _execute_recurrent((V, P, G), code, row, kind, (arena, copies, apart, readings, turn))
            if status != OK:
                return status
            continue
        rounds, together = readings, copies
        if copies == 1:  # arenas side by side, no matter that they are one stream's
            rounds, together = 1, readings
        for t in range(rounds):
            arena_t = arenas(arena.address + 4 * t * apart, arena.stride)
            x_t = arenas(x.address + 4 * t * step, step if copies == 1 else x.stride)
            y_t = arenas(y.address + 4 * t * y_step, y_step if copies == 1 else y.stride)
            done = 0
            while done < together:
                at, xs, ys = _from(done, arena_t), _from(done, x_t), _from(done, y_t)
                if kind >= abi.ALONE:
                    status = _execute_alone(V, V1, Q, code, row, kind, at, (turn * together + done) & 1)
                    done += 1
                elif done + G.copies <= together:
                    status = _execute(G, code, row, kind, at, xs, ys)
                    done += G.copies
                else:
                    status = _execute(V, code, row, kind, at, xs, ys)
                    done += 1
                if status != OK:
                    return status
    return OK


@kernel
def _carry(V, table, first, last, copies, source, of, target, to):
    """Copy what the instructions first ... last commit: from its place (field `of`) in arenas to another (`to`)."""
    for number in range(first, last):
        row = number * ROW
        a, b, n = read(table, row + of), read(table, row + to), read(table, row + abi.N)
        for c in range(copies):
            move(V, _from(c, source), a, _from(c, target), b, n)


@kernel
def _give_outputs(V, table, first, last, arena, y):
    """The instructions that write the output, for one stream."""
    for number in range(first, last):
        row = number * ROW
        give_out(V, arena, read(table, row + abi.A), y, read(table, row + abi.Y), read(table, row + abi.N))


@kernel
def _speaks(frame, seen):
    """Whether an output comes with the reading before which `seen` were taken."""
    late, every = seen + 1 - read(frame, abi.READY), read(frame, abi.EVERY)
    return late >= 0 and (every == 1 or late % every == 0)


@kernel
def _later(t, array, step):
    """The arrays t readings later."""
    return arenas(array.address + 4 * t * step, array.stride)


@kernel
def _take_ahead(kinds, code, frame, copies, arena, x, y):
    """All readings of so many streams, many at a time; how many were taken, and the status of those that were not."""
    V, table = kinds[0], code[0]
    computed = read(frame, abi.STEP_ROWS)
    committed = computed + read(frame, abi.COMMIT_ROWS)
    written = committed + read(frame, abi.OUTPUT_ROWS)
    step, y_step = read(frame, abi.X_STEP), read(frame, abi.Y_STEP)
    steps, seen = read(frame, abi.STEPS), read(frame, abi.SEEN)
    most, apart = read(frame, abi.AHEAD_ARENAS) // copies - 1, copies * arena.stride
    before = arenas(read(frame, abi.AHEAD), arena.stride)  # where the first of the readings finds h and c
    first = _from(copies, before)
    _carry(V, table, computed, committed, copies, arena, abi.Y, before, abi.A)
    taken, status = 0, OK
    while taken < steps:
        readings, number = min(most, steps - taken), seen + taken
        xs, ys = _later(taken, x, step), _later(taken, y, y_step)
        all_speak = read(frame, abi.EVERY) == 1 and _speaks(frame, number)
        last = written if all_speak else computed
        status = _execute_rows(kinds, code, 0, last, copies, first, (number, readings, apart), xs, step, ys, y_step)
        if status != OK:
            break
        for t in range(0 if all_speak else readings):
            if _speaks(frame, number + t):
                _give_outputs(V, table, committed, written, _from(t, first), _later(t, ys, y_step))
        _carry(V, table, computed, committed, copies, _from(readings * copies, before), abi.A, before, abi.A)
        taken += readings
    _carry(V, table, computed, committed, copies, before, abi.A, arena, abi.Y)
    return taken, status


@kernel
def run(kinds, frame_address):
    """Take STEPS readings. kinds: species of one copy, of two blocks of its units, of one lane, of a group of copies;
    and the way to sums of integers."""
    V = kinds[0]
    frame = integers(frame_address)
    computed = read(frame, abi.STEP_ROWS)
    committed = computed + read(frame, abi.COMMIT_ROWS)
    written = committed + read(frame, abi.OUTPUT_ROWS)
    table, weights = integers(read(frame, abi.TABLE)), read(frame, abi.WEIGHTS)
    code = (table, floats(weights), indices(weights), halves(kinds[4], weights))
    copies, size = read(frame, abi.COPIES), read(frame, abi.ARENA_SIZE)
    arena = arenas(read(frame, abi.ARENA), size)
    x = arenas(read(frame, abi.X), read(frame, abi.X_COPY))
    y = arenas(read(frame, abi.Y_OUT), read(frame, abi.Y_COPY))
    step, y_step = read(frame, abi.X_STEP), read(frame, abi.Y_STEP)
    windowed, shared = read(frame, abi.WINDOW) != 0, read(frame, abi.SHARED_ROWS)
    seen, steps, taken, status = read(frame, abi.SEEN), read(frame, abi.STEPS), 0, OK
    if steps > 1 and read(frame, abi.AHEAD_ARENAS):
        done = 0
        while done < copies:
            group = min(copies - done, read(frame, abi.AHEAD_COPIES))
            taken, status = _take_ahead(kinds, code, frame, group, _from(done, arena), _from(done, x), _from(done, y))
            if status != OK and copies > 1:
                return status
            done += group
        seen += taken
        write(frame, abi.SEEN, seen)
        status = OK if _speaks(frame, seen - 1) else NOT_YET
    write(frame, abi.DONE, taken)
    # One reading after the other: a single one, or a program that needs it so, or those that were refused above.
    while taken < steps:
        xs, ys = _later(taken, x, step), _later(taken, y, y_step)
        begun = min(seen + 1, copies) if windowed else copies
        speaks = not windowed and _speaks(frame, seen)
        ends = windowed and seen + 1 >= copies
        old = _from((seen + 1) % copies, arena) if ends else arena  # the copy whose window ends with this reading
        # Only instructions that compute can fail, and they come first: whatever fails has changed no state.
        alone = (seen, int64(1), int64(0))
        for part in range(3 if windowed else 1):
            first, last, together, at = 0, written if speaks else committed, begun, arena
            if windowed and part == 0:
                last = shared
            elif part == 1:
                first, last, together, at = shared, computed, 1 if ends else 0, old
            elif part == 2:
                first = computed
            status = _execute_rows(kinds, code, first, last, together, at, alone, xs, step, ys, y_step)
            if status != OK:
                return status
        seen += 1
        taken += 1
        write(frame, abi.SEEN, seen)
        write(frame, abi.DONE, taken)
        status = OK if speaks else NOT_YET
        if ends:
            _give_outputs(V, table, committed, written, old, ys)
            move(V, floats(read(frame, abi.INITIAL)), 0, old, 0, size)  # its next window begins with the next reading
            status = OK
    return status
