"""What PyTorch's users do with a model works as with a hand-written one: a test for each promise of docs/design.md."""

from __future__ import annotations

import copy
import io
import linecache
import pickle
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_spec_torch.forward_namespace import accumulate, activate
from tests.resnet_spec_torch.graphs import Builder, build, random_images, small_resnet

SIZE = 32


@pytest.fixture
def model() -> Any:
    return build(small_resnet(SIZE))


@pytest.fixture
def images() -> Tensor:
    return torch.from_numpy(random_images(2, 3, SIZE, SIZE))


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def shared_norm() -> Any:
    """One normalization called twice in a block, `same` padding, a bare projection: the TensorFlow tutorial's block."""
    b = Builder(3, 9, 9).add("mp", "max_pool2d", kernel=3, stride=2, padding="same")
    b.add("block.conv1", "conv2d", channels=4, kernel=3, stride=2, padding="same", bias=True)
    b.add("block.bn", "batch_norm", running_variance="biased").add("block.ac", "relu")
    b.add("block.conv2", "conv2d", channels=4, kernel=3, padding="same", bias=True)
    b.add("block.bn2", "batch_norm", running_variance="biased", calls="block.bn")
    b.add("block.conv3", "conv2d", "mp", channels=4, kernel=1, stride=2, padding="same")
    b.add("block.add", "add", "block.bn2", "block.conv3").add("block.ac2", "relu", calls="block.ac")
    b.add("gap", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5)
    return b.graph(scopes=[{"name": "block", "kind": "block", "block": "tutorial_block", "output": "block.ac2"}])


# -- names -------------------------------------------------------------------------------------------------------


def test_state_dict_lists_the_parameters_in_order(model: nn.Module) -> None:
    names = list(model.state_dict())
    assert names[:6] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
    ]
    assert names[-2:] == ["fc.weight", "fc.bias"]
    parameters = [p.name for p in small_resnet(SIZE).parameters()]
    assert [name for name in names if not name.endswith("num_batches_tracked")] == parameters
    assert "layer1.0.downsample.1.running_var" in parameters


def test_state_dict_follows_the_declaration() -> None:
    b = Builder(3, 8, 8).add("norm1", "batch_norm").add("downsample.0", "conv2d", channels=3, kernel=1)
    b.add("conv1", "conv2d", "norm1", channels=3, kernel=1).add("sum", "add", "conv1", "downsample.0")
    model = build(b.graph(declaration=["downsample.0", "norm1", "conv1", "sum"]))
    assert [name for name, _ in model.named_children()] == ["downsample", "norm1", "conv1"]
    assert next(iter(model.state_dict())) == "downsample.0.weight"


def test_print_shows_the_structure_and_no_code(model: nn.Module) -> None:
    text = repr(model)
    assert text.startswith(
        "ResNet(\n  (conv1): Conv2d(3, 4, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)"
    )
    assert "\n  (layer1): Sequential(\n    (0): Bottleneck(\n      (conv1): Conv2d(" in text
    assert "\n      (downsample): Sequential(\n        (0): Conv2d(" in text
    assert "def forward" not in text


def test_blocks_of_one_kind_are_of_one_class() -> None:
    model = build(small_resnet())
    assert type(model.layer1[0]) is type(model.layer2[0])
    assert type(model.layer1[0]) is type(build(small_resnet(64)).layer1[0])
    assert type(model.layer1[0]) is not type(model.layer1[1])
    assert type(model.layer1[1]).__name__ == "Bottleneck"


def test_tracebacks_show_the_generated_line(model: nn.Module) -> None:
    with pytest.raises(RuntimeError) as caught:
        model.layer1[0](torch.zeros(1, 5, 8, 8))
    linecache.checkcache()
    text = "".join(traceback.format_exception(caught.value))
    assert "in forward\n    y = self.conv1(x)" in text


# -- taking apart ------------------------------------------------------------------------------------------------


def test_the_last_block_can_be_indexed_and_hooked(model: nn.Module, images: Tensor) -> None:
    """As Grad-CAM does: the activations and gradients of a stage's last block."""
    held: dict[str, Tensor] = {}
    block = model.layer2[-1]
    forward = block.register_forward_hook(lambda module, args, output: held.update(activations=output))
    backward = block.register_full_backward_hook(lambda module, given, grad: held.update(gradients=grad[0]))
    model(images)[:, 2].sum().backward()
    assert held["activations"].shape == held["gradients"].shape == (2, 16, 4, 4)
    assert held["gradients"].abs().sum() > 0
    forward.remove()
    backward.remove()


