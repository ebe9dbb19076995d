"""The backend as the core finds it: lazy, found by name, and clear about a Keras that runs on something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from resnet_spec.backend import registry
from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError
from tests.every_operation import alone_and_within


def python(code, **environment):
    """What a new process prints on stdout."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")} | environment
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_found_by_name_and_alias(backend):
    found: Backend = registry.get_backend("tf")
    assert type(found) is type(backend)
    assert found.name == "tensorflow"


def test_everything_the_protocol_asks_for_is_there(backend):
    wanted = {name for name in vars(Backend) if not name.startswith("_")}
    assert wanted - set(dir(backend)) == set()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_node_alone_computes_what_it_does_in_the_model(backend, dtype):
    for name, (alone, within) in alone_and_within(backend, dtype).items():
        assert alone.dtype == dtype
        np.testing.assert_array_equal(alone, within, err_msg=name, strict=True)


def test_importing_the_package_imports_no_framework():
    code = "import resnet_spec_tensorflow, sys; print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))"
    assert python(code).strip() == "set()"


ASK = """
from resnet_spec.backend.registry import get_backend
from resnet_spec.backend import registry
from resnet_spec.backend.protocol import Backend
from resnet_spec.errors import BackendError
import sys
try:
    get_backend("tensorflow")
except BackendError as error:
    print(error, "after importing", {"keras", "tensorflow", "torch", "jax"} & set(sys.modules))
"""


def test_another_keras_backend_in_the_environment_is_reported_before_keras_is_imported():
    said = python(ASK, KERAS_BACKEND="torch")
    assert "Keras is configured for 'torch' by the environment variable KERAS_BACKEND=torch" in said
    assert "unset it or set it to tensorflow" in said
    assert "after importing set()" in said


def test_another_keras_backend_in_the_configuration_is_reported_with_the_file(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    said = python(ASK, KERAS_HOME=str(tmp_path))
    assert f"Keras is configured for 'jax' by the file {tmp_path / 'keras.json'}" in said
    assert "after importing set()" in said


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"floatx": "float32"}', '{"backend": "tensorflow"}'])
def test_a_configuration_that_says_nothing_else_is_fine(monkeypatch, tmp_path, text):
    from resnet_spec_tensorflow import settings

    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "keras.json").write_text(text)
    settings.prepare()


def test_the_environment_wins_over_the_configuration(monkeypatch, tmp_path):
    from resnet_spec_tensorflow import settings

    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    settings.prepare()
    # Keras takes an empty variable for none.
    monkeypatch.setenv("KERAS_BACKEND", "")
    with pytest.raises(BackendError, match="'jax'"):
        settings.prepare()


def test_keras_imported_already_on_another_backend_is_reported(monkeypatch):
    from resnet_spec_tensorflow import settings

    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax")))
    with pytest.raises(BackendError, match="'jax' by the program, which has already imported keras"):
        settings.prepare()


def test_the_log_level_is_the_users_where_there_is_one(monkeypatch):
    from resnet_spec_tensorflow import settings

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    settings.prepare()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_environment_is_text(backend):
    told = backend.environment()
    assert {"tensorflow", "keras", "threads", "TF_ENABLE_ONEDNN_OPTS"} <= told.keys()
    assert all(isinstance(value, str) and value for value in told.values())


def test_forward_takes_any_images_array(backend, make, small_resnet, images):
    model = make(small_resnet())
    x = images(2, 3, 16, 16)
    expected = backend.forward(model, x)[0]
    assert np.array_equal(backend.forward(model, x.astype(np.float64))[0], expected)
    assert np.array_equal(backend.forward(model, np.asfortranarray(x))[0], expected)
    # The native model takes the channels last.
    assert np.array_equal(model(x.transpose(0, 2, 3, 1)).numpy(), expected)


def test_forward_in_training_mode_normalizes_by_the_batch(backend, make, single, images):
    model = make(single("batch_norm", (3, 4, 4), scale=False, offset=False))
    x = images(4, 3, 4, 4)
    batch, running = backend.forward(model, x, training=True)[0], backend.forward(model, x)[0]
    np.testing.assert_allclose(batch.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    assert np.abs(running.mean(axis=(0, 2, 3))).min() > 0.1


def test_grouped_convolutions_bring_no_remarks_of_tensorflows(backend, make, small_resnet, images, caplog, capfd):
    model = make(small_resnet(groups=2))
    for _ in range(8):
        backend.forward(model, images(1, 3, 16, 16))
    assert "retracing" not in caplog.text + capfd.readouterr().err
