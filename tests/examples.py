"""The examples in docstrings, as doctest finds and runs them."""

from __future__ import annotations

import doctest
import functools
import importlib
import pkgutil

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@functools.cache
def examples(package: str) -> dict[str, doctest.DocTest]:
    """Every docstring with an example in the modules of a package."""
    root = importlib.import_module(package)
    modules = [root, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(root.__path__, f"{package}."))]
    found: dict[str, doctest.DocTest] = {}
    for module in modules:
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            if example.examples:
                found[example.name] = example
    return found


def run(example: doctest.DocTest) -> str:
    """What fails in an example, as text; empty where nothing does."""
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append, clear_globs=False)
    return "".join(report)
