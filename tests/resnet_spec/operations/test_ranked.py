"""Fields of one number for each axis of positions: how they may be written, and how a graph holds them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec.operations import Conv
from tests.resnet_spec.operations.support import make


def canonical(operation: Any) -> dict[str, Any]:
    return json.loads(json.dumps(operation.model_dump(mode="json", exclude_defaults=True)))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_number_is_meant_for_each_axis(rank: int) -> None:
    one = make(f"conv{rank}d", channels=8, kernel=3, stride=2, padding=1, dilation=2)
    each = make(
        f"conv{rank}d", channels=8, kernel=[3] * rank, stride=[2] * rank, padding=[1] * rank, dilation=[2] * rank
    )

    assert one == each
    assert (one.rank, one.kernel, one.stride, one.dilation) == (rank, (3,) * rank, (2,) * rank, (2,) * rank)
    assert one.padding == ((1, 1),) * rank


def test_a_padding_has_a_number_or_a_pair_for_each_axis() -> None:
    pool = make("max_pool3d", kernel=4, padding=[1, [0, 2], 2])
    assert pool.padding == ((1, 1), (0, 2), (2, 2))
    assert make("conv2d", channels=8, kernel=3, padding=[1, 2]).padding == ((1, 1), (2, 2))


@pytest.mark.parametrize("op", ["conv1d", "conv2d", "conv3d"])
def test_a_graph_leaves_out_defaults_at_every_rank(op: str) -> None:
    rank = int(op[-2])
    plain = make(op, channels=8, kernel=3)
    stated = make(op, channels=8, kernel=[3] * rank, stride=1, padding=[[0, 0]] * rank, dilation=[1] * rank, groups=1)

    assert plain == stated
    assert canonical(plain).keys() == {"op", "channels", "kernel"}
    assert canonical(make(op, channels=8, kernel=3, stride=2)).keys() == {"op", "channels", "kernel", "stride"}


def test_a_list_of_one_number_is_the_number() -> None:
    assert canonical(make("conv1d", channels=8, kernel=3, padding=1)) == {
        "op": "conv1d",
        "channels": 8,
        "kernel": 3,
        "padding": 1,
    }
    assert canonical(make("conv1d", channels=8, kernel=3, padding=[[0, 1]]))["padding"] == [[0, 1]]
    assert canonical(make("avg_pool1d", kernel=2)) == {
        "op": "avg_pool1d",
        "kernel": 2,
        "stride": 2,
        "count_include_pad": False,
    }


@pytest.mark.parametrize(
    "operation",
    [
        make("conv1d", channels=8, kernel=3, padding="same"),
        make("conv3d", channels=8, kernel=[1, 2, 3], stride=[1, 1, 2], padding=[0, [0, 1], 1]),
        make("conv_transpose1d", channels=8, kernel=3, stride=2),
        make("avg_pool3d", kernel=2, stride=1, padding=[[0, 1]] * 3, count_include_pad=True),
        make("pad1d", padding=[[1, 0]]),
    ],
)
def test_what_is_dumped_is_read_back(operation: Any) -> None:
    for options in ({}, {"exclude_defaults": True}):
        dumped = json.loads(json.dumps(operation.model_dump(mode="json", **options)))
        assert make(**dumped) == operation


@pytest.mark.parametrize(
    ("op", "kernel", "padding"),
    [
        ("conv1d", "[length]", "[[before, after]]"),
        ("conv2d", "[height, width]", "[[top, bottom], [left, right]]"),
        ("conv3d", "[depth, height, width]", "[[front, back], [top, bottom], [left, right]]"),
    ],
)
def test_a_list_of_another_length_is_refused_with_the_names_of_the_axes(op: str, kernel: str, padding: str) -> None:
    for field, words in (("kernel", kernel), ("padding", padding)):
        with pytest.raises(ValidationError) as error:
            make(op, **{"channels": 8, "kernel": 3, field: [1, 1, 1, 1]})
        (found,) = error.value.errors()
        assert found["loc"][-1] == field
        assert str(found["ctx"]["error"]) == f"must be a whole number or {words}"


def test_another_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="Input should be 'conv1d', 'conv2d' or 'conv3d'"):
        Conv.model_validate({"op": "conv_nd", "channels": 8, "kernel": 3})
