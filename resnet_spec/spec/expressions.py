"""Arithmetic in specs: a whitelisted walk of Python's syntax tree, with a closed table of functions.

A name may have the value ``UNKNOWN``, after a mistake that is reported where it was made. Whatever is computed from it
is ``UNKNOWN`` too, so that one mistake is one problem.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from resnet_spec.errors import suggest


class _Unknown(Enum):
    # An enumeration of one member, which type checkers narrow by identity.
    UNKNOWN = "unknown"


UNKNOWN: Final = _Unknown.UNKNOWN
"""The value of what an earlier mistake leaves without one."""

Unknown: TypeAlias = Literal[_Unknown.UNKNOWN]
Number: TypeAlias = int | float | bool
Value: TypeAlias = Number | Unknown
Names: TypeAlias = Mapping[str, Value]
Sizes: TypeAlias = Mapping[str, Value] | Unknown
Steps: TypeAlias = Mapping[str, Sizes]
"""The sizes of steps by name: ``channels``, ``height`` and so on of each one's value."""

NO_STEPS: Steps = MappingProxyType({})

LIMIT = 2**53
"""The largest value: floats do not represent every larger integer, and no network needs one."""

MAX_LENGTH = 200


class ExpressionError(ValueError):
    """An expression that is malformed, contains an unknown name, or has no value."""


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Div: lambda a, b: a / b,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.Not: operator.not_}


