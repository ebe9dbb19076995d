"""Specs and weights in repositories of the Hub, and a push to one, against a server of the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import HubError, SpecError, initialize, load, push, read_weights, write_weights
from resnet_spec.hub import Address, is_address
from tests.hub_server import READER, WRITER, Hub, hub
from tests.needs import need

pytestmark = pytest.mark.usefixtures("library")

TINY = """
input: {channels: 3, height: 8, width: 8}
stem: {conv1: {conv2d: {channels: 4, kernel: 3, bias: true}}, relu: relu}
head: {pool: global_avg_pool, flatten: flatten, fc: {linear: {features: 3}}}
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def library() -> None:
    need("huggingface_hub")


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def command(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a process of its own, since the library reads its settings when it is imported."""
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (root, root / "backends")))

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "resnet_spec", *words],
            env=environment | variables,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )

    return run


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A spec and its weights in the folder of the test."""
    (tmp_path / "tiny.yaml").write_text(TINY, "utf-8")
    graph = load(tmp_path / "tiny.yaml").to_graph()
    write_weights(tmp_path / "tiny.safetensors", graph, initialize(graph, seed=3))
    return tmp_path / "tiny.safetensors"


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hf://a/b", Address("a/b", None, None)),
        ("a/b@v1.0", Address("a/b", "v1.0", None)),
        ("hf://a/b@refs/pr/3", Address("a/b", "refs/pr/3", None)),
        ("hf://timm/resnet50.a1_in1k/pytorch_model.bin", Address("timm/resnet50.a1_in1k", None, "pytorch_model.bin")),
        ("hf://a/b@v1/x/y.yaml", Address("a/b", "v1", "x/y.yaml")),
    ],
)
def test_an_address_is_read(text: str, wanted: Address) -> None:
    assert Address.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["hf://a", "hf://", "hf://a/b/../c", "hf://../a", "hf://a/b@", "hf://a/b@../x", "hf://a/b/", "hf://a/b\\c"]
)
def test_other_texts_are_not_addresses(text: str) -> None:
    with pytest.raises(HubError, match=r"an address is hf://OWNER/NAME"):
        Address.parse(text)


def test_a_path_is_not_an_address() -> None:
    assert [is_address(each) for each in ("hf://a/b", "hf/a", "a/b", Path("hf://a/b"))] == [True, False, False, False]


# -- reading -----------------------------------------------------------------------------------------------------


def test_a_spec_is_loaded_and_extended(server: Hub, command: Run, tmp_path: Path) -> None:
    server.add("someone/tiny", {"spec.yaml": TINY})
    (tmp_path / "mine.yaml").write_text("extends: hf://someone/tiny\nhead: {fc: {linear: {features: 9}}}\n", "utf-8")
    done = command("summary", "mine.yaml", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"] == 3 * 4 * 9 + 4 + 4 * 9 + 9


@pytest.mark.slow
def test_revisions_and_files_are_chosen(server: Hub, command: Run) -> None:
    server.add("someone/tiny", {"spec.yaml": TINY, "other/wide.yaml": TINY.replace("channels: 4", "channels: 8")})
    server.add("someone/tiny", {"spec.yaml": TINY.replace("features: 3", "features: 5")}, "v2")

    assert ": 3}" in command("show", "hf://someone/tiny").stdout
    assert ": 5}" in command("show", "hf://someone/tiny@v2").stdout
    assert "channels: 8" in command("show", "hf://someone/tiny/other/wide.yaml").stdout
    assert command("validate", "hf://someone/tiny").returncode == 0
    assert command("diff", "hf://someone/tiny", "hf://someone/tiny@v2").returncode == 1


@pytest.mark.slow
def test_the_cache_is_used_without_a_connection(server: Hub, command: Run, tmp_path: Path) -> None:
    server.add("someone/tiny", {"spec.yaml": TINY})
    offline = {"HF_HUB_OFFLINE": "1"}

    assert "is not in the cache" in command("show", "hf://someone/tiny", **offline).stderr
    (tmp_path / "mine.yaml").write_text("extends: hf://someone/tiny\n", "utf-8")
    refused = command("validate", "mine.yaml", **offline).stderr
    assert refused.startswith("mine.yaml:1:10: extends: hf://someone/tiny: is not in the cache")
    assert command("show", "hf://someone/tiny").returncode == 0
    server.asked.clear()
    assert command("show", "hf://someone/tiny", **offline).returncode == 0
    assert server.asked == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://someone/none", "there is no such repository, or it is private"),
        ("hf://someone/secret", "there is no such repository, or it is private"),
        ("hf://someone/gated", "access is restricted"),
        ("hf://someone/tiny@v9", "the repository has no such revision"),
        ("hf://someone/tiny", "the repository has no such file"),
        ("hf://someone/a--b", "Cannot have -- or .."),
    ],
)
def test_what_cannot_be_fetched_is_explained(address: str, message: str, server: Hub, command: Run) -> None:
    server.add("someone/tiny", {"other.yaml": TINY})
    server.add("someone/secret", {"spec.yaml": TINY}, private=True)
    server.add("someone/gated", {"spec.yaml": TINY}, gated=True)
    done = command("show", address, HF_TOKEN=READER)

    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "extends: ../../../../secret.yaml",
        "extends: {home}/secret.yaml",
        "extends: hf://someone/other",
        "extends: resnet18\nblocks: {{secret: {home}/secret.yaml}}",
        "extends: resnet18\nhead: {{fc: {{spec: {home}/secret.yaml}}}}",
    ],
)
def test_a_fetched_spec_names_no_file_of_its_reader(text: str, server: Hub, command: Run, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("description: a secret\n", "utf-8")
    server.add("someone/hostile", {"spec.yaml": text.format(home=tmp_path)})
    done = command("show", "--resolved", "hf://someone/hostile")

    assert done.returncode == 2
    assert "a spec from the Hub names shipped specs and blocks only" in done.stderr
    assert "a secret" not in done.stdout + done.stderr


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Exception, match=r"needs huggingface_hub: pip install 'resnet-spec\[hub\]'"):
        load("hf://someone/tiny")


