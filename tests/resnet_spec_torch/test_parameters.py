"""Arrays become a model's parameters without a copy where they can, and come out again as they are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_spec.errors import WeightsError
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_arrays, random_images, small_resnet

BACKEND = TorchBackend()


def loaded(kernel: Any, dtype: Any = "float32") -> Any:
    """A 1×1 convolution with a given kernel of (2, 3, 1, 1)."""
    graph = Builder(3, 1, 1).add("conv", "conv2d", channels=2, kernel=1, bias=True).graph()
    model = BACKEND.compile(graph, dtype=dtype)
    BACKEND.load(model, graph, {"conv.weight": kernel, "conv.bias": np.zeros(2, np.float32)})
    return model


def shares(tensor: Tensor, array: Any) -> bool:
    return bool(np.shares_memory(tensor.detach().numpy(), array))


def at_offset(array: NDArray[Any], offset: int) -> NDArray[Any]:
    """A writable copy that begins so many bytes after a multiple of 64."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copied = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


# -- in ----------------------------------------------------------------------------------------------------------


def test_nothing_stays_on_the_meta_device() -> None:
    model = BACKEND.compile(small_resnet())
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    BACKEND.load(model, small_resnet(), random_arrays(small_resnet()))
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {b.dtype for b in model.buffers()} == {torch.float32, torch.int64}


def test_parameters_are_trainable_and_the_model_infers() -> None:
    model = build(small_resnet())
    assert all(p.requires_grad and isinstance(p, nn.Parameter) for p in model.parameters())
    assert not any(b.requires_grad for b in model.buffers())
    assert not any(module.training for module in model.modules())
    trainable = [p.name for p in small_resnet().parameters() if p.trainable]
    assert [name for name, _ in model.named_parameters()] == trainable


def test_every_parameter_has_its_array() -> None:
    arrays = random_arrays(small_resnet())
    state = build(small_resnet()).state_dict()
    for name, array in arrays.items():
        np.testing.assert_array_equal(state[name].numpy(), array, err_msg=name)
    counters = [tensor for name, tensor in state.items() if name.endswith("num_batches_tracked")]
    assert len(counters) == 12
    assert all(counter.dtype == torch.int64 and counter.shape == () and counter == 0 for counter in counters)
    assert len({counter.data_ptr() for counter in counters}) == 12


def test_a_writable_array_is_not_copied() -> None:
    for offset in (0, 4):
        kernel = at_offset(np.zeros((2, 3, 1, 1), np.float32), offset)
        assert shares(loaded(kernel).conv.weight, kernel)


def test_a_linear_kernel_is_copied_where_it_would_round_differently() -> None:
    graph = Builder(3, 1, 1).add("flat", "flatten").add("fc", "linear", features=2, bias=False).graph()
    for offset in (0, 4):
        kernel = at_offset(np.ones((2, 3), np.float32), offset)
        model = BACKEND.compile(graph)
        BACKEND.load(model, graph, {"fc.weight": kernel})
        assert shares(model.fc.weight, kernel) == (offset == 0)
        assert model.fc.weight.data_ptr() % 64 == 0


def test_what_does_not_fit_is_copied() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    read_only = weight.copy()
    read_only.flags.writeable = False
    unaligned = at_offset(weight, 1)
    assert not unaligned.flags.aligned
    for array in (
        read_only,
        unaligned,
        np.asfortranarray(weight),
        np.repeat(weight, 2, axis=1)[:, ::2],
        weight.astype(">f4"),
        weight.astype(np.float64),
        weight.astype(np.float16),
    ):
        tensor = loaded(array).conv.weight
        assert not shares(tensor, array)
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.detach().numpy(), weight)


def test_an_array_given_twice_is_two_parameters() -> None:
    graph = Builder(2, 3, 3).add("a", "batch_norm").add("b", "batch_norm").graph()
    ones = np.ones(2, np.float32)
    model = BACKEND.compile(graph)
    BACKEND.load(model, graph, {p.name: ones for p in graph.parameters()})
    assert len({tensor.data_ptr() for tensor in model.state_dict().values()}) == len(model.state_dict())


def test_float64() -> None:
    kernel = np.full((2, 3, 1, 1), 1 / 3)
    model = loaded(kernel, "float64")
    assert shares(model.conv.weight, kernel)
    assert model.conv.bias.dtype == torch.float64
    result = BACKEND.forward(model, np.ones((1, 3, 1, 1), np.float32))[0]
    assert result.dtype == np.float64
    assert result.tolist() == [[[[1]], [[1]]]]


def test_a_model_can_be_loaded_again() -> None:
    graph = small_resnet()
    model = build(graph)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    model(torch.from_numpy(random_images(2, 3, 32, 32))).sum().backward()
    before = list(model.parameters())
    arrays = random_arrays(graph, seed=7)
    kept = copy.deepcopy(arrays)
    BACKEND.load(model, graph, arrays)
    assert all(new is old for new, old in zip(model.parameters(), before, strict=True))
    assert model.bn1.num_batches_tracked == 0
    for name, array in BACKEND.arrays(model, graph).items():
        np.testing.assert_array_equal(array, kept[name])
    optimizer.step()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, kept[name])


def test_layers_that_were_replaced_are_reported_by_name() -> None:
    graph = small_resnet()
    model = build(graph)
    model.fc = nn.Linear(16, 3)
    model.bn1 = nn.Identity()
    with pytest.raises(WeightsError) as caught:
        BACKEND.load(model, graph, random_arrays(graph))
    assert str(caught.value).splitlines() == [
        *(f"bn1.{name}: the model has no such tensor" for name in ("weight", "bias", "running_mean", "running_var")),
        "fc.weight: the model's tensor has shape [3, 16], not [5, 16]",
        "fc.bias: the model's tensor has shape [3], not [5]",
    ]
    np.testing.assert_array_equal(model.conv1.weight.detach().numpy(), random_arrays(graph)["conv1.weight"])


# -- out ---------------------------------------------------------------------------------------------------------


def test_arrays_come_out_in_order_as_copies() -> None:
    graph = small_resnet()
    model = build(graph)
    arrays = BACKEND.arrays(model, graph)
    assert list(arrays) == [p.name for p in graph.parameters()]
    for name, array in random_arrays(graph).items():
        np.testing.assert_array_equal(arrays[name], array)
    arrays["fc.bias"] += 1
    np.testing.assert_array_equal(model.fc.bias.detach().numpy(), random_arrays(graph)["fc.bias"])


def test_a_shared_layer_s_parameters_come_out_once() -> None:
    graph = Builder(2, 3, 3).add("bn", "batch_norm").add("again", "batch_norm", calls="bn").graph()
    assert list(BACKEND.arrays(build(graph), graph)) == ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
