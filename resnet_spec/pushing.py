"""Pushes a network to the Hugging Face Hub: its spec, its weights, and a card with what was measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Unpack

from resnet_spec import __version__, hub
from resnet_spec.document.dump import to_yaml
from resnet_spec.document.json_output import to_json
from resnet_spec.drawing import svg
from resnet_spec.errors import HubError, SpecError
from resnet_spec.errors.extras import needs, require
from resnet_spec.graph import Graph
from resnet_spec.graph.summary import summarize
from resnet_spec.parity.compare import compare
from resnet_spec.parity.report import ParityReport
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.published import Published
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.download import resolve
from resnet_spec.weights.io import Reading, read_weights, write_weights
from resnet_spec.weights.published_lookup import find, is_path

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape

log = logging.getLogger(__name__)


def push(
    spec: str | Path | Spec,
    repository: str,
    weights: str | Path,
    *,
    overrides: Overrides | None = None,
    license: str | None = None,
    private: bool = False,
    message: str = "",
    backends: Sequence[str] = ("torch", "tensorflow"),
    size: Shape | None = None,
    progress: Callable[[str], None] = lambda step: None,
    **reading: Unpack[Reading],
) -> str:
    """Push a spec and its weights to a repository of the Hugging Face Hub, in one commit.

    The repository, which is created if there is none, gets the spec with all that it extends (``spec.yaml``), the
    weights (``model.safetensors``), a drawing, and a card (``README.md``) with the comparison of the backends under
    these weights, the preprocessing and the license. Other files stay. ``hf://OWNER/NAME`` then names both the spec and
    the weights, wherever one is named.

    Args:
        spec: The name of a shipped spec, the path of a YAML file, or a ``Spec``.
        repository: ``OWNER/NAME``, or ``OWNER/NAME@BRANCH``.
        weights: A path, or the name of published weights.
        overrides: Changes of the spec, as ``load`` takes them.
        license: The license of the weights, such as ``apache-2.0``; by default that of the published ones.
        private: Whether a repository that is created is private.
        message: Of the commit.
        backends: The backends that are compared.
        size: The size of the images for which they are compared; by default the spec's.
        progress: A function that is called with a description of each step.
        **reading: How to read the weights, as ``read_weights`` documents it.

    Returns:
        The address of the commit.

    Raises:
        SpecError: The spec is wrong, or states no license while none is given.
        WeightsError: The weights cannot be read, or do not fit.
        HubError: The backends differ, there is no right to write, or no connection. Nothing is committed.
        BackendError: A backend is not installed.
        MissingLibraryError: huggingface_hub is not installed.

    Examples:
        >>> push("resnet18", "someone/resnet18", "weights.pth")
        Traceback (most recent call last):
        ...
        resnet_spec.errors.SpecError: state the license of the weights, such as apache-2.0, or other
    """
    address = hub.Address.parse(repository)
    if address.file:
        raise HubError(f"{repository}: name a repository, not a file in it")
    require("hub", "a push", "huggingface_hub")
    loaded = spec if isinstance(spec, Spec) else load(spec, overrides)
    graph = loaded.to_graph()
    published = None if isinstance(weights, Path) or _is_file(loaded, weights) else find(loaded, weights)
    license = license or (published.license if published else None)
    if license is None:
        raise SpecError("state the license of the weights, such as apache-2.0, or other")
    with hub.explained(repository), needs("hub", "a push"):
        from huggingface_hub import HfApi

        api = HfApi(library_name="resnet-spec", library_version=__version__)
        # Before minutes of work: whether there is a token at all.
        api.whoami()  # pyright: ignore[reportUnknownMemberType]
    arrays = read_weights(resolve(loaded, weights), graph, **reading)
    with TemporaryDirectory(prefix="resnet-spec-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / hub.WEIGHTS
        write_weights(file, graph, arrays)
        report = compare(loaded, backends, weights=file, size=size, progress=progress)
        if not report.passed:
            raise HubError(f"not pushed: the backends differ under these weights ({_worst(report)})")
        # Those that were pushed, with their preprocessing; else what the spec's file lists.
        listed = {str(weights).rpartition(":")[2]: published} if published else loaded.weights
        listed = {} if loaded.overridden and not published else listed
        contents: dict[str, bytes | str] = {
            hub.WEIGHTS: str(file),
            hub.SPEC: spec_text(loaded, listed).encode(),
            hub.DRAWING: svg(graph).encode(),
            hub.CARD: card(loaded, graph, report, address.repository, license, listed).encode(),
        }
        progress(f"pushing to {address.repository}")
        with hub.explained(repository):
            from huggingface_hub import CommitOperationAdd

            operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
            api.create_repo(address.repository, private=private, exist_ok=True)
            if address.revision:
                api.create_branch(address.repository, branch=address.revision, exist_ok=True)
            text = message or f"Push {loaded.name} with resnet-spec {__version__}"
            done = api.create_commit(address.repository, operations, commit_message=text, revision=address.revision)
    return str(done.commit_url)


def _is_file(spec: Spec, weights: str) -> bool:
    return hub.is_address(weights) or is_path(spec, weights)


def _worst(report: ParityReport) -> str:
    failed = next(each for each in report.differences if not each.passed)
    return f"{failed.backend} against {failed.reference} in {failed.dtype}: {failed.relative:.1e}"


def spec_text(spec: Spec, weights: dict[str, Published]) -> str:
    """The YAML of a spec that names no other file, with these published weights."""
    data = {key: value for key, value in spec.data().items() if key != "weights"}
    if weights:
        data["weights"] = {name: each.model_dump(mode="json", exclude_unset=True) for name, each in weights.items()}
    return to_yaml(data)


def card(
    spec: Spec, graph: Graph, report: ParityReport, repository: str, license: str, weights: dict[str, Published]
) -> str:
    """The card of a repository: Markdown below metadata, as the Hub reads it."""
    with needs("hub", "a card"):
        from huggingface_hub import ModelCardData

    image = len(graph.input.shape) == 3 and len(graph.by_name[graph.logits].shape) == 1
    metadata = ModelCardData(
        license=license,
        library_name="resnet-spec",
        pipeline_tag="image-classification" if image else None,
        tags=["resnet-spec", *(name for name in ("pytorch", "keras", "onnx") if _runs(name, report))],
    )
    return "\n".join(
        ("---", str(metadata).rstrip(), "---", "", *_sections(spec, graph, report, repository, license, weights))
    )


def _runs(tag: str, report: ParityReport) -> bool:
    return {"pytorch": "torch", "keras": "tensorflow"}.get(tag, tag) in report.environment


def _sections(
    spec: Spec, graph: Graph, report: ParityReport, repository: str, license: str, weights: dict[str, Published]
) -> Iterator[str]:
    summary = summarize(graph)
    yield f"# {repository.partition('/')[2]}\n"
    if spec.description:
        yield f"{spec.description}\n"
    yield f"[resnet-spec](https://pypi.org/project/resnet-spec/) compiles `{hub.SPEC}` to native models:\n"
    address = f"{hub.PREFIX}{repository}"
    call = f'resnet_spec.build("{address}", "torch", weights="{address}")'
    yield f"```python\nimport resnet_spec\n\nmodel = {call}\n```\n"
    facts = {
        "parameters": f"{summary.parameters:,}",
        "multiply-accumulates": f"{summary.macs:,}",
        "input": "×".join(map(str, graph.input.shape)),
        "output": ", ".join("×".join(map(str, graph.by_name[name].shape)) for name in graph.outputs),
    }
    yield _table(tuple(facts), [tuple(facts.values())])
    yield f"![The layers of the network]({hub.DRAWING})\n"
    yield "## Parity\n"
    size = "×".join(map(str, (report.batch, *report.size)))
    yield f"Under these weights the backends agree, on random images of {size}:\n"
    rows = [
        (each.backend, each.dtype, each.reference, f"{each.largest:.1e}", f"{each.relative:.1e}", f"{each.bound:.1e}")
        for each in report.differences
        if each.quantity == "logits"
    ]
    yield _table(("backend", "dtype", "against", "largest difference", "relative", "bound"), rows)
    versions = (f"{name} {version}" for libraries in report.environment.values() for name, version in libraries.items())
    yield f"Compared by resnet-spec {__version__} with {', '.join(dict.fromkeys(versions))}.\n"
    yield f"## License\n\nOf the weights: {license}.\n"
    yield "## Preprocessing\n"
    found = next((each.preprocessing for each in weights.values() if each.preprocessing), None)
    yield f"```json\n{to_json(found.model_dump(mode='json'))}\n```\n" if found else "Not stated.\n"
    if weights:
        yield "## Origin\n"
        yield _table(
            ("weights", "file", "license"),
            [(name, f"<{each.url}>", each.license or "not stated") for name, each in weights.items()],
        )
    if spec.source and spec.source.paper:
        yield f"Paper: <{spec.source.paper}>\n"


def _table(headings: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
