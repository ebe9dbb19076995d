"""Writes what the pages of the language say of each key, from the docstrings: ``python -m tests.docs.language``.

Below a heading of ``KEYS`` the first table of keys is generated, and the roles likewise; below the name of an
operation, what it computes and its fields. The JSON Schema has the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from textwrap import fill

from pydantic import BaseModel

from resnet_spec.graph import Input
from resnet_spec.graph.initialization_rules import Constant, FixedDeviation, VarianceScaling, default_rule
from resnet_spec.operations import ANY_RANK, OPERATIONS, Role
from resnet_spec.operations.base import describe, summary
from resnet_spec.operations.roles import LEARNED
from resnet_spec.spec.json_schema import shown_default, written_default
from resnet_spec.spec.models import Block, Identity, Network, Shortcut, Source, Stage, Step
from resnet_spec.spec.published import Accuracy, Preprocessing, Published
from tests.docs.documents import ROOT

FOLDER = ROOT / "docs"

KEYS: dict[tuple[str, str], tuple[type[BaseModel], ...]] = {
    ("language/index.md", "The keys of a spec"): (Network,),
    ("language/network.md", "`input`"): (Input,),
    ("language/network.md", "`source`"): (Source,),
    ("language/weights.md", "Keys"): (Published,),
    ("language/weights.md", "`accuracy`"): (Accuracy,),
    ("language/weights.md", "`preprocessing`"): (Preprocessing,),
    ("language/layers.md", "Steps"): (Step,),
    ("language/stages.md", "Stages"): (Stage,),
    ("language/blocks.md", "Blocks"): (Block,),
    ("language/blocks.md", "Shortcuts"): (Shortcut,),
    ("language/blocks.md", "`otherwise`"): (Identity,),
    ("language/initialization.md", "Initialization"): (Constant, VarianceScaling, FixedDeviation),
    ("prediction.md", "Preprocessing"): (Preprocessing,),
}

LINKS = {
    Network: {
        "weights": "weights.md",
        "blocks": "blocks.md",
        "stages": "stages.md",
        "names": "stages.md#names",
        "initialization": "initialization.md",
        "extends": "inheritance.md#extends",
        **dict.fromkeys(("stem", "final", "head"), "layers.md"),
        **{key: f"network.md#{key}" for key in ("source", "depth", "input", "parameters", "layers", "require")},
        **{key: f"network.md#{key}" for key in ("parameter_names", "prefix", "outputs", "folded")},
        "rename": "inheritance.md#rename",
    },
    Block: {
        "parameters": "#parameters",
        "inputs": "#inputs-and-outputs",
        "outputs": "#inputs-and-outputs",
        "extends": "inheritance.md#extends",
        "rename": "inheritance.md#rename",
        "main": "layers.md",
        "shortcut": "#shortcuts",
        "after": "layers.md",
    },
    Step: {"repeat": "#repeated-steps", "steps": "#repeated-steps", "spec": "#networks-as-parts"},
    Stage: {"block": "blocks.md", "names": "#names"},
    Shortcut: {"otherwise": "#otherwise"},
}
"""Where a key is explained, by the model that has it."""

ROW_OF_A_TABLE = r"^\|.*\|\n"


@cache
def operations() -> dict[str, type]:
    """Every operation by its name, without the rank."""
    names = {kind: name for name, kind in (OPERATIONS | ANY_RANK).items()}
    return {name: kind for kind, name in names.items()}


def markdown(text: str) -> str:
    return text.replace("``", "`")


def cell(text: str) -> str:
    return markdown(text).replace("|", "\\|")


def table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |\n".replace("|  |", "| |") for row in (heading, *rows)]
    return "".join([lines[0], "|---" * len(heading), "|\n", *lines[1:]])


def default(kind: type[BaseModel], key: str) -> str:
    """The cell of a key's default; empty if its description says it."""
    info = next((info for name, info in kind.model_fields.items() if key in (info.alias, name)), None)
    if info is not None and info.is_required() and not re.search("by default|required", describe(kind)[1][key]):
        return "required"
    value = written_default(kind, key)
    return "" if value is None else f"`{shown_default(value)}`"


