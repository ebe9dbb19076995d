"""Runs the code blocks of documents, as a reader does: block after block, each document in a folder of its own.

A block whose first line names a file (``# my_resnet.yaml``) is written to that file. Documents share one process, in
which commands run too, since importing the frameworks takes longer than most blocks; a document that changes the code
or installs a package has a process of its own, and one for each command.
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
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import pytest

from tests.docs.documents import ROOT, Block, blocks

PACKAGES = (
    "resnet_spec",
    "backends/resnet_spec_jax",
    "backends/resnet_spec_keras",
    "backends/resnet_spec_onnx",
    "backends/resnet_spec_tensorflow",
    "backends/resnet_spec_torch",
    "specs",
)
OURS = {"resnet-spec": "resnet_spec.cli.spec", "resnet-build": "resnet_spec.cli.build"}
HERE = (*OURS, "pytest")
"""What can run in the process of the documents."""

NOT_RUN = ("make", "pip", "torchrun", "cd", "python")
"""What torchrun runs, the tests of two processes do; the scripts of ``examples``, those of examples."""


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def run_document(document: str, text: str, *, here: bool = False) -> dict[int, str]:
    """Run the blocks of a document in the current folder; errors by the line their block starts on.

    With ``here`` the project's own commands and pytest run in this process.
    """
    runner = _Runner(blocks(document, text), here=here)
    errors: dict[int, str] = {}
    for block in runner.blocks:
        try:
            getattr(runner, block.language, runner.other)(block)
        except SystemExit as error:
            errors[block.line] = f"exit {error.code}"
        except BaseException:  # the test reports whatever a block raises
            errors[block.line] = traceback.format_exc()
    return errors


class _Runner:
    """The state that the blocks of one document share: a namespace, a folder, the last output."""

    def __init__(self, blocks: list[Block], *, here: bool) -> None:
        self.blocks = blocks
        self.here = here
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.printed: str | None = None
        self.folder = Path.cwd()
        sys.path.insert(0, str(self.folder))
        path = [str(self.folder)]
        if any((block.file or "").startswith(("resnet_spec/", "backends/")) for block in blocks):
            self.copy_packages()
            path.append(str(self.folder / "backends"))
        path += [str(ROOT), str(ROOT / "backends")]
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
        """Copy the code for a document that changes it."""
        for package in PACKAGES:
            shutil.copytree(ROOT / package, self.folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        sys.path.insert(1, str(self.folder / "backends"))

    def other(self, block: Block) -> None:
        """A block that is not run."""

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
            # Files named wrong* are invalid on purpose; hidden files are for other programs.
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
        """Write a new file, or append to an existing one."""
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
        """The output of the Python block before it; otherwise a diagram."""
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
            assert program in (*HERE, "git"), f"{program} is not run by this test"
            words = shlex.split(command)
            done = run_here(words) if self.here and program in HERE else self.run_apart(words)
            status = done.status
            shows_status = index + 1 < len(commands) and commands[index + 1].startswith("echo $?")
            # As with diff(1), that two networks differ is a result and not an error.
            differs = status == 1 and command.startswith("resnet-spec diff ")
            assert status == 0 or shows_status or differs, f"status {status} of {command}\n{done.out}\n{done.err}"
            if shown.strip():
                assert_shown(shown, (done.out if status < 2 else "") or done.err)

    def run_apart(self, command: Sequence[str]) -> Done:
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=600)
        return Done(ended.returncode, ended.stdout, ended.stderr)


def run_here(command: Sequence[str]) -> Done:
    """Run one of the project's commands, or pytest, in this process."""
    kept = sys.argv
    sys.argv = [*command]
    with _captured(1) as out, _captured(2) as err:
        try:
            if command[0] == "pytest":
                # It would rewrite the plugin's assertions, which is imported already.
                status = pytest.main([*command[1:], "-W", "ignore::pytest.PytestAssertRewriteWarning"])
            else:
                import_module(OURS[command[0]]).main()
        except SystemExit as ended:
            status = ended.code
        finally:
            sys.argv = kept
    out.seek(0)
    err.seek(0)
    return Done(status if isinstance(status, int) else 0, out.read(), err.read())


@contextmanager
def _captured(descriptor: int) -> Generator[IO[str]]:
    """Redirect a descriptor, and the stream that Python has for it, to a file."""
    name = {1: "stdout", 2: "stderr"}[descriptor]
    stream, kept = getattr(sys, name), os.dup(descriptor)
    file = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - read after the descriptor is restored
    stream.flush()
    os.dup2(file.fileno(), descriptor)
    try:
        with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as written:
            setattr(sys, name, written)
            yield file
    finally:
        setattr(sys, name, stream)
        os.dup2(kept, descriptor)
        os.close(kept)


def check_yaml(path: Path) -> None:
    """Check a file against the models and the schema; lower a spec to its graph."""
    from resnet_spec.document.files import read as read_yaml
    from resnet_spec.spec.dependencies import kind
    from resnet_spec.spec.loader import check_block, load
    from tests.schemas import validators

    spec, block = validators()
    data = read_yaml(path).data
    if kind(path) == "block":
        block.validate(data)
        check_block(path)
    else:
        spec.validate(data)
        graph = load(path).to_graph()
        assert graph.from_json(graph.to_json()) == graph


def assert_shown(shown: str, printed: str) -> None:
    """Compare output with what a document shows.

    Spaces are ignored, ``...`` matches anything, and so do figures that depend on the machine (seconds, and
    differences such as 9.0e-15).
    """
    pattern = re.escape(_plain(shown))
    pattern = pattern.replace(re.escape("..."), ".*")
    pattern = re.sub(r"\d+\\\.\de\\-\d\d", r"\\d+\\.\\de[-+]\\d\\d", pattern)
    pattern = re.sub(r"\d+\\\.\d\d(?=\\ (?:to\\ build|for\\ one))", r"\\d+\\.\\d\\d", pattern)
    assert re.fullmatch(pattern, _plain(printed), re.DOTALL), f"shown:\n{shown}\nprinted:\n{printed}"


def _plain(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.strip().splitlines())
    return "\n".join(line for line in lines if line)


class Documents:
    """The process in which documents run one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.docs.running"]
        path = os.pathsep.join((str(ROOT), str(ROOT / "backends")))
        environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.pop("FORCE_COLOR", None)
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def run(self, folder: Path, document: str, text: str) -> dict[str, str]:
        """Run a document in a folder of its own; errors by the line their block starts on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(folder), document, text]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended with status {self.process.wait()}"
        return json.loads(answer)


def changes_code(document: str, text: str) -> bool:
    """Whether a document changes the project's code or installs a package."""
    return any(
        block.language == "toml" or (block.file or "").startswith(("resnet_spec/", "backends/"))
        for block in blocks(document, text)
    )


def run_alone(folder: Path, document: str, text: str) -> dict[str, str]:
    """Run a document in a process of its own."""
    with Documents() as documents:
        return documents.run(folder, document, text)


def main() -> None:
    """Run the documents that are named on standard input, and write their errors to standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        folder, document, text = json.loads(line)
        path = sys.path[:]
        os.chdir(folder)
        if changes_code(document, text):
            errors = run_document(document, text)
        else:
            # Not before a document has copied the code that it changes.
            from tests.backend_pool import shared_backends

            if re.search(r"^import lightning$|^from timm", text, re.MULTILINE):
                # They import torchvision, whose operators must be registered first.
                import_module("tests.oracles.torchvision_original").models()
            with shared_backends():
                errors = run_document(document, text, here=True)
        sys.path[:] = path
        os.chdir(ROOT)
        answers.write(json.dumps(errors) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