@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow), True])
def test_no_hook_s_tensor_is_overwritten(images: Tensor, training: bool) -> None:
    """What every module was given and gave is, after the pass, what it was when the hook saw it."""
    for graph in (small_resnet(SIZE), shared_norm()):
        model = build(graph).train(training)
        plain = model(images)
        for name, watched in model.named_modules():
            held: list[tuple[Tensor, Tensor]] = []

            def hook(module: nn.Module, given: Any, output: Tensor, held: Any = held) -> None:
                held.extend((tensor, tensor.clone()) for tensor in (*given, output))

            handle = watched.register_forward_hook(hook)
            assert torch.equal(model(images), plain)
            handle.remove()
            assert held
            for tensor, before in held:
                assert torch.equal(tensor, before), name


def test_no_pre_hook_s_tensor_is_overwritten(model: nn.Module, images: Tensor) -> None:
    for name, watched in model.named_modules():
        held: list[tuple[Tensor, Tensor]] = []

        def hook(module: nn.Module, given: Any, held: Any = held) -> None:
            held.append((given[0], given[0].clone()))

        handle = watched.register_forward_pre_hook(hook)
        model(images)
        handle.remove()
        assert torch.equal(*held[0]), name


def test_no_global_hook_s_tensor_is_overwritten(model: nn.Module, images: Tensor) -> None:
    held: list[tuple[Tensor, Tensor]] = []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, given, output: held.append((output, output.clone()))
    )
    model(images)
    hook.remove()
    assert len(held) > 30
    assert all(torch.equal(tensor, before) for tensor, before in held)


def test_full_backward_hooks_work_on_every_module(model: nn.Module, images: Tensor) -> None:
    """torchvision's own in-place additions make these fail."""
    seen: list[str] = []
    for name, module in model.named_modules():
        module.register_full_backward_hook(lambda module, given, grad, name=name: seen.append(name))
    model(images.requires_grad_()).sum().backward()
    assert {name for name, _ in model.named_modules()} == set(seen)


def test_a_replaced_forward_s_tensor_is_not_overwritten(model: nn.Module, images: Tensor) -> None:
    held: list[tuple[Tensor, Tensor]] = []
    norm = model.layer1[0].bn1
    native = norm.forward

    def forward(x: Tensor) -> Tensor:
        y = native(x)
        held.append((y, y.clone()))
        return y

    norm.forward = forward
    model(images)
    assert torch.equal(*held[0])


def test_a_layer_that_passes_its_input_on_is_not_overwritten(model: nn.Module, images: Tensor) -> None:
    """Once a normalization is folded away, its place is taken by an identity, and a hook may hold what went in."""
    block = model.layer1[0]
    block.bn3 = nn.Identity()
    held: list[tuple[Tensor, Tensor]] = []
    block.conv3.register_forward_hook(lambda module, given, output: held.append((output, output.clone())))
    model(images)
    assert torch.equal(*held[0])


@pytest.mark.parametrize("grad", [False, True])
def test_memory_is_saved_where_nothing_is_hooked(model: nn.Module, grad: bool) -> None:
    """The activation and the sum are written over what the normalization made."""
    block = model.layer1[1]
    with torch.set_grad_enabled(grad):
        y = block.bn1(block.conv1(torch.rand(1, 8, 4, 4)))
        assert activate(block.relu1, y, block.bn1) is y
        assert accumulate(y, torch.zeros_like(y), block.bn1) is y
        assert activate(nn.ReLU6(), y, block.bn1) is not y
        assert accumulate(y, torch.zeros(1, 4, 1, 1), block.bn1) is not y
        assert accumulate(y, torch.zeros_like(y, dtype=torch.float64), block.bn1).dtype == torch.float64


