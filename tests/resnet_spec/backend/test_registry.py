"""Backends are found by entry points, a third party's too."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import initialize, load, write_weights
from resnet_spec.backend import registry
from resnet_spec.backend.registry import (
    GROUP,
    backend_names,
    find,
    get_backend,
    outputs_of,
    prepare_process,
    readers,
    share_process,
    writers,
)
from resnet_spec.errors import BackendError
from tests.third_party import distribution

Lines = Callable[..., list[str]]

TINY = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""

MODULE = """
class Backend:
    name = "third"
    outputs = {".third": "a third kind of file"}
    inputs = (".third",)
"""


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a distribution that provides a backend."""

    def install(name: str = "third", value: str = "third_backend:Backend", module: str = MODULE) -> None:
        distribution(tmp_path, f"{name}_{len(list(tmp_path.iterdir()))}", {name: value})
        (tmp_path / "third_backend.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_all_backends_are_installed() -> None:
    assert backend_names() == ("jax", "onnx", "tensorflow", "torch")
    assert {point.value.partition(":")[0] for point in entry_points(group=GROUP)} == {
        "resnet_spec_jax",
        "resnet_spec_onnx",
        "resnet_spec_tensorflow",
        "resnet_spec_torch",
    }


@pytest.mark.parametrize(
    ("name", "meant"), [("torch", "torch"), ("pytorch", "torch"), ("tf", "tensorflow"), ("tensorflow", "tensorflow")]
)
def test_a_backend_is_found_by_its_name_or_an_alias(name: str, meant: str) -> None:
    assert find(name).name == meant


def test_an_unknown_backend_gets_a_suggestion(lines: Lines) -> None:
    assert lines(lambda: find("torhc")) == [
        "no backend is named 'torhc'; did you mean 'torch'? (installed: jax, onnx, tensorflow, torch)"
    ]
    assert lines(lambda: get_backend("mxnet")) == [
        "no backend is named 'mxnet' (installed: jax, onnx, tensorflow, torch)"
    ]


def test_a_third_party_adds_a_backend_without_touching_the_core(third: Callable[..., None]) -> None:
    third()

    assert backend_names() == ("jax", "onnx", "tensorflow", "third", "torch")
    assert get_backend("third").name == "third"


def test_two_packages_that_provide_one_name_are_refused(third: Callable[..., None], lines: Lines) -> None:
    third()
    third(value="third_backend:Other")

    (said,) = lines(lambda: find("third"))
    assert said.startswith("two packages provide a backend named 'third': ")
    assert {"third_backend:Backend", "third_backend:Other"} == set(said.partition(": ")[2].split(", "))


def test_a_backend_that_cannot_be_imported_says_what_to_install(third: Callable[..., None], lines: Lines) -> None:
    third(name="broken", value="broken_backend:Backend", module="")

    assert lines(lambda: get_backend("broken")) == [
        "the broken backend cannot be imported (No module named 'broken_backend'); install what its package, broken_0, "
        "requires"
    ]


def test_a_missing_framework_says_what_to_install(third: Callable[..., None], lines: Lines) -> None:
    third(name="late", value="late_backend:Backend")
    late = MODULE + "\n    def __init__(self):\n        import a_framework\n"
    Path(find("late").dist.locate_file("late_backend.py")).write_text(late, encoding="utf-8")  # type: ignore[union-attr]

    assert lines(lambda: get_backend("late")) == [
        "the late backend cannot be imported (No module named 'a_framework'); install what its package, late_0, "
        "requires"
    ]


def test_a_backend_that_cannot_be_had_ends_a_command_with_status_three() -> None:
    with pytest.raises(BackendError) as caught:
        find("mxnet")

    assert caught.value.exit_status == 3


def test_file_endings_are_known_by_the_backend_that_reads_them(
    third: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    third()
    points: list[Any] = [point for point in entry_points(group=GROUP) if point.name == "third"]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)

    assert readers() == {".third": "third"}
    assert isinstance(points[0], EntryPoint)


def test_a_backend_need_not_read_files(third: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "third_backend", raising=False)
    third(module="class Backend:\n    name = 'third'\n    outputs = {'.third': 'a third kind of file'}\n")

    assert "third" not in readers().values()
    assert writers()[".third"] == "third"


def test_a_process_gets_the_settings_that_its_backend_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    prepare_process("torch")
    prepare_process("mxnet")
    assert (os.environ["KERAS_BACKEND"], "JAX_ENABLE_X64" in os.environ) == ("torch", False)
    prepare_process("tf")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    prepare_process("jax")
    assert (os.environ["KERAS_BACKEND"], os.environ["JAX_ENABLE_X64"]) == ("jax", "1")


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [("jax", "tf", False), ("tensorflow", "tensorflow", True), ("jax", "torch", True), ("mine", "jax", True)],
)
def test_two_frameworks_of_keras_do_not_share_a_process(one: str, other: str, share: bool) -> None:
    assert share_process(one, other) == share_process(other, one) == share


