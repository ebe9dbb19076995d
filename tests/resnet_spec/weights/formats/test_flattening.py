"""Tensors are named by their paths through the data of a pickle, however its objects refer to one another."""

from __future__ import annotations

from typing import Any

import pytest

from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats import flattening
from resnet_spec.weights.formats.flattening import MAX_DEPTH, MAX_LENGTH, named_tensors
from resnet_spec.weights.formats.pickles import Key, Object
from resnet_spec.weights.formats.stored_tensors import Tensor

A, B, C = Tensor("a"), Tensor("b"), Tensor("c")


def names(content: Any) -> dict[str, str]:
    return {name: tensor.kind for name, tensor in named_tensors(content).tensors.items()}


def made(kind: str = "x.C", *arguments: Any, **parts: Any) -> Object:
    result = Object(kind, arguments)
    for part, value in parts.items():
        setattr(result, part, value)
    return result


def test_keys_and_positions_are_parts_of_names() -> None:
    content = {"a": A, "list": [B, 1, (C, "text")], 7: {-1: A, True: B}, b"b": A, "": {"empty": A}}
    assert names(content) == {
        "a": "a", "list.0": "b", "list.2.0": "c", "7.-1": "a", "7.True": "b", "b": "a", ".empty": "a",
    }  # fmt: skip


@pytest.mark.parametrize("pairs", [[("a.b", A), ("c", B)], (("a.b", A), ["c", B])])
def test_pairs_of_a_name_and_a_tensor_are_a_mapping(pairs: Any) -> None:
    assert names(pairs) == {"a.b": "a", "c": "b"}
    assert names({"state_dict": pairs}) == {"state_dict.a.b": "a", "state_dict.c": "b"}


def test_other_sequences_are_numbered() -> None:
    assert names([("a", A), ("b", B, 1)]) == {"0.1": "a", "1.1": "b"}
    assert names([("a", A), (1, B)]) == {"0.1": "a", "1.1": "b"}
    assert names([("a", [A])]) == {"0.1.0": "a"}
    with pytest.raises(WeightsError, match="two of its tensors are named a"):
        names([("a", A), ("a", B)])


def test_a_key_of_several_parts_is_joined_and_others_are_skipped() -> None:
    content = {Key(("a", 1)): A, Key((1, ())): B, Key(2**70): B, 1.5: B, None: B, Key(("x",) * 9): B, Key([A]): B}
    assert names(content) == {"a.1": "a"}


def test_the_contents_of_objects_have_their_paths() -> None:
    content = {
        "mapping": made(entries={"w": A}),
        "list": made(values=[B]),
        "frozen": made("immutables.Map", {"w": A}),
        "pair": made("x.Pair", A, B),
        "attributes": made(state={"inner": {"w": C}}),
        "slots": made(state=(None, {"w": C})),
        "both": made(state=({"v": A}, {"w": C})),
        "other": made(state=[1, 2, 3]),
    }
    assert names(content) == {
        "mapping.w": "a", "list.0": "b", "frozen.w": "a", "pair.0": "a", "pair.1": "b", "attributes.inner.w": "c",
        "slots.w": "c", "both.v": "a", "both.w": "c",
    }  # fmt: skip


def test_a_modules_tensors_are_those_of_its_state_dict() -> None:
    inner = made("nn.Linear", state={"_parameters": {"weight": A, "bias": None}, "_buffers": {}, "_modules": {}})
    state = {
        "_modules": {"0": inner, "none": None},
        "_parameters": {"scale": B},
        "_buffers": {"kept": C, "temporary": C},
        "_non_persistent_buffers_set": ["temporary", 1],
        "cached": A,
    }
    named = named_tensors({"model": made("x.Model", state=state), "linear": inner})
    assert {name: tensor.kind for name, tensor in named.tensors.items()} == {
        "model.scale": "b", "model.kept": "c", "model.0.weight": "a", "linear.weight": "a",
    }  # fmt: skip
    assert named.models == {"model": "x.Model", "linear": "nn.Linear"}


def test_a_module_whose_state_is_not_one_is_skipped() -> None:
    broken = made(state={"_parameters": {}, "_buffers": 5, "_modules": [A], "_non_persistent_buffers_set": 3})
    assert names({"m": broken, "w": A}) == {"w": "a"}


def test_one_name_means_one_tensor() -> None:
    assert names({"a": {"b": A}, "a.b": A}) == {"a.b": "a"}
    with pytest.raises(WeightsError, match=r"two of its tensors are named a\.b"):
        names({"a": {"b": A}, "a.b": B})


def test_what_contains_itself_is_entered_once() -> None:
    itself: dict[str, Any] = {"a": A}
    itself |= {"self": itself, "list": [itself], "object": made(state={"above": itself, "b": B})}
    assert names(itself) == {"a": "a", "object.b": "b"}
    shared = {"a": A}
    assert names({"x": shared, "y": [shared, shared]}) == {"x.a": "a", "y.0.a": "a", "y.1.a": "a"}


def test_shared_objects_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty levels of two references each have a million paths."""
    monkeypatch.setattr(flattening, "MAX_WORK", 2**12)
    for build in (lambda x: [x, x], lambda x: {"a": x, "b": x}, lambda x: made(state={"a": x, "b": x})):
        content: Any = A
        for _ in range(200):
            content = build(content)
        with pytest.raises(WeightsError, match="refer to one another without end"):
            names(content)


def test_long_lists_that_are_shared_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flattening, "MAX_WORK", 2**12)
    long: list[Any] = list(range(2**10))
    state = {"_parameters": {}, "_non_persistent_buffers_set": long}
    assert names([long] * 10) == {}
    for content in (long, made("x.C", *long), made("x.C", long), made(state=state), made(entries=dict.fromkeys(long))):
        with pytest.raises(WeightsError, match="refer to one another without end"):
            names([content] * 100)


def test_names_end() -> None:
    deep: Any = {"w": A}
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert list(names(deep)) == ["0." * (MAX_DEPTH - 1) + "w"]
    with pytest.raises(WeightsError, match="inside more than 500 containers"):
        names([deep])
    assert list(names({"x" * MAX_LENGTH: A})) == ["x" * MAX_LENGTH]
    for key in ("x", b"x"):
        with pytest.raises(WeightsError, match="longer than 4,096 characters"):
            names({key * (MAX_LENGTH + 1): A})
