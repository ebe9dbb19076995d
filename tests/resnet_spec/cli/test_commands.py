"""The commands as a user runs them: results on stdout, everything else on stderr, and an exit status that says how."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import pytest

from resnet_spec import Graph, available, initialize, load, read_weights, summarize, write_weights
from resnet_spec.cli import common
from resnet_spec.cli.common import count, progress, shape_text
from resnet_spec.errors import BackendError, Problem
from tests.needs import need

Command = Callable[..., Any]
Write = Callable[..., Path]

SMALL_INPUT = ["--set", "input.height=32", "--set", "input.width=32"]

# -- looking at specs --------------------------------------------------------------------------------------------


def test_list_prints_names_alone_into_a_pipe(command: Command) -> None:
    assert command("resnet-spec", "list") == (0, "\n".join(available()) + "\n", "")


def test_list_prints_a_table_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    executable = Path(sys.executable).with_name("resnet-spec")
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen([executable, "list"], stdout=theirs, env=environment) as listing:
        os.close(theirs)
        lines = _read_terminal(ours).splitlines()
    os.close(ours)

    assert listing.returncode == 0

    assert lines[0].split() == ["name", "parameters", "MACs", "input", "top-1", "description"]
    words = [line.split() for line in lines]
    assert ["torchvision/resnet34", "21,797,672", "3.66", "G", "3×224×224", "73.31", "ResNet-34"] in words


def _read_terminal(descriptor: int) -> str:
    """All that is written to a terminal, read while it is, since it holds but a page."""
    parts: list[bytes] = []
    # Its end is an error on Linux.
    with suppress(OSError):
        while part := os.read(descriptor, 100_000):
            parts.append(part)
    return b"".join(parts).decode()


def test_list_prints_json_for_machines(command: Command) -> None:
    rows = json.loads(command("resnet-spec", "list", "--json").out)

    assert [row["name"] for row in rows] == available()
    assert {
        "name": "torchvision/resnet18", "description": "ResNet-18", "parameters": 11_689_512, "macs": 1_814_073_344,
        "input": [3, 224, 224], "top1": 69.758,
    } in rows  # fmt: skip


def test_show_prints_a_file_as_it_stands(command: Command, write: Write) -> None:
    path = write("# mine\nextends: resnet18\n")

    assert command("resnet-spec", "show", path) == (0, "# mine\nextends: resnet18\n", "")


def test_show_resolved_prints_a_spec_that_needs_no_other(command: Command, write: Write) -> None:
    done = command("resnet-spec", "show", "resnet34", "--resolved", "--set", "stages.layer4.stride=1")
    again = load(write(done.out))

    assert "extends" not in done.out
    assert again.to_graph().fingerprint == load("resnet34", ["stages.layer4.stride=1"]).to_graph().fingerprint


def test_show_with_an_override_prints_what_becomes_of_it(command: Command) -> None:
    shown = command("resnet-spec", "show", "resnet18", "--set", "parameters.classes=7")

    assert shown == command("resnet-spec", "show", "resnet18", "--resolved", "--set", "parameters.classes=7")
    assert "parameters: {classes: 7, " in shown.out


def test_show_json_prints_the_resolved_spec(command: Command) -> None:
    assert json.loads(command("resnet-spec", "show", "resnet18", "--json").out) == load("resnet18").data()


def test_show_graph_prints_every_node(command: Command) -> None:
    graph = load("resnet18").to_graph()
    lines = command("resnet-spec", "show", "resnet18", "--graph").out.splitlines()

    assert lines[0].split() == ["node", "operation", "output", "inputs"]
    assert [line.split()[0] for line in lines[1:-1]] == [node.name for node in graph.nodes]
    assert "conv2d(channels=64, kernel=7, stride=2, padding=3)" in lines[1]
    assert lines[-1] == f"fingerprint {graph.fingerprint}"


def test_show_graph_prints_shapes_and_pairs_as_a_spec_has_them(command: Command, write: Write) -> None:
    text = """
        input: {channels: 4, height: 32, width: 32}
        stem: {a: {max_pool2d: {kernel: [1, 2]}}, b: {max_pool2d: {kernel: 1}}, r: {reshape: {shape: [64, 32]}}}
        head: {s: {reshape: {shape: [2048]}}, t: {reshape: {shape: [32, 64]}}, q: {reshape: {shape: [2, 32, 32]}}}
        """
    lines = command("resnet-spec", "show", write(text), "--graph").out.splitlines()

    assert [line.split("]")[0].split(None, 1)[1].strip() for line in lines[3:7]] == [
        "reshape(shape=[64, 32",
        "reshape(shape=[2048",
        "reshape(shape=[32, 64",
        "reshape(shape=[2, 32, 32",
    ]
    assert "max_pool2d(kernel=[1, 2]" in lines[1]
    assert "max_pool2d(kernel=1" in lines[2]


def test_show_graph_tells_a_layer_that_is_called_again(command: Command) -> None:
    out = command("resnet-spec", "show", "tutorial/resnet18", "--graph").out

    assert "(calls res_block1.listLayers.0.bn)" in out


def test_show_graph_json_is_the_graph(command: Command) -> None:
    assert (
        Graph.from_json(command("resnet-spec", "show", "resnet18", "--graph", "--json").out)
        == load("resnet18").to_graph()
    )


# -- validate ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_validate_all_tells_each_spec(command: Command) -> None:
    done = command("resnet-spec", "validate", "--all")

    assert done == (0, "".join(f"{name}: valid\n" for name in available()), "")


def test_validate_goes_on_after_a_wrong_spec(command: Command, write: Write) -> None:
    done = command("resnet-spec", "validate", "resnet18", write("stem: {x: rellu}\n"), "resnet34", "nowhere.yml")

    assert (done.status, done.out) == (2, "resnet18: valid\nresnet34: valid\n")
    assert done.err.splitlines() == [
        "spec.yaml:1:11: stem.x: unknown operation, block or layer 'rellu'; did you mean 'relu'?",
        "nowhere.yml: No such file or directory",
    ]


def test_validate_reports_what_a_backend_cannot_express(
    command: Command, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        name = "fake"

        def compile(self, graph: Graph, **options: object) -> None:
            if any(node.operation.op == "sigmoid" for node in graph.nodes):
                raise BackendError(Problem("has no sigmoid", graph.nodes[-1].name))

    monkeypatch.setattr("resnet_spec.backend.registry.get_backend", lambda name: Fake())
    path = write("stem: {a: relu, b: sigmoid}\n")
    done = command("resnet-spec", "validate", path, "resnet18", "--backend", "fake")

    assert (done.status, done.out) == (2, "resnet18: valid, also in fake\n")
    assert done.err == "spec.yaml: b: has no sigmoid (backend 'fake')\n"


def test_validate_for_an_unknown_backend_is_refused(command: Command) -> None:
    done = command("resnet-spec", "validate", "resnet18", "--backend", "nope")

    assert (done.status, done.out) == (3, "")
    assert done.err.startswith("no backend is named 'nope'")


def test_validate_wants_a_spec(command: Command) -> None:
    done = command("resnet-spec", "validate")

    assert (done.status, done.out) == (2, "")
    assert "name a spec, or --all" in done.err


# -- bad input through the real command --------------------------------------------------------------------------

BAD: dict[str, str | bytes] = {
    "misspelled": "extends: resnet18\ninputt: {height: 32}\n",
    "type": "extends: resnet18\ndepth: deep\n",
    "block": "extends: resnet18\nstages: {layer2: {block: bottlneck}}\n",
    "operation": "extends: resnet18\nstem: {relu: rellu}\n",
    "circle": "extends: circle.yaml\n",
    "empty": "",
    "two": "extends: resnet18\n---\nextends: resnet18\n",
    "duplicate": "extends: resnet18\nextends: resnet34\n",
    "tabs": "extends: resnet18\nstem:\n\trelu: relu\n",
    "latin": b"description: caf\xe9\n",
    "bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "repeat": "extends: resnet18\nstages: {layer1: {repeat: 1000000000}}\n",
    "zero": "extends: resnet18\nstages: {layer1: {channels: 0}}\n",
    "negative": "extends: resnet18\nstages: {layer1: {channels: -64}}\n",
    "groups": "extends: resnext50_32x4d\nstages: {layer1: {groups: 33}}\n",
    "shapes": "stem: {a: {max_pool2d: {kernel: 2}}, b: {add: null, from: [input, a]}}\n",
    "list": "extends: resnet18\nstages: {layer1: {channels: [64, 64, 64]}}\n",
    "vanishing": "input: {height: 6, width: 6}\nstem: {a: {conv2d: {channels: 8, kernel: 7}}}\n",
}

SAID = """\
misspelled.yaml:2:1: unknown key 'inputt'; did you mean 'input'?
type.yaml:2:8: depth: must be a whole number, not 'deep'
block.yaml:2:26: stages.layer2.block: unknown block 'bottlneck'; did you mean 'bottleneck'?
operation.yaml:2:14: stem.relu: unknown operation, block or layer 'rellu'; did you mean 'relu'?
circle.yaml:1:10: extends: 'extends' goes in a circle: circle.yaml → circle.yaml
empty.yaml:1:1: the file is empty
two.yaml:2:1: a second document starts here; a file contains only one
duplicate.yaml:2:1: extends: duplicate key 'extends', first on line 1
tabs.yaml:3:1: not valid YAML: a tab where YAML expects spaces
latin.yaml:1:17: not UTF-8: byte 0xe9
bomb.yaml:{bomb}: more than 100000 values, counting aliases each time that they are used
repeat.yaml:2:27: stages.layer1.repeat: must be at most 10000, not 1000000000
zero.yaml:2:29: stages.layer1.channels: conv2d: channels must be at least 1, not 0
negative.yaml:2:29: stages.layer1.channels: conv2d: channels must be at least 1, not -64
groups.yaml:2:18: stages.layer1: 33 groups do not divide 128 input and 128 output channels (from layer1.0.relu1){inside}
shapes.yaml:1:41: stem.b: cannot add 3×224×224 and 3×112×112 (from input and a)
list.yaml:2:29: stages.layer1.channels: must list one value for each block: 3 where 'repeat' is 2
vanishing.yaml:2:11: stem.a: the feature map vanishes: a 7×7 window does not fit an input of 3×6×6 (from input)
missing.yaml: No such file or directory
folder.yaml: Is a directory
"""


def test_every_bad_input_ends_in_one_line_status_two_and_no_traceback(process: Command, tmp_path: Path) -> None:
    for name, content in BAD.items():
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / f"{name}.yaml").write_bytes(data)
    (tmp_path / "folder.yaml").mkdir()
    done = process("resnet-spec", "validate", *(f"{name}.yaml" for name in [*BAD, "missing", "folder"]))
    lines = done.err.splitlines()
    (bomb,), (groups,) = ([line for line in lines if line.startswith(name)] for name in ("bomb", "groups"))
    inside = groups[groups.index(" (in block 'bottleneck', main.conv2 at ") :]

    assert (done.status, done.out) == (2, "")
    assert lines == SAID.format(bomb=":".join(bomb.split(":")[1:3]), inside=inside).splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ["resnet-spec", "show", "bad.yaml", "--resolved"],
        ["resnet-spec", "show", "bad.yaml", "--graph"],
        ["resnet-spec", "show", "bad.yaml", "--json"],
        ["resnet-spec", "validate", "bad.yaml"],
        ["resnet-spec", "summary", "bad.yaml"],
        ["resnet-spec", "parity", "bad.yaml"],
        ["resnet-build", "bad.yaml", "--backend", "torch"],
    ],
)
def test_every_command_tells_a_wrong_spec_alike(command: Command, write: Write, arguments: list[str]) -> None:
    write("stem: {x: relu}\ndpeth: 3\n", "bad.yaml")
    done = command(*arguments)

    assert done == (2, "", "bad.yaml:2:1: unknown key 'dpeth'; did you mean 'depth'?\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["resnet-spec", "show", "resnet18"],
        ["resnet-spec", "validate", "resnet18"],
        ["resnet-spec", "summary", "resnet18"],
        ["resnet-spec", "parity", "resnet18"],
        ["resnet-build", "resnet18", "--backend", "torch"],
    ],
)
def test_every_command_tells_a_wrong_override_alike(command: Command, arguments: list[str]) -> None:
    done = command(*arguments, "--set", "stages.layer5.stride=1")

    said = "stages.layer5.stride: there is no 'layer5' in stages; did you mean 'layer4'?"
    assert done == (2, "", f"--set stages.layer5.stride=1:1:1: {said}\n")


def test_an_input_so_small_that_a_map_vanishes_is_reported(command: Command) -> None:
    pool = ["--set", "stem.maxpool.max_pool2d={kernel: [64, 1]}"]
    done = command("resnet-spec", "summary", "resnet18", *SMALL_INPUT, *pool)

    assert done.status == 2
    assert "the feature map vanishes: a 64×1 window does not fit an input of 64×16×16 (from relu)" in done.err


@pytest.mark.parametrize(
    "arguments", [["--sete"], ["nonsense"], ["show"], ["show", "resnet18", "resnet34"], ["summary", "--set"]]
)
def test_a_wrong_command_line_ends_with_status_two(command: Command, arguments: list[str]) -> None:
    done = command("resnet-spec", *arguments)

    assert (done.status, done.out) == (2, "")
    assert "Error: " in done.err


@pytest.mark.parametrize("size", ["0", "x", "224x0", "-1", "99999", "1e3"])
def test_parity_takes_a_sensible_size(command: Command, size: str) -> None:
    done = command("resnet-spec", "parity", "resnet18", f"--size={size}")

    assert done.status == 2
    assert "--size takes a height, or a height and a width such as 224x160" in done.err


def test_a_mistake_in_a_shared_file_is_reported_for_the_first_spec_alone(command: Command, write: Write) -> None:
    write("block: b\nparameters: {channels: int}\nmain: {c: {conv2d: {chanels: channels, kernel: 3}}}\n", "b.yaml")
    for name, kernel in (("one.yaml", "kernel"), ("two.yaml", "kernl"), ("three.yaml", "kernel")):
        write(
            f"input: {{channels: 3, height: 32, width: 32}}\nblocks: {{b: b.yaml}}\n"
            f"stem: {{c: {{conv2d: {{channels: 8, {kernel}: 3}}}}}}\nstages: {{a: {{block: b, channels: 8}}}}\n",
            name,
        )
    done = command("resnet-spec", "validate", "one.yaml", "two.yaml", "three.yaml")

    print(done.err)
    assert done.status == 2
    lines = done.err.splitlines()
    assert sum("chanels" in line for line in lines) == 1
    assert sum("kernl" in line for line in lines) == 1
    assert [line for line in lines if "above" in line] == [
        "two.yaml: 1 more problem, reported above for one.yaml",
        "three.yaml: 1 problem, reported above for one.yaml",
    ]


# -- summary -----------------------------------------------------------------------------------------------------


def test_summary_prints_the_rows_and_the_totals(command: Command) -> None:
    done = command("resnet-spec", "summary", "resnet18")
    lines = done.out.splitlines()
    rows = [line.split() for line in lines[1:69]]

    assert (done.status, done.err) == (0, "")
    assert rows[0] == ["conv1", "Conv2d", "[64,", "112,", "112]", "9,408", "0", "9,408", "118.01", "M"]
    assert rows[10][:2] == ["layer1.0", "BasicBlock"]
    assert rows[67] == ["fc", "Linear", "[1000]", "513,000", "0", "513,000", "512.00", "k"]
    assert "11,689,512 parameters trainable (11,699,112 in all, 9,600 running statistics not), 1.81 G MACs" in done.out
    assert lines[-1] == "input 0.57 MB, forward/backward 62.79 MB, parameters 44.59 MB, 107.96 MB in all"


def test_summary_prints_modules(command: Command) -> None:
    lines = command("resnet-spec", "summary", "tutorial/resnet18", "--modules").out.splitlines()

    assert [line.split()[0] for line in lines[1:11]] == [
        "conv", "bn", "relu", "mp", "res_block1", "res_block2", "res_block3", "res_block4", "gap", "fc",
    ]  # fmt: skip
    # What Keras' own summary of the tutorial's network says, module by module.
    assert [line.split()[3] for line in lines[1:11]] == [
        "9,472", "256", "0", "0", "148,224", "525,952", "2,100,480", "8,395,264", "0", "5,130",
    ]  # fmt: skip


def test_summary_json_has_everything(command: Command) -> None:
    data = json.loads(command("resnet-spec", "summary", "resnet50", "--json").out)
    summary = summarize(load("resnet50").to_graph())

    assert (len(data["rows"]), data["parameters"], data["macs"]) == (len(summary.rows), 25_557_032, summary.macs)
    assert data["rows"][0]["shape"] == [64, 112, 112]
    assert data["total_mib"] == summary.total_mib
    assert [module["name"] for module in data["modules"]] == [module.name for module in summary.modules]


# -- resnet-build, what is refused -------------------------------------------------------------------------------


def build(command: Command, *arguments: object) -> Any:
    return command("resnet-build", "resnet18", "--backend", "torch", *arguments)


def test_an_output_into_a_folder_that_does_not_exist_is_refused(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "w.safetensors"

    assert build(command, "--output", path) == (2, "", f"{path}: the folder {path.parent} does not exist\n")


def test_an_output_into_a_folder_that_is_not_writable_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so that permissions alone would show nothing; test_files has them with another user.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    path = tmp_path / "w.safetensors"

    assert build(command, "--output", path) == (2, "", f"{path}: the folder {tmp_path} is not writable\n")


def test_an_existing_output_is_refused_without_force(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_text("precious")

    assert build(command, "--output", path) == (2, "", f"{path} exists already; --force replaces it\n")
    assert path.read_text() == "precious"


def test_a_folder_is_not_replaced_by_force(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "folder.pth"
    path.mkdir()

    assert build(command, "--output", path, "--force") == (
        2, "", f"{path} is a folder that holds no SavedModel or transformers model; it is not replaced\n",
    )  # fmt: skip


def test_an_unknown_backend_ends_with_status_three(command: Command) -> None:
    done = command("resnet-build", "resnet18", "--backend", "torhc")

    assert done == (
        3,
        "",
        "no backend is named 'torhc'; did you mean 'torch'? (installed: jax, onnx, tensorflow, torch)\n",
    )


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--seed", "x"], ["--dtype", "float8"], ["--outptu", "x"]])
def test_a_wrong_option_ends_with_status_two(command: Command, arguments: list[str]) -> None:
    done = build(command, *arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith("Error: ")


def test_a_backend_must_be_named(command: Command) -> None:
    done = command("resnet-build", "resnet18")

    assert (done.status, done.out) == (2, "")
    assert "Missing option '--backend'" in done.err


# -- resnet-build with a framework, each in a process of its own -------------------------------------------------


@pytest.mark.slow
def test_torch_builds_runs_and_writes(process: Command, tmp_path: Path) -> None:
    outputs = ["w.safetensors", "w.pth"]
    line = ["resnet-build", "resnet18", "--backend", "torch", *SMALL_INPUT, "--seed", "3"]
    done = process(*line, "--json", *(word for path in outputs for word in ("--output", path)))
    graph = load("resnet18").to_graph()
    told = json.loads(done.out)

    assert done.status == 0
    assert (told["name"], told["backend"], told["fingerprint"]) == ("torchvision/resnet18", "torch", graph.fingerprint)
    assert (told["parameters"], told["statistics"], told["output_shapes"]) == (11_689_512, 9_600, [[1, 1000]])
    assert told["outputs"] == outputs
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(outputs)
    written, drawn = read_weights(tmp_path / "w.safetensors", graph), initialize(graph, 3)
    assert all((written[name] == drawn[name]).all() for name in drawn)


def test_the_optimized_form_is_built_and_written_at_a_fixed_size(command: Command, tmp_path: Path) -> None:
    need("onnx")
    import onnx

    line = ["resnet-build", "cifar/resnet20", "--backend", "onnx", "--optimize", "--fixed", "2x3x20x16"]
    done = command(*line, "--output", tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph

    assert done.status == 0
    # What is counted is the network, not its optimized form.
    assert "and 1,376 running statistics" in done.out
    assert "20×16" in done.out
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim] == [2, 3, 20, 16]
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ("224", "Error: --fixed takes a shape of batches such as 1x3x224x224, not '224'"),
        ("1x3x0x224", "Error: --fixed takes a shape of batches such as 1x3x224x224, not '1x3x0x224'"),
        ("1x224x224x3", "a fixed size of 1×224×224×3 is none of this network, which takes N×3×224×3"),
    ],
)
def test_a_fixed_size_that_the_network_does_not_take_is_refused(command: Command, fixed: str, message: str) -> None:
    done = build(command, "--fixed", fixed)

    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines()[-1] == message


@pytest.mark.slow
def test_tensorflow_builds_by_its_alias_and_prints_nothing_but_the_result(process: Command, tmp_path: Path) -> None:
    need("tensorflow")
    done = process("resnet-build", "tutorial/resnet18", "--backend", "tf", *SMALL_INPUT, "--output", "model.keras")

    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "name", "backend", "parameters", "MACs", "output", "seconds", "written",
    ]  # fmt: skip
    assert "tensorflow" in done.out
    assert "[1, 10]" in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


# -- resnet-build, what is refused once the backend is there ------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a backend's place that costs no seconds to import, and is to build nothing."""

    class StandIn:
        name = "torch"
        outputs: ClassVar = {".pth": "", ".pt2": ""}

    for module in ("backend.registry", "building"):
        monkeypatch.setattr(f"resnet_spec.{module}.get_backend", lambda _: StandIn())


