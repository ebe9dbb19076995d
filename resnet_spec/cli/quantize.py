"""``resnet-spec quantize``: the 8-bit grids of a network from images, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli.common import (
    JSON,
    READING,
    SET,
    SPEC,
    backend_option,
    print_json,
    progress,
    quiet_stdout,
    tell_remarks,
    weights_option,
)

if TYPE_CHECKING:
    from resnet_spec.quantization import Quantization
    from resnet_spec.quantizing import Loss

_LOWEST = 5
"""How many of the values that lose most are shown."""


@click.command()
@SPEC
@weights_option("A file, or one of the spec's published weights.")
@click.option(
    "--images", required=True, metavar="FOLDER", type=Path,
    help="Photographs: all files in a folder, in the order of their names. Or floats (.npy) as the network "
    "reads them: (batch, channels, height, width).",
)  # fmt: skip
@click.option("-o", "--output", required=True, metavar="PATH", type=Path, help="The file to write.")
@click.option(
    "--method", type=click.Choice(["minmax", "percentile", "mse", "entropy"]), default="minmax", show_default=True,
    help="How the range of each value is chosen.",
)  # fmt: skip
@click.option("--keep", multiple=True, metavar="NAME", help="Nodes or stages that stay in float, such as fc or layer4.")
@click.option("--reduce-range", is_flag=True, help="Kernels of 7 bits, for processors without VNNI instructions.")
@click.option("--preprocessing", metavar="NAME|YAML", help="That of other published weights of the spec, or in full.")
@click.option(
    "--compare", "compared", default=8, show_default=True, metavar="IMAGES", type=click.IntRange(0),
    help="Compare the 8-bit network with float on this many of the images.",
)  # fmt: skip
@backend_option("The backend that computes the values.  [default: torch]")
@SET
@READING
@click.option("--force", is_flag=True, help="Replace an existing file.")
@JSON
def quantize(
    spec: str,
    weights: str | None,
    images: Path,
    output: Path,
    method: Any,
    keep: tuple[str, ...],
    reduce_range: bool,
    preprocessing: str | None,
    compared: int,
    backend: str | None,
    overrides: tuple[str, ...],
    reading: dict[str, Any],
    force: bool,
    as_json: bool,
) -> None:
    """Choose the 8-bit grid of every value and kernel of SPEC from images, and write them to a file.

    'resnet-build --quantization FILE' builds and writes the 8-bit network, and 'parity --quantization FILE' compares
    its forms in every backend.
    """
    from resnet_spec import quantizing
    from resnet_spec.cli.predict import parsed_preprocessing, without_weights
    from resnet_spec.spec.loader import load
    from resnet_spec.weights.atomic import check_target, replacing
    from resnet_spec.weights.download import resolve

    check_target(output, force=force)
    if weights is None:
        raise click.UsageError(without_weights(spec, overrides))
    given = _images(images)
    with tell_remarks():
        # A download shows its own progress bar.
        loaded = load(spec, overrides)
        resolve(loaded, weights)
    settings: dict[str, Any] = {"backend": backend or "torch", "preprocessing": parsed_preprocessing(preprocessing)}
    with quiet_stdout(), tell_remarks(), progress() as tell:
        found = quantizing.quantize(
            loaded, weights, given, method=method, keep=keep, reduce_range=reduce_range, progress=tell,
            **settings, **reading,
        )  # fmt: skip
        loss = None
        if compared:
            loss = quantizing.loss_of(loaded, weights, given[:compared], found, progress=tell, **settings, **reading)
        with replacing(output, force=force) as temporary:
            temporary.write_text(found.to_json(), "utf-8")
    if as_json:
        print_json({"quantization": found.model_dump(mode="json"), "loss": loss, "output": str(output)})
    else:
        _print(found, loss, output)


def _images(path: Path) -> Any:
    """Return the photographs in a folder, or the array in a file."""
    from resnet_spec.errors import ImageError

    if path.is_dir():
        found = sorted(str(file) for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        if not found:
            raise ImageError(f"{path}: has no files")
        return found
    if path.suffix != ".npy":
        what = "is neither a folder nor a .npy file" if path.exists() else "no such folder"
        raise ImageError(f"{path}: {what}")
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: is not an array ({error})") from None
    if array.dtype.kind != "f":
        raise ImageError(f"{path}: is an array of {array.dtype}, not of floats")
    return array


def _print(found: Quantization, loss: Loss | None, output: Path) -> None:
    lines = {
        "network": found.network,
        "images": f"{found.images.count}, ranges by {found.method}",
        "8-bit": f"{len(found.values)} values, {len(found.kernels)} kernels",
    }
    if loss is not None:
        lines["logits"] = f"{loss.logits:.1f} dB signal to noise on {loss.images} images"
        if loss.agreeing is not None:
            lines["top 1"] = f"that of float on {loss.agreeing} of {loss.images} images"
        lowest = sorted(loss.decibels, key=lambda name: loss.decibels[name])[:_LOWEST]
        lines["lowest"] = ", ".join(f"{name} {loss.decibels[name]:.1f} dB" for name in lowest)
    lines["written"] = str(output)
    for key, value in lines.items():
        click.echo(f"{key:<11} {value}")
