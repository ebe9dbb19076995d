"""``resnet-spec predict``: the classes of photographs in each backend, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli.common import (
    BACKENDS,
    JSON,
    READING,
    SET,
    SPEC,
    console,
    print_json,
    progress,
    quiet_stdout,
    tell_remarks,
    weights_option,
)

if TYPE_CHECKING:
    from resnet_spec.spec.published import Preprocessing
    from resnet_spec.vision.prediction import Prediction


@click.command()
@SPEC
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@weights_option("A file, or one of the spec's published weights.")
@BACKENDS
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Number of classes to print.")
@click.option("--labels", metavar="FILE", help="Names of the classes, one a line.  [default: ImageNet's, if 1000]")
@click.option(
    "--preprocessing", metavar="NAME|YAML",
    help="That of other published weights of the spec, or in full: '{resize: 256, crop: 224, mean: ..., std: ...}'.",
)  # fmt: skip
@SET
@READING
@JSON
def predict(
    spec: str,
    images: tuple[str, ...],
    weights: str | None,
    backends: str,
    top: int,
    labels: str | None,
    preprocessing: str | None,
    overrides: tuple[str, ...],
    reading: dict[str, Any],
    as_json: bool,
) -> None:
    """Classify photographs in every backend; status 1 if they differ.

    The backends agree if their logits differ by no more than rounding. Then they name the same class first, unless two
    logits are equal up to rounding.
    """
    from resnet_spec.spec.loader import load
    from resnet_spec.vision import prediction
    from resnet_spec.weights.download import resolve

    if weights is None:
        raise click.UsageError(without_weights(spec, overrides))
    names = [name for name in backends.split(",") if name]
    with tell_remarks():
        # A download shows its own progress bar; predict() then uses the cache.
        loaded = load(spec, overrides)
        resolve(loaded, weights)
    with quiet_stdout(), tell_remarks(), progress() as tell:
        found = prediction.predict(
            loaded,
            images,
            weights,
            names,
            preprocessing=parsed_preprocessing(preprocessing),
            labels=prediction.read_labels(labels) if labels else None,
            progress=tell,
            **reading,
        )
    if as_json:
        print_json(found.to_dict(top))
    else:
        _print(found, top)
    if not found.passed:
        click.get_current_context().exit(1)


def without_weights(spec: str, overrides: tuple[str, ...]) -> str:
    """Return what to say where weights are needed and none are given."""
    from resnet_spec.spec.loader import load

    known = ", ".join(load(spec, overrides).weights)
    return f"give --weights, a file{f' or one of {known}' if known else f'; {spec} lists no published ones'}"


def parsed_preprocessing(text: str | None) -> str | Preprocessing | None:
    """Return the preprocessing that an option states, or the name of weights that it is."""
    from resnet_spec.vision.preprocessing import parse_preprocessing

    return parse_preprocessing(text) if text and text.lstrip().startswith("{") else text


def _print(found: Prediction, top: int) -> None:
    from rich.text import Text

    screen = console()
    for index, name in enumerate(found.images):
        screen.print(Text(name, style="bold"), _table(found, index, top), sep="\n")
        screen.print()
    if len(found.backends) > 1:
        screen.print(_verdict(found), highlight=False)


def _table(found: Prediction, image: int, top: int) -> Any:
    """Return the likeliest classes of each backend side by side, with the difference of their probabilities."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    table.add_column("", justify="right", no_wrap=True)
    for backend in found.backends:
        table.add_column(backend, min_width=10)
        table.add_column("", justify="right", no_wrap=True)
    if len(found.backends) > 1:
        table.add_column("|Δ|", justify="right", no_wrap=True)
    ranked = [found.top(image, backend, top) for backend in found.backends]
    for rank in range(len(ranked[0])):
        numbers = [classes[rank] for classes in ranked]
        cells: list[Any] = [str(rank + 1)]
        for backend, number in zip(found.backends, numbers, strict=True):
            # Long names are truncated, since a wrapped line looks like the next rank.
            cells.append(Text(found.labels[number], no_wrap=True, overflow="ellipsis"))
            cells.append(f"{found.probabilities[backend][image, number]:.2%}")
        if len(numbers) > 1:
            values = [found.probabilities[backend][image, numbers[0]] for backend in found.backends]
            cells.append(f"{max(values) - min(values):.1e}")
        table.add_row(*cells, style="bold red" if len(set(numbers)) > 1 else "")
    return table


def _verdict(found: Prediction) -> str:
    names = " and ".join(found.backends)
    verdict = "[green]agree[/green]" if found.passed else "[bold red]DIFFER[/bold red]"
    return (
        f"{names} {verdict}: probabilities by {found.largest:.1e} at most,\n"
        f"logits by {found.relative:.1e} of their standard deviation (bound {found.bound:.1e})"
    )
