"""Layer names with open places for numbers, such as ``layer{s}.{b}.conv{c}``: matched and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain

_OPEN = re.compile(r"\{(\*|[a-z]+)([+-]\d+)?(?::(\w+))?\}")

# Up to 9999 of anything, and without leading zeros, so that no two names mean one.
_KINDS: Mapping[str | None, str] = {
    None: "0|[1-9][0-9]{0,3}",
    "02": "0[0-9]|[1-9][0-9]{1,3}",
    "a": "[a-z]",
    "_": "|_[1-9][0-9]{0,3}",
}


LETTERS = 26


class Pattern:
    """A layer's name in which places are open.

    ``{s}`` is a number, ``{s+1}`` the next one, ``{s:02}`` the number in two digits at least, ``{s:a}`` the letter at
    its position in the alphabet, ``{s:_}`` an underscore and the number, or nothing for 0, and ``{*}`` any text.

    >>> Pattern("layer{s}.{b}.conv{c}").values("layer1.0.conv2")
    {'s': 1, 'b': 0, 'c': 2}
    >>> Pattern("res{s+1}{b:a}_branch2{c-1:a}").text({"s": 1, "b": 0, "c": 2})
    'res2a_branch2b'
    """

    def __init__(self, text: str) -> None:
        pieces = _OPEN.split(text)
        self._literals = pieces[::4]
        self._open = [(n, int(s or 0), k) for n, s, k in zip(pieces[1::4], pieces[2::4], pieces[3::4], strict=True)]
        self.names = frozenset(name for name, _, _ in self._open)
        """The names of the open places."""
        self._letters = [(name, shift) for name, shift, kind in self._open if kind == "a"]
        groups = ("(.+)" if name == "*" else f"({_KINDS[kind]})" for name, _, kind in self._open)
        self.expression = _interleaved(map(re.escape, self._literals), groups)
        self._fullmatch = re.compile(self.expression, re.DOTALL).fullmatch

    def values(self, name: str) -> dict[str, int | str] | None:
        """What a name has in the open places, None if it does not match."""
        found = self._fullmatch(name)
        if found is None:
            return None
        values: dict[str, int | str] = {}
        for (key, shift, kind), text in zip(self._open, found.groups(), strict=True):
            value = text if key == "*" else _read(text, kind) - shift
            if values.setdefault(key, value) != value or (isinstance(value, int) and value < 0):
                return None
        return values

    def has_letters_for(self, values: Mapping[str, int | str]) -> bool:
        """Whether all numbers that are written as letters have one; the alphabet ends at 25."""
        places = ((values[name], shift) for name, shift in self._letters)
        return all(0 <= value + shift < LETTERS for value, shift in places if isinstance(value, int))

    def text(self, values: Mapping[str, int | str]) -> str:
        """The name with values in the open places."""
        return _interleaved(self._literals, (_shown(values[key], shift, kind) for key, shift, kind in self._open))


def _interleaved(literals: Iterable[str], others: Iterable[str]) -> str:
    """Literals with one of the others between each two."""
    return "".join(chain.from_iterable(zip(literals, [*others, ""], strict=True)))


def _read(text: str, kind: str | None) -> int:
    return ord(text) - ord("a") if kind == "a" else int(text.removeprefix("_") or "0")


def _shown(value: int | str, shift: int, kind: str | None) -> str:
    if isinstance(value, str):
        return value
    number = value + shift
    if kind == "_":
        return f"_{number}" if number else ""
    return chr(ord("a") + number) if kind == "a" else f"{number:{kind or ''}}"