def make_divisible(value: Number, divisor: Number, limit: Number = 0.9) -> Number:
    """The multiple of ``divisor`` nearest to ``value``, and the next one if that is below ``limit`` times ``value``.

    >>> make_divisible(62, 8), make_divisible(3, 8), make_divisible(12, 8, 0.9)
    (64, 8, 16)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * value else rounded


def square_root(value: Number) -> Number:
    """The square root; raises ExpressionError for a negative value.

    >>> square_root(2.25)
    1.5
    """
    if value < 0:
        raise ExpressionError(f"the square root of {value} is not a number")
    return math.sqrt(value)


class _Function(NamedTuple):
    call: Callable[..., Any]
    arguments: str
    least: int
    most: int | None


_FUNCTIONS = {
    "min": _Function(min, "two values or more", 2, None),
    "max": _Function(max, "two values or more", 2, None),
    "round": _Function(round, "one value", 1, 1),
    "sqrt": _Function(square_root, "one value", 1, 1),
    "make_divisible": _Function(make_divisible, "a value, a divisor and an optional limit", 2, 3),
}

SIZES = ("channels", "depth", "height", "width", "length", "features")
COUNTERS = ("index", "number", "count")
# Names of steps are no names in Python (``downsample.0``), so that a reference is found before Python parses the text.
_REFERENCE = re.compile(rf"(?<![\w.])\w+(?:\.\w+)*\.(?:{'|'.join(SIZES + COUNTERS)})\b(?![.(])", re.ASCII)
_STAND_IN = "ꞏ{}"
"""An identifier that stands for a reference while Python parses; no name in a spec has this letter."""


def evaluate(text: str, names: Names, steps: Steps = NO_STEPS) -> Value:
    """The value of an expression over ``names`` and the sizes of ``steps``, ``UNKNOWN`` if one that it uses is.

    Allowed are numbers, names, sizes such as ``conv1.channels``, ``+ - * / // %``, comparisons, ``and or not``,
    ``a if c else b``, parentheses, and the functions ``min max round sqrt make_divisible``. Anything else, an unknown
    name, a division by zero or a value beyond ``LIMIT`` raises ExpressionError.
    """
    return _value(_parse(text), _Scope(names, steps))


def limited(value: Value) -> Value:
    """The value itself; raises ExpressionError if it is beyond ``LIMIT``."""
    if value is not UNKNOWN and abs(value) > LIMIT:
        raise ExpressionError(f"a value is larger than {LIMIT}")
    return value


def variables(text: str) -> frozenset[str]:
    """The names an expression mentions; raises ExpressionError if it is not an expression."""
    nodes = list(ast.walk(_parse(text)))
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in functions)


def rename_references(text: str, renamed: Callable[[str], str]) -> str:
    """An expression with other names of steps; any text without a size of a step is unchanged.

    >>> rename_references("2 * conv1.channels + conv1", lambda name: name.upper())
    '2 * CONV1.channels + conv1'
    """

    def replaced(found: re.Match[str]) -> str:
        step, _, size = found[0].rpartition(".")
        return f"{renamed(step)}.{size}"

    return _REFERENCE.sub(replaced, text)


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters")
    references: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = _STAND_IN.format(len(references))
        references[name] = found[0]
        return name

    try:
        with warnings.catch_warnings():
            # What Python would only warn of, such as "64if wide else 32", is not a valid expression.
            warnings.simplefilter("error")
            tree = ast.parse(_REFERENCE.sub(stand_in, text.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        cut = text.count("(") > text.count(")") and any(f"{name}(" in text for name in _FUNCTIONS)
        hint = '; within {…} an expression with a comma must be quoted: "min(a, b)"' if cut else ""
        raise ExpressionError(f"{text!r} is neither a known word nor an arithmetic expression{hint}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = references.get(node.id, node.id)
    return tree


class _Scope(NamedTuple):
    """What names mean in one expression."""

    names: Names
    steps: Steps

    def value(self, name: str) -> Value:
        if name in self.names:
            return self.names[name]
        step, _, size = name.rpartition(".")
        if not step:
            known = ", ".join(sorted(self.names))
            raise ExpressionError(f"unknown name {name!r}{suggest(name, self.names)} (known: {known})")
        if step not in self.steps:
            known = f" (known: {', '.join(self.steps)})" if self.steps else ""
            raise ExpressionError(f"{name!r}: no earlier step here is named {step!r}{suggest(step, self.steps)}{known}")
        sizes = self.steps[step]
        if sizes is UNKNOWN:
            return UNKNOWN
        if size not in sizes:
            raise ExpressionError(f"{name!r}: the value of {step!r} has {' and '.join(sizes)}, no {size}")
        return sizes[size]


def _value(node: ast.expr, names: _Scope) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return limited(value)
        case ast.Name(id=name):
            return names.value(name)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            value = _value(operand, names)
            return value if value is UNKNOWN else limited(_UNARY[type(op)](value))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(node, _BINARY[type(op)], _value(left, names), _value(right, names))
        case ast.BoolOp(op=op, values=values):
            return _boolean(values, names, stops_at=isinstance(op, ast.Or))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            operands = [_value(value, names) for value in (left, *others)]
            if UNKNOWN in operands:
                return UNKNOWN
            return all(_COMPARISONS[type(op)](a, b) for op, a, b in zip(ops, operands, operands[1:], strict=False))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            chosen = _value(test, names)
            return UNKNOWN if chosen is UNKNOWN else _value(body if chosen else orelse, names)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _call(node, name, [_value(argument, names) for argument in arguments])
        case _:
            raise ExpressionError(
                f"{ast.unparse(node)!r} is not allowed in an expression, which is arithmetic over names"
                f"{_functions(node)}"
            )


def _functions(node: ast.expr) -> str:
    """For a call that is not allowed, which are."""
    return f" (functions: {', '.join(_FUNCTIONS)})" if isinstance(node, ast.Call) else ""


def _call(node: ast.Call, name: str, arguments: list[Value]) -> Value:
    function = _FUNCTIONS[name]
    if not function.least <= len(arguments) <= (function.most or len(arguments)):
        raise ExpressionError(f"{name} takes {function.arguments}, not {len(arguments)} (in {ast.unparse(node)!r})")
    return _computed(node, function.call, arguments)


def _binary(node: ast.BinOp, operation: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    return _computed(node, operation, [left, right])


def _computed(node: ast.expr, operation: Callable[..., Any], operands: list[Value]) -> Value:
    if UNKNOWN in operands:
        return UNKNOWN
    try:
        return limited(operation(*operands))
    except ZeroDivisionError:
        raise ExpressionError(f"division by zero in {ast.unparse(node)!r}") from None


def _boolean(values: list[ast.expr], names: _Scope, *, stops_at: bool) -> Value:
    """``and`` and ``or``: what follows an operand that decides, or may decide, is not evaluated."""
    for operand in values:
        value = _value(operand, names)
        if value is UNKNOWN or bool(value) is stops_at:
            return UNKNOWN if value is UNKNOWN else stops_at
    return not stops_at
