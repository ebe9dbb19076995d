"""``synchronized=True`` under MirroredStrategy on two logical devices, against one device with the whole batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import resnet_spec

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, "-m", "tests.resnet_spec_tensorflow.mirrored", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return json.loads((folder / "found.json").read_text("utf-8"))


@pytest.mark.parametrize("check", ["as the frameworks do", "unbiased", "positions", "positions, unbiased"])
def test_two_replicas_train_as_one(check: str, found: dict[str, Any]) -> None:
    assert max(found[check].values()) < 1e-12, found[check]


def test_what_is_not_the_whole_batch_is_seen(found: dict[str, Any]) -> None:
    assert min(found["not synchronized"].values()) > 1e-2
    assert found["counts ignored"]["statistics"] > 1e-2


def test_the_variance_of_keras_cancels_where_the_mean_is_large(found: dict[str, Any]) -> None:
    assert found["cancellation"]["synchronized"] > 1e-4
    assert found["cancellation"]["not synchronized"] < 1e-6


def test_layers_know_that_they_are_synchronized(tmp_path: Path) -> None:
    import keras

    model = resnet_spec.build("cifar/resnet20", "tensorflow", synchronized=True)
    assert model.get_layer("bn1").synchronized
    resnet_spec.save(model, tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").get_layer("bn1").synchronized
    assert not resnet_spec.build("cifar/resnet20", "tensorflow").get_layer("bn1").synchronized
