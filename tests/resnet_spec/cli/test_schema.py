"""The schema is installed beside a file, which keeps all else that it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from resnet_spec.cli.editor import MODELINE
from resnet_spec.spec.catalog import Catalog

Command = Callable[..., Any]

SPECS = Catalog.shipped().root
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

    assert Path(f"{kind}.schema.json").read_bytes() == (SPECS / f"{kind}.schema.json").read_bytes()
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
        (["--install"], "no file below this folder is a spec or a block; write one first"),
        (["x.yaml"], "a FILE needs --install"),
        (["--install", "--block", "x.yaml"], "--block cannot be combined with"),
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


SETTINGS = Path(".vscode/settings.json")


def _write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def test_the_settings_of_a_project_name_the_schemas(command: Command) -> None:
    _write(mine=SPEC, other="a: 1\n", specs__a=SPEC, specs__b=SPEC, parts__block=BLOCK, parts__spec=SPEC)
    _write(parts__broken="a: b: c\n", node_modules__x=SPEC, **{".hidden__x": SPEC})
    written = []
    for _ in range(2):
        done = command("resnet-spec", "schema", "--install")
        assert (done.status, done.err) == (0, "")
        assert done.out == (
            ".vscode/settings.json: spec.schema.json checks mine.yaml, parts/spec.yaml, specs/*.yaml\n"
            ".vscode/settings.json: block.schema.json checks parts/block.yaml\n"
        )
        written.append(SETTINGS.read_text("utf-8"))

    assert json.loads(written[0]) == {
        "yaml.schemas": {
            ".vscode/spec.schema.json": ["mine.yaml", "parts/spec.yaml", "specs/*.yaml"],
            ".vscode/block.schema.json": ["parts/block.yaml"],
        }
    }
    assert written[0] == written[1]
    for name in ("spec.schema.json", "block.schema.json"):
        assert (Path(".vscode") / name).read_bytes() == (SPECS / name).read_bytes()


OURS = '"yaml.schemas": {\n    ".vscode/spec.schema.json": [\n      "mine.yaml"\n    ]\n  }'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", f"{{\n  {OURS}\n}}\n"),
        ("{}\n", f"{{\n  {OURS}\n}}\n"),
        ('{\n  "a": 1, // "b": {,}\n}\n', f'{{\n  {OURS},\n  "a": 1, // "b": {{,}}\n}}\n'),
        ('{"a": "/*", /* , } */ "b": [1,]}', f'{{\n  {OURS},"a": "/*", /* , }} */ "b": [1,]}}'),
        (
            '{\n  "yaml.schemas": {\n    "theirs.json": "*", // theirs\n  },\n}\n',
            f'{{\n  {OURS[:-4]},\n    "theirs.json": "*", // theirs\n  }},\n}}\n',
        ),
        ('{\n  "yaml.schemas": {\n    ".vscode/spec.schema.json": ["old.yaml"]\n  }\n}', f"{{\n  {OURS}\n}}"),
        ('{\r\n  "a": 1\r\n}', f'{{\n  {OURS},\n  "a": 1\n}}'.replace("\n", "\r\n")),
    ],
    ids=["empty", "no settings", "comments", "one line", "their schemas", "an earlier run", "lines of Windows"],
)
def test_other_settings_and_comments_stay(command: Command, old: str, new: str) -> None:
    _write(mine=SPEC)
    SETTINGS.parent.mkdir()
    SETTINGS.write_bytes(old.encode())

    assert command("resnet-spec", "schema", "--install").status == 0
    assert SETTINGS.read_bytes().decode() == new


@pytest.mark.parametrize(
    ("old", "why"),
    [
        (b"[]", "not an object"),
        (b'{"a": }', "Expecting value"),
        (b'{"a": 1} b', "Extra data"),
        (b'{"yaml.schemas": 1}', "'yaml.schemas' is not an object"),
        (b'{"a": "\xff"}', "can't decode"),
    ],
)
def test_settings_that_cannot_be_kept_are_not_changed(command: Command, old: bytes, why: str) -> None:
    _write(mine=SPEC)
    SETTINGS.parent.mkdir()
    SETTINGS.write_bytes(old)
    done = command("resnet-spec", "schema", "--install")

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(".vscode/settings.json: is not changed, since it is not JSON with comments (")
    assert why in done.err
    assert [path.name for path in SETTINGS.parent.iterdir()] == ["settings.json"]
    assert SETTINGS.read_bytes() == old


@pytest.mark.parametrize("folder", [False, True])
def test_settings_that_cannot_be_written_are_reported(command: Command, folder: bool) -> None:
    _write(mine=SPEC)
    if folder:
        SETTINGS.mkdir(parents=True)
    else:
        SETTINGS.parent.write_bytes(b"")
    done = command("resnet-spec", "schema", "--install")

    assert (done.status, done.out) == (2, "")
    assert done.err == (".vscode/settings.json: Is a directory\n" if folder else ".vscode: File exists\n")
