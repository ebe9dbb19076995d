"""Renders what is shown of files as one page, which replaces its parts as changes arrive."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

from resnet_spec.drawing import svg
from resnet_spec.operations.fields import as_text
from resnet_spec.parity.render.pages import render
from resnet_spec.preview.content import Content

PACKAGE = "resnet_spec.preview"
_SCRIPT = files(PACKAGE).joinpath("templates/preview.js").read_text("utf-8")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load: nothing but its own changes, and no script but its own, whatever a spec contains."""


def page(contents: Sequence[Content], seen: str = "") -> str:
    """Return the whole page.

    Args:
        contents: What is shown of each file.
        seen: Which versions these are, as the page asks for later ones.
    """
    shown = [(name, content, fragment(content)) for name, content in zip(_names(contents), contents, strict=True)]
    return render(PACKAGE, "preview.html", files=shown, seen=seen, script=_SCRIPT)


def fragment(content: Content) -> str:
    """Return the part of the page that shows a file."""
    network = content.network
    drawing = svg(network.graph, marks=network.marks) if network else ""
    return render(PACKAGE, "file.html", content=content, drawing=drawing, shape=as_text)


def _names(contents: Sequence[Content]) -> list[str]:
    """What files are called: by as much of their paths as tells them apart."""
    parts = [content.path.absolute().parts for content in contents]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(content.path) for content in contents]
