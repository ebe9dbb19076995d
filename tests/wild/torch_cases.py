"""Files of a torchvision ResNet-18 as PyTorch's libraries and training scripts save them."""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib
import pickle
import tarfile
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from tests.oracles.torchvision_original import models
from tests.wild.case import Case

TorchCase = Case[nn.Module]
State = dict[str, Any]
CASES: list[TorchCase] = []


def case(title: str, made_by: str, **how: Any) -> Callable[[Callable[[nn.Module, Path], Path]], Any]:
    """Add a case."""

    def add(make: Callable[[nn.Module, Path], Path]) -> Any:
        CASES.append(Case(title, made_by, make, **how))
        return make

    return add


def saved(content: Any, folder: Path, name: str = "w.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def below(prefix: str, state: Mapping[str, Any]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def perturbed(model: nn.Module) -> nn.Module:
    """The same network with other weights."""
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.mul_(1.5)
    return other


# -- how PyTorch saves -------------------------------------------------------------------------------------------


@case("a state_dict", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(model.state_dict(), folder)


@case("a state_dict in the format before PyTorch 1.6", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(model.state_dict(), folder, _use_new_zipfile_serialization=False)


@case("a state_dict in pickle's protocol 5", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(model.state_dict(), folder, pickle_protocol=5)


@case("a state_dict with another name's ending", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(model.state_dict(), folder, "weights.bin")


@case("a whole pickled model", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(model, folder)


@case("a whole pickled model under a key", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved({"epoch": 3, "model": nn.DataParallel(model)}, folder)


@case("a TorchScript program", "torch.jit.save")
def _(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(model), folder / "w.pt")
    return folder / "w.pt"


@case("a traced program", "torch.jit.save")
def _(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 64, 64)), folder / "w.pt")
    return folder / "w.pt"


@case(
    "half precision",
    "torch.save",
    options={"adapt": "half"},
    refused='are in half precision; adapt="half" accepts them',
)
def _(model: nn.Module, folder: Path) -> Path:
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    return saved(state, folder)


@case("a state_dict sorted by name", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(OrderedDict(sorted(model.state_dict().items())), folder)


@case("a list of names and tensors", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    return saved({"model": list(model.state_dict().items()), "epoch": 3}, folder)


# -- wrapped models ----------------------------------------------------------------------------------------------


@case("`module.`: DataParallel", "torch.nn")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(nn.DataParallel(model).state_dict(), folder)


@case("`_orig_mod.`: torch.compile", "torch.compile")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(torch.compile(model, backend="eager").state_dict(), folder)  # type: ignore[union-attr]


@case("`module._orig_mod.`: both", "torch.nn, torch.compile")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(nn.DataParallel(torch.compile(model, backend="eager")).state_dict(), folder)  # type: ignore[arg-type]


class Lit(nn.Module):
    """A training module that holds the network, a loss and a metric, as Lightning's do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = torch.compile(model, backend="eager")
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(10))
        self.register_buffer("confusion", torch.zeros(10, 10))


@case("`model._orig_mod.` beside a loss' and a metric's buffers", "torch.nn, torch.compile")
def _(model: nn.Module, folder: Path) -> Path:
    return saved({"state_dict": Lit(model).state_dict(), "epoch": 3}, folder)


@case("`model.module.`", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(below("model.module.", model.state_dict()), folder)


@case("`_forward_module.model.`: Lightning Fabric", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(below("_forward_module.model.", model.state_dict()), folder)


@case("`net.backbone.`", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(below("net.backbone.", model.state_dict()), folder)


@case("`a.b.` in sorted order", "safetensors")
def _(model: nn.Module, folder: Path) -> Path:
    safetensors.torch.save_file(below("a.b.", model.state_dict()), folder / "w.safetensors")
    return folder / "w.safetensors"


@case("a normalizer in front, with a mean and a deviation", "torch.nn")
def _(model: nn.Module, folder: Path) -> Path:
    state = model.state_dict() | {"normalizer.mean": torch.zeros(1, 3, 1, 1), "normalizer.std": torch.ones(1, 3, 1, 1)}
    return saved(state, folder)


@case(
    "a projection head (SimCLR) beside a backbone", "by hand",
    overrides={"head": None},
)  # fmt: skip
def _(model: nn.Module, folder: Path) -> Path:
    trunk = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("fc.")}
    head = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))
    return saved({"state_dict": below("backbone.", trunk) | below("projector.", head.state_dict())}, folder)


# -- training scripts --------------------------------------------------------------------------------------------


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer after one step, so that it has a state."""
    other = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(other.parameters())
    other(torch.randn(2, 3, 64, 64)).sum().backward()
    optimizer.step()
    return optimizer


@case("torchvision's reference script: `model`, optimizer, scheduler, arguments", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    optimizer = optimizer_of(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, output_dir=Path("runs")),
    }
    return saved(content, folder)


def timm_utils() -> Any:
    """``timm.utils``; timm imports torchvision, whose operators must be registered first."""
    models()
    return importlib.import_module("timm.utils")


@case("timm's training script: `state_dict`, `arch`, `metric`", "timm.utils.CheckpointSaver")
def _(model: nn.Module, folder: Path) -> Path:
    arguments = argparse.Namespace(model="resnet18")
    saver = timm_utils().CheckpointSaver(model, optimizer_of(model), args=arguments, checkpoint_dir=str(folder))
    saver.save_checkpoint(3, metric=0.5)
    return folder / "checkpoint-3.pth.tar"


@case("timm's averages: `state_dict_ema`", "timm.utils", options={"ema": True})
def _(model: nn.Module, folder: Path) -> Path:
    average = timm_utils().ModelEmaV3(model)
    saver = timm_utils().CheckpointSaver(
        perturbed(model), optimizer_of(model), model_ema=average, checkpoint_dir=str(folder)
    )
    saver.save_checkpoint(3, metric=0.5)
    return folder / "checkpoint-3.pth.tar"


@case("`n_averaged` and `module.`: AveragedModel", "torch.optim.swa_utils", options={"ema": True})
def _(model: nn.Module, folder: Path) -> Path:
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    averaged.update_parameters(model)
    return saved(averaged.state_dict(), folder)


@case("`ema` beside `model`, with counters", "by hand", options={"ema": True})
def _(model: nn.Module, folder: Path) -> Path:
    ema = {**model.state_dict(), "updates": torch.tensor(9)}
    return saved({"model": perturbed(model).state_dict(), "ema": ema, "updates": 9}, folder)


@case("`ema_net.` among the model's own names", "by hand", options={"ema": True})
def _(model: nn.Module, folder: Path) -> Path:
    return saved(
        {"state_dict": below("net.", perturbed(model).state_dict()) | below("ema_net.", model.state_dict())}, folder
    )


@case("`callbacks.EMA.ema_state_dict`", "by hand", options={"ema": True})
def _(model: nn.Module, folder: Path) -> Path:
    callbacks = {"EMA": {"ema_state_dict": model.state_dict(), "decay": 0.999}, "ModelCheckpoint": {"best": None}}
    return saved({"state_dict": below("model.", perturbed(model).state_dict()), "callbacks": callbacks}, folder)


@case("the same, named by its path", "by hand", options={"take": "callbacks.EMA.ema_state_dict"})
def _(model: nn.Module, folder: Path) -> Path:
    callbacks = {"EMA": {"ema_state_dict": model.state_dict()}}
    return saved({"state_dict": below("model.", perturbed(model).state_dict()), "callbacks": callbacks}, folder)


@case("mmengine: `meta`, `state_dict`, `message_hub`", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    hub = {"log_scalars": OrderedDict(loss=[1.0]), "runtime_info": OrderedDict(iter=3)}
    return saved({"meta": {"epoch": 3, "time": "now"}, "state_dict": model.state_dict(), "message_hub": hub}, folder)


@case("DeepSpeed: `module`", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved({"module": model.state_dict(), "global_steps": 3, "ds_config": {"zero": 1}, "optimizer": None}, folder)


def _under(key: str) -> Callable[[nn.Module, Path], Path]:
    return lambda model, folder: saved({"epoch": 3, key: model.state_dict()}, folder)


for _key in ("network", "weights", "net", "model_state_dict", "params", "student", "best_model_wts"):
    case(f"`{_key}`, the only mapping of tensors", "by hand")(_under(_key))


@case("two levels: `checkpoint.model.state_dict`", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved({"checkpoint": {"model": {"state_dict": model.state_dict()}, "step": 3}}, folder)


# -- several networks in a file ----------------------------------------------------------------------------------


@case(
    "MoCo: `module.encoder_q`, `module.encoder_k`, a queue", "by hand",
    options={"take": "encoder_q"}, refused='choose take="encoder_q" or take="encoder_k"',
)  # fmt: skip
def _(model: nn.Module, folder: Path) -> Path:
    other = perturbed(model).state_dict()
    state = below("module.encoder_q.", model.state_dict()) | below("module.encoder_k.", other)
    return saved({"state_dict": state | {"module.queue": torch.zeros(128, 32)}}, folder)


@case(
    "DINO: `student` and `teacher`", "by hand",
    options={"take": "teacher"}, refused='choose take="student" or take="teacher"',
)  # fmt: skip
def _(model: nn.Module, folder: Path) -> Path:
    student, teacher = below("module.backbone.", perturbed(model).state_dict()), below("backbone.", model.state_dict())
    return saved({"student": student, "teacher": teacher, "epoch": 3}, folder)


@case(
    "robustness: a model and the one that was attacked", "by hand",
    options={"take": "module.model"}, refused='choose take="module.model" or take="attacker"',
)  # fmt: skip
def _(model: nn.Module, folder: Path) -> Path:
    state = below("module.model.", model.state_dict()) | below("module.attacker.model.", perturbed(model).state_dict())
    return saved({"model": state, "schedule": None}, folder)


@case("the same network twice, equal", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(below("model.", model.state_dict()) | below("attacker.model.", model.state_dict()), folder)


# -- things beside the tensors -----------------------------------------------------------------------------------


class Recorder:
    """A class of the user's own, which is not there where the file is read."""

    def __init__(self) -> None:
        self.losses = defaultdict(list, {"train": [np.float64(1.5)]})


class Registry(OrderedDict[str, Any]):
    """A subclass that a library defines."""


@case("NumPy scalars and arrays, paths, dates, a defaultdict, a class", "torch.save")
def _(model: nn.Module, folder: Path) -> Path:
    content = {
        "best": np.float32(0.5),
        "history": np.zeros((3, 2)),
        "root": Path("/data"),
        "saved": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "losses": defaultdict(list),
        "recorder": Recorder(),
        "state_dict": Registry(model.state_dict()),
    }
    return saved(content, folder)


@case("a pickle that would run a command", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "attacked",)

    return saved({"state_dict": model.state_dict(), "config": Attack()}, folder)


@case("pruning masks: `weight_orig`, `weight_mask`", "torch.nn.utils.prune")
def _(model: nn.Module, folder: Path) -> Path:
    pruned = copy.deepcopy(model)
    for module in pruned.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # Masks that keep everything, so that the logits are the original's.
            prune.custom_from_mask(module, "weight", torch.ones_like(module.weight))
    return saved(pruned.state_dict(), folder)


def renamed_arrays(model: nn.Module, library: str) -> State:
    """Arrays by our own tables, which the libraries' own files confirm elsewhere."""
    from resnet_spec import load
    from resnet_spec.weights.naming import find_table

    graph = load("torchvision/resnet18", {"parameters.classes": 10}).to_graph()
    arrays = {name: array for name, array in arrays_of(model).items() if "num_batches" not in name}
    named = find_table(library).renamed(graph, arrays)
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


# -- other formats -----------------------------------------------------------------------------------------------


def arrays_of(model: nn.Module) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@case("safetensors", "safetensors")
def _(model: nn.Module, folder: Path) -> Path:
    safetensors.torch.save_file(model.state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors"


@case("safetensors of a whole model", "safetensors.torch.save_model")
def _(model: nn.Module, folder: Path) -> Path:
    safetensors.torch.save_model(nn.ModuleDict({"model": model}), str(folder / "w.safetensors"))
    return folder / "w.safetensors"


@case("NumPy's archive", "numpy.savez")
def _(model: nn.Module, folder: Path) -> Path:
    np.savez(folder / "w.npz", **arrays_of(model))
    return folder / "w.npz"


@case("NumPy's archive, compressed", "numpy.savez_compressed")
def _(model: nn.Module, folder: Path) -> Path:
    np.savez_compressed(folder / "w.npz", **arrays_of(model))
    return folder / "w.npz"


@case("a pickle of arrays", "pickle")
def _(model: nn.Module, folder: Path) -> Path:
    (folder / "w.pkl").write_bytes(pickle.dumps({"model": arrays_of(model), "__author__": "someone"}, protocol=2))
    return folder / "w.pkl"


@case("Detectron's `.pkl` of Caffe2's blobs", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    blobs = renamed_arrays(model, "caffe2")
    (folder / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "MODEL: ..."}, protocol=2))
    return folder / "w.pkl"


@case("Detectron's `.pkl` with statistics folded into scale and offset", "by hand")
def _(model: nn.Module, folder: Path) -> Path:
    blobs = renamed_arrays(model, "caffe2")
    for name in [name for name in blobs if name.endswith("_riv")]:
        layer = name.removesuffix("_riv")
        blobs[f"{layer}_s"] = blobs[f"{layer}_s"] / np.sqrt(blobs.pop(name) + 1e-5)
        blobs[f"{layer}_b"] = blobs[f"{layer}_b"] - blobs.pop(f"{layer}_rm") * blobs[f"{layer}_s"]
    (folder / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    return folder / "w.pkl"


@case("a pickle of tensors", "pickle")
def _(model: nn.Module, folder: Path) -> Path:
    (folder / "w.pkl").write_bytes(pickle.dumps(dict(model.state_dict())))
    return folder / "w.pkl"


# -- other libraries' names --------------------------------------------------------------------------------------


def renamed(library: str) -> Callable[[nn.Module, Path], Path]:
    def make(model: nn.Module, folder: Path) -> Path:
        tensors = {name: torch.from_numpy(array) for name, array in renamed_arrays(model, library).items()}
        return saved({"model": tensors, "matching_heuristics": True}, folder)

    return make


for _library in ("keras", "slim", "transformers"):
    case(f"{_library}'s names", "by hand")(renamed(_library))


@case("the children of a model in nn.Sequential", "torch.nn")
def _(model: nn.Module, folder: Path) -> Path:
    return saved(nn.Sequential(*model.children()).state_dict(), folder)


@case("the same without the head", "torch.nn", overrides={"head": None})
def _(model: nn.Module, folder: Path) -> Path:
    return saved(nn.Sequential(*list(model.children())[:-2]).state_dict(), folder)


# -- what is refused ---------------------------------------------------------------------------------------------


@case(
    "PyTorch's oldest format, a tar archive",
    "by hand",
    refused="tar archive",
    why="its members are unpickled one by one by code of PyTorch 0.1 alone",
)
def _(model: nn.Module, folder: Path) -> Path:
    with tarfile.open(folder / "w.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    return folder / "w.pth"


@case(
    "quantized weights",
    "torch.quantize_per_tensor",
    refused="is stored as",
    why="int8 values with a scale are other numbers than the network's",
)
def _(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        kernel = torch.quantize_per_tensor(model.state_dict()["fc.weight"], 0.1, 0, torch.qint8)
    return saved(model.state_dict() | {"fc.weight": kernel}, folder)


@case(
    "a sparse weight",
    "torch",
    refused="is stored as",
    why="no network here has sparse parameters; `to_dense()` before saving",
)
def _(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        return saved(model.state_dict() | {"fc.weight": model.state_dict()["fc.weight"].to_sparse()}, folder)


@case(
    "a frozen TorchScript program",
    "torch.jit.freeze",
    refused="TorchScript",
    why="freezing makes the weights constants without names",
)
def _(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.freeze(torch.jit.script(model)), folder / "w.pt")
    return folder / "w.pt"


@case(
    "an optimizer's state alone",
    "torch.optim",
    refused="102 missing",
    why="it has no weights",
)
def _(model: nn.Module, folder: Path) -> Path:
    return saved(optimizer_of(model).state_dict(), folder)


@case(
    "a deeper network",
    "torchvision",
    refused="unexpected",
    why="a ResNet-34 is another network; `identify` names it",
)
def _(model: nn.Module, folder: Path) -> Path:
    return saved(models().resnet34(num_classes=10).state_dict(), folder)


@case(
    "arrays of Python objects",
    "numpy.savez",
    refused="object",
    why="they are pickles",
)
def _(model: nn.Module, folder: Path) -> Path:
    np.savez(folder / "w.npz", **{"conv1.weight": np.array([None, "x"], object)})
    return folder / "w.npz"


@case(
    "a folder of torch.distributed.checkpoint",
    "torch.distributed.checkpoint",
)
def _(model: nn.Module, folder: Path) -> Path:
    from torch.distributed import checkpoint

    with warnings.catch_warnings(action="ignore"):
        checkpoint.save(model.state_dict(), checkpoint_id=folder / "w", no_dist=True)
    return folder / "w"
