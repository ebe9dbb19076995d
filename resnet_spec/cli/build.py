"""``resnet-build``: build a spec as a native model, run it once, and write it."""

from __future__ import annotations

from typing import Any

import click

from resnet_spec.cli.common import (
    JSON,
    READING,
    SEED,
    SET,
    SPEC,
    backend_option,
    count,
    muted_stderr,
    print_json,
    progress,
    quiet_stdout,
    run,
    shape_text,
    tell_remarks,
    version_option,
    weights_option,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@SPEC
@backend_option("torch, tensorflow (or tf), jax, onnx, or a third party's.", required=True)
@weights_option("A file, or the name of published weights; by default random weights.")
@READING
@SET
@SEED
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16"]),
    default="float32",
    show_default=True,
)
@click.option(
    "--output", "outputs", multiple=True, metavar="PATH",
    help="Write the weights (.safetensors, .npz, .msgpack), or the model in a format of the backend's: .pth or .pt2 "
    "(torch), .keras, .h5, .weights.h5 (tensorflow, jax), .ckpt, .tflite or a SavedModel folder, a path without ending "
    "(tensorflow), .onnx (onnx). May be repeated.",
)  # fmt: skip
@click.option("--optimize", is_flag=True, help="Build the fastest form for inference, which does not train.")
@click.option("--quantization", metavar="FILE", help="Build the 8-bit form, as 'resnet-spec quantize' wrote it.")
@click.option("--fixed", metavar="NxCxHxW", help="Write models that take only this shape, such as 1x3x224x224.")
@click.option("--force", is_flag=True, help="Replace existing outputs.")
@JSON
@version_option("resnet-build")
def command(
    spec: str,
    backend: str,
    weights: str | None,
    reading: dict[str, Any],
    overrides: tuple[str, ...],
    seed: int,
    dtype: Any,
    outputs: tuple[str, ...],
    optimize: bool,
    quantization: str | None,
    fixed: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build SPEC (a shipped name, or a path that ends in .yaml) as a native model and run it once."""
    import time

    from resnet_spec.backend.registry import find, get_backend, outputs_of, prepare_process
    from resnet_spec.building import built_with_graph
    from resnet_spec.graph.summary import summarize
    from resnet_spec.parity.compare import at_size
    from resnet_spec.parity.randomization import random_images
    from resnet_spec.quantization import Quantization
    from resnet_spec.spec.loader import load
    from resnet_spec.weights.atomic import check_target
    from resnet_spec.weights.converting import artifact_path, at_fixed_size, write_model
    from resnet_spec.weights.download import resolve
    from resnet_spec.weights.matching import report_nonfinite

    # Report wrong input before importing a framework, which takes seconds.
    kinds = outputs_of(find(backend))
    targets = [artifact_path(path, kinds, backend) for path in outputs]
    for target in targets:
        check_target(target, force=force)
    shape = _batch_shape(fixed)
    # An override, not Graph.at_size, since a spec's expressions may use the size.
    loaded = load(spec, at_size(overrides, shape[2:] if shape and len(shape) > 2 else None))
    graph = loaded.to_graph()
    if shape:
        at_fixed_size(graph, shape)
    summary = summarize(graph)
    quantized = Quantization.read(quantization) if quantization else None
    if quantized is not None and weights is None:
        raise click.UsageError("--quantization needs --weights: its grids are those of trained weights")
    with tell_remarks():
        # A download shows its own progress bar.
        path = resolve(loaded, weights) if weights else None
    with quiet_stdout(), tell_remarks(), progress() as tell:
        tell(f"importing {backend}")
        with muted_stderr():
            prepare_process(backend)
            compiler = get_backend(backend)
        tell(f"building {graph.name}")
        start = time.perf_counter()
        model, compiled = built_with_graph(
            loaded, backend, path, seed, dtype=dtype, optimize=optimize, quantization=quantized, **reading
        )
        built = time.perf_counter()
        images = random_images((1, *graph.input.shape), seed).astype("float64" if dtype == "float64" else "float32")
        results = compiler.forward(model, images)
        ran = time.perf_counter()
        if weights is not None:
            report_nonfinite(compiler.arrays(model, compiled), weights)
        for target in targets:
            tell(f"writing {target}")
            write_model(model, compiled, target, compiler, fixed=shape, force=force)
    shapes = [tuple(result.shape) for result in results]
    if as_json:
        data = {"name": graph.name, "backend": compiler.name, "fingerprint": graph.fingerprint}
        data |= {"parameters": summary.parameters, "statistics": summary.statistics, "macs": summary.macs}
        data |= {"output_shapes": shapes, "build_seconds": built - start, "forward_seconds": ran - built}
        print_json(data | {"outputs": [str(path) for path in targets]})
        return
    lines = {
        "name": graph.name,
        "backend": compiler.name,
        "parameters": f"{summary.parameters:,} (and {summary.statistics:,} running statistics)",
        "MACs": f"{count(summary.macs)} at {'×'.join(map(str, graph.input.shape[1:] or graph.input.shape))}",
        "output": " ".join(map(shape_text, shapes)),
        "seconds": f"{built - start:.2f} to build, {ran - built:.2f} for one forward pass",
    }
    lines |= {"written": ", ".join(map(str, targets))} if targets else {}
    for key, value in lines.items():
        click.echo(f"{key:<11} {value}")


def _batch_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the shape that an option states."""
    if text is None:
        return None
    numbers = text.split("x")
    if len(numbers) < 2 or not all(number.isdecimal() and 0 < int(number) <= 2**16 for number in numbers):
        raise click.UsageError(f"--fixed takes a shape of batches such as 1x3x224x224, not {text!r}")
    return tuple(map(int, numbers))


def main() -> None:
    """The entry point of ``resnet-build``."""
    run(command)