@pytest.mark.usefixtures("stand_in")
def test_an_ending_that_the_backend_does_not_write_is_refused(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "model"

    kinds, hint = ".safetensors, .npz, .msgpack, .pth, .pt2", "the tensorflow backend writes that"
    assert build(command, "--output", f"{path}.h5") == (
        2, "", f"{path}.h5: the torch backend writes {kinds}, not .h5; {hint}\n",
    )  # fmt: skip
    assert build(command, "--output", path) == (
        2, "", f"{path}: the torch backend writes {kinds}, not a folder; {hint}\n",
    )  # fmt: skip


@pytest.mark.usefixtures("stand_in")
def test_weights_of_another_network_are_refused(command: Command, tmp_path: Path) -> None:
    other, path = load("resnet34").to_graph(), tmp_path / "w.safetensors"
    write_weights(path, other, initialize(other))

    status, out, err = build(command, "--weights", path)
    assert (status, out) == (2, "")
    assert err.startswith(
        f"{path}: was written for another architecture (torchvision/resnet34, not torchvision/resnet18):"
        " 'layer2.0.conv1' differs in 'inputs': ('layer1.2.relu2',) in the file, ('layer1.1.relu2',) in the spec\n"
        f"{path}: not the 102 tensors of torchvision/resnet18 (80 unexpected)\n"
    )


@pytest.mark.usefixtures("stand_in")
def test_weights_that_are_missing_are_reported(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"

    assert build(command, "--weights", path) == (2, "", f"{path}: no such file\n")


# -- ends --------------------------------------------------------------------------------------------------------


def raising(error: type[BaseException]) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "said"), [(KeyboardInterrupt, 130, "interrupted"), (MemoryError, 3, "out of memory")]
)
def test_an_interruption_ends_without_a_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: int, said: str
) -> None:
    monkeypatch.setattr("resnet_spec.spec.loader.load", raising(error))
    done = command("resnet-spec", "validate", "resnet18")

    assert (done.status, done.out, done.err.strip()) == (status, "", said)


