"""Renders the templates of self-contained HTML pages, which share a style sheet."""

from __future__ import annotations

from functools import cache
from typing import Any

from resnet_spec.drawing.words import legal
from resnet_spec.errors.extras import needs

with needs("reports", "an HTML page"):
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

SHARED = "resnet_spec.parity.render"
"""The package whose templates every page may include."""


def render(package: str, template: str, **values: Any) -> str:
    """Return the text of a template.

    Args:
        package: The package that has it in its folder ``templates``.
        template: The name of its file.
        values: What its names mean; texts are escaped.
    """
    return legal(_environment(package).get_template(template).render(values))


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, SHARED))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
