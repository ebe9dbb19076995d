"""What an editor suggests, explains and marks by the schemas, through yaml-language-server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.cli.editor import MODELINE
from resnet_spec.document.parser import parse
from resnet_spec.graph import Input
from resnet_spec.operations import WORDS, Conv, Role
from resnet_spec.operations.base import describe
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.models import Network, Stage
from tests.docs.documents import blocks, read
from tests.language_server import LanguageServer, Mark, language_server

pytestmark = pytest.mark.slow

ROOT = Catalog.shipped().root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    with language_server(tmp_path_factory.mktemp("project")) as running:
        yield running


@pytest.fixture(scope="module")
def opened(server: LanguageServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Open a text as a new file whose second line it begins with; the first names the schema."""
    folder, numbers = tmp_path_factory.mktemp("files"), count()

    def open_text(text: str, kind: str = "spec") -> Path:
        path = folder / f"{next(numbers)}.yaml"
        server.open(path, f"{MODELINE}{(ROOT / f'{kind}.schema.json').as_uri()}\n{text}")
        return path

    return open_text


KINDS = ["conv2d", "conv_nd", "batch_norm", "relu", "add", "squeeze_excite", "none"]

SUGGESTED: list[Any] = [
    ("spec", "|", list(describe(Network)[1])),
    ("spec", "sta|", ["stages", "stem"]),
    ("spec", "extends: |", ["resnet50", "timm/resnet50d", "tutorial/resnet18"]),
    ("spec", "input:\n  |", list(Input.model_fields)),
    ("spec", "stages:\n  layer1:\n    |", ["block", "repeat", "stride", "stride_in", "first", "last"]),
    ("spec", "stages:\n  layer1:\n    block: |", [*Catalog.shipped().blocks()]),
    ("spec", "stages:\n  layer1: {block: b|}", ["bottleneck", "basic_block"]),
    ("spec", "stages:\n  layer1:\n    block: bottleneck\n    |", ["repeat", "width", "channels", "attention"]),
    ("spec", "stages:\n  layer1:\n    stride_in: |", ["first", "last"]),
    ("spec", "extends: resnet50\nstages:\n  |", ["layer1", "layer2", "layer3", "layer4"]),
    ("spec", "extends: resnet50\nstages:\n  layer2:\n    |", ["block", "repeat", "width", "channels"]),
    ("spec", "stem:\n  conv1: |", KINDS),
    ("spec", "stem:\n  conv1: {|}", []),
    ("spec", "stem:\n  conv1:\n    |", ["from", "when", "repeat", "steps", *KINDS[:-1]]),
    ("spec", "stem:\n  conv1:\n    conv2d:\n      |", [name for name in Conv.model_fields if name != "op"]),
    ("spec", "stem:\n  conv1:\n    conv2d:\n      padding: |", ["same"]),
    ("spec", "stem:\n  part:\n    spec: |", ["resnet50", "timm/resnet50d"]),
    ("spec", "head:\n  up:\n    resize:\n      mode: |", ["nearest", "bilinear"]),
    ("spec", "layers:\n  act: |", KINDS),
    ("spec", "initialization:\n  |", [str(role) for role in Role]),
    ("spec", "initialization:\n  conv_kernel:\n    fan: |", ["fan_in", "fan_out", "fan_avg"]),
    ("spec", "blocks:\n  mine:\n    extends: |", ["bottleneck", "basic_block"]),
    ("spec", "outputs: |", ["features"]),
    ("block", "|", ["block", "extends", "main", "shortcut", "parameters"]),
    ("block", "extends: |", ["bottleneck", "basic_block"]),
    ("block", "main:\n  conv1:\n    |", ["from", "when", *KINDS[:-1]]),
]


@pytest.mark.parametrize(("kind", "text", "wanted"), SUGGESTED)
def test_an_editor_completes(
    server: LanguageServer, opened: Callable[..., Path], kind: str, text: str, wanted: list[str]
) -> None:
    before, after = text.split("|")
    lines = before.splitlines() or [""]
    items = server.completions(opened(before + after, kind), len(lines) + 1, len(lines[-1]) + 1)
    labels = [item["label"] for item in items]

    assert set(wanted) <= set(labels)
    assert len(labels) == len(set(labels))


