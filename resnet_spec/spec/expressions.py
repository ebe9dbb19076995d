"""Arithmetic in specs: a whitelisted walk of Python's syntax tree, which cannot call or look up anything.

A name may have the value ``UNKNOWN``, after a mistake that is reported where it was made. Whatever is computed from it
is ``UNKNOWN`` too, so that one mistake is one problem.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

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


def evaluate(text: str, names: Names) -> Value:
    """The value of an expression over ``names``, ``UNKNOWN`` if it depends on a name whose value is.

    Allowed are numbers, names, ``+ - * / // %``, comparisons, ``and or not``, ``a if c else b`` and parentheses.
    Anything else, an unknown name, a division by zero or a value beyond ``LIMIT`` raises ExpressionError.
    """
    return _value(_parse(text), names)


def limited(value: Value) -> Value:
    """The value itself; raises ExpressionError if it is beyond ``LIMIT``."""
    if value is not UNKNOWN and abs(value) > LIMIT:
        raise ExpressionError(f"a value is larger than {LIMIT}")
    return value


def variables(text: str) -> frozenset[str]:
    """The names an expression mentions; raises ExpressionError if it is not an expression."""
    return frozenset(node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name))


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            # What Python would only warn of, such as "64if wide else 32", is not a valid expression.
            warnings.simplefilter("error")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        raise ExpressionError(f"{text!r} is neither a known word nor an arithmetic expression") from None


def _value(node: ast.expr, names: Names) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return limited(value)
        case ast.Name(id=name):
            if name not in names:
                raise ExpressionError(
                    f"unknown name {name!r}{suggest(name, names)} (known: {', '.join(sorted(names))})"
                )
            return names[name]
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
        case _:
            raise ExpressionError(
                f"{ast.unparse(node)!r} is not allowed in an expression, which is arithmetic over names"
            )


def _binary(node: ast.BinOp, operation: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    try:
        return limited(operation(left, right))
    except ZeroDivisionError:
        raise ExpressionError(f"division by zero in {ast.unparse(node)!r}") from None


def _boolean(values: list[ast.expr], names: Names, *, stops_at: bool) -> Value:
    """``and`` and ``or``: what follows an operand that decides, or may decide, is not evaluated."""
    for operand in values:
        value = _value(operand, names)
        if value is UNKNOWN or bool(value) is stops_at:
            return UNKNOWN if value is UNKNOWN else stops_at
    return not stops_at
