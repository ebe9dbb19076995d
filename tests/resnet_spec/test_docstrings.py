"""Public docstrings are complete, and every example in a docstring of the package runs.

The public interface is what ``__all__`` of the packages below exports: their functions, and the public methods of
their classes. A docstring follows Google's style, as https://google.github.io/styleguide/pyguide.html describes it.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

import resnet_spec
from resnet_spec import errors
from resnet_spec.operations import BaseOperation
from tests.examples import examples, run
from tests.needs import need

PUBLIC = ("resnet_spec", "resnet_spec.backend", "resnet_spec.drawing", "resnet_spec.graph", "resnet_spec.operations")

# Examples that need a framework, by the name of the object whose docstring they are in.
FRAMEWORKS: dict[str, tuple[str, ...]] = {
    "resnet_spec.building.build": ("torch",),
    "resnet_spec.evaluating.evaluation.evaluate": ("torch",),
    "resnet_spec.parity.compare.compare": ("torch", "onnxruntime"),
    "resnet_spec.pushing.push": ("huggingface_hub",),
    "resnet_spec.vision.prediction.predict": ("torch",),
    "resnet_spec.weights.converting.write_model": ("torch",),
}

SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Examples?|Notes?|Warnings?):$", re.MULTILINE)
ENTRY = re.compile(r"^ {4}(\*{0,2}[\w.]+)(?: \([^)]*\))?:", re.MULTILINE)
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}


class Public(NamedTuple):
    """A function or method that users call, with the name by which they find it."""

    name: str
    function: Callable[..., Any]
    is_method: bool
    is_protocol: bool


# -- what is public ------------------------------------------------------------------------------------------------


def exported() -> Iterator[tuple[str, Any]]:
    """Each exported object once, by the first name that it has."""
    seen: set[int] = set()
    for package in PUBLIC:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if id(value) not in seen and not isinstance(value, ModuleType):
                seen.add(id(value))
                yield f"{package}.{name}", value


def methods(owner: type) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """The public methods that a class defines, and whether each takes ``self`` or ``cls``.

    What overrides a method has that method's docstring, and pydantic documents its own hooks.
    """
    for name, value in vars(owner).items():
        if name.startswith("_") or hasattr(BaseModel, name) or any(hasattr(base, name) for base in owner.__mro__[1:]):
            continue
        if isinstance(value, staticmethod | classmethod):
            yield name, value.__func__, isinstance(value, classmethod)
        elif inspect.isfunction(value):
            yield name, value, True


def bases(owner: type) -> list[type]:
    """A class and what it derives from in this package, exported or not."""
    return [base for base in owner.__mro__ if base.__module__.startswith("resnet_spec")]


def public() -> Iterator[Public]:
    """Every public function and method; a method that a class inherits belongs to the base that defines it."""
    seen: set[Callable[..., Any]] = set()
    for name, value in exported():
        if inspect.isfunction(value):
            yield Public(name, value, False, False)
        elif inspect.isclass(value):
            for base in bases(value):
                for method, function, bound in methods(base):
                    if function not in seen:
                        seen.add(function)
                        owner = f"{name.rpartition('.')[0]}.{base.__name__}"
                        yield Public(f"{owner}.{method}", function, bound, getattr(value, "_is_protocol", False))


CALLABLES = {item.name: item for item in public()}
CLASSES = {
    name: value for name, value in exported() if inspect.isclass(value) and value.__module__.startswith("resnet_spec")
}
OPERATIONS = [name for name, value in CLASSES.items() if issubclass(value, BaseOperation)]


# -- what a docstring says -----------------------------------------------------------------------------------------


def sections(docstring: str) -> dict[str, str]:
    """The sections of a docstring in Google's style, by their titles; the summary is under ``""``."""
    pieces = SECTION.split(inspect.cleandoc(docstring))
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def entries(section: str) -> list[str]:
    """What a section has an entry for: the names of arguments, attributes or errors."""
    return [name.lstrip("*") for name in ENTRY.findall(section)]


def fields_of(owner: type) -> list[str]:
    """The fields that a class's docstring documents."""
    return entries(sections(vars(owner).get("__doc__") or "").get("Attributes", ""))


def raised(function: Callable[..., Any]) -> set[str]:
    """The package's errors that a function raises itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raising = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found |= {ast.unparse(raising).rpartition(".")[2]} & ERRORS
    return found


def examples_in(item: Public) -> list[doctest.Example]:
    """The examples of a docstring."""
    return doctest.DocTestParser().get_examples(item.function.__doc__ or "")


def runs(example: doctest.Example) -> bool:
    """Whether an example is more than an import, and is not skipped."""
    return not example.options.get(doctest.SKIP) and not example.source.startswith(("import ", "from "))


def lacks(item: Public) -> list[str]:
    """What is missing or wrong in a public docstring, a line each."""
    told = sections(item.function.__doc__ or "")
    signature = inspect.signature(item.function)
    parameters = [name for name in signature.parameters if not name.startswith("_")][item.is_method :]
    found = [] if told[""].strip() else ["no summary"]
    if parameters or "Args" in told:
        documented = entries(told.get("Args", ""))
        if documented != parameters:
            found.append(f"Args has {documented}, the signature {parameters}")
    returns = signature.return_annotation
    if returns not in (None, "None", inspect.Signature.empty) and not {"Returns", "Yields"} & set(told):
        found.append(f"no Returns, which are {returns}")
    missing = raised(item.function) - set(entries(told.get("Raises", "")))
    if missing:
        found.append(f"Raises lacks {sorted(missing)}")
    if not item.is_protocol and not any(runs(example) for example in examples_in(item)):
        found.append("no example (>>>) that runs")
    return found


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_docstring_is_complete(name: str) -> None:
    assert lacks(CALLABLES[name]) == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_has_a_docstring_of_its_own(name: str) -> None:
    docstring = vars(CLASSES[name]).get("__doc__") or ""
    # What dataclass and NamedTuple make up from the fields.
    assert docstring.strip()
    assert not docstring.startswith(f"{CLASSES[name].__name__}(")


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_documents_its_fields(name: str) -> None:
    operation = CLASSES[name]
    # A class documents the fields that it adds.
    documented = {entry for base in bases(operation) for entry in fields_of(base)}
    assert documented == {*operation.model_fields, *operation.aliases} - {"op"}


def test_a_docstring_that_is_incomplete_is_found() -> None:
    """The checks above can fail."""

    def wrong(first: int, second: int) -> int:
        """Add.

        Args:
            first: A number.
        """
        raise errors.GraphError("no sum")

    assert lacks(Public("wrong", wrong, False, False)) == [
        "Args has ['first'], the signature ['first', 'second']",
        "no Returns, which are int",
        "Raises lacks ['GraphError']",
        "no example (>>>) that runs",
    ]


# -- examples ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept_backends")
@pytest.mark.parametrize("name", examples("resnet_spec"))
def test_an_example_in_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for framework in FRAMEWORKS.get(name, ()):
        need(framework)
    monkeypatch.chdir(tmp_path)

    assert run(examples("resnet_spec")[name]) == ""


def test_a_wrong_example_is_found() -> None:
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)

    assert "Expected:\n    3\nGot:\n    2" in run(example)


def test_every_framework_is_named_for_an_example_that_is_there() -> None:
    assert set(FRAMEWORKS) <= set(examples("resnet_spec"))


def test_the_public_packages_are_packages_of_the_core() -> None:
    assert {name.partition(".")[0] for name in PUBLIC} == {resnet_spec.__name__}
