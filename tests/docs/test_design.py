"""docs/design.md and the lists of modules describe the packages as they are."""

from __future__ import annotations

import re
import tomllib

from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.catalog import Catalog
from tests.docs import modules, operation_sizes
from tests.docs.documents import ROOT, blocks, read, table, ticked

DESIGN = "docs/design.md"
(CONTRACT,) = (
    contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
)


def test_modules_are_listed_as_they_are() -> None:
    for page, text in modules.pages().items():
        assert read(page) == text, "run `make modules`"


def test_every_module_has_a_purpose() -> None:
    for package in modules.packages():
        for path in (package / "__init__.py", *modules.modules(package)):
            assert modules.purpose(path), path.relative_to(ROOT)


def test_design_lists_every_package() -> None:
    rows = table(DESIGN, "package", "what it does").rows
    core = {
        path.stem
        for path in (ROOT / "resnet_spec").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(ticked(row["package"]) for row in rows) == sorted(core - {"__init__", "__main__"})


def test_design_draws_the_layers_that_the_linter_enforces() -> None:
    (picture,) = (
        block for block in blocks(DESIGN, read(DESIGN)) if block.language == "text" and "errors" in block.text
    )
    drawn = [re.split(r"\s{2,}", line)[0].strip() for line in picture.text.splitlines()]
    assert drawn == CONTRACT["layers"]


def test_lines_of_operations_are_counted_as_they_are() -> None:
    assert read(operation_sizes.PAGE) == operation_sizes.page(), "run `make modules`"


def test_no_operation_is_named_after_a_network() -> None:
    shipped = Catalog.shipped().root
    words = {word for path in shipped.rglob("*.yaml") for word in re.findall(r"[a-z]+", path.stem)}
    families = {word for word in words if "net" in word or "nex" in word}
    assert {"resnet", "resnext", "regnetx", "seresnet"} <= families
    backends = [ROOT / "backends" / f"resnet_spec_{backend}" for backend in operation_sizes.BACKENDS]
    for name in {*OPERATIONS, *(name for folder in backends for name in operation_sizes.definitions(folder))}:
        assert not any(family in name.lower() for family in families), name
