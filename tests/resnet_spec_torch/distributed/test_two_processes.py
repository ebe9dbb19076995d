"""Training in two processes of one machine, against one process with the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import resnet_spec
from tests.resnet_spec_torch.distributed.ranks import run

pytestmark = pytest.mark.slow

MUTATIONS = {
    # By which a wrong implementation differs, and by which it does not.
    "not synchronized": {"outputs", "images", "parameters", "statistics"},
    "counts ignored": {"outputs", "images", "parameters", "statistics"},
    "gradients of the statistics not summed": {"images", "parameters"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    return run(folder)


@pytest.mark.parametrize(
    "check",
    [
        "as the frameworks do",
        "biased",
        "positions",
        "positions, biased",
        "averages of all batches",
        "a process without images",
    ],
)
def test_two_processes_train_as_one(check: str, found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert max(rank[check].values()) < 1e-12, rank[check]


@pytest.mark.parametrize("check", MUTATIONS)
def test_what_is_not_the_whole_batch_is_seen(check: str, found: list[dict[str, Any]]) -> None:
    for kind in MUTATIONS[check]:
        assert max(rank[check][kind] for rank in found) > 1e-4, kind


def test_statistics_of_half_precision_are_in_float32(found: list[dict[str, Any]]) -> None:
    assert all(rank["half"] < 0.1 for rank in found)


def test_a_mean_far_from_zero_does_not_cost_the_variance_its_digits(found: list[dict[str, Any]]) -> None:
    assert all(rank["cancellation"] < 1e-5 for rank in found)


def test_a_batch_without_images_changes_nothing_and_one_value_is_refused(found: list[dict[str, Any]]) -> None:
    assert all(rank["emptiness"] for rank in found)


def test_a_group_can_be_given_and_inference_waits_for_nobody(found: list[dict[str, Any]]) -> None:
    assert all(rank["groups"] for rank in found)


@pytest.mark.parametrize(
    "check", ["replicated", "compiled", "checkpointed", "sharded and compiled", "sharded and checkpointed"]
)
def test_a_model_in_parallel_is_as_one(check: str, found: list[dict[str, Any]]) -> None:
    assert all(rank[check] < 1e-12 for rank in found)


def test_a_sharded_model_is_as_one(found: list[dict[str, Any]]) -> None:
    for rank in found:
        assert rank["sharded"]["loaded"] == 0
        assert rank["sharded"]["held"] < 0.7
        assert rank["sharded"]["trained"] < 1e-12


def test_the_checkpoint_of_two_processes_is_read(found: list[dict[str, Any]]) -> None:
    assert all(rank["sharded"]["read"] < 1e-12 for rank in found)


@pytest.mark.parametrize("check", ["gradients not averaged", "statistics moved twice"])
def test_what_is_wrong_is_seen(check: str, found: list[dict[str, Any]]) -> None:
    assert all(rank[check] > 1e-4 for rank in found)


def test_the_scripts_of_the_page_train(found: list[dict[str, Any]], folder: Path) -> None:
    trained, sharded = (
        resnet_spec.build("cifar/resnet20", "torch", folder / name) for name in ("weights/model.safetensors", "step-2")
    )
    assert int(trained.bn1.num_batches_tracked) == 4
    # The counts of a file that others are sharded from start at 0.
    assert int(sharded.bn1.num_batches_tracked) == 2
    assert not trained.conv1.weight.equal(sharded.conv1.weight)
