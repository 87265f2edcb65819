"""A program as JSON and arrays, and back: what a model file holds, and what a model's digest is taken over.

Its rule: the JSON refers to an array by its number, each array once. What comes back is checked: numbers of arrays
here, everything else by `Program` itself.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edge_lstm.core.operation import Operation, Slot
from edge_lstm.core.program import Constant, Named, Program, State
from edge_lstm.errors import ModelFileError

Arrays = list[npt.NDArray[Any]]


def describe_program(program: Program) -> tuple[dict[str, Any], Arrays]:
    """JSON values and arrays."""
    arrays: Arrays = []
    numbers: dict[int, int] = {}

    def number(array: npt.NDArray[Any]) -> int:
        if id(array) not in numbers:  # a program over a whole window has the same weights for each reading
            numbers[id(array)] = len(arrays)
            arrays.append(array)
        return numbers[id(array)]

    def place(slot: Slot) -> list[int]:
        return [slot.offset, slot.size]

    header = {
        "arena_size": program.arena_size,
        "inputs": [[n.name, *place(n.slot)] for n in program.inputs],
        "outputs": [[n.name, *place(n.slot)] for n in program.outputs],
        "states": [
            {"name": s.name, "slot": place(s.slot), "next": place(s.next), "reset": number(s.reset)}
            for s in program.states
        ],
        "constants": [{"slot": place(c.slot), "values": number(c.values)} for c in program.constants],
        "operations": [
            {
                "kind": op.kind,
                "name": op.name,
                "inputs": [place(s) for s in op.inputs],
                "outputs": [place(s) for s in op.outputs],
                "weights": {key: number(w) for key, w in op.weights.items()},
                "attributes": dict(op.attributes),
                "source": list(op.source),
            }
            for op in program.operations
        ],
    }
    return header, arrays


def _slot(pair: Any) -> Slot:
    offset, size = pair
    if type(offset) is not int or type(size) is not int:
        raise ValueError(f"{pair!r} is not a place in the arena")
    return Slot(offset, size)


def program_of(header: Any, arrays: Arrays) -> Program:
    """From what `describe_program` gave. Raises ModelFileError, ProgramError, or what reading a damaged header does."""
    used: set[int] = set()

    def array(number: Any) -> npt.NDArray[Any]:
        if type(number) is not int or not 0 <= number < len(arrays):
            raise ValueError(f"there is no array {number!r}")
        used.add(number)
        return arrays[number]

    program = Program(
        header["arena_size"],
        tuple(Named(str(n), _slot(place)) for n, *place in header["inputs"]),
        tuple(Named(str(n), _slot(place)) for n, *place in header["outputs"]),
        tuple(State(str(s["name"]), _slot(s["slot"]), _slot(s["next"]), array(s["reset"])) for s in header["states"]),
        tuple(Constant(_slot(c["slot"]), array(c["values"])) for c in header["constants"]),
        tuple(
            Operation(
                str(op["kind"]),
                tuple(map(_slot, op["inputs"])),
                tuple(map(_slot, op["outputs"])),
                {str(key): array(w) for key, w in op["weights"].items()},
                {str(key): value for key, value in op["attributes"].items()},
                str(op["name"]),
                tuple(map(str, op["source"])),
            )
            for op in header["operations"]
        ),
    )
    if len(used) != len(arrays):
        raise ModelFileError(f"array {min(set(range(len(arrays))) - used)} is used by nothing in the program")
    return program
