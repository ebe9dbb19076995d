"""The schema is installed beside a file, which keeps all else that it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from resnet_spec.cli.schema import MODELINE
from resnet_spec.spec.json_schema import block_schema, spec_schema

Command = Callable[..., Any]

SPEC = "# mine\nextends: resnet18  # ß\n"
BLOCK = "block: b\nmain: {relu: act}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "kind", "written"),
    [
        (SPEC, "spec", f"{MODELINE}spec.schema.json\n{SPEC}"),
        (BLOCK, "block", f"{MODELINE}block.schema.json\n{BLOCK}"),
        (f"{MODELINE}elsewhere.json\n{SPEC}", "spec", f"{MODELINE}spec.schema.json\n{SPEC}"),
        (SPEC.replace("\n", "\r\n"), "spec", f"{MODELINE}spec.schema.json\r\n" + SPEC.replace("\n", "\r\n")),
        ("\ufeff" + SPEC, "spec", f"\ufeff{MODELINE}spec.schema.json\n{SPEC}"),
    ],
    ids=["spec", "block", "another schema", "lines of Windows", "byte order mark"],
)
def test_a_file_names_the_schema_beside_it(command: Command, text: str, kind: str, written: str) -> None:
    Path("x.yaml").write_bytes(text.encode())
    for _ in range(2):
        done = command("resnet-spec", "schema", "--install", "x.yaml")
        assert done == (0, f"x.yaml: checked by {kind}.schema.json\n", "")
        assert Path("x.yaml").read_bytes().decode() == written

    wanted = block_schema() if kind == "block" else spec_schema()
    assert json.loads(Path(f"{kind}.schema.json").read_text("utf-8")) == wanted
    assert sorted(path.name for path in Path().iterdir()) == [f"{kind}.schema.json", "x.yaml"]


def test_a_link_stays_a_link(command: Command) -> None:
    Path("real").mkdir()
    Path("real/x.yaml").write_text(SPEC, "utf-8")
    Path("x.yaml").symlink_to("real/x.yaml")
    command("resnet-spec", "schema", "--install", "x.yaml")

    assert Path("x.yaml").is_symlink()
    assert Path("real/spec.schema.json").exists()


@pytest.mark.parametrize("theirs", ['{"title": "mine"}', "not JSON"])
def test_another_schema_is_not_replaced(command: Command, theirs: str) -> None:
    Path("x.yaml").write_text(SPEC, "utf-8")
    Path("spec.schema.json").write_text(theirs, "utf-8")
    done = command("resnet-spec", "schema", "--install", "x.yaml")

    assert (done.status, done.out) == (2, "")
    assert done.err.endswith("spec.schema.json: exists, and is another schema\n")
    assert Path("spec.schema.json").read_text("utf-8") == theirs
    assert Path("x.yaml").read_text("utf-8") == SPEC


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--install"], "--install takes the files"),
        (["x.yaml"], "--install takes the files"),
        (["--install", "--block", "x.yaml"], "--install takes the files"),
        (["--install", "missing.yaml"], "missing.yaml: "),
        (["--install", "other.yaml"], "other.yaml: neither a spec"),
    ],
)
def test_what_cannot_be_installed_is_refused(command: Command, arguments: list[str], message: str) -> None:
    Path("other.yaml").write_text("a: 1\n", "utf-8")
    done = command("resnet-spec", "schema", *arguments)

    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert [path.name for path in Path().iterdir()] == ["other.yaml"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [(["show", "resnet18"], "spec"), (["show", "bottleneck"], "block"), (["blocks", "bottleneck"], "block")],
)
def test_what_is_shown_names_a_schema_that_exists(command: Command, arguments: list[str], kind: str) -> None:
    first = command("resnet-spec", *arguments).out.splitlines()[0]
    path = Path(url2pathname(urlparse(first.removeprefix(MODELINE)).path))

    assert first.startswith(f"{MODELINE}file:")
    assert path.name == f"{kind}.schema.json"
    assert path.exists()


def test_what_is_shown_of_a_users_file_is_the_file(command: Command) -> None:
    Path("x.yaml").write_text(f"{MODELINE}there.json\n{SPEC}", "utf-8")

    assert command("resnet-spec", "show", "x.yaml").out == f"{MODELINE}there.json\n{SPEC}"
