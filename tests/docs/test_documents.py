"""Runs the code blocks of the documents, and holds their tables to the code they tell of.

Each document runs in a process and a folder of its own, block after block, as a reader would do it. What a block's
first line names (``# my_resnet.yaml``) is written to that file. Run as a program, this file is that process.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    *sorted(path.name for path in ROOT.glob("*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)
RATIONALE = "docs/rationale.md"
LANGUAGES = ("console", "diff", "json", "python", "text", "toml", "yaml")
PACKAGES = (
    "resnet_spec",
    "backends/resnet_spec_onnx",
    "backends/resnet_spec_tensorflow",
    "backends/resnet_spec_torch",
    "specs",
)
OURS = ("resnet-spec", "resnet-build")
OTHERS = ("git", "pytest")
NOT_RUN = ("make", "pip")


class Block(NamedTuple):
    """A fenced block: where it starts, its language, and its text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the first line names."""
        found = re.match(r"# ([\w./-]+\.\w+)$", self.text.partition("\n")[0])
        return found[1] if found else None


def blocks(document: str, text: str) -> list[Block]:
    found: list[Block] = []
    fence = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in fence.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(document, line, match[1], match[2]))
    return found


def read(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


# -- the process that runs one document --------------------------------------------------------------------------


def run_document(document: str, text: str) -> dict[int, str]:
    """Run the blocks of a document in the current folder; what went wrong, by the line a block starts on."""
    runner = _Runner(blocks(document, text))
    errors: dict[int, str] = {}
    for block in runner.blocks:
        try:
            getattr(runner, block.language, runner.other)(block)
        except SystemExit as error:
            errors[block.line] = f"exit {error.code}"
        except BaseException:  # whatever a block raises is the test's to tell
            errors[block.line] = traceback.format_exc()
    return errors


class _Runner:
    """What the blocks of one document share: a namespace, a folder, the last status and output."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.printed: str | None = None
        self.folder = Path.cwd()
        sys.path.insert(0, str(self.folder))
        path = [str(self.folder)]
        if any((block.file or "").startswith(("resnet_spec/", "backends/")) for block in blocks):
            self.copy_packages()
            path.append(str(self.folder / "backends"))
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{role}_NAME": "a reader", f"GIT_{role}_EMAIL": "reader@example.org"}
        self.environment.pop("FORCE_COLOR", None)

    def copy_packages(self) -> None:
        """A copy of the code for a document that changes it."""
        for package in PACKAGES:
            shutil.copytree(ROOT / package, self.folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        sys.path.insert(1, str(self.folder / "backends"))

    def other(self, block: Block) -> None:
        """A block that is only read."""

    def write(self, block: Block) -> Path:
        path = self.folder / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
        return path

    def yaml(self, block: Block) -> None:
        from resnet_spec.document.parser import parse

        parse(block.text, block.file or "fragment")
        if block.file:
            path = self.write(block)
            # What is wrong on purpose is for a command to refuse, and what is hidden for other programs to read.
            if not path.name.startswith("wrong") and not str(block.file).startswith("."):
                check_yaml(path)

    def toml(self, block: Block) -> None:
        """Install what a pyproject.toml describes, as far as entry points go."""
        project = tomllib.loads(self.write(block).read_text("utf-8"))["project"]
        information = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        information.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (information / "METADATA").write_text(metadata)
        points = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        ]
        (information / "entry_points.txt").write_text("\n".join(points))

    def python(self, block: Block) -> None:
        if block.file:
            self.add_code(block)
            return
        output = StringIO()
        code = compile("\n" * block.line + block.text, block.document, "exec")
        with redirect_stdout(output):
            exec(code, self.namespace)
        self.printed = output.getvalue()

    def add_code(self, block: Block) -> None:
        """A new file, or more code at the end of one that is there."""
        path = self.folder / str(block.file)
        if not path.exists():
            self.write(block)
            return
        path.write_text(f"{path.read_text('utf-8')}\n\n{block.text.partition(chr(10))[2]}", "utf-8")

    def diff(self, block: Block) -> None:
        path = self.folder / str(block.file)
        lines = block.text.splitlines()[1:]
        old = "".join(line[1:] + "\n" for line in lines if not line.startswith("+"))
        new = "".join(line[1:] + "\n" for line in lines if not line.startswith("-"))
        text = path.read_text("utf-8")
        assert text.count(old) == 1, f"{block.file} holds {text.count(old)} times:\n{old}"
        path.write_text(text.replace(old, new), "utf-8")

    def text(self, block: Block) -> None:
        """What the Python block before it printed; else a picture."""
        if self.printed is not None:
            assert_shown(block.text, self.printed)
        self.printed = None

    def console(self, block: Block) -> None:
        status = 0
        commands = [part for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE) if part]
        for index, part in enumerate(commands):
            command, _, shown = part.partition("\n")
            if command == "echo $?":
                assert shown.strip() == str(status), f"status {status}, not {shown.strip()}"
                continue
            program = shlex.split(command)[0]
            if program in NOT_RUN:
                continue
            assert program in OURS + OTHERS, f"{program} is not run by this test"
            result = subprocess.run(
                shlex.split(command), env=self.environment, capture_output=True, text=True, timeout=600
            )
            status = result.returncode
            told = index + 1 < len(commands) and commands[index + 1].startswith("echo $?")
            assert status == 0 or told, f"status {status} of {command}\n{result.stdout}\n{result.stderr}"
            if shown.strip():
                assert_shown(shown, (result.stdout if status < 2 else "") or result.stderr)


