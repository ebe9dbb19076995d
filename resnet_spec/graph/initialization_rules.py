"""The rules by which a spec initializes its parameters."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from resnet_spec.errors.validation import Frozen
from resnet_spec.operations import Role

if TYPE_CHECKING:
    from resnet_spec.graph import Parameter

Distribution = Literal["normal", "truncated_normal", "uniform"]
Fan = Literal["fan_in", "fan_out", "fan_avg"]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class Constant(Frozen):
    """Every element has this value.

    Attributes:
        constant: The value of every element.
    """

    constant: Annotated[float, Field(strict=True, allow_inf_nan=False)]


class VarianceScaling(Frozen):
    """Mean 0 and variance ``scale`` / fan (He et al. 2015; Keras' VarianceScaling and PyTorch's ``kaiming_*``).

    ``normal`` with scale 2 over ``fan_out`` is PyTorch's ``kaiming_normal_`` for convolutions as torchvision calls
    it; ``uniform`` with scale 1/3 over ``fan_in`` is what PyTorch's layers start with; ``uniform`` with scale 1 over
    ``fan_avg`` is Glorot's, Keras' default. ``truncated_normal`` is cut at two standard deviations and scaled back to
    the stated variance, as Keras has it. A bias has the fans of its layer's kernel.

    Attributes:
        distribution: ``normal``, ``truncated_normal`` (cut at two standard deviations and rescaled to the stated
            variance) or ``uniform``, with mean 0.
        scale: The variance times the fan, greater than 0.
        fan: ``fan_in``, ``fan_out`` or ``fan_avg`` of the layer's kernel; without a kernel ``fan_in`` is 1.
    """

    distribution: Distribution
    scale: Positive
    fan: Fan

    def deviation(self, fan_in: int, fan_out: int) -> float:
        """Return the standard deviation for a kernel with these fans."""
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.fan]
        return sqrt(self.scale / fan)


class FixedDeviation(Frozen):
    """Mean 0 and standard deviation ``std``, whatever the size of the layer (PyTorch's ``normal_(std=0.01)``).

    Attributes:
        distribution: ``normal``, ``truncated_normal`` (cut at two standard deviations and rescaled to the stated
            deviation) or ``uniform``, with mean 0.
        std: The standard deviation, greater than 0.
    """

    distribution: Distribution
    std: Positive

    def deviation(self, fan_in: int, fan_out: int) -> float:
        """Return ``std``."""
        return self.std


def _kind(rule: Any) -> str:
    """Which rule is meant, so that a mistake is reported for that rule only."""
    if not isinstance(rule, dict):
        return type(rule).__name__
    return "Constant" if "constant" in rule else "FixedDeviation" if "std" in rule else "VarianceScaling"


Rule = Annotated[
    Annotated[Constant, Tag("Constant")]
    | Annotated[FixedDeviation, Tag("FixedDeviation")]
    | Annotated[VarianceScaling, Tag("VarianceScaling")],
    Discriminator(_kind),
]

_DEFAULTS: dict[Role, Rule] = {
    Role.CONV_KERNEL: VarianceScaling(distribution="normal", scale=2.0, fan="fan_out"),
    Role.CONV_TRANSPOSE_KERNEL: VarianceScaling(distribution="normal", scale=2.0, fan="fan_out"),
    Role.LINEAR_KERNEL: VarianceScaling(distribution="uniform", scale=1 / 3, fan="fan_in"),
    Role.CONV_BIAS: Constant(constant=0.0),
    Role.CONV_GAIN: Constant(constant=1.0),
    Role.LINEAR_BIAS: Constant(constant=0.0),
    Role.NORM_SCALE: Constant(constant=1.0),
    Role.NORM_OFFSET: Constant(constant=0.0),
    Role.NORM_MEAN: Constant(constant=0.0),
    Role.NORM_VARIANCE: Constant(constant=1.0),
    Role.NORM_GATE: Constant(constant=1.0),
    Role.NORM_THRESHOLD: Constant(constant=0.0),
    Role.ACTIVATION_SLOPE: Constant(constant=0.25),
    Role.POOL_POWER: Constant(constant=3.0),
    Role.LEARNED_SCALE: Constant(constant=1.0),
    Role.LEARNED_OFFSET: Constant(constant=0.0),
    Role.LEARNED_VALUE: Constant(constant=0.0),
    Role.POSITION_SCALE: Constant(constant=1.0),
    Role.POSITION_OFFSET: Constant(constant=0.0),
    Role.POSITION_MEAN: Constant(constant=0.0),
    Role.POSITION_VARIANCE: Constant(constant=1.0),
}


def default_rule(role: Role) -> Rule:
    """The rule for the parameters of a role for which a spec states none."""
    return _DEFAULTS[role]


class InitializationRules(RootModel[dict[str, Rule]]):
    """Which rule initializes which parameter: keys are roles (``conv_kernel``) or patterns of names (``*.bn3.weight``).

    The last key that matches wins; what no key matches is initialized by the defaults: He's normal over ``fan_out`` for
    convolutions, PyTorch's uniform for linear kernels, zero for biases, one for gains, one and zero for normalizations,
    0.25 for the slopes of ``prelu``, and the ``initial`` value of operations that state one.
    """

    model_config = ConfigDict(frozen=True)

    root: dict[str, Rule] = {}

    @model_validator(mode="after")
    def _keys(self) -> InitializationRules:
        roles = {str(role) for role in Role}
        for key in self.root:
            if key not in roles and not set(key) & set("*?.["):
                raise ValueError(f"{key!r} is neither a role ({', '.join(sorted(roles))}) nor a pattern over names")
        return self

    def patterns(self) -> list[str]:
        """The keys that are patterns over names."""
        return [key for key in self.root if key not in set(Role)]

    def rule(self, parameter: Parameter) -> Rule:
        """The rule for one parameter."""
        found = default_rule(parameter.role)
        if parameter.initial is not None:
            found = Constant(constant=parameter.initial)
        for key, rule in self.root.items():
            if key == parameter.role or fnmatchcase(parameter.systematic_name, key):
                found = rule
        return found