def keys(kinds: tuple[type[BaseModel], ...], heading: str = "key") -> str:
    """The table of the keys of models, in the order of their descriptions."""
    rows: dict[str, tuple[str, ...]] = {}
    for kind in kinds:
        names = [info.alias or name for name, info in kind.model_fields.items()]
        texts = describe(kind)[1]
        # A key of no field follows that before it.
        order: dict[str, int] = {}
        for key in texts:
            order[key] = names.index(key) if key in names else [*order.values()][-1]
        for key in sorted(texts, key=order.__getitem__):
            link = LINKS.get(kind, {}).get(key)
            rows[key] = (f"[`{key}`]({link})" if link else f"`{key}`", cell(texts[key]), default(kind, key))
    return table((heading, "value", "default"), rows.values())


def rule(role: Role) -> str:
    """The cell of a role's default."""
    if role in LEARNED or role is Role.POOL_POWER:
        return "the `initial` of the operation"
    match default_rule(role):
        case Constant(constant=value):
            return f"{value:g}"
        case VarianceScaling(distribution=distribution, scale=scale, fan=fan):
            return f"{distribution}, scale {Fraction(scale).limit_denominator(9)}, {fan}"
        case FixedDeviation(distribution=distribution, std=std):
            return f"{distribution}, std {std:g}"


def roles() -> str:
    """The table of the roles of parameters."""
    rows = [(f"`{role}`", cell(text), rule(Role(role))) for role, text in describe(Role)[1].items()]
    return table(("role", "what it is", "default"), rows)


def operation(name: str) -> str:
    """What a page says of an operation below its heading, before examples and remarks."""
    kind = operations()[name]
    paragraphs = [fill(markdown(text), 120, break_long_words=False, break_on_hyphens=False) for text in described(name)]
    fields = keys((kind,), "field") if describe(kind)[1] else "No fields.\n"
    return "\n\n".join([*paragraphs, fields])


def described(name: str) -> Iterator[str]:
    """The paragraphs of an operation's description."""
    yield from describe(operations()[name])[0].split("\n\n")
    if name in ANY_RANK:
        stem = name.removesuffix("_nd")
        yield f"It is also named `{stem}1d`, `{stem}2d` and `{stem}3d`, which accept inputs of that rank only."


def page(name: str, text: str) -> str:
    """A page with what is generated in it."""
    parts = re.split(r"^(#+ .*\n)", text, flags=re.MULTILINE)
    for i in range(1, len(parts), 2):
        heading = parts[i].lstrip("# ").rstrip("\n")
        if (name, heading) in KEYS:
            parts[i + 1] = replaced(parts[i + 1], "key", keys(KEYS[name, heading]))
        if (name, heading) == ("language/initialization.md", "Initialization"):
            parts[i + 1] = replaced(parts[i + 1], "role", roles())
        if name == "language/operations.md" and heading == "Operations":
            rows = [
                (f"[`{op}`](operations/{section(op)}#{op})", cell(summary(kind))) for op, kind in operations().items()
            ]
            parts[i + 1] = replaced(parts[i + 1], "operation", table(("operation", "what it computes"), rows))
        if name.startswith("language/operations/") and heading.strip("`") in operations():
            rest = re.split(rf"((?:{ROW_OF_A_TABLE})+|^No fields\.\n)", parts[i + 1], maxsplit=1, flags=re.MULTILINE)[
                -1
            ]
            parts[i + 1] = f"\n{operation(heading.strip('`'))}{rest}"
    return "".join(parts)


def replaced(text: str, heading: str, new: str) -> str:
    """A section with its first table of this heading replaced."""
    found, count = re.subn(
        rf"^\| {heading} \|.*\n(?:{ROW_OF_A_TABLE})+", lambda _: new, text, count=1, flags=re.MULTILINE
    )
    assert count, f"no table of {heading!r}"
    return found


@cache
def section(op: str) -> str:
    """The page below operations/ that has a section about an operation."""
    return next(
        path.name
        for path in sorted((FOLDER / "language" / "operations").glob("*.md"))
        if f"\n## `{op}`\n" in path.read_text("utf-8")
    )


def pages() -> dict[str, str]:
    """The pages with generated parts, by their path in docs/."""
    paths = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.md"))]
    return {name: page(name, (FOLDER / name).read_text("utf-8")) for name in paths}


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