def check_yaml(path: Path) -> None:
    """A block's file is held to the models and the schema, a spec's also to its graph."""
    import jsonschema

    from resnet_spec.document.parser import read as read_yaml
    from resnet_spec.spec.dependencies import kind
    from resnet_spec.spec.json_schema import block_schema, spec_schema
    from resnet_spec.spec.loader import check_block, load

    data = read_yaml(path).data
    if kind(path) == "block":
        jsonschema.validate(data, block_schema())
        check_block(path)
    else:
        jsonschema.validate(data, spec_schema())
        graph = load(path).to_graph()
        assert graph.from_json(graph.to_json()) == graph


def assert_shown(shown: str, printed: str) -> None:
    """Compare output with what a document shows: spaces do not count, ``...`` stands for anything, nor do figures
    that differ from machine to machine (seconds, and differences such as 9.0e-15)."""
    pattern = re.escape(_plain(shown))
    pattern = pattern.replace(re.escape("..."), ".*")
    pattern = re.sub(r"\d+\\\.\de\\-\d\d", r"\\d+\\.\\de[-+]\\d\\d", pattern)
    pattern = re.sub(r"\d+\\\.\d\d(?=\\ (?:to\\ build|for\\ one))", r"\\d+\\.\\d\\d", pattern)
    assert re.fullmatch(pattern, _plain(printed), re.DOTALL), f"shown:\n{shown}\nprinted:\n{printed}"


def _plain(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.strip().splitlines())
    return "\n".join(line for line in lines if line)


# -- this file as a program --------------------------------------------------------------------------------------


def main() -> None:
    """Run a document in the current folder: python test_documents.py DOCUMENT TEXT RESULT."""
    document, source, result = sys.argv[1:]
    errors = run_document(document, Path(source).read_text("utf-8"))
    Path(result).write_text(json.dumps(errors), "utf-8")


def run_apart(folder: Path, document: str, text: str) -> dict[str, str]:
    """Run a document in a process and a folder of its own; what went wrong, by the line a block starts on."""
    source, result = folder / "document.md", folder / "result.json"
    source.write_text(text, "utf-8")
    (work := folder / "work").mkdir()
    command = [sys.executable, str(Path(__file__)), document, str(source), str(result)]
    ended = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    return json.loads(result.read_text("utf-8"))


# -- every code block --------------------------------------------------------------------------------------------

ALL_BLOCKS = [block for document in DOCUMENTS for block in blocks(document, read(document))]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    return cache(lambda document: run_apart(tmp_path_factory.mktemp("document"), document, read(document)))


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=lambda block: f"{block.document}:{block.line}:{block.language}")
def test_block_runs(block: Block, errors: Callable[[str], dict[str, str]]) -> None:
    error = errors(block.document).get(str(block.line))
    assert error is None, f"{block.document}:{block.line}\n{error}"


def test_every_fence_has_a_known_language() -> None:
    for block in ALL_BLOCKS:
        assert block.language in LANGUAGES, f"{block.document}:{block.line}: {block.language!r}"
    for document in DOCUMENTS:
        fences = len(re.findall(r"^\s*```", read(document), re.MULTILINE))
        assert fences == 2 * len(blocks(document, read(document))), f"{document} has a fence that is not read"


BROKEN = {
    "a yaml that names no block": "```yaml\n# a.yaml\nstages: {x: {block: bottlneck}}\n```",
    "a yaml the schema refuses": "```yaml\n# a.yaml\nstem: {a: relu}\nhaed: {b: relu}\n```",
    "a block with an unknown key": "```yaml\n# b.yaml\nblock: b\nmain: {a: relu}\naftre: {}\n```",
    "a fragment that is no YAML": "```yaml\na: [1\n```",
    "code that raises": "```python\nassert 1 == 2\n```",
    "other output than shown": "```python\nprint(1)\n```\n```text\n2\n```",
    "a command that fails": "```console\n$ resnet-spec validate nothing.yaml\n```",
    "another status than shown": "```console\n$ resnet-spec list\n$ echo $?\n2\n```",
    "other lines than shown": "```console\n$ resnet-spec list\nresnet50\n```",
    "an unknown program": "```console\n$ unheard-of\n```",
}


