"""Programs that ``torch.export`` wrote are read, and none executes what a file names."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._export.serde import serialize

from resnet_spec import ModelError, get_backend, load
from resnet_spec.importing.architecture import architecture
from resnet_spec_torch.importing.archive import load_program
from tests.resnet_spec_torch.importing.tutorials import Residual


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "model.pt2"
    torch.manual_seed(0)
    torch.export.save(torch.export.export(Residual().eval(), (torch.zeros(1, 3, 16, 16),)), path)
    return path


def test_a_program_is_read_with_its_names_and_its_own_batch(program: Path) -> None:
    backend: Any = get_backend("torch")
    source = backend.import_model(program)
    torch.manual_seed(0)
    module = backend.import_model(Residual(), (3, 16, 16))
    assert [node.name for node in source.graph.nodes] == [node.name for node in module.graph.nodes]
    assert architecture(source.graph, layers=True) == architecture(module.graph, layers=True)
    assert all(np.array_equal(source.arrays[name], array) for name, array in module.arrays.items())
    images = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    assert np.abs(source.run(images)[0] - module.run(images)[0]).max() < 1e-5


def test_a_program_of_ours_is_read_back(tmp_path: Path) -> None:
    graph = load("cifar/resnet20").to_graph()
    backend: Any = get_backend("torch")
    model = backend.compile(graph)
    backend.load(model, graph, {p.name: np.ones(p.shape, np.float32) for p in graph.parameters()})
    backend.write(model, graph, tmp_path / "model.pt2")
    found = backend.import_model(tmp_path / "model.pt2", graph.input.shape).graph
    assert architecture(found, layers=True) == architecture(graph, layers=True)


def test_each_symbolic_size_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner: Any = serialize.GraphModuleDeserializer
    parse = owner._parse_sym_expr
    parsed: list[Any] = []

    def recorded(self: Any, expression: Any, hint: Any = None) -> Any:
        parsed.append((self, expression, hint))
        return parse(self, expression, hint)

    monkeypatch.setattr(owner, "_parse_sym_expr", recorded)
    graph = load("cifar/resnet20").to_graph()
    backend: Any = get_backend("torch")
    backend.write(backend.compile(graph), graph, tmp_path / "model.pt2")
    load_program(tmp_path / "model.pt2")
    assert parsed
    assert len(parsed) == len(set(parsed))
    assert owner._parse_sym_expr is recorded


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def _pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save(_Evil(), buffer, pickle_module=pickle)
    return buffer.getvalue()


def _changed(program: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy a program with other entries."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = change(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return target


def _in_json(ending: str, old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(ending):
            return content
        text = content.decode()
        assert old in text, name
        json.loads(text.replace(old, new))
        return text.replace(old, new).encode()

    return change


def _sample_inputs(name: str, content: bytes) -> bytes:
    return _pickled() if "sample_inputs" in name else content


ATTACKS = {
    "a function": (
        _in_json("models/model.json", "torch.ops.aten.linear.default", "torch.hub.load"),
        r"calls 'torch\.hub\.load', which is not a function of tensors",
    ),
    "an operator": (
        _in_json("models/model.json", "torch.ops.aten.linear.default", "_operator.methodcaller"),
        "calls '_operator.methodcaller'",
    ),
    "an operator of 8-bit networks": (
        _in_json("models/model.json", "torch.ops.aten.linear.default", "torch.ops.quantized_decomposed.any.default"),
        "is an 8-bit network; give the one in float that it was made from",
    ),
    "a size": (
        _in_json("models/model.json", '"range_constraints": {}', '"range_constraints": {"exit()": {}}'),
        r"has a size 'exit\(\)', which is not arithmetic",
    ),
    "pickled weights": (
        _in_json("model_weights_config.json", '"use_pickle": false', '"use_pickle": true'),
        "has pickled tensors, which are not read",
    ),
    "sample inputs": (_sample_inputs, r"is not a program of torch.export \(UnpicklingError"),
    "no description": (lambda name, content: None if "models" in name else content, "is not a program of torch.export"),
    "damaged": (lambda name, content: content[:100] if "model.json" in name else content, "is not a program"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_a_file_names_is_executed(
    attack: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, message = ATTACKS[attack]
    path = _changed(program, tmp_path / "hostile.pt2", change)
    with pytest.raises(ModelError, match=message):
        get_backend("torch").import_model(path)  # type: ignore[attr-defined]
    assert not (tmp_path / "executed").exists()


def test_an_entry_that_brings_code_is_refused(program: Path, tmp_path: Path) -> None:
    path = _changed(program, tmp_path / "hostile.pt2", lambda _, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/data/aotinductor/model/wrapper.so", b"")
    with pytest.raises(ModelError, match=r"has an entry 'data/aotinductor/model/wrapper\.so'"):
        get_backend("torch").import_model(path)  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [b"", b"PK", b"not a program" * 100])
def test_what_is_not_a_program_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"is not a program of torch\.export"):
        get_backend("torch").import_model(tmp_path / "model.pt2")  # type: ignore[attr-defined]