def test_what_is_completed_is_described(server: LanguageServer, opened: Callable[..., Path]) -> None:
    for text, line, column in [("", 2, 1), ("stem:\n  a: ", 3, 6), ("stages:\n  a:\n    block: ", 4, 12)]:
        for item in server.completions(opened(text), line, column):
            if item["label"] != "null":
                assert item.get("documentation"), item["label"]


SAMPLE = """\
name: mine
description: mine
source: {library: torchvision, paper: x, url: x, parameters: 1}
depth: 18
extends: resnet50
rename: {fc: classifier}
require:
  in_height > 32: too small
outputs: [layer4]
named_outputs: true
folded: false
prefix: "backbone."
names: "{stage}.{index}.{layer}"
parameter_names: {"*.weight": kernel}
initialization:
  conv_kernel: {distribution: normal, scale: 2, fan: fan_out}
  linear_kernel: {distribution: normal, std: 1}
  "*.bn.weight": {constant: 0}
weights:
  first:
    url: https://example.org/mine/first.safetensors
    size: 46827520
    hash: sha256:6bd56f3a
    classes: 10
    license: apache-2.0
    accuracy: {top1: 69.8, top5: 89.1}
    preprocessing: {resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], range: 1}
final:
  a: {resize: {mode: bilinear, coordinates: half_pixel, size: [7, 7]}, when: true}
  b: {multiply: {factor: 2}, from: [a, x], repeat: 2}
  c: {steps: {d: relu}, repeat: 2}
  d: {spec: resnet18, outputs: features, set: {input.height: 3}}
  e: {call: a}
"""


def keys(text: str) -> Iterator[tuple[tuple[Any, ...], int, int]]:
    """The path, the line and the column of each key of a YAML text."""
    for path, position in parse(text, "f").keys.items():
        if path and isinstance(path[-1], str):
            yield path, position.line, position.column


def example() -> str:
    """The example of the reference, which has a block of its own."""
    return next(block.text for block in blocks("", read("docs/language/index.md")) if block.file == "thin.yaml")


@pytest.mark.parametrize("text", [SAMPLE, example()], ids=["most keys", "the example of the reference"])
def test_an_editor_explains_every_key(server: LanguageServer, opened: Callable[..., Path], text: str) -> None:
    path = opened(text)
    found = {key: server.hover(path, line + 1, column) for key, line, column in keys(text)}

    assert [".".join(map(str, key)) for key, shown in found.items() if not shown] == []
    assert len(found) > 40


EXPLAINED: list[Any] = [
    ("depth: 18\n", "depth", describe(Network)[1]["depth"]),
    ("input: {height: 32}\n", "height", f"{describe(Input)[1]['height']} Default: ``224``."),
    ("stages: {a: {repeat: 2}}\n", "repeat", f"{describe(Stage)[1]['repeat']} Default: ``1``."),
    ("stem: {a: {conv2d: {channels: 64}}}\n", "conv2d", describe(Conv)[0]),
    ("stem: {a: {conv_nd: {kernel: 3}}}\n", "kernel", describe(Conv)[1]["kernel"]),
    ("stem: {a: relu}\n", "relu", describe(WORDS["relu"])[0]),
    ("initialization: {conv_bias: {constant: 0}}\n", "conv_bias", describe(Role)[1]["conv_bias"]),
    ("stages: {a: {block: bottleneck, width: 3}}\n", "width", "the block ``bottleneck``: a whole number, required."),
    ("extends: resnet50\nstages: {layer1: {groups: 3}}\n", "groups", "a whole number, by default ``1``."),
    ("stem: {a: {squeeze_excite: {reduction: 4}}}\n", "reduction", "the block ``squeeze_excite``: a whole number"),
    ("extends: resnet18\n", "extends", "#### The shipped spec, or the file, that this one changes\n\nResNet-18"),
    ("extends: mine.yaml\n", "extends", "one changes\n\nA file's path, or an address in the Hugging Face Hub."),
    ("stages: {a: {block: basic_block}}\n", "block:", "that the spec defines\n\nTwo 3×3 convolutions"),
    ("stages: {a: {first: {block: mine}}}\n", "block", "#### The block's name: a shipped block, or one that"),
]


@pytest.mark.parametrize(("text", "word", "wanted"), EXPLAINED)
def test_an_editor_explains_in_the_words_of_the_reference(
    server: LanguageServer, opened: Callable[..., Path], text: str, word: str, wanted: str
) -> None:
    lines = text.splitlines()
    line = next(number for number, line in enumerate(lines) if word in line)
    shown = server.hover(opened(text), line + 2, lines[line].rindex(word) + 2)

    assert wanted.replace("``", "`") in shown