def test_children_without_the_head_make_a_network(model: nn.Module, images: Tensor) -> None:
    children = list(model.children())
    assert [type(child) for child in children[-2:]] == [nn.AdaptiveAvgPool2d, nn.Linear]
    maps = nn.Sequential(*children[:-2])(images)
    assert maps.shape == (2, 16, 4, 4)
    pooled = nn.Sequential(*children[:-1])(images)
    assert pooled.shape == (2, 16, 1, 1)
    assert torch.equal(model.fc(pooled.flatten(1)), model(images))


def test_intermediate_layer_getter(model: nn.Module, images: Tensor) -> None:
    getter = _intermediate_layer_getter()(model, {"layer1": "low", "layer2": "high"})
    maps = getter(images)
    assert {name: tuple(value.shape) for name, value in maps.items()} == {"low": (2, 8, 8, 8), "high": (2, 16, 4, 4)}
    assert torch.equal(nn.Sequential(*list(model.children())[:5])(images), maps["low"])


def _intermediate_layer_getter() -> Any:
    """torchvision's; without its compiled operators it needs their names to be known before it is imported."""
    try:
        from torchvision.models._utils import IntermediateLayerGetter
    except RuntimeError:
        names = ("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in [*names, *(f"_{name}_backward" for name in names)]:
            library.define(f"{name}(Tensor x) -> Tensor")
        from torchvision.models._utils import IntermediateLayerGetter
    return IntermediateLayerGetter


def test_the_classifier_can_be_replaced(model: nn.Module, images: Tensor) -> None:
    features = nn.Sequential(*list(model.children())[:-1])(images).flatten(1)
    model.fc = nn.Linear(16, 3)
    assert torch.equal(model(images), model.fc(features))
    model.layer1[0].relu1 = nn.GELU()
    assert not torch.equal(model(images), model.fc(features))


# -- copying and keeping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", ["deepcopy", "pickle", "torch.save"])
def test_copies_keep_class_and_result(model: nn.Module, images: Tensor, whole: str) -> None:
    if whole == "deepcopy":
        copied = copy.deepcopy(model)
    elif whole == "pickle":
        copied = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        copied = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert type(copied) is type(model)
    assert repr(copied) == repr(model)
    assert torch.equal(copied(images), model(images))
    with torch.no_grad():
        copied.fc.bias += 1
    assert not torch.equal(copied(images), model(images))


def test_deepcopy_of_one_block(model: nn.Module) -> None:
    block = copy.deepcopy(model.layer1[1])
    x = torch.rand(2, 8, 5, 5)
    assert type(block).__name__ == "Bottleneck"
    assert torch.equal(block(x), model.layer1[1](x))


def test_state_dict_is_saved_and_loaded(model: nn.Module, images: Tensor, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "model.pth")
    other = build(small_resnet(SIZE))
    nn.init.zeros_(other.fc.weight)
    assert other.load_state_dict(torch.load(tmp_path / "model.pth")).missing_keys == []
    assert torch.equal(other(images), model(images))


# -- compilers and tracers ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    ("graph", "exact"),
    [
        *(pytest.param(graph, False, marks=pytest.mark.slow) for graph in (small_resnet, shared_norm)),
        (shared_norm, True),
    ],
)
def test_compile(graph: Any, exact: bool, training: bool, images: Tensor) -> None:
    model = build(graph(), exact_statistics=exact).train(training)
    plain = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for each in (compiled, plain):
        each(images).square().mean().backward()
    torch.testing.assert_close(model.state_dict(), plain.state_dict())
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(compiled(images), plain(images))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_with_dynamic_sizes_keeps_the_padding() -> None:
    model = build(shared_norm())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in (16, 17, 23, 30):
        images = torch.rand(2, 3, size, 47 - size)
        torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_with_a_hook_holds_what_was_made(model: nn.Module, images: Tensor) -> None:
    held: list[Tensor] = []
    model.layer1[0].bn1.register_forward_hook(lambda module, given, output: held.append(output))
    with torch.no_grad():
        model(images)
        torch.compile(model, fullgraph=True, backend="aot_eager")(images)
    torch.testing.assert_close(*held)
    assert held[1].min() < 0


