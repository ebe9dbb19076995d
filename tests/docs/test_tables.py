"""The tables of the documents list what the code has, no more and no less."""

from __future__ import annotations

import re
import shlex
from collections import Counter

import pytest

from tests.docs.documents import DOCUMENTS, blocks, first_columns, read, section, table, ticked

COMMANDS = "docs/commands.md"
RATIONALE = "docs/rationale"
LANGUAGE = "docs/language"


def test_every_type_of_a_parameter_is_documented() -> None:
    from resnet_spec.spec.models import TYPES

    for word in TYPES:
        assert f"`{word}`" in section(f"{LANGUAGE}/blocks.md", "Parameters"), word


def test_readme_counts_the_shipped_networks() -> None:
    from resnet_spec import available

    documented = {
        ticked(row["family"]): int(row["networks"]) for row in table("README.md", "family", "networks", "original").rows
    }
    assert documented == Counter(name.partition("/")[0] for name in available())


def test_overrides_of_the_commands_work() -> None:
    from resnet_spec import load

    for row in table(COMMANDS, "to get", "override").rows:
        for command in re.findall(r"`(--set [^`]+)`", row["override"]):
            load("keras/resnet50" if "softmax" in command else "timm/resnet50d", shlex.split(command)[1:]).to_graph()


def test_every_command_is_documented() -> None:
    from resnet_spec.cli.spec import command

    documented = [ticked(row["command"]) for row in table(COMMANDS, "command", "what it does").rows]
    assert documented == ["resnet-build", *(f"resnet-spec {name}" for name in sorted(command.commands))]


def test_every_adaptation_is_documented() -> None:
    from resnet_spec.weights.adapting import ADAPTATIONS

    options = first_columns("docs/weights.md", "Convert", "option")
    assert sorted(o.partition(" ")[2] for o in options if o.startswith("--adapt ")) == sorted(ADAPTATIONS)


def test_every_member_of_a_backend_is_documented() -> None:
    import inspect

    from resnet_spec.backend.protocol import Backend, ConfiguredBackend, OptimizingBackend, ReadingBackend
    from resnet_spec.backend.quantizing import QuantizingBackend
    from resnet_spec.backend.replicas import ReplicatingBackend
    from resnet_spec.backend.runtime import RunningBackend
    from resnet_spec.backend.training import TrainingBackend

    counts: list[int] = []
    for protocols, heading in (
        (
            (
                Backend,
                ConfiguredBackend,
                ReadingBackend,
                OptimizingBackend,
                TrainingBackend,
                ReplicatingBackend,
                QuantizingBackend,
            ),
            "what it is",
        ),
        ((RunningBackend,), "what it adds"),
    ):
        wanted: list[str] = []
        for protocol in protocols:
            attributes = list(protocol.__annotations__)
            methods = {name: m for name, m in vars(protocol).items() if inspect.isfunction(m) and name[0] != "_"}
            wanted += attributes
            wanted += [f"{name}({', '.join([*inspect.signature(m).parameters][1:])})" for name, m in methods.items()]
            counts += [len(attributes), len(methods)]
        rows = table("docs/backend-protocol.md", "member", heading).rows
        assert [ticked(row["member"]) for row in rows] == wanted
    assert counts == [3, 9, 1, 0, 1, 1, 0, 2, 0, 4, 0, 1, 0, 1, 1, 1], (
        "docs/design.md and docs/backend-protocol.md state the numbers"
    )


@pytest.mark.parametrize(("command", "document"), [("predict", "prediction"), ("evaluate", "evaluation")])
def test_every_option_is_documented(command: str, document: str) -> None:
    from resnet_spec.cli.spec import command as program

    documented = re.findall(r"`(--[\w-]+)", section(f"docs/{document}.md", "Options"))
    params = program.commands[command].params
    assert set(documented) == {option for parameter in params for option in parameter.opts if option[0] == "-"}


def test_published_weights_are_counted() -> None:
    from resnet_spec import available, load

    networks: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for name in available():
        family, count = name.partition("/")[0], len(load(name).weights)
        networks[family] += count > 0
        files[family] += count
    rows = table("docs/published.md", "family", "networks", "files", "from", "verified by").rows
    documented = {ticked(row["family"]): (int(row["networks"]), int(row["files"])) for row in rows}
    assert documented == {family: (networks[family], files[family]) for family in files if files[family]}


def test_the_variables_for_downloads_are_documented() -> None:
    from resnet_spec.weights import cache as caching
    from resnet_spec.weights import download as downloads

    rows = table("docs/published.md", "environment variable", "what it does").rows
    assert [ticked(row["environment variable"]) for row in rows] == [
        caching.CACHE,
        downloads.MIRROR,
        downloads.OFFLINE,
    ]
    assert f"up to {['none', 'one', 'two', 'three', 'four', 'five'][len(downloads.PAUSES)]} times" in read(
        "docs/published.md"
    )


def test_the_rationale_names_overrides_that_work() -> None:
    from resnet_spec.spec.loader import load

    for row in table(f"{RATIONALE}/other-families.md", "wanted", "overrides").rows:
        overrides = re.findall(r"`([^`]+)`", row["overrides"])
        load("keras/resnet50" if "softmax" in row["overrides"] else "resnet50", overrides).to_graph()


def test_the_rationale_states_the_parameters_of_each_network() -> None:
    """Every sketch and every shipped spec is compared with the number that it states; the table has the same."""
    from resnet_spec.spec.loader import headings

    stated = {name: heading["parameters"] for name, heading in headings().items()}
    for block in (block for document in DOCUMENTS for block in blocks(document, read(document))):
        found = re.search(r"^source: {.*parameters: (\d+)}$", block.text, re.MULTILINE)
        if block.document.startswith(RATIONALE) and block.file and found:
            stated[block.file] = int(found[1])
    rows = table(f"{RATIONALE}/index.md", "network", "spec", "parameters", "original").rows
    assert len(rows) == 11
    for row in rows:
        assert row["parameters"] == f"{stated[ticked(row['spec'])]:,}", row
