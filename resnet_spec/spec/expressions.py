"""Arithmetic in specs: a whitelisted walk of Python's syntax tree, with nothing that can call or look anything up."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from resnet_spec.errors import suggest

Number: TypeAlias = int | float | bool
Names: TypeAlias = Mapping[str, Number]

LIMIT = 2**53
"""No value may be larger: beyond it integers and floats part ways, and no network is that big."""

MAX_LENGTH = 200


class ExpressionError(ValueError):
    """An expression that is malformed, names something unknown, or has no value."""


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


def evaluate(text: str, names: Names) -> Number:
    """The value of an expression over ``names``.

    Numbers, names, ``+ - * / // %``, comparisons, ``and or not``, ``a if c else b`` and parentheses; anything else, an
    unknown name, a division by zero or a value beyond ``LIMIT`` raises ExpressionError.
    """
    return _value(_parse(text), names)


def variables(text: str) -> frozenset[str]:
    """The names an expression mentions; raises ExpressionError where it is no expression."""
    return frozenset(node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name))


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            # What Python would only warn of, such as "64if wide else 32", is no expression here.
            warnings.simplefilter("error")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        raise ExpressionError(f"{text!r} is neither a known word nor an arithmetic expression") from None


def _value(node: ast.expr, names: Names) -> Number:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _limited(value)
        case ast.Name(id=name):
            if name not in names:
                raise ExpressionError(
                    f"unknown name {name!r}{suggest(name, names)} (known: {', '.join(sorted(names))})"
                )
            return names[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _limited(_UNARY[type(op)](_value(operand, names)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            try:
                return _limited(_BINARY[type(op)](_value(left, names), _value(right, names)))
            except ZeroDivisionError:
                raise ExpressionError(f"division by zero in {ast.unparse(node)!r}") from None
        case ast.BoolOp(op=op, values=values):
            results = (bool(_value(value, names)) for value in values)
            return all(results) if isinstance(op, ast.And) else any(results)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            operands = [_value(value, names) for value in (left, *others)]
            return all(_COMPARISONS[type(op)](a, b) for op, a, b in zip(ops, operands, operands[1:], strict=False))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
        case _:
            raise ExpressionError(
                f"{ast.unparse(node)!r} is not allowed in an expression, which is arithmetic over names"
            )


def _limited(value: Number) -> Number:
    if abs(value) > LIMIT:
        raise ExpressionError(f"a value is larger than {LIMIT}")
    return value
