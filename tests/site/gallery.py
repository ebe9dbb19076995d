"""A page for each shipped network: its drawing, its YAML, its errors against the original, and published weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import NamedTuple, cast

import resnet_spec
from resnet_spec import Graph, Spec
from resnet_spec.cli.common import count
from resnet_spec.drawing import svg
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.loader import FIGURES
from resnet_spec.spec.published import Published
from tests.docs.documents import table
from tests.oracles.verification import BOTH, recorded

FOLDER = "gallery"
BACKENDS = {"torch": "PyTorch", "tensorflow": "TensorFlow", BOTH: "TensorFlow against PyTorch"}


class Network(NamedTuple):
    """A shipped spec and what its pages say of it."""

    name: str
    text: str
    spec: Spec
    graph: Graph

    @property
    def family(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def base(self) -> str | None:
        """The shipped spec that the file extends."""
        found = re.search(r"^extends: (\S+)$", self.text, re.MULTILINE)
        return found[1] if found else None


@cache
def networks() -> tuple[Network, ...]:
    """Every shipped network, loaded once."""
    root = Catalog.shipped().root
    found: list[Network] = []
    for name in resnet_spec.available():
        spec = resnet_spec.load(name)
        found.append(Network(name, (root / f"{name}.yaml").read_text("utf-8"), spec, spec.to_graph()))
    return tuple(found)


def families() -> dict[str, list[str]]:
    """The names of the shipped networks in each family."""
    found: dict[str, list[str]] = {}
    for name in resnet_spec.available():
        family, _, short = name.partition("/")
        found.setdefault(family, []).append(short)
    return found


def pages(repository: str) -> dict[str, str]:
    """The list of the families, a page for each family, and the page and the drawing of each network."""
    found: dict[str, str] = {}
    rows: list[str] = []
    for row in table("README.md", "family", "networks", "original").rows:
        family = row["family"].strip("`")
        rows.append(f"| [{family}]({family}/index.md) | {row['networks']} | {row['original']} |")
    found[f"{FOLDER}/index.md"] = _INDEX + "\n".join(rows) + "\n"
    for family, members in groupby(networks(), key=lambda network: network.family):
        networks_of = list(members)
        found[f"{FOLDER}/{family}/index.md"] = _family_page(family, networks_of)
        for network in networks_of:
            found[f"{FOLDER}/{network.name}.md"] = _page(network, repository)
            found[f"{FOLDER}/{network.name}.svg"] = svg(network.graph)
    return found


_INDEX = """# Networks

Every shipped network has a page: its drawing, its YAML, how far its backends are from the original, and the weights
that others published for it. [One table of all](../networks.md) explains how they are compared.

| family | networks | original |
|---|---|---|
"""


def _family_page(family: str, members: list[Network]) -> str:
    rows = [
        (
            f"[{network.name.partition('/')[2]}]({network.name.partition('/')[2]}.md)",
            _cell(network.spec.description or ""),
            f"{_figures()[network.name]['parameters'] / 1e6:.2f} M",
            count(cast("int", _figures()[network.name]["macs"])),
            _shape(network.graph.input.shape),
            _best(network.spec),
        )
        for network in members
    ]
    headings = ("network", "description", "parameters", "MACs", "input", "top-1")
    return f"---\nhide: [toc]\n---\n\n# {family}\n\n{_table(headings, rows)}"


def _page(network: Network, repository: str) -> str:
    figures = _figures()[network.name]
    facts = {
        "parameters": f"{figures['parameters']:,}",
        "multiply-accumulates": count(cast("int", figures["macs"])),
        "input": _shape(network.graph.input.shape),
        "output": ", ".join(_shape(network.graph.by_name[name].shape) for name in network.graph.outputs),
    }
    short = network.name.rpartition("/")[2]
    return "\n".join(
        (
            f"# {network.name}\n",
            f"{network.spec.description or ''}\n",
            f"{' · '.join(_sources(network))}\n",
            _table(tuple(facts), [tuple(facts.values())]),
            f"```console\n$ resnet-spec summary {network.name}\n$ resnet-build {network.name} --backend torch\n```\n",
            "## Drawing\n",
            f"[![The layers of {network.name}]({short}.svg){{ .drawing }}]({short}.svg)\n",
            "## Compared with its original { data-search-exclude }\n",
            _errors(network.name),
            "## Published weights\n",
            _weights(network),
            "## YAML { data-search-exclude }\n",
            f"[specs/{network.name}.yaml]({repository}/blob/main/specs/{network.name}.yaml), in "
            "[the language](../../language/index.md) of specs:\n",
            f"```yaml\n{network.text.rstrip()}\n```\n",
        )
    )


def _sources(network: Network) -> Iterator[str]:
    """Links to the family, to the network that it extends, and to where it was published."""
    yield f"all of [{network.family}](index.md)"
    if network.base:
        yield f"extends [{network.base}](../{network.base}.md)"
    source = network.spec.source
    if source and source.paper:
        yield f"[paper]({source.paper})"
    if source and (source.url or source.library):
        yield f"[{source.library or 'source'}]({source.url})" if source.url else f"from {source.library}"


def _errors(name: str) -> str:
    record = recorded(name)
    if record is None:
        return "Not compared yet.\n"
    rows = [
        (words, *(f"{record.errors[backends][dtype]:.1e}" for dtype in ("float64", "float32")))
        for backends, words in BACKENDS.items()
    ]
    rows.append(("limit", *(f"{record.gates[dtype]:.1e}" for dtype in ("float64", "float32"))))
    sizes = ", ".join(record.sizes)
    overrides = f" A smaller copy was compared, with `{' '.join(record.overrides)}`." if record.overrides else ""
    return (
        f"The original is {record.original}. Random weights in its own files ({', '.join(record.files)}), images of "
        f"{sizes}; errors in standard deviations of the original's logits ([method](../../networks.md))."
        f"{overrides}\n\n{_table(('', 'float64', 'float32'), rows)}"
    )


def _weights(network: Network) -> str:
    if not network.spec.weights:
        return "None known.\n"
    rows = [(f"`{name}`", *_described(weights)) for name, weights in network.spec.weights.items()]
    headings = ("name", "top-1", "top-5", "classes", "size", "license", "file")
    first = next(iter(network.spec.weights))
    return (
        f"{_table(headings, rows)}\n```console\n"
        f"$ resnet-build {network.name} --backend tensorflow --weights {first}\n```\n"
    )


def _described(weights: Published) -> Iterable[str]:
    accuracy = weights.accuracy
    yield f"{accuracy.top1:.2f}" if accuracy else ""
    yield f"{accuracy.top5:.2f}" if accuracy and accuracy.top5 is not None else ""
    yield str(weights.classes or "none")
    yield f"{weights.size / 2**20:.1f} MiB" if isinstance(weights.size, int) else weights.size or ""
    yield weights.license or ""
    yield f"[{_cell(weights.url.rpartition('/')[2])}]({weights.url})"


def _best(spec: Spec) -> str:
    found = [weights.accuracy.top1 for weights in spec.weights.values() if weights.accuracy]
    return f"{max(found):.2f}" if found else ""


@cache
def _figures() -> dict[str, dict[str, object]]:
    return json.loads(FIGURES.read_text("utf-8"))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
