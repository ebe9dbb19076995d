"""A library that comes with an extra and is not installed is named with what to install, before any long work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import initialize, read_weights, write_weights
from resnet_spec.errors import MissingLibraryError
from resnet_spec.errors.extras import needs, require
from resnet_spec.graph import Graph
from resnet_spec.weights.converting import convert, find_target

Command = Callable[..., Any]

SAYS = "{what} needs {library}: pip install 'resnet-spec[{extra}]'\n"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hide a library, and what has been imported with it."""

    def hide(library: str) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)

    return hide


def test_the_extra_of_a_library_is_named(without: Callable[[str], None]) -> None:
    without("jinja2")
    with pytest.raises(MissingLibraryError, match=r"^a page needs jinja2: pip install 'resnet-spec\[reports\]'$"):
        require("reports", "a page", "jinja2")


def test_another_error_is_not_hidden() -> None:
    with pytest.raises(ImportError, match="cannot import name"), needs("reports", "a page"):
        from pathlib import no_such_name  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize(
    ("arguments", "library", "extra", "what"),
    [
        (["parity", "resnet18", "--html", "x.html"], "jinja2", "reports", "an HTML report"),
        (["diff", "resnet18", "resnet34", "--html", "x.html"], "jinja2", "reports", "an HTML page"),
        (["draw", "resnet18", "-o", "x.png"], "resvg_py", "drawings", "a PNG drawing"),
        (["convert", "resnet18", "IMAGENET1K_V1", "x.npz"], "requests", "download", "a download"),
        (["convert", "resnet18", "in.h5", "x.npz"], "h5py", "hdf5", "in.h5: an HDF5 file"),
        (["convert", "resnet18", "in.msgpack", "x.npz"], "msgpack", "flax", "in.msgpack: a Flax checkpoint"),
    ],
)
def test_commands_say_what_to_install(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: Callable[[str], None],
    arguments: list[str], library: str, extra: str, what: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESNET_SPEC_CACHE", str(tmp_path / "cache"))
    Path("in.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    Path("in.msgpack").write_bytes(b"\x81\xa6params\x80")
    without(library)

    done = command("resnet-spec", *arguments)

    assert (done.status, done.out) == (3, "")
    assert done.err.endswith(SAYS.format(what=what, library=library, extra=extra))
    assert not Path("x.html").exists()
    assert not Path("x.npz").exists()


def test_formats_of_the_core_need_no_extra(small: Graph, tmp_path: Path, without: Callable[[str], None]) -> None:
    for library in ("h5py", "msgpack", "PIL", "requests", "filelock", "platformdirs", "jinja2"):
        without(library)
    path = tmp_path / "x.safetensors"
    write_weights(path, small, initialize(small))
    convert(small, read_weights(path, small), find_target(tmp_path / "x.npz"))
    assert len(read_weights(tmp_path / "x.npz", small)) == len(small.parameters())
