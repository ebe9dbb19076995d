"""A file that was read may be replaced, truncated or deleted at once: neither the model nor the file suffers.

Each test runs a process of its own, since reading a page that a file no longer has ends a process by SIGBUS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resnet_spec import Graph, initialize, load, read_weights, write_weights
from tests.needs import need
from tests.shipped import slow_unless

Python = Callable[..., Any]

SPEC = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    stem: {conv: {conv2d: {channels: 64, kernel: 3, stride: 2}}}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 9}}}
"""

ENDINGS = """
    import os, subprocess

    def truncate(path):
        os.truncate(path, 0)

    def overwrite(path):
        path.write_bytes(b"\\xff" * path.stat().st_size)

    def overwrite_from_another_process(path):
        subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=100", "count=1"], check=True, stderr=subprocess.DEVNULL)

    def delete(path):
        path.unlink()

    def replace(path):
        other = path.with_name("other")
        other.write_bytes(b"short")
        other.replace(path)

    ENDINGS = truncate, overwrite, overwrite_from_another_process, delete, replace
"""
"""What may happen to a file once it was read."""


@pytest.fixture
def tiny(lower: Callable[..., Graph], tmp_path: Path) -> Graph:
    (tmp_path / "endings.py").write_text(dedent(ENDINGS), "utf-8")
    return lower(SPEC)


def shards(tiny: Graph, folder: Path) -> Path:
    """The tiny network's weights as a folder of two files with an index."""
    folder.mkdir()
    places = {name: f"model-{number}.safetensors" for number, name in enumerate(initialize(tiny))}
    for name, file in places.items():
        save_file({name: initialize(tiny)[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), "utf-8")
    return folder


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_arrays_outlive_their_file(tiny: Graph, tmp_path: Path, python: Python, kind: str) -> None:
    source = tmp_path / "a.safetensors"
    write_weights(source, tiny, initialize(tiny))
    if kind == "folder":
        source = shards(tiny, tmp_path / "model")
    done = python(
        """
        import shutil, sys
        from pathlib import Path
        import numpy as np
        from resnet_spec import initialize, load, read_weights
        from endings import ENDINGS
        graph, source, copy = load("spec.yaml").to_graph(), Path(sys.argv[1]), Path("copy")
        expected = initialize(graph)
        for end in ENDINGS:
            if copy.is_dir():
                shutil.rmtree(copy)
            copy.unlink(missing_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
            arrays = read_weights(copy, graph)
            for file in copy.glob("*.safetensors") if copy.is_dir() else [copy]:
                end(file)
            for name, array in arrays.items():
                assert np.array_equal(array, expected[name]), (end, name)
                array += 1
        """,
        source,
    )

    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("ending", slow_unless({".pth"}, [".pth", ".safetensors"]))
def test_a_model_outlives_its_file(tiny: Graph, tmp_path: Path, python: Python, ending: str) -> None:
    """``torch.save`` truncates the file that it writes to before it reads the first parameter."""
    need("torch")
    done = python(
        """
        import shutil, sys
        from pathlib import Path
        import numpy as np, torch
        from resnet_spec import build, initialize, load, read_weights, write_weights
        from endings import ENDINGS
        graph, path, source = load("spec.yaml").to_graph(), Path("a" + sys.argv[1]), Path("source" + sys.argv[1])
        model, expected = build("spec.yaml", "torch"), initialize(graph)

        def check(state):
            for name, array in expected.items():
                assert np.array_equal(state[name].numpy(), array), name

        if sys.argv[1] == ".pth":
            torch.save(model.state_dict(), source)
        else:
            write_weights(source, graph, expected)
        for end in ENDINGS:
            shutil.copy(source, path)
            model = build("spec.yaml", "torch", weights=path)
            end(path)
            check(model.state_dict())
            model(torch.zeros(1, 3, 8, 8)).sum().backward()
            with torch.no_grad():
                model.fc.bias += 1

        shutil.copy(source, path)
        model = build("spec.yaml", "torch", weights=path)
        torch.save(model.state_dict(), path)
        check(model.state_dict())
        with path.open("rb") as file:
            check(torch.load(file, weights_only=True))
        """,
        ending,
    )

    assert (done.status, done.err) == (0, "")


def test_weights_are_written_over_the_file_they_were_read_from(tiny: Graph, file: Path) -> None:
    for options in ({}, {"mmap": True}):
        arrays = read_weights(file, tiny, **options)
        arrays["fc.bias"] += 1
        write_weights(file, tiny, arrays, force=True)

    assert np.array_equal(load_file(file)["fc.bias"], initialize(tiny)["fc.bias"] + 2)


@pytest.mark.parametrize(
    "line",
    [
        ("resnet-spec", "convert", "spec.yaml", "{file}", "{file}", "--force"),
        pytest.param(
            ("resnet-build", "spec.yaml", "--backend", "torch", "--weights", "{file}", "--output", "{file}", "--force"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_command_writes_over_its_own_source(
    tiny: Graph, file: Path, process: Callable[..., Any], line: tuple[str, ...]
) -> None:
    need("torch")
    done = process(*(word.format(file=file) for word in line))

    assert done.status == 0
    assert all(np.array_equal(load_file(file)[name], array) for name, array in initialize(tiny).items())


# -- mapping, for those who ask for it ---------------------------------------------------------------------------


def test_a_file_is_mapped_only_on_request(tiny: Graph, file: Path) -> None:
    """A mapped array shows what is written into the file; one that was read does not."""
    read, mapped = read_weights(file, tiny), read_weights(file, tiny, mmap=True)
    content = bytearray(file.read_bytes())
    with file.open("r+b") as opened:
        opened.seek(len(content) - 4)
        opened.write(np.float32(7).tobytes())
    last = list(load_file(file))[-1]
    name = next(name for name in mapped if mapped[name].reshape(-1)[-1] == 7)

    assert last in mapped
    assert np.array_equal(read[name], initialize(tiny)[name])


def test_a_model_is_mapped_only_on_request(tmp_path: Path) -> None:
    need("torch")
    import torch

    from resnet_spec import build

    spec = load("cifar/resnet20")
    path = tmp_path / "a.pth"
    torch.save(build(spec, "torch").state_dict(), path)
    for options, expected in (({}, 0.0), ({"mmap": True}, 7.0)):
        torch.save(build(spec, "torch").state_dict(), path)
        model = build(spec, "torch", path, **options)
        value = model.linear.weight.detach().numpy().tobytes()
        content = path.read_bytes()
        with path.open("r+b") as opened:
            opened.seek(content.index(value))
            opened.write(np.float32(7).tobytes())
        found = model.linear.weight[0, 0].item()
        assert found == 7 if expected else found != 7
