"""Conditions over named numbers: `torque_limit_left < 0.15 and not imu.gyro_z > 2`.

    condition = parse("slip_left > 0.5")
    condition.names                     # ("slip_left",)
    condition([0.7])                    # True: values in the order of `names`

Its rule: the text may come from anybody, so it is read as a tree of which only this is taken, and nothing of it is ever
executed as Python: numbers, names (`a`, `a.b`, `a.b[3]`), `+ - * /`, `< <= > >= == !=` also in chains, `and or not`,
parentheses, and `abs(x)`, `min(x, …)`, `max(x, …)`, `missing(x)`. Everything else is refused by name. A number that is
missing is NaN, and no comparison with it is true; only `missing(x)` asks for it.

Never: raise for a value, or take longer than the text is long.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_lstm.errors import ConditionError

LONGEST = 1000  # characters
DEEPEST = 50  # levels of one thing within another

Values = Sequence[float]
Number = Callable[[Values], float]
Truth = Callable[[Values], bool]

_COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", lambda a, b: a < b or a > b),  # as the others: not true of NaN
}


def _divided(a: float, b: float) -> float:
    return a / b if b else math.nan


_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divided,
}


@dataclass(frozen=True)
class Condition:
    """A condition that was understood. names: what it asks for, in the order in which `__call__` wants the values."""

    text: str
    names: tuple[str, ...]
    _test: Truth

    def __call__(self, values: Values) -> bool:
        """Whether it holds. values: one for each of `names`, NaN where one is missing."""
        return self._test(values)


def parse(text: str) -> Condition:
    """Raises ConditionError with the place in the text that was not understood."""
    if len(text) > LONGEST:
        raise ConditionError(f"a condition of {len(text)} characters is too long; {LONGEST} are the most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of the text is no business of the reader
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "it is nested too deep"
        raise ConditionError(
            f"{text!r} is no condition ({why}); write for example: speed < 0.15 and slip > 0.5"
        ) from None
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ConditionError(f"{text!r:.60} is nested too deep; {DEEPEST} levels are the most")
    reader = _Reader(text)
    test = reader.truth(tree)
    return Condition(text.strip(), tuple(reader.names), test)


class _Reader:
    """A tree → functions of the values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.names: list[str] = []

    def truth(self, node: ast.expr) -> Truth:
        """What is true or not."""
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(part) for part in node.values]
            if isinstance(node.op, ast.And):
                return lambda values: all(part(values) for part in parts)
            return lambda values: any(part(values) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.truth(node.operand)
            return lambda values: not inner(values)
        if isinstance(node, ast.Compare):
            return self._compared(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "missing":
            (number,) = self._arguments(node, 1, 1)
            return lambda values: not math.isfinite(number(values))
        raise self._refused(node, "is neither true nor false; compare it with a number, for example")

    def _compared(self, node: ast.Compare) -> Truth:
        numbers = [self.number(part) for part in (node.left, *node.comparators)]
        tests = []
        for op, left, right in zip(node.ops, numbers, numbers[1:], strict=False):
            if type(op) not in _COMPARE:
                raise self._refused(node, "compares otherwise than with < <= > >= == !=")
            tests.append((_COMPARE[type(op)][1], left, right))
        if len(tests) == 1:
            ((compare, left, right),) = tests
            return lambda values: compare(left(values), right(values))
        return lambda values: all(compare(left(values), right(values)) for compare, left, right in tests)

    def number(self, node: ast.expr) -> Number:
        """What is a number."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return self._constant(node, node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self.number(node.operand)
            return (lambda values: -inner(values)) if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp):
            calculate = _ARITHMETIC.get(type(node.op))
            if calculate is None:
                raise self._refused(node, "calculates otherwise than with + - * /")
            left, right = self.number(node.left), self.number(node.right)
            return lambda values: calculate(left(values), right(values))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._called(node, node.func.id)
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            name = self._name(node)
            if name not in self.names:
                self.names.append(name)
            place = self.names.index(name)
            return lambda values: values[place]
        raise self._refused(node, "is no number and no name of one")

    def _constant(self, node: ast.expr, value: int | float) -> Number:
        try:
            number = float(value)
        except OverflowError:
            raise self._refused(node, "is too large for a number") from None
        return lambda values: number

    def _called(self, node: ast.Call, name: str) -> Number:
        if name == "abs":
            (number,) = self._arguments(node, 1, 1)
            return lambda values: abs(number(values))
        if name in ("min", "max"):
            numbers = self._arguments(node, 2, 20)
            choose = min if name == "min" else max

            def chosen(values: Values) -> float:
                found = [one(values) for one in numbers]
                return math.nan if any(one != one for one in found) else choose(found)

            return chosen
        raise self._refused(node, "calls what is none of abs, min, max and missing")

    def _arguments(self, node: ast.Call, least: int, most: int) -> list[Number]:
        if node.keywords or not least <= len(node.args) <= most:
            raise self._refused(
                node, f"needs {'one number' if most == 1 else 'two numbers or more'} between its brackets"
            )
        return [self.number(argument) for argument in node.args]

    def _name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and type(node.slice.value) is int:
            return f"{self._name(node.value)}[{node.slice.value}]"
        raise self._refused(node, "is no name: a, a.b and a.b[3] are")

    def _refused(self, node: ast.expr, why: str) -> ConditionError:
        part = ast.get_source_segment(self._text.strip(), node) or self._text
        return ConditionError(f"{self._text!r}: {part!r:.80} {why}")