def test_what_is_broken_is_told(tmp_path: Path) -> None:
    text = "\n".join(f"{fences}\n" for fences in BROKEN.values())
    errors = run_apart(tmp_path, "broken.md", text)
    lines = [block.line for block in blocks("broken.md", text) if "print(1)" not in block.text]
    assert sorted(map(int, errors)) == lines
    assert len(lines) == len(BROKEN)


# -- tables ------------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """A table of a document: its headings, and its rows as mappings."""

    headings: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def tables(text: str) -> Iterator[Table]:
    for lines in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines.splitlines()]
        yield Table(tuple(rows[0]), tuple(dict(zip(rows[0], row, strict=True)) for row in rows[2:]))


def table(document: str, *headings: str) -> Table:
    """The one table with these headings."""
    found = [table for table in tables(read(document)) if table.headings == headings]
    assert len(found) == 1, f"{document} has {len(found)} tables with the headings {headings}"
    return found[0]


def section(document: str, heading: str) -> str:
    """What stands below a heading, down to the next of its level or above, without the code."""
    text = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
    found = re.search(rf"^(#+) {re.escape(heading)}$\n", text, re.MULTILINE)
    assert found, f"{document} has no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def ticked(text: str) -> str:
    """The text between a pair of backticks that is all there is."""
    found = re.fullmatch(r"`([^`]+)`", text)
    assert found, f"{text!r} is not in backticks"
    return found[1]


def first_columns(document: str, heading: str, column: str) -> list[str]:
    """The first column, which has this heading, of every table below a heading and above the next one."""
    body = re.split(r"^#", section(document, heading), maxsplit=1, flags=re.MULTILINE)[0]
    return [ticked(row[column]) for table in tables(body) if table.headings[0] == column for row in table.rows]


LANGUAGE = "docs/language"


def _keys(model: Any) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


def test_language_documents_every_key_and_no_other() -> None:
    from resnet_spec.graph import Input
    from resnet_spec.graph.initialization_rules import Constant, VarianceScaling
    from resnet_spec.spec.models import Block as BlockModel
    from resnet_spec.spec.models import Identity, Network, Shortcut, Source, Stage, Step
    from resnet_spec.spec.published import Accuracy, Preprocessing, Published

    wanted = {
        ("index", "The keys of a spec"): _keys(Network) | {"extends"},
        ("network", "`input`"): _keys(Input),
        ("network", "`source`"): _keys(Source),
        ("weights", "Keys"): _keys(Published),
        ("weights", "`accuracy`"): _keys(Accuracy),
        ("weights", "`preprocessing`"): _keys(Preprocessing),
        ("layers", "Steps"): _keys(Step) - {"layer"},
        ("stages", "Stages"): _keys(Stage),
        ("blocks", "Blocks"): _keys(BlockModel) | {"extends"},
        ("blocks", "Shortcuts"): _keys(Shortcut),
        ("blocks", "`otherwise`"): _keys(Identity),
        ("initialization", "Initialization"): _keys(Constant) | _keys(VarianceScaling),
    }
    for (page, heading), keys in wanted.items():
        documented = first_columns(f"{LANGUAGE}/{page}.md", heading, "key")
        assert sorted(documented) == sorted(keys), (page, heading)


def test_language_documents_every_operation_with_its_fields_and_defaults() -> None:
    from resnet_spec.operations import OPERATIONS

    links = [row["operation"] for row in table(f"{LANGUAGE}/operations.md", "operation", "what it computes").rows]
    assert [link.partition("]")[0] for link in links] == [f"[`{name}`" for name in OPERATIONS]
    for (name, operation), link in zip(OPERATIONS.items(), links, strict=True):
        page = f"{LANGUAGE}/{link.partition('(')[2].partition('#')[0]}"
        rows = [row for table in tables(section(page, f"`{name}`")) for row in table.rows]
        fields = {ticked(row["field"]): row["default"] for row in rows}
        wanted = {field: _default(info) for field, info in operation.model_fields.items() if field != "op"}
        wanted |= dict.fromkeys(operation.aliases, "")
        if {"kernel", "ceil_mode"} <= wanted.keys():
            wanted["stride"] = "`kernel`"
        if "count_include_pad" in wanted:
            wanted["count_include_pad"] = "required with padding"
        assert fields == wanted, name


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    value = info.default
    while isinstance(value, tuple):
        value = value[0]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def test_language_documents_every_role_and_type() -> None:
    from resnet_spec.operations import Role
    from resnet_spec.spec.models import TYPES

    assert first_columns(f"{LANGUAGE}/initialization.md", "Initialization", "role") == [str(role) for role in Role]
    for word in TYPES:
        assert f"`{word}`" in section(f"{LANGUAGE}/blocks.md", "Parameters"), word