def test_ctrl_c_ends_a_running_command_with_its_own_status() -> None:
    command = [Path(sys.executable).with_name("resnet-spec"), "validate", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts what runs in the background deaf to Ctrl-C.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, preexec_fn=hearing, **pipes) as running:
        # More than a pipe holds: once it is written, the command is reading.
        cast("BinaryIO", running.stdin).write(b"#" * 200_000)
        running.send_signal(signal.SIGINT)
        # Closes standard input, so that it goes on even where the signal came just before it began to wait.
        out, err = running.communicate(timeout=300)

    assert (running.returncode, out, err.strip()) == (130, b"", b"interrupted")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["validate", "-"], "-: valid"),
        (["show", "-"], "extends: cifar/resnet20"),
        (["show", "-", "--resolved"], "name: stdin"),
        (["summary", "-"], "stdin  "),
        (["draw", "-"], "<title>stdin</title>"),
        (["diff", "cifar/resnet20", "-"], "stdin compared with cifar/resnet20"),
    ],
)
def test_commands_read_standard_input(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    text = b"extends: cifar/resnet20\nstages: {layer1: {repeat: 4}}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    done = command("resnet-spec", *arguments)

    assert (done.status, done.err) == (1 if arguments[0] == "diff" else 0, "")
    assert said in done.out


def test_a_preview_follows_files_only(command: Command) -> None:
    done = command("resnet-spec", "preview", "-")
    assert (done.status, "the preview follows files, not standard input" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["resnet-build", "resnet-spec"])
def test_a_command_tells_its_version_and_its_help(command: Command, name: str) -> None:
    assert command(name, "--version").out.splitlines()[0] == f"{name}, version 0.1.0"
    assert command(name, "-h").out == command(name, "--help").out
    assert command(name, "--help").out.startswith("Usage: ")


# -- what the commands share -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (512_000, "512.00 k"),
        (1_814_073_344, "1.81 G"),
        (4_089_184_256, "4.09 G"),
    ],
)
def test_large_numbers_are_shortened(number: int, text: str) -> None:
    assert count(number) == text


def test_shapes_are_written_in_brackets() -> None:
    assert (shape_text((64, 112, 112)), shape_text((1000,)), shape_text(())) == ("[64, 112, 112]", "[1000]", "[]")


def test_what_a_framework_prints_goes_to_stderr(python: Command) -> None:
    done = python("""
        import os
        from resnet_spec.cli.common import quiet_stdout
        with quiet_stdout():
            print("from python")
            os.write(1, b"from below\\n")
        print("the result")
        """)

    assert (done.out, sorted(done.err.splitlines())) == ("the result\n", ["from below", "from python"])


def test_progress_is_reported_on_stderr_after_two_seconds(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 3.0])
    monkeypatch.setattr(common, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    with progress() as tell:
        tell("soon")
        tell("late")

    assert capfd.readouterr() == ("", "late …\n")