# -- pushing -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_pushed_is_one_commit_that_is_read_back(server: Hub, command: Run, weights: Path) -> None:
    pushed = command(
        *("push", "tiny.yaml", "someone/tiny", "--weights", str(weights), "--license", "mit"),
        *("--backends", "torch,onnx", "--message", "First"),
        HF_TOKEN=WRITER,
    )
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{server.url}/someone/tiny/commit/{1:040x}\n"
    repository = server.repositories["someone/tiny"]
    files = ["README.md", "model.safetensors", "network.svg", "spec.yaml"]
    assert repository.commits == [{"summary": "First", "revision": "main", "files": files}]
    card = repository.revisions["main"]["README.md"].decode()
    for part in ("license: mit\n", "| onnx | float64 | torch |", "## Preprocessing", "](network.svg)", "hf://someone"):
        assert part in card
    address = "hf://someone/tiny"
    assert command("convert", address, address, "back.npz").returncode == 0
    graph = load("tiny.yaml").to_graph()
    read, written = read_weights("back.npz", graph), read_weights(weights, graph)
    assert all(np.array_equal(read[name], written[name]) for name in written)


@pytest.mark.slow
def test_a_branch_is_pushed_and_other_files_stay(server: Hub, command: Run, weights: Path) -> None:
    server.add("someone/tiny", {"notes.txt": "kept"})
    words = ["push", "tiny.yaml", "hf://someone/tiny@next", "--weights", str(weights), "--license", "mit"]
    done = command(*words, "--backends", "torch,onnx", HF_TOKEN=WRITER)

    assert done.returncode == 0, done.stderr
    revisions = server.repositories["someone/tiny"].revisions
    assert revisions["main"] == {"notes.txt": b"kept"}
    assert {"notes.txt", "spec.yaml"} <= set(revisions["next"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "failing", "message"),
    [
        ("", None, "log in with `hf auth login`"),
        (READER, None, "you have no right to this"),
        (WRITER, "/commit/", "Bad request"),
        (WRITER, "/objects/", "Bad request"),
    ],
)
def test_nothing_is_half_pushed(
    token: str, failing: str | None, message: str, server: Hub, command: Run, weights: Path
) -> None:
    server.failing = failing
    words = ["push", "tiny.yaml", "someone/tiny", "--weights", str(weights), "--license", "mit"]
    done = command(*words, "--backends", "torch,onnx", HF_TOKEN=token)

    assert done.returncode == 3
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert all(not each.commits and not each.revisions["main"] for each in server.repositories.values())


def test_a_license_is_asked_for(weights: Path) -> None:
    with pytest.raises(SpecError, match="state the license of the weights"):
        push(weights.with_name("tiny.yaml"), "someone/tiny", weights)


def test_a_file_is_not_a_repository(weights: Path) -> None:
    with pytest.raises(HubError, match="name a repository, not a file in it"):
        push(weights.with_name("tiny.yaml"), "someone/tiny/spec.yaml", weights, license="mit")


def test_different_backends_are_not_pushed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_spec import pushing
    from resnet_spec.parity.report import Difference, ParityReport

    class Api:
        def __init__(self, **_: Any) -> None: ...

        def whoami(self) -> None: ...

    found = Difference("logits", "float64", "tensorflow", "torch", largest=0.1, allowed=1e-9, size=1.0)
    report = ParityReport("tiny", "", (8, 8), 2, "", 0, 1.0, 1e-5, (found,))
    monkeypatch.setattr(pushing, "compare", lambda *_, **__: report)
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    with pytest.raises(HubError, match="the backends differ under these weights"):
        push(weights.with_name("tiny.yaml"), "someone/tiny", weights, license="mit")


@pytest.mark.parametrize("weights_named", ["IMAGENET1K_V1", "torchvision/resnet18:IMAGENET1K_V1"])
def test_published_weights_keep_their_preprocessing(weights_named: str) -> None:
    from resnet_spec.pushing import spec_text
    from resnet_spec.weights.published_lookup import find

    spec = load("resnet18")
    text = spec_text(spec, {"IMAGENET1K_V1": find(spec, weights_named)})
    assert "crop: 224" in text
    assert "extends" not in text


def test_editors_accept_an_address() -> None:
    from jsonschema import Draft202012Validator

    from resnet_spec.spec.json_schema import spec_schema

    validator = Draft202012Validator(spec_schema())
    assert validator.is_valid({"extends": "hf://someone/tiny"})
    assert not validator.is_valid({"extends": "someone/tiny"})
