"""What the name of a tensor in a file says: its parts, and whether it is an average's or an optimizer's."""

from __future__ import annotations

import re
from functools import lru_cache

from resnet_spec.weights.adapting import is_counter

AVERAGED = "n_averaged"
"""The number of averaged steps, which ``torch.optim.swa_utils.AveragedModel`` saves with the averages."""

AVERAGES = frozenset({"ema", "swa", "averaged", "average", "averages", "averager"})
"""Words in a prefix that mean moving averages: ``model_ema``, ``callbacks.EMA.ema_state_dict``."""

OPTIMIZERS = frozenset({"optimizer", "optimizers", "optim", "optimizer_states", "opt_state", "lr_schedulers"})
"""Parts of a prefix that mean the state of an optimizer, which may have the weights' own names in it."""

RANDOM_STATES = "rngs"
"""The part of a name that means the random generator of an NNX module, such as a dropout's."""

LAYER_WORDS = frozenset({
    "weight", "bias", "running_mean", "running_var",
    "weights", "biases", "kernel", "gamma", "beta", "moving_mean", "moving_variance", "scale",
})  # fmt: skip
"""Last parts of the names of a layer's tensors; a normalizer of images has a mean too, and no other of these."""

LONG = 60
"""The length of a text that a message shortens."""


def is_word(text: str) -> bool:
    """Whether a text may be in a message as it is."""
    return text.isprintable() and len(text) < LONG and text == text.strip()


def split(name: str) -> list[str]:
    """The parts of a name."""
    return dotted(name).split(".")


# Every scheme asks for every name.
@lru_cache(maxsize=2**17)
def dotted(name: str) -> str:
    """A name with dots for slashes, without the number of TensorFlow's output."""
    return name.partition(":")[0].replace("/", ".")


def last_two(plain: str) -> str:
    """The last two parts of a name, of which some have one only."""
    return plain[plain.rfind(".", 0, max(0, plain.rfind("."))) + 1 :]


def is_optimizers(prefix: str) -> bool:
    """Whether a prefix is that of an optimizer's state."""
    return not OPTIMIZERS.isdisjoint(prefix.lower().split("."))


def is_training_state(name: str) -> bool:
    """Whether a tensor is a counter or an optimizer's, by its name."""
    plain = dotted(name)
    return is_counter(name) or plain.rpartition(".")[2] == AVERAGED or is_optimizers(plain)


def is_averaged(name: str) -> bool:
    """Whether a name has a word that means moving averages."""
    return not AVERAGES.isdisjoint(re.split(r"[._]", dotted(name).lower()))


def is_below(name: str, take: str) -> bool:
    """Whether a name has the parts of ``take`` in it, one after the other."""
    plain, wanted = f".{dotted(name)}", dotted(take).strip(".")
    return f".{wanted}." in f"{plain}." if wanted else True