@pytest.mark.parametrize("graph", [small_resnet, pytest.param(shared_norm, marks=pytest.mark.slow)])
def test_export_with_dynamic_sizes(graph: Any) -> None:
    model = build(graph())
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(model, (torch.rand(2, 3, 40, 40),), dynamic_shapes=(dynamic,))
    exported = program.module()
    for batch, height, width in [(1, 40, 40), (3, 39, 40), (2, 65, 97), (1, 34, 33)]:
        images = torch.rand(batch, 3, height, width)
        assert torch.equal(exported(images), model(images))


def test_fx(model: nn.Module, images: Tensor) -> None:
    traced = torch.fx.symbolic_trace(model)
    assert torch.equal(traced(images), model(images))
    targets = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    assert "layer1.0.relu1" in targets
    # What a tracer records would be overwritten whatever is hooked later.
    assert not any(str(node.target).endswith("_") for node in traced.graph.nodes if node.op == "call_method")
    torch.fx.symbolic_trace(build(shared_norm()))


def test_trace(model: nn.Module, images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model, images)
    assert torch.equal(traced(images), model(images))


def test_channels_last_and_other_dtypes(model: nn.Module, images: Tensor) -> None:
    wanted = model(images)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(images), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.double()(images.double()).float(), wanted, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.float()(images).dtype == torch.bfloat16


def test_distributed_data_parallel(model: nn.Module, images: Tensor, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        plain = copy.deepcopy(model).train()
        parallel = nn.parallel.DistributedDataParallel(model.train())
        parallel(images).square().mean().backward()
        plain(images).square().mean().backward()
        for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    finally:
        torch.distributed.destroy_process_group()


# -- training ----------------------------------------------------------------------------------------------------


def test_gradients_are_those_without_overwriting(model: nn.Module, images: Tensor) -> None:
    hooked = copy.deepcopy(model).train()
    for module in hooked.modules():
        module.register_forward_hook(lambda module, given, output: None)
    for each in (model.train(), hooked):
        each(images).square().mean().backward()
    for ours, theirs in zip(model.parameters(), hooked.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("exact", [False, True])
def test_gradients_agree_with_finite_differences(exact: bool) -> None:
    model = build(shared_norm(), "float64", exact_statistics=exact).train()
    model.block.ac = nn.Softplus()
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (images,), fast_mode=True)


def test_a_shared_normalization_moves_twice_a_step() -> None:
    graph = (
        Builder(2, 4, 4)
        .add("bn", "batch_norm", momentum=0.5)
        .add("again", "batch_norm", momentum=0.5, calls="bn")
        .graph()
    )
    model = build(graph).train()
    bn = model.bn
    images = torch.from_numpy(random_images(3, 2, 4, 4))
    mean, variance = bn.running_mean.clone(), bn.running_var.clone()
    for x in (images, nn.functional.batch_norm(images, None, None, bn.weight, bn.bias, True)):
        mean = 0.5 * mean + 0.5 * x.mean((0, 2, 3))
        variance = 0.5 * variance + 0.5 * x.var((0, 2, 3))
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(bn.running_mean, mean)
    torch.testing.assert_close(bn.running_var, variance)
    assert bn.num_batches_tracked == 2
    assert list(model.state_dict()) == [
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ]


@pytest.mark.parametrize(
    ("stated", "exact", "divisor"),
    [("biased", True, 48), ("biased", False, 47), ("unbiased", True, 47), ("unbiased", False, 47)],
)
def test_the_running_variance(stated: str, exact: bool, divisor: int) -> None:
    b = Builder(2, 4, 4).add("bn", "batch_norm", momentum=0.25, running_variance=stated)
    model = build(
        b.add("again", "batch_norm", momentum=0.25, running_variance=stated, calls="bn").graph(), exact_statistics=exact
    )
    assert (type(model.bn) is nn.BatchNorm2d) == (not exact or stated == "unbiased")
    model.train()
    images = torch.from_numpy(random_images(3, 2, 4, 4))
    wanted = model.bn.running_var.clone()
    for x in (images, nn.functional.batch_norm(images, None, None, model.bn.weight, model.bn.bias, True)):
        squares = (x - x.mean((0, 2, 3), keepdim=True)).square().sum((0, 2, 3))
        wanted = 0.75 * wanted + 0.25 * squares / divisor
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(model.bn.running_var, wanted)
    assert model.bn.num_batches_tracked == 2
    assert model.eval()(images).shape == images.shape
    torch.testing.assert_close(model.bn.running_var, wanted)