def test_readme_counts_the_shipped_networks() -> None:
    from resnet_spec import available

    told = {
        ticked(row["family"]): int(row["networks"]) for row in table("README.md", "family", "networks", "original").rows
    }
    assert told == Counter(name.partition("/")[0] for name in available())


def test_readme_names_overrides_that_work() -> None:
    from resnet_spec import load

    for row in table("README.md", "wanted", "override").rows:
        for command in re.findall(r"`(--set [^`]+)`", row["override"]):
            load("keras/resnet50" if "softmax" in command else "timm/resnet50d", shlex.split(command)[1:]).to_graph()


def test_readme_lists_the_commands() -> None:
    from resnet_spec.cli.spec import command

    told = [ticked(row["command"]) for row in table("README.md", "command", "what it does").rows]
    assert told == ["resnet-build", *(f"resnet-spec {name}" for name in sorted(command.commands))]


def test_prediction_tells_every_key_and_every_option() -> None:
    from resnet_spec import Preprocessing
    from resnet_spec.cli.predict import predict

    assert first_columns("docs/prediction.md", "Preprocessing", "key") == list(Preprocessing.model_fields)
    told = re.findall(r"`(--[\w-]+)", section("docs/prediction.md", "Options"))
    assert set(told) == {option for parameter in predict.params for option in parameter.opts if option[0] == "-"}


def test_published_weights_are_counted() -> None:
    from resnet_spec import available, load

    networks: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for name in available():
        family, count = name.partition("/")[0], len(load(name).weights)
        networks[family] += count > 0
        files[family] += count
    rows = table("docs/published.md", "family", "networks", "files", "from", "verified by").rows
    told = {ticked(row["family"]): (int(row["networks"]), int(row["files"])) for row in rows}
    assert told == {family: (networks[family], files[family]) for family in files if files[family]}


def test_the_variables_for_downloads_are_told() -> None:
    from resnet_spec.weights import download as downloads

    rows = table("docs/published.md", "environment variable", "what it does").rows
    assert [ticked(row["environment variable"]) for row in rows] == [
        downloads.CACHE,
        downloads.MIRROR,
        downloads.OFFLINE,
    ]
    assert f"up to {['none', 'one', 'two', 'three', 'four', 'five'][len(downloads.PAUSES)]} times" in read(
        "docs/published.md"
    )


def test_the_rationale_names_overrides_that_work() -> None:
    from resnet_spec.spec.loader import load

    for row in table(RATIONALE, "wanted", "overrides").rows:
        overrides = re.findall(r"`([^`]+)`", row["overrides"])
        load("keras/resnet50" if "softmax" in row["overrides"] else "resnet50", overrides).to_graph()


def test_commands_that_are_not_run_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [
        line.removeprefix("$ ")
        for block in ALL_BLOCKS
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith(tuple(f"$ {program}" for program in NOT_RUN))
    ]
    assert {"make demo", "make test"} <= set(lines)
    for line in lines:
        program, *words = shlex.split(line)
        if program == "make":
            assert set(words) <= targets, line
        for wanted in re.findall(r"resnet-spec\[([\w,]+)\]", line):
            assert set(wanted.split(",")) <= set(extras), line


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", read(document), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)]+)\)", prose):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                file = (ROOT / document).parent / path if path else ROOT / document
                assert file.exists(), f"{document}: {target}"
                if anchor:
                    headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
                    assert anchor in [_anchor(heading) for heading in headings], f"{document}: {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# -- the paper test ----------------------------------------------------------------------------------------------


def test_the_rationale_states_the_parameters_of_each_network() -> None:
    """Every sketch and every shipped spec is held to the number that it states itself; the table has the same."""
    from resnet_spec.spec.loader import headings

    stated = {name: heading["parameters"] for name, heading in headings().items()}
    for block in ALL_BLOCKS:
        found = re.search(r"^source: {.*parameters: (\d+)}$", block.text, re.MULTILINE)
        if block.document == RATIONALE and block.file and found:
            stated[block.file] = int(found[1])
    rows = table(RATIONALE, "network", "spec", "parameters", "original").rows
    assert len(rows) == 11
    for row in rows:
        assert row["parameters"] == f"{stated[ticked(row['spec'])]:,}", row


if __name__ == "__main__":
    main()