MARKED: list[Any] = [
    ("stagess: {}\n", "stagess", "Property stagess is not allowed."),
    ("input: {hight: 3}\n", "hight", "Property hight is not allowed."),
    ("stem: {a: {conv2d: {kernal: 3}}}\n", "kernal", "Property kernal is not allowed."),
    ("initialization: {conv_kernl: {constant: 0}}\n", "conv_kernl", "Property conv_kernl is not allowed."),
    ("stages: {a: {block: bottleneck, widht: 3}}\n", "widht", "Property widht is not allowed."),
    ("extends: resnet50\nstages: {layer2: {widht: 3}}\n", "widht", "Property widht is not allowed."),
    ("stem: {a: {squeeze_excite: {ration: 3}}}\n", "ration", "Property ration is not allowed."),
    ("extends: resnet5O\n", "resnet5O", "no shipped spec has this name, and the path of a file ends in .yaml or .yml"),
    ("depth: deep\n", "deep", 'Incorrect type. Expected "integer | null".'),
    ("stages: {a: {repeat: many}}\n", "many", "Incorrect type. Expected one of integer, null."),
    ("stem: {a: {conv2d: {bias: 3}}}\n", "3", "Incorrect type. Expected one of boolean, string, null."),
    ("stages: {a: {block: bottleneck, width: {b: 1}}}\n", "{b: 1}", "Incorrect type. Expected one of integer, string"),
]


@pytest.mark.parametrize(("text", "word", "message"), MARKED)
def test_an_editor_marks_a_mistake(
    server: LanguageServer, opened: Callable[..., Path], text: str, word: str, message: str
) -> None:
    (mark,) = server.marks(opened(text))

    assert mark.text == word
    assert mark.line == len(text.splitlines()) + 1
    assert mark.message.startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "blocks: {bottleneck: {parameters: {mine: 1}, main: {x: relu}}}\nstages: {a: {block: bottleneck, mine: 3}}\n",
        "extends: base.yaml\nstages: {a: {block: bottleneck, mine: 3}}\n",
        "stages: {a: {block: mine, other: 3}}\n",
        "extends: resnet50\nstages: {layer1: {block: basic_block, width: null}, layer2: null}\n",
    ],
)
def test_an_editor_does_not_mark_what_is_valid(server: LanguageServer, opened: Callable[..., Path], text: str) -> None:
    assert server.marks(opened(text)) == []


def test_no_shipped_file_has_a_mark(server: LanguageServer) -> None:
    files = sorted(ROOT.rglob("*.yaml"))
    for file in files:
        server.open(file)

    assert {file.name: marks for file in files if (marks := server.marks(file))} == {}
    assert len(files) > 300


def wrong(path: Path) -> list[Mark]:
    """The mark of a key that is added to a file."""
    return [Mark("stagess", len(path.read_text("utf-8").splitlines()), "Property stagess is not allowed.")]


def test_a_shown_spec_is_checked_where_it_is_saved(
    server: LanguageServer, tmp_path: Path, command: Callable[..., Any]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(command("resnet-spec", "show", "resnet50").out + "stagess: {}\n", "utf-8")
    server.open(path)

    assert server.marks(path) == wrong(path)


def test_an_installed_schema_checks_a_file(server: LanguageServer, tmp_path: Path, command: Callable[..., Any]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: resnet50\nstagess: {}\n", "utf-8")
    assert command("resnet-spec", "schema", "--install", str(path)).status == 0
    server.open(path)

    assert server.marks(path) == wrong(path)


def test_the_settings_of_a_project_check_its_files(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, block, other = (tmp_path / "specs" / f"{name}.yaml" for name in ("mine", "block", "other"))
    spec.parent.mkdir()
    spec.write_text("extends: resnet50\nstagess: {}\n", "utf-8")
    block.write_text("main: {a: relu}\nstagess: {}\n", "utf-8")
    other.write_text("stagess: {}\n", "utf-8")
    assert command("resnet-spec", "schema", "--install").status == 0
    settings = json.loads((tmp_path / ".vscode" / "settings.json").read_text("utf-8"))

    with language_server(tmp_path, schemas=settings["yaml.schemas"]) as running:
        for path in (spec, block, other):
            running.open(path)
        assert [running.marks(path) for path in (spec, block, other)] == [wrong(spec), wrong(block), []]
