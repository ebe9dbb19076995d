"""What an error advises works when it is typed: each option of each message, for every kind of misfit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_spec import WeightsError, initialize, load, read_weights
from resnet_spec.cli.common import as_options
from resnet_spec.cli.spec import command as program
from resnet_spec.weights.identification import identify

SPEC = "cifar/resnet20"
HEAD = ("linear.", "fc.")

Arrays = Mapping[str, Any]


def arrays(*overrides: str, spec: str = SPEC, seed: int = 0) -> dict[str, Any]:
    return initialize(load(spec, overrides).to_graph(), seed)


def below(prefix: str, tensors: Arrays) -> dict[str, Any]:
    return {f"{prefix}{name}": array for name, array in tensors.items()}


def headless() -> dict[str, Any]:
    return arrays("head=null")


def beside(name: str, *shape: int) -> dict[str, Any]:
    return {f"{name}.weight": np.ones(shape, "float32"), f"{name}.bias": np.ones(shape[:1], "float32")}


def halved(tensors: Arrays) -> dict[str, Any]:
    return {name: array.astype("float16") for name, array in tensors.items()}


MISFITS: Mapping[str, tuple[tuple[str, ...], Callable[[], Arrays], set[str]]] = {
    "other classes": ((), lambda: arrays("parameters.classes=7"), {"--adapt classes", "--set parameters.classes=7"}),
    "no head": ((), headless, {"--set head=null"}),
    "features only": (("head=null",), arrays, {"--adapt backbone"}),
    "below a prefix": ((), lambda: below("backbone.", headless()), {"--set head=null"}),
    "another head": (
        (),
        lambda: headless() | beside("classifier", 5, 64),
        {"--set head=null --adapt backbone"},
    ),
    "a projection head": (
        (),
        lambda: headless() | beside("projector.0", 64, 64) | beside("projector.2", 8, 64),
        {"--set head=null --adapt backbone"},
    ),
    "beside a whole network": ((), lambda: arrays() | beside("projector", 64, 64), {"--adapt backbone"}),
    "two networks": (
        (),
        lambda: below("encoder_q.", arrays()) | below("encoder_k.", arrays(seed=1)),
        {"--take encoder_q", "--take encoder_k"},
    ),
    "a grayscale stem": ((), lambda: arrays("input.channels=1"), {"--set input.channels=1"}),
    "for a grayscale network": (("input.channels=1",), arrays, {"--adapt channels"}),
    "folded": ((), lambda: arrays("folded=true"), {"--set folded=true"}),
    "half precision": ((), lambda: halved(arrays()), {"--adapt half"}),
    "other classes in half precision": (
        (),
        lambda: halved(arrays("parameters.classes=7")),
        {"--adapt classes --adapt half", "--set parameters.classes=7 --adapt half"},
    ),
}
"""By what is wrong: the network's overrides, the file, and the options of which each has to be named and work."""

ADVISED = re.compile(r"--(?:adapt|set|take) [\w.=]+")


def run(path: Path, overrides: tuple[str, ...], options: str = "") -> dict[str, Any]:
    """What ``resnet-spec convert`` does with these options."""
    given: dict[str, list[str]] = {"adapt": [], "set": [], "take": [""]}
    for option in ADVISED.findall(options):
        key, value = option.removeprefix("--").split(" ")
        given[key].append(value)
    graph = load(SPEC, [*overrides, *given["set"]]).to_graph()
    return read_weights(path, graph, adapt=given["adapt"], take=given["take"][-1])


@pytest.mark.parametrize("misfit", MISFITS)
def test_every_option_of_the_message_works_when_it_is_typed(tmp_path: Path, misfit: str) -> None:
    overrides, make, options = MISFITS[misfit]
    path = tmp_path / "x.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in make().items()}, path)
    with pytest.raises(WeightsError) as caught:
        run(path, overrides)
    advised = set(ADVISED.findall(as_options(str(caught.value), program)))

    assert advised == {option for several in options for option in ADVISED.findall(several)}
    assert "identify" not in str(caught.value)
    for several in options:
        assert run(path, overrides, several)


OTHERS = {
    "deeper": lambda: arrays(spec="cifar/resnet32"),
    "another block": lambda: arrays(spec="cifar/preact_resnet110"),
    "a prefix and other classes": lambda: below("model.", arrays("parameters.classes=7", spec="cifar/resnet32")),
    "another family": lambda: arrays("parameters.classes=3", spec="tutorial/resnet18"),
}


@pytest.mark.parametrize("network", OTHERS)
def test_a_file_of_another_network_is_identified_by_the_command_of_the_message(tmp_path: Path, network: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in OTHERS[network]().items()}, path)
    with pytest.raises(WeightsError) as caught:
        run(path, ())
    *_, last = str(caught.value).splitlines()
    (match, *_) = identify(path)

    assert last == f"`resnet-spec identify {path}` names the network that fits it"
    assert match.fits
    assert read_weights(path, load(match.spec, match.overrides).to_graph())


def test_a_shallower_file_is_another_networks_too(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(arrays(), path)
    with pytest.raises(WeightsError, match="names the network that fits it"):
        read_weights(path, load("cifar/resnet32").to_graph())


def test_what_no_option_fixes_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: array for name, array in arrays().items() if "running" not in name}, path)
    with pytest.raises(WeightsError, match=r"no running statistics.*save its state_dict"):
        run(path, ())
    save_file(arrays(), path)
    with pytest.raises(WeightsError, match=r"are not folded; omit folded=true \(`resnet-spec convert --fold`"):
        run(path, ("folded=true",))
