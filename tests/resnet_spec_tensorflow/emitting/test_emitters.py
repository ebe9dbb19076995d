"""The table of emitters is complete, and a missing emitter is an error that names the node."""

from __future__ import annotations

import pytest

from resnet_spec.errors import BackendError
from resnet_spec.operations import OPERATIONS


def test_every_operation_has_an_emitter_and_every_emitter_an_operation(backend):
    from resnet_spec_keras.emitting import EMITTERS

    assert EMITTERS.keys() - OPERATIONS.keys() == set(), "spurious"
    assert OPERATIONS.keys() - EMITTERS.keys() == set(), "missing"


def test_a_second_emitter_is_refused(backend):
    from resnet_spec_keras.emitting import EMITTERS

    before = dict(EMITTERS)
    with pytest.raises(ValueError, match="'conv2d' has two emitters"):
        EMITTERS.register("conv2d")(lambda op, context: ())
    assert before == EMITTERS


def test_an_operation_without_an_emitter_is_reported_by_name(backend, single, monkeypatch):
    from resnet_spec_keras.emitting import emitters

    monkeypatch.setattr(emitters, "EMITTERS", {op: emit for op, emit in emitters.EMITTERS.items() if op != "relu"})
    with pytest.raises(BackendError, match="x: the tensorflow backend has no relu"):
        backend.compile(single("relu"))


def test_every_layer_of_ours_states_the_shape_of_its_output():
    from keras.src.utils.python_utils import is_default

    from resnet_spec_keras import layers, quantization, window_layers
    from resnet_spec_tensorflow.framework import keras

    modules = layers, quantization, window_layers
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    own = [kind for kind in kinds if issubclass(kind, keras.Layer) and not kind.__name__.startswith("_")]
    assert len(own) > 15
    assert [kind.__name__ for kind in own if is_default(kind.compute_output_shape)] == []
