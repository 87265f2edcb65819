"""The way of a recurrent layer through its blocks of units, and through readings one after the other.

Its rule: `lstm.py`, `gru.py` and `rnn.py` define what one block of units computes; here is the order in which blocks
are taken, which changes no bit of them. Their parts: sums are `begun` (biases and inputs) and `ended` (hidden values),
which may `leave` them in the arena, from where they are `left`; all sums `of_three` arenas, a pair and a third one; and
`cell` makes h' of them.

- Two blocks are taken at once where there are two: a multiply-add has to wait for the one before it, and the sums of a
  second block fill that time.
- Of several streams a group is taken at once, as many as their sums have registers, and a block is taken for all
  groups before the next one is: its weights are read from afar once. First all sums, then all that follows from them,
  so that sums never wait for another group's divisions.
- With 16 registers of 8 lanes a group is two streams, and sums are made for three as long as an even number is left:
  12 multiply-adds for 7 loads in the place of 8 for 6, and enough of them that none has to wait (AVX2, 16 streams of 64
  to 256 units: nine tenths of the time).
- Every other reading takes the blocks backwards: weights that do not all fit into a cache are found there for the part
  that was read last.
- A weighted sum takes the inputs first. So for many readings of one stream the inputs' share of all sums can be
  computed ahead, a weight being read once for a group of readings, and the hidden values' share continues from there.
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.simd import arenas, block_biases, kernel, load, per_float, store

# In small layers the inputs' share costs nothing where it is: it does not wait for the reading before, so the CPU
# computes it while that one's activations are under way.
_MANY_INPUTS, _MANY_UNITS = 16, 48


@kernel
def _from(number, arena, step, stride):
    """The arenas `number` steps further, each so many floats from the next one."""
    return arenas(arena.address + 4 * number * step, stride)


@kernel
def four_biases(V, weights, w, apart):
    """What four sums begin with."""
    one = V.block * per_float(weights)
    first, second = block_biases(V, weights, w, apart), block_biases(V, weights, w + one, apart)
    return first, second, block_biases(V, weights, w + 2 * one, apart), block_biases(V, weights, w + 3 * one, apart)


@kernel
def leave_four(V, arena, at, between, totals):
    """Four sums left in the arena, `between` apart."""
    first, second, third, fourth = totals
    store(V, arena, at, first)
    store(V, arena, at + between, second)
    store(V, arena, at + 2 * between, third)
    store(V, arena, at + 3 * between, fourth)


@kernel
def left_four(V, arena, at, between):
    """The four sums that were left there."""
    first, second = load(V, arena, at), load(V, arena, at + between)
    return first, second, load(V, arena, at + 2 * between), load(V, arena, at + 3 * between)


@kernel
def _begin_all(begun, leave, kinds, layer, span, places, sizes, between):
    """The inputs' share of the sums of every reading, left in its arena, those of a gate `between` apart."""
    (V, _, G), (weights, w, size, _) = kinds, layer
    arena, _, step, readings, _ = span
    for unit in range(0, between, V.lanes):
        done = 0
        while done + G.copies <= readings:
            at = _from(done, arena, step, step)
            leave(G, at, places[6] + unit, between, begun(G, weights, w, 0, at, places[0], sizes[0]))
            done += G.copies
        while done < readings:
            at = _from(done, arena, step, step)
            leave(V, at, places[6] + unit, between, begun(V, weights, w, 0, at, places[0], sizes[0]))
            done += 1
        w += size


@kernel
def _alone(begun, ended, left, cell, V, layer, arena, places, sizes, between, count):
    """Some units of one arena."""
    weights, w, apart, function = layer
    totals = left(V, arena, places[6], between) if between else begun(V, weights, w, apart, arena, places[0], sizes[0])
    return cell(V, arena, places, ended(V, weights, w, apart, arena, places[1], sizes, totals), count, function)


