"""Reads what acts in training only, and what is nothing in inference."""

from __future__ import annotations

from resnet_spec_tensorflow.importing.reader import READERS, Context, Tensor


@READERS.register("layers.Dropout")
def _dropout(context: Context) -> Tensor | None:
    layer = context.layer
    rank = len(context.tensor.axes)
    noise = layer.noise_shape
    if noise is None:
        return context.elementwise("dropout", rate=float(layer.rate))
    if len(noise) == rank + 1 and set(noise[1:]) == {1}:
        return context.elementwise("stochastic_depth", rate=float(layer.rate))
    return context.problem(f"drops in the shape {tuple(noise)}; the language drops elements or whole images")


@READERS.register("layers.StochasticDepth")
def _stochastic_depth(context: Context) -> Tensor | None:
    """ConvNeXt's, as keras.applications has it."""
    return context.elementwise("stochastic_depth", rate=float(context.layer.drop_path_rate))


@READERS.register(
    "layers.SpatialDropout1D",
    "layers.SpatialDropout2D",
    "layers.GaussianDropout",
    "layers.GaussianNoise",
    "layers.AlphaDropout",
)
def _noise(context: Context) -> Tensor | None:
    return context.problem("is regularization that the language lacks; it has dropout and stochastic_depth")


@READERS.register("layers.Identity", "ops.StopGradient", "ops.ConvertToTensor")
def _nothing(context: Context) -> Tensor | None:
    return context.tensor


@READERS.register("layers.ActivityRegularization")
def _activity(context: Context) -> Tensor | None:
    context.remark("penalties on activations, which are left out")
    return context.tensor


@READERS.register("ops.Cast")
def _cast(context: Context) -> Tensor | None:
    if "float" not in str(context.layer.dtype):
        return context.problem(f"casts to {context.layer.dtype}")
    return context.tensor


AUGMENTATIONS = (
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers that change images in training only."""


@READERS.register(*(f"layers.{name}" for name in AUGMENTATIONS))
def _augmentation(context: Context) -> Tensor | None:
    context.remark("augmentations of images in training, which are left out")
    return context.tensor
