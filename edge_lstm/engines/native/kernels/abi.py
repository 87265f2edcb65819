"""What compiled code and Python agree on: numbers of instructions, their fields, fields of the frame.

Its rule: hardly more than constants, so that Python can lay out a program without importing numba.

An **instruction** is ROW int64, a row of the table. Offsets count float32: A, B, C, Y, Z in the arena, W in the packed
weights (`../layout.py`).
A **frame** is FRAME int64, the only argument of the compiled function (`interpreter.py`).
"""

from __future__ import annotations

from edge_lstm.core.operations.functions import BINARY_FUNCTIONS, MAP_FUNCTIONS, REDUCE_FUNCTIONS

# --- operations ---
(
    # Recurrent ones, whose h (and c) of the reading before are found at B (and C):
    LSTM,  # Y, Z = h', c' from A, B, C = x, h, c; N inputs, M units
    GRU,  # Y = h' from A, B = x, h; N inputs, M units
    RNN,  # Y = h' from A, B = x, h; N inputs, M units; F = 0 tanh, 1 relu
    # All others:
    INPUT,  # arena[Y : Y + N] = x[A : A + N]; fails where a value is not finite
    DENSE,  # Y = W A + b for each of F rows; N inputs, M outputs
    MAP,  # Y = F(A; alpha, beta at weights[W], weights[W + 1]); N values
    BINARY,  # Y = F(A, B); N values; M: bit 0 set, A is one value; bit 1 set, B is one value
    CHECK,  # fails where arena[A : A + N] is not finite
    COMMIT,  # arena[Y : Y + N] = arena[A : A + N]: a state takes its next value
    OUTPUT,  # y[Y : Y + N] = arena[A : A + N]
    WHERE,  # Y = B where A is not zero, else C; N values
    # From here on an instruction is executed for one copy of the arena after the other:
    TAKE,  # Y[n] = arena[index n at W]; N values
    SOFTMAX,  # over M rows of N values; F = 1: its logarithm
    REDUCE,  # Y[m] = F over row m; M rows of N values
    LOOKUP,  # Y[n] = row arena[A + n] of the table at W; N indices, F rows of M values; fails where there is none
    # From here on F is the scheme, and integers lie in the arena: a float32, what one of them is worth in units of
    # their scales, and behind it the integers, several in the place of one float32 (GROUPS). SUMS, where it is not
    # zero: so far behind are finer ones of what these leave.
    QUANTIZE,  # Y = integers of A, at most B; M rows of N values, C from Y to the next; fails where one is not finite
    QUANTIZED_LSTM,  # as LSTM, A, B = integers of x, h
    QUANTIZED_GRU,  # as GRU, A, B = integers of x, h; C = h
    QUANTIZED_RNN,  # as RNN, A, B = integers of x, h; Z = 0 tanh, 1 relu
    QUANTIZED_DENSE,  # as DENSE, A = integers; Z rows, C from A to the next
) = range(20)
RECURRENT, ALONE = INPUT, TAKE  # instructions below the one, and from the other on

MAP_CODES = {name: code for code, name in enumerate(MAP_FUNCTIONS)}
BINARY_CODES = {name: code for code, name in enumerate(BINARY_FUNCTIONS)}
REDUCE_CODES = {name: code for code, name in enumerate(REDUCE_FUNCTIONS)}

INT8, INT16, INT8_WEIGHTS, INT8_DYNAMIC = range(4)  # places in functions.SCHEMES
# Of float32 instructions, by lanes: arenas that one pass over the weights serves, as many as their sums (four gates
# each) have vector registers, 32 with AVX-512 and NEON, 16 with AVX2.
ARENAS_AT_ONCE = {4: 4, 8: 2, 16: 4}
# Values in the place of one float32, by what is in a sum: functions.INTEGERS, or float32 values with int8 weights.
GROUPS = {"int8": 4, "int16": 2, "int8-weights": 1}


def together(scheme: str, sums: int) -> int:
    """Groups of inputs that a loop takes at once, so that enough sums are under way; packed weights are filled up to
    whole passes. A sum of float32 values has its order, so there it is one."""
    return 1 if scheme == "int8-weights" else 4 if sums == 1 else 2


# --- fields of an instruction ---
# Of recurrent ones in float32: SUMS, where in the arena they may leave sums; KEPT, 1 where a step fails unless h', c'
# are finite. Of all whose weights meet values in float32: HALF, 1 where these weights are float16.
KIND, W, A, B, C, Y, Z, N, M, F, SUMS, KEPT, HALF = range(13)
ROW = 13

# --- fields of the frame ---
(
    TABLE,  # address of int64 (STEP_ROWS + COMMIT_ROWS + OUTPUT_ROWS, ROW)
    STEP_ROWS,  # instructions that compute; they change nothing that outlives the step
    COMMIT_ROWS,  # then instructions that change the states
    OUTPUT_ROWS,  # then instructions that write y
    WEIGHTS,  # address of float32, packed
    ARENA,  # address of float32 (COPIES, ARENA_SIZE)
    ARENA_SIZE,  # slack included
    INITIAL,  # address of float32 (ARENA_SIZE,): an arena after reset
    COPIES,  # streams that advance together; in window mode the T windows of one stream
    WINDOW,  # 0 continuous, 1 window
    X,  # address of the first reading
    X_STEP,  # float32 from one reading to the next
    X_COPY,  # float32 from one stream's reading to the next one's
    Y_OUT,  # address of the first output
    Y_STEP,
    Y_COPY,
    STEPS,  # readings to take
    DONE,  # readings taken by this call (written)
    SEEN,  # readings since the reset (read and written)
    READY,  # in continuous mode: the first output comes with this reading ...
    EVERY,  # ... and then with each of so many
    AHEAD,  # address of float32 (AHEAD_ARENAS, ARENA_SIZE): arenas for many readings at once
    AHEAD_ARENAS,  # 0: every reading goes through all instructions before the next one does
    AHEAD_COPIES,  # streams whose logs go through them together
    SHARED_ROWS,  # window mode: of the instructions that compute, those for all windows; the rest for one that ends
) = range(25)
FRAME = 25