@kernel
def _together(begun, ended, of_three, leave, left, cell, V, G, layer, arena, copies, places, sums, sizes, count):
    """Some units of all arenas. The last group begins earlier where they fill no whole one: what is computed twice is
    the same."""
    weights, w, _, function = layer
    fine, last, copy = True, copies - G.copies, 0
    if G.copies == 2:
        threes = copies // 3
        threes -= (copies - threes) & 1  # what is left are pairs
        for _ in range(threes):
            pair = _from(copy, arena, arena.stride, arena.stride)
            third = _from(copy + 2, arena, arena.stride, arena.stride)
            two, one = of_three(G, V, weights, w, pair, third, places[0], places[1], sizes)
            leave(G, pair, sums, V.lanes, two)
            leave(V, third, sums, V.lanes, one)
            copy += 3
    for first in range(copy, copies, G.copies):
        at = _from(min(first, last), arena, arena.stride, arena.stride)
        totals = begun(G, weights, w, 0, at, places[0], sizes[0])
        leave(G, at, sums, G.lanes, ended(G, weights, w, 0, at, places[1], sizes, totals))
    for first in range(0, copies, G.copies):
        at = _from(min(first, last), arena, arena.stride, arena.stride)
        fine &= cell(G, at, places, left(G, at, sums, G.lanes), count, function)
    return fine


@kernel
def through(begun, ended, of_three, leave, left, cell, kinds, layer, span, places, sizes):
    """One layer for the readings of a span; whether all that it makes is finite.

    begun ... cell: its parts; kinds: the species for one block of units, for two, for a group of
    arenas; layer: the weights, where they begin, the size of a block of them, the instruction's function; span: the
    first reading's arenas, how many streams, floats to the next reading's, how many readings, the first one's number;
    places: of x, h, c, h', c' and sums in the arena; sizes: numbers of inputs and units."""
    V, P, G = kinds
    weights, w, size, function = layer
    arena, copies, step, readings, number = span
    x, h, c, y, z, sums = places
    n_x, n_h = sizes
    blocks = (n_h + V.lanes - 1) // V.lanes
    grouped = copies >= G.copies
    alone, pairs = (0, 0) if grouped else (copies, blocks >> 1)
    count = blocks - pairs
    between = 0
    if copies == 1 and readings > 1 and (n_x > _MANY_INPUTS or n_h > _MANY_UNITS):
        between = blocks * V.lanes
        _begin_all(begun, leave, kinds, layer, span, (x, h, c, h, y, z, sums), sizes, between)
    fine = True
    # Without a loop over blocks a log of 8 or 16 units takes a tenth less time (AVX2); of fewer lanes there are more.
    if V.lanes >= 8 and count == 1 and not grouped:
        there = (x, h, c, h, y, z, sums)
        for t in range(readings):
            for one in range(copies):
                its = _from(one, _from(t, arena, step, arena.stride), arena.stride, arena.stride)
                if pairs:
                    fine &= _alone(begun, ended, left, cell, P, layer, its, there, sizes, between, n_h)
                else:
                    fine &= _alone(begun, ended, left, cell, V, layer, its, there, sizes, between, n_h)
        return fine
    for t in range(readings):
        at = _from(t, arena, step, arena.stride)
        for k in range(count):
            n = count - 1 - k if (number + t) & 1 else k
            first = 2 * n if n < pairs else n + pairs
            u, own = first * V.lanes, (weights, w + first * size, size, function)
            there = (x, h, c + u, h + u, y + u, z + u, sums + u)
            if grouped:
                rest = n_h - u
                fine &= _together(
                    begun, ended, of_three, leave, left, cell, V, G, own, at, copies, there, sums, sizes, rest
                )
            for one in range(alone):
                its = _from(one, at, at.stride, at.stride)
                if n < pairs:
                    fine &= _alone(begun, ended, left, cell, P, own, its, there, sizes, between, n_h - u)
                else:
                    fine &= _alone(begun, ended, left, cell, V, own, its, there, sizes, between, n_h - u)
    return fine
