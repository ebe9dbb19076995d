"""A table of functions refuses a second entry under a name, whichever of two disjoint tables holds the first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_spec.backend.table import Table


def _first() -> str:
    return "first"


def _second() -> str:
    return "second"


def test_register_enters_a_function_under_each_name_and_returns_it() -> None:
    table: Table[Callable[[], str]] = Table("reader")
    assert table.register("Identity", "Dropout")(_first) is _first
    assert dict(table) == {"Identity": _first, "Dropout": _first}
    assert (len(table), "Identity" in table, "Conv" in table) == (2, True, False)


def test_a_second_entry_is_refused_and_the_first_one_stays() -> None:
    table: Table[Callable[[], str]] = Table("emitter")
    table.register("relu")(_first)
    with pytest.raises(ValueError, match=r"^'relu' has two emitters: .*test_table\._first and .*test_table\._second;"):
        table.register("relu")(_second)
    assert table["relu"] is _first


def test_a_name_given_twice_at_once_is_refused() -> None:
    table: Table[Callable[[], str]] = Table("emitter")
    with pytest.raises(ValueError, match="'relu' has two emitters"):
        table.register("relu", "relu")(_first)


def test_disjoint_tables_refuse_each_others_names() -> None:
    modules: Table[Callable[[], str]] = Table("emitter")
    expressions: Table[Callable[[], str]] = Table("emitter", disjoint=modules)
    modules.register("relu")(_first)
    expressions.register("add")(_first)
    for table, name in ((modules, "add"), (expressions, "relu"), (modules, "relu"), (expressions, "add")):
        with pytest.raises(ValueError, match=f"'{name}' has two emitters"):
            table.register(name)(_second)
    assert (list(modules), list(expressions)) == (["relu"], ["add"])


def test_a_table_cannot_be_written_to_past_register() -> None:
    table: Table[Callable[[], str]] = Table("emitter")
    with pytest.raises(TypeError):
        table["relu"] = _first  # type: ignore[index]