@pytest.mark.parametrize(
    ("missing", "writer"), [("", "tensorflow"), ("jax", "tensorflow"), ("tensorflow", "jax"), ("keras", "tensorflow")]
)
def test_of_two_backends_that_write_a_format_the_one_that_is_installed_is_chosen(
    missing: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = registry._version
    monkeypatch.setattr(registry, "_version", lambda name: "not installed" if name == missing else installed(name))
    assert writers()[".keras"] == writer


# -- a backend that cannot be imported does not stop the others -------------------------------------------------------

FAULTS = {
    "framework": ("import a_framework", "imported (No module named 'a_framework'"),
    "library": ("raise OSError('libfoo.so: cannot open\\nmore')", "used (OSError: libfoo.so: cannot open"),
    "syntax": ("def", "used (SyntaxError: invalid syntax"),
    "attribute": ("", "used (AttributeError: module 'faulty_backend' has no attribute 'Backend'"),
    "old": ("class Backend: name = 'faulty'", "used (AttributeError: type object 'Backend' has no attribute '"),
}
"""A package's code, and how the error that it causes begins."""


@pytest.fixture(params=FAULTS)
def reason(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a backend whose package cannot be imported or used; how the error begins."""
    code, reason = FAULTS[request.param]
    distribution(tmp_path, "faulty_0", {"faulty": "faulty_backend:Backend"})
    (tmp_path / "faulty_backend.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_backend", raising=False)
    return reason


def test_the_other_backends_formats_stay_known(reason: str) -> None:
    assert {".onnx": "onnx", ".ckpt": "tensorflow"}.items() <= readers().items()
    assert {".pth": "torch", ".onnx": "onnx", ".keras": "tensorflow"}.items() <= writers().items()
    assert "faulty" in backend_names()


def test_a_backend_that_cannot_be_used_is_an_error_only_for_its_users(reason: str, lines: Lines) -> None:
    assert lines(lambda: outputs_of(find("faulty")))[0].startswith(f"the faulty backend cannot be {reason}")


@pytest.mark.parametrize("source", ["out.pth", "out.safetensors"])
def test_a_command_goes_on_without_it(
    reason: str, write: Callable[..., Path], command: Callable[..., Any], source: str
) -> None:
    write(TINY)
    weights = initialize(load("spec.yaml").to_graph())
    write_weights("a.safetensors", load("spec.yaml").to_graph(), weights)

    assert command("resnet-spec", "convert", "spec.yaml", "a.safetensors", source).status == 0
    assert command("resnet-spec", "convert", "spec.yaml", source, "again.safetensors").status == 0


def test_a_format_that_may_be_its_own_is_an_error_that_names_it(
    reason: str, write: Callable[..., Path], command: Callable[..., Any], lines: Lines
) -> None:
    write(TINY)
    graph = load("spec.yaml").to_graph()
    write_weights("a.safetensors", graph, initialize(graph))
    Path("a.faulty").write_bytes(b"\0\1\2\3")
    for line in (("a.safetensors", "out.faulty"), ("a.faulty", "out.safetensors")):
        done = command("resnet-spec", "convert", "spec.yaml", *line)
        assert done.status == 3
        assert f"the faulty backend cannot be {reason}" in done.err
        assert len(done.err.splitlines()) == 1


def test_a_backend_of_this_project_says_what_to_install(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("resnet_spec_torch.")]:
        monkeypatch.delitem(sys.modules, name)

    (line,) = lines(lambda: get_backend("torch"))
    assert line.startswith("the torch backend cannot be imported (")
    assert line.endswith("); pip install 'resnet-spec[torch]'")
