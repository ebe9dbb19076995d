"""``resnet-spec identify``: describe an unknown file, and name the shipped specs that fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from resnet_spec.cli.common import (
    JSON,
    LINE,
    as_options,
    muted_stderr,
    print_json,
    progress,
    quiet_stdout,
    shape_argument,
    table_lines,
    tell_remarks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnet_spec.describing.identifying import Identification
    from resnet_spec.weights.identification import Match

LINES = 14
"""A description is not longer, so that it is read at a glance."""

SHORTEST = 20
"""A remark on a spec that must be shorter is left out."""

LABELS = 16
"""What labels and brackets need of a line."""

SPECS = 3
"""Specs that are named."""


@click.command()
@click.argument("path", metavar="FILE")
@click.option("--input", "shape", metavar="CxHxW", help="The shape of the input, for a model that does not state it.")
@JSON
def identify(path: str, shape: str | None, as_json: bool) -> None:
    """Describe a weights file or a model, and name the shipped specs that fit, or the nearest; status 1 if none fits.

    A model (.onnx, .pt2, .keras, .h5, .pb, a SavedModel folder, package.module:function) is described by its layers,
    a file of weights by what the names and shapes of its tensors tell.
    """
    from resnet_spec import hub
    from resnet_spec.describing.identifying import identify as identification_of

    size = shape_argument(shape)
    with quiet_stdout(), tell_remarks(), progress() as tell, muted_stderr():
        if hub.is_address(path):
            path = str(hub.fetch(path, hub.WEIGHTS))
        found = identification_of(path, size, tell)
    if as_json:
        print_json(_data(found))
    else:
        click.echo("\n".join(_text(found)))
    if not any(match.fits for match in found.matches):
        click.get_current_context().exit(1)


def _data(found: Identification) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": found.name,
        "description": asdict(found.description) if found.description else None,
        "lines": [line._asdict() for line in found.lines],
        "unread": found.unread,
        "specs": [asdict(match) | {"fits": match.fits} for match in found.matches],
    }


def _text(found: Identification) -> list[str]:
    rows = [(line.part, line.text) for line in found.lines]
    if found.unread:
        rows.insert(0, ("unread", f"its network: {found.unread.splitlines()[0]}"))
    return _fitted(rows, list(_specs(found)))


def _fitted(rows: list[tuple[str, str]], specs: list[tuple[str, str]]) -> list[str]:
    """The lines of a table, the longest texts cut and the last specs left out until there are few enough."""
    width = LINE - 2 - max(len(label) for label, _ in (*rows, *specs))
    while len(lines := table_lines([*rows, *specs])) > LINES:
        longest = max(range(len(rows)), key=lambda index: len(rows[index][1]))
        label, text = rows[longest]
        if len(text) > width:
            # A line less; texts on one line stay.
            rows[longest] = (label, _cut(text, max(width, (len(text) - 1) // width * width)))
        elif len(specs) > 1:
            specs.pop()
        else:
            break
    return lines


def _specs(found: Identification) -> Iterator[tuple[str, str]]:
    fitting = [match for match in found.matches if match.fits]
    if not found.matches:
        yield "nearest", "no shipped spec is similar"
    for match in (fitting or list(found.matches))[:SPECS]:
        name = " ".join([match.spec, *(f"--set {override}" for override in match.overrides)])
        remark = match.unlike if match.fits else _remark(match, found)
        # What is before the remark are a command's arguments.
        room = LINE - LABELS - len(name)
        shown = f"  ({_cut(remark, room)})" if remark and room > SHORTEST else ""
        yield ("fits" if match.fits else "nearest"), f"{name}{shown}"
    if len(fitting) > SPECS:
        yield "fits", f"and {len(fitting) - SPECS} more, which --json lists"


def _remark(match: Match, found: Identification) -> str:
    """How a spec differs that does not fit."""
    if found.by_structure:
        return as_options("; ".join(match.differences))
    return f"{match.share:.0%} of names and shapes agree"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2].rstrip(' ,;')} …"
