"""Weights files are read and written strictly, and everything wrong with one is reported by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from resnet_spec import Graph, OutputError, initialize, load, read_weights, write_weights
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.weights import io as weights
from resnet_spec.weights.formats.safetensors import read_safetensors
from resnet_spec.weights.io import fit_arrays
from resnet_spec.weights.matching import check_weights

Lower = Callable[..., Graph]
Lines = Callable[..., list[str]]

TINY = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    stem:
      conv: {conv2d: {channels: 4, kernel: 3, bias: true}}
      bn: {batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""


@pytest.fixture
def tiny(lower: Lower) -> Graph:
    return lower(TINY)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


# -- there and back ----------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tiny: Graph, file: Path) -> None:
    assert same(read_weights(file, tiny), initialize(tiny))


def test_a_file_says_which_architecture_it_is_for(tiny: Graph, file: Path) -> None:
    with safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()

    assert metadata["resnet_spec.fingerprint"] == tiny.fingerprint
    assert Graph.from_json(metadata["resnet_spec.graph"]) == tiny


def test_a_plain_file_is_read_in_the_graphs_order(tiny: Graph, plain: Path) -> None:
    assert list(read_weights(plain, tiny)) == [parameter.name for parameter in tiny.parameters()]


def test_a_file_serves_another_input_size(lower: Lower, tiny: Graph, file: Path) -> None:
    assert same(read_weights(file, lower(TINY.replace("height: 8", "height: 99"))), initialize(tiny))


def test_changing_an_array_that_was_read_leaves_the_file_alone(tiny: Graph, file: Path) -> None:
    before = file.read_bytes()
    arrays = read_weights(file, tiny)
    arrays["fc.bias"][:] = 7

    assert set(arrays["fc.bias"]) == {7.0}
    assert file.read_bytes() == before


def test_double_precision_is_read_as_it_stands(tiny: Graph, plain: Path) -> None:
    save_file({name: array.astype("float64") for name, array in initialize(tiny).items()}, plain)

    assert {array.dtype for array in read_weights(plain, tiny).values()} == {np.dtype("float64")}


def test_torchs_count_of_batches_is_optional(tiny: Graph, plain: Path) -> None:
    save_file({**initialize(tiny), "bn.num_batches_tracked": np.array(3)}, plain)

    assert same(read_weights(plain, tiny), initialize(tiny))


def test_arrays_that_are_not_contiguous_are_written_as_they_look(tiny: Graph, tmp_path: Path) -> None:
    arrays = initialize(tiny)
    arrays["conv.weight"] = np.asfortranarray(arrays["conv.weight"])
    arrays["fc.weight"] = arrays["fc.weight"][:, ::-1]
    write_weights(tmp_path / "x.safetensors", tiny, arrays)

    assert same(read_weights(tmp_path / "x.safetensors", tiny), arrays)


# -- what does not fit -------------------------------------------------------------------------------------------


def test_every_missing_unexpected_and_misshapen_tensor_is_listed(tiny: Graph, plain: Path, lines: Lines) -> None:
    arrays: dict[str, Any] = initialize(tiny)
    arrays["fc.wieght"] = arrays.pop("fc.weight")
    del arrays["bn.running_mean"]
    arrays["extra.weight"] = np.zeros(1)
    arrays["conv.weight"] = arrays["conv.weight"].transpose(2, 3, 1, 0)
    arrays["fc.bias"] = arrays["fc.bias"].astype("int64")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, plain)

    assert lines(lambda: read_weights(plain, tiny)) == [
        f"{plain}: not the 8 tensors of tiny (2 missing, 2 unexpected, 2 mismatched)",
        "bn.running_mean: missing",
        "fc.weight: missing; did you mean 'fc.wieght'?",
        "extra.weight: unexpected",
        "fc.wieght: unexpected; did you mean 'fc.weight'?",
        "conv.weight: has shape [3, 3, 3, 4], not [4, 3, 3, 3]",
        "fc.bias: holds int64, not floating-point numbers",
        "the kernels have their axes in another order than PyTorch's: output channels, input channels, height, width",
    ]


def test_the_weights_of_another_network_are_listed_without_guessing(tiny: Graph, lines: Lines) -> None:
    said = lines(lambda: check_weights(tiny, initialize(load("resnet18").to_graph()), "x"))

    assert said[0] == "x: not the 8 tensors of tiny (6 missing, 100 unexpected, 2 mismatched)"
    assert len(said) == 1 + 6 + 100 + 2
    assert not [line for line in said if "did you mean" in line]


def test_a_file_of_another_network_is_one_to_identify(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    """Not where another option helps, the file states its network, or it has nothing of a network."""
    path, graph = tmp_path / "a file.safetensors", load("cifar/resnet20").to_graph()
    advice = f"`resnet-spec identify '{path}'` names the network that fits it"
    arrays = initialize(graph)
    save_file(arrays, path)
    assert lines(lambda: read_weights(path, tiny))[-1] == advice
    assert lines(lambda: fit_arrays(tiny, arrays, "x"))[-1] != advice

    classes = load("cifar/resnet20", {"parameters.classes": 7}).to_graph()
    assert 'adapt="classes"' in lines(lambda: read_weights(path, classes))[-1]
    write_weights(path, graph, arrays, force=True)
    assert advice not in lines(lambda: read_weights(path, tiny))
    save_file({"steps": np.ones((2, 3), "float32")}, path)
    assert advice not in lines(lambda: read_weights(path, tiny))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("bias: true}", "bias: true, stride: 2}"),
            "'conv' differs in 'stride': (1, 1) in the file, (2, 2) in the spec",
        ),
        (("epsilon: 1.0e-5", "epsilon: 1e-3"), "'bn' differs in 'epsilon': 1e-05 in the file, 0.001 in the spec"),
        (("features: 2}}", "features: 2}}, act: relu"), "'act' is only in the spec"),
        (
            ("pool: global_avg_pool", "pool: {max_pool2d: {kernel: 6}}"),
            "'pool' differs in 'op': global_avg_pool in the file, max_pool2d in the spec",
        ),
    ],
)
def test_a_file_for_a_network_that_computes_something_else_names_the_first_node_that_differs(
    lower: Lower,
    tiny: Graph,
    file: Path,
    lines: Lines,
    caplog: pytest.LogCaptureFixture,
    change: tuple[str, str],
    said: str,
) -> None:
    other = lower(TINY.replace(*change).replace("name: tiny", "name: other"))
    said = f"{file}: was written for another architecture (tiny, not other): {said}"

    assert same(read_weights(file, other), initialize(tiny))
    assert caplog.messages == [f"{said}; strict_graph=True refuses this"]
    assert lines(lambda: read_weights(file, other, strict_graph=True)) == [said]


@pytest.mark.parametrize(
    "change",
    [
        ("momentum: 0.1", "momentum: 0.3"),
        ("running_variance: biased", "running_variance: unbiased"),
        ("flat: flatten", "flat: flatten, drop: {dropout: {rate: 0.5}}"),
        ("input: {channels: 3", "outputs: [fc, bn]\n    input: {channels: 3"),
        ("name: tiny", "name: other"),
        ("height: 8", "height: 99"),
    ],
)
def test_what_training_alone_and_outputs_depend_on_is_not_a_difference(
    lower: Lower, tiny: Graph, file: Path, caplog: pytest.LogCaptureFixture, change: tuple[str, str]
) -> None:
    assert change[0] in TINY
    other = lower(TINY.replace(*change))

    assert same(read_weights(file, other, strict_graph=True), initialize(tiny))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("change", "adapt", "said"),
    [
        (("features: 2", "features: 3"), "classes", "fc.weight: has shape [2, 4], not [3, 4]"),
        ((", flat: flatten, fc: {linear: {features: 2}}", ""), "backbone", "fc.weight: unexpected"),
    ],
)
def test_a_file_for_another_head_is_adapted_where_asked_for(
    lower: Lower, file: Path, lines: Lines, change: tuple[str, str], adapt: str, said: str
) -> None:
    other = lower(TINY.replace(*change))

    assert list(read_weights(file, other, adapt=adapt, strict_graph=True)) == [p.name for p in other.parameters()]
    assert said in lines(lambda: read_weights(file, other))
    assert any(f'adapt="{adapt}"' in line for line in lines(lambda: read_weights(file, other)))


def test_where_the_tensors_do_not_fit_the_stated_network_says_why(lower: Lower, file: Path, lines: Lines) -> None:
    other = lower(TINY.replace("kernel: 3", "kernel: 5"))

    assert lines(lambda: read_weights(file, other)) == [
        f"{file}: was written for another variant of tiny:"
        " 'conv' differs in 'kernel': (3, 3) in the file, (5, 5) in the spec",
        f"{file}: not the 8 tensors of tiny (1 mismatched)",
        "conv.weight: has shape [4, 3, 3, 3], not [4, 3, 5, 5]",
    ]


@pytest.mark.parametrize("metadata", [{}, {"resnet_spec.graph": "{}"}, {"resnet_spec.graph": "[" * 100_000}])
def test_a_file_for_another_architecture_that_does_not_say_which_is_reported(
    tiny: Graph, plain: Path, lines: Lines, caplog: pytest.LogCaptureFixture, metadata: dict[str, str]
) -> None:
    save_file(initialize(tiny), plain, {"resnet_spec.fingerprint": "0" * 64, **metadata})
    said = f"{plain}: was written for an architecture other than tiny (its fingerprint differs)"

    assert same(read_weights(plain, tiny), initialize(tiny))
    assert caplog.messages == [f"{said}; strict_graph=True refuses this"]
    assert lines(lambda: read_weights(plain, tiny, strict_graph=True)) == [said]


# -- writing -----------------------------------------------------------------------------------------------------


def test_arrays_that_do_not_fit_are_not_written(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = initialize(tiny)
    del arrays["fc.bias"]

    assert lines(lambda: write_weights(tmp_path / "x.safetensors", tiny, arrays)) == [
        "the arrays: not the 8 tensors of tiny (1 missing)",
        "fc.bias: missing",
    ]
    assert not list(tmp_path.glob("x*"))


def test_only_the_canonical_ending_is_written(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x.pth"

    assert lines(lambda: write_weights(path, tiny, initialize(tiny))) == [
        f"{path}: the name of a weights file must end in .safetensors"
    ]


def test_an_existing_file_is_kept_unless_forced(tiny: Graph, file: Path, lines: Lines) -> None:
    before = file.read_bytes()

    assert lines(lambda: write_weights(file, tiny, initialize(tiny, 1))) == [
        f"{file} exists already; force=True replaces it"
    ]
    assert file.read_bytes() == before
    write_weights(file, tiny, initialize(tiny, 1), force=True)
    assert same(read_weights(file, tiny), initialize(tiny, 1))


def test_a_failure_while_writing_leaves_the_old_file(tiny: Graph, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(weights, "write_safetensors", fail)

    with pytest.raises(OutputError, match="No space left on device"):
        write_weights(file, tiny, initialize(tiny, 1), force=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.glob("*tiny*")] == ["tiny.safetensors"]


def test_a_file_is_replaced_by_what_was_read_from_it(tiny: Graph, file: Path) -> None:
    before = file.read_bytes()
    write_weights(file, tiny, read_weights(file, tiny), force=True)

    assert file.read_bytes() == before


# -- half precision ----------------------------------------------------------------------------------------------


def test_half_precision_is_written_where_asked_for(tiny: Graph, tmp_path: Path) -> None:
    path, arrays = tmp_path / "half.safetensors", initialize(tiny)
    write_weights(path, tiny, arrays, half=True)

    assert {array.dtype.name for array in read_safetensors(path).tensors.values()} == {"float16"}
    read = read_weights(path, tiny, adapt=["half"])
    assert same(read, {name: array.astype("float16").astype("float32") for name, array in arrays.items()})


def test_half_precision_is_read_only_where_asked_for(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "half.safetensors"
    write_weights(path, tiny, initialize(tiny), half=True)

    assert lines(lambda: read_weights(path, tiny, adapt=["classes"])) == [
        f'{path}: 8 tensors are in half precision; adapt="half" accepts them'
    ]


def test_bfloat16_is_read_only_where_asked_for(
    tiny: Graph, tmp_path: Path, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bfloat16.safetensors"
    arrays = initialize(tiny)
    upper = {name: np.ascontiguousarray(array).view("<u4") >> 16 for name, array in arrays.items()}
    entries: dict[str, Any] = {}
    body = b""
    for name, array in upper.items():
        data = array.astype("<u2").tobytes()
        offsets = [len(body), len(body) + len(data)]
        entries[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": offsets}
        body += data
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)

    assert lines(lambda: read_weights(path, tiny)) == [
        f'{path}: 8 tensors are in half precision; adapt="half" accepts them'
    ]
    read = read_weights(path, tiny, adapt=["half"])
    assert same(read, {name: (bits << 16).view("<f4") for name, bits in upper.items()})
    assert caplog.messages == [f"{path}: 8 tensors are in half precision"]


def test_bfloat16_is_written_where_asked_for(tiny: Graph, tmp_path: Path) -> None:
    path, arrays = tmp_path / "bfloat16.safetensors", initialize(tiny)
    counter = {"bn.num_batches_tracked": np.array(70000)}
    write_weights(path, tiny, arrays | counter, half="bfloat16")

    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    kinds = {name: entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert kinds == {**dict.fromkeys(arrays, "BF16"), "bn.num_batches_tracked": "I64"}
    read = read_weights(path, tiny, adapt=["half"])
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_allclose(read[name], array, rtol=2**-8, err_msg=name)
    # What was rounded once is written as it is.
    write_weights(tmp_path / "again.safetensors", tiny, read | counter, half="bfloat16")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_numbers_too_large_for_bfloat16_are_reported(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = {name: array.astype("float64") for name, array in initialize(tiny).items()}
    arrays["fc.bias"][0] = 3.4e38
    arrays["fc.weight"][0, :2] = np.inf, 3.38e38

    assert lines(lambda: write_weights(tmp_path / "w.safetensors", tiny, arrays, half="bfloat16")) == [
        "some values are too large for half precision",
        f"fc.bias: 1 of {arrays['fc.bias'].size} elements are too large for bfloat16",
    ]


def test_numbers_too_large_for_half_precision_are_reported_and_not_written(
    tiny: Graph, tmp_path: Path, lines: Lines
) -> None:
    arrays = initialize(tiny)
    arrays["fc.weight"][0, :2] = 65519, 65520
    arrays["fc.bias"][:] = np.inf
    arrays["bn.bias"][:3] = -1e30

    assert lines(lambda: write_weights(tmp_path / "x.safetensors", tiny, arrays, half=True)) == [
        "some values are too large for half precision",
        "bn.bias: 3 of 4 elements are too large for float16",
        "fc.weight: 1 of 8 elements are too large for float16",
    ]
    assert not list(tmp_path.glob("*x.safetensors*"))


# -- averages, and what lies beside ------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[Checkpoint], None]:
    """Have a checkpoint read, whatever the path."""
    return lambda given: monkeypatch.setattr(weights, "read_checkpoint", lambda *_, **options: given)


def test_averages_are_taken_only_where_asked_for(tiny: Graph, checkpoint: Callable[[Checkpoint], None]) -> None:
    trained, averaged = initialize(tiny, 1), initialize(tiny, 2)
    some = {name: averaged[name] for name in ("conv.weight", "fc.weight")}
    checkpoint(Checkpoint(trained, averages=some))

    assert same(read_weights("x", tiny), trained)
    assert same(read_weights("x", tiny, ema=True), trained | {n: averaged[n] for n in ("conv.weight", "fc.weight")})


def test_a_file_of_averages_alone_is_read(tiny: Graph, checkpoint: Callable[[Checkpoint], None]) -> None:
    checkpoint(Checkpoint({}, averages=initialize(tiny, 2)))

    assert same(read_weights("x", tiny), initialize(tiny, 2))
    assert same(read_weights("x", tiny, ema=True), initialize(tiny, 2))


def test_averages_that_are_not_there_are_an_error(
    tiny: Graph, checkpoint: Callable[[Checkpoint], None], lines: Lines
) -> None:
    checkpoint(Checkpoint(initialize(tiny)))

    assert lines(lambda: read_weights("x", tiny, ema=True)) == ["x: holds no exponential moving averages"]


def test_what_lies_beside_the_weights_is_reported(
    tiny: Graph, checkpoint: Callable[[Checkpoint], None], caplog: pytest.LogCaptureFixture
) -> None:
    beside = {"optimizer slots": 12, "counters": 1}
    checkpoint(Checkpoint(initialize(tiny), ignored=beside, remarks=("its normalizations are folded",)))
    caplog.set_level("INFO", "resnet_spec")
    read_weights("x", tiny)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "x: skipped optimizer slots (12)"),
        ("INFO", "x: skipped counters (1)"),
        ("WARNING", "x: its normalizations are folded"),
    ]


# -- what is not finite ------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_refused_where_asked_for(tiny: Graph, plain: Path, lines: Lines) -> None:
    arrays = initialize(tiny)
    arrays["fc.weight"][0, :3] = np.nan, np.inf, -np.inf
    arrays["bn.running_var"][:] = np.inf
    arrays["fc.bias"][:] = np.finfo(np.float32).max
    save_file(arrays, plain)

    assert same(
        {name: np.nan_to_num(array) for name, array in read_weights(plain, tiny).items()},
        {name: np.nan_to_num(array) for name, array in arrays.items()},
    )
    assert lines(lambda: read_weights(plain, tiny, check_finite=True)) == [
        f"{plain}: not all numbers are finite",
        "bn.running_var: 0 of 4 elements are NaN, 4 infinite",
        "fc.weight: 1 of 8 elements are NaN, 2 infinite",
    ]


def test_numbers_that_are_finite_pass(tiny: Graph, plain: Path) -> None:
    assert same(read_weights(plain, tiny, check_finite=True), initialize(tiny))


def test_an_adaptation_that_there_is_not_is_reported_before_anything_is_read(tiny: Graph, lines: Lines) -> None:
    assert lines(lambda: read_weights("nowhere", tiny, adapt=["clases", "half", "x"])) == [
        "unknown adaptation 'clases'; did you mean 'classes'? (known: half, background, classes, channels, backbone)",
        "unknown adaptation 'x' (known: half, background, classes, channels, backbone)",
    ]
