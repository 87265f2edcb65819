"""The way of a recurrent layer through its blocks of units, and through readings one after the other.

Its rule: `lstm.py`, `gru.py` and `rnn.py` define what one block of units computes (`block`) and how its sums
begin (`begin`); here is the order in which blocks are taken, which changes no bit of them.

- Two blocks are taken at once where there are two: a multiply-add has to wait for the one before it, and the sums of a
  second block fill that time.
- Every other reading takes the blocks backwards: weights that do not all fit into a cache are found there for the part
  that was read last.
- A weighted sum takes the inputs first. So for many readings the inputs' share of all sums can be computed ahead, a
  weight being read once for a group of readings, and the hidden values' share continues from there.
"""

from __future__ import annotations

from edge_lstm.engines.native.kernels.simd import arenas, kernel

# In small layers the inputs' share costs nothing where it is: it does not wait for the reading before, so the CPU
# computes it while that one's activations are under way.
_MANY_INPUTS, _MANY_UNITS = 16, 48


@kernel
def _begin_all(begin, V, G, weights, w, size, span, x, sums, between, n_x):
    """The inputs' share of the sums of every reading, left at `sums` in its arena, those of a gate `between` apart."""
    arena, step, readings, _ = span
    for unit in range(0, between, V.lanes):
        done = 0
        while done + G.copies <= readings:
            begin(G, weights, w, arenas(arena.address + 4 * done * step, step), x, sums + unit, between, n_x)
            done += G.copies
        while done < readings:
            begin(V, weights, w, arenas(arena.address + 4 * done * step, step), x, sums + unit, between, n_x)
            done += 1
        w += size


@kernel
def through(begin, block, kinds, weights, w, size, span, places, sizes, function):
    """One layer for the readings of a span; whether all that it makes is finite.

    kinds: the species for one block of units, for two, for a group of arenas; size: of a block's weights; span: the
    first reading's arena, floats to the next one's, how many, the first one's number; places: of x, h, c, h', c' and
    the inputs' share in the arena; sizes: numbers of inputs and units; function: of the instruction."""
    V, P, G = kinds
    arena, step, readings, number = span
    x, h, c, y, z, sums = places
    n_x, n_h = sizes
    blocks = (n_h + V.lanes - 1) // V.lanes
    pairs = blocks >> 1 if V.copies == 1 else 0
    count = blocks - pairs
    between = 0
    if V.copies == 1 and readings > 1 and (n_x > _MANY_INPUTS or n_h > _MANY_UNITS):
        between = blocks * V.lanes
        _begin_all(begin, V, G, weights, w, size, span, x, sums, between, n_x)
    fine = True
    for t in range(readings):
        at = arenas(arena.address + 4 * t * step, arena.stride)
        for k in range(count):
            n = count - 1 - k if (number + t) & 1 else k
            if pairs > 0 and n < pairs:  # pairs is known to be 0 for a group: nothing of this is compiled then
                u, own = 2 * n * V.lanes, w + 2 * n * size
                own_places = (x, h, c + u, h + u, y + u, z + u, sums + u)
                fine &= block(P, weights, own, size, at, own_places, between, sizes, n_h - u, function)
            else:
                u, own = (n + pairs) * V.lanes, w + (n + pairs) * size
                own_places = (x, h, c + u, h + u, y + u, z + u, sums + u)
                fine &= block(V, weights, own, size, at, own_places, between, sizes, n_h - u, function)
    return fine
