"""An outline as text for other programs that draw: Graphviz's DOT, and Mermaid."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from resnet_spec.drawing.colors import KIND_COLORS
from resnet_spec.drawing.network import Network
from resnet_spec.drawing.outline import INPUT, Frame, Outline, Part
from resnet_spec.drawing.words import shape_text


def dot(network: Network, *, expand: Collection[str] = (), nodes: bool = False) -> str:
    """Write a network in Graphviz's language, with clusters for stages and the blocks that are expanded.

    Args:
        network: A graph.
        expand: Stages or blocks whose layers are drawn, by name; ``["all"]`` for every one.
        nodes: Draw every operation, and fold nothing.

    Returns:
        A text for Graphviz: ``dot -Tpdf net.dot -o net.pdf``.

    Raises:
        GraphError: There is no stage or block of a name in ``expand``.

    Examples:
        >>> import resnet_spec
        >>> print(dot(resnet_spec.load("torchvision/resnet18").to_graph()).splitlines()[0])
        digraph "torchvision/resnet18" {
    """
    outline = Outline.of(network, expand, nodes=nodes)
    lines = [
        f"digraph {_dot(outline.name)} {{",
        '  graph [fontname="Helvetica", fontsize=11, labeljust=l];',
        '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=9];',
        f"  input [label={_dot(f'input {shape_text(outline.input)}')}, shape=plaintext, style=solid];",
    ]
    for indent, item in _nested(outline):
        if isinstance(item, Frame):
            style = 'style="rounded,filled"; fillcolor="#f6f8fa"'
            lines.append(f"{indent}subgraph cluster_{_frame_id(outline, item)} {{ label={_dot(_title(item))}; {style};")
        elif isinstance(item, Part):
            shape = ", shape=circle" if item.sign else ""
            color = KIND_COLORS[item.kind][0]
            label = "\\n".join(_dot(line)[1:-1] for line in _lines(item))
            lines.append(f'{indent}{_id(outline, item.name)} [label="{label}", fillcolor="{color}"{shape}];')
        else:
            lines.append(f"{indent}}}")
    for part in outline.parts:
        for name, shape in part.inputs:
            lines.append(
                f"  {_id(outline, name)} -> {_id(outline, part.name)} [label={_dot(' ' + shape_text(shape))}];"
            )
    for number, (name, text) in enumerate(outline.outputs):
        lines.append(f"  output{number} [label={_dot(text)}, shape=plaintext, style=solid];")
        lines.append(f"  {_id(outline, name)} -> output{number};")
    return "\n".join([*lines, "}", ""])


def mermaid(network: Network, *, expand: Collection[str] = (), nodes: bool = False) -> str:
    """Write a network as a flowchart of Mermaid, which GitHub and many wikis draw.

    Args:
        network: A graph.
        expand: Stages or blocks whose layers are drawn, by name; ``["all"]`` for every one.
        nodes: Draw every operation, and fold nothing.

    Returns:
        A text for Mermaid, which by default draws at most 500 edges, of a text of at most 50,000 characters.

    Raises:
        GraphError: There is no stage or block of a name in ``expand``.

    Examples:
        >>> import resnet_spec
        >>> print(mermaid(resnet_spec.load("torchvision/resnet18").to_graph()).splitlines()[1])
          input(["input 3×224×224"])
    """
    outline = Outline.of(network, expand, nodes=nodes)
    lines = ["flowchart TD", f"  input([{_mermaid(f'input {shape_text(outline.input)}')}])"]
    for indent, item in _nested(outline):
        if isinstance(item, Frame):
            lines.append(f"{indent}subgraph frame{_frame_id(outline, item)}[{_mermaid(_title(item))}]")
        elif isinstance(item, Part):
            opening, closing = ("((", "))") if item.sign else ("[", "]")
            text = _mermaid("\n".join(_lines(item)))
            lines.append(f"{indent}{_id(outline, item.name)}{opening}{text}{closing}:::{item.kind}")
        else:
            lines.append(f"{indent}end")
    for part in outline.parts:
        for name, shape in part.inputs:
            lines.append(f"  {_id(outline, name)} -->|{_mermaid(shape_text(shape))}| {_id(outline, part.name)}")
    for number, (name, text) in enumerate(outline.outputs):
        lines.append(f"  {_id(outline, name)} --> output{number}([{_mermaid(text)}])")
    kinds = dict.fromkeys(part.kind for part in outline.parts)
    lines += [f"  classDef {kind} fill:{KIND_COLORS[kind][0]},stroke:#1b1f24,color:#1b1f24" for kind in kinds]
    return "\n".join([*lines, ""])


def _nested(outline: Outline) -> Iterator[tuple[str, Frame | Part | None]]:
    """Frames where they begin, parts, and None where a frame ends, each with its indentation."""
    depth = 1
    for place, part in enumerate(outline.parts):
        for frame in outline.frames:
            if frame.first == place:
                yield "  " * depth, frame
                depth += 1
        yield "  " * depth, part
        for frame in outline.frames:
            if frame.last == place:
                depth -= 1
                yield "  " * depth, None


def _id(outline: Outline, name: str) -> str:
    return "input" if name == INPUT else f"part{outline.places[name]}"


def _frame_id(outline: Outline, frame: Frame) -> int:
    return outline.frames.index(frame)


def _title(frame: Frame) -> str:
    return f"{frame.times} × {frame.name}" if frame.times > 1 else frame.name


def _lines(part: Part) -> list[str]:
    lines = [f"{part.times} × {part.lines[0]}" if part.times > 1 else part.lines[0], *part.lines[1:]]
    return [*lines, f"shortcut: {part.shortcut}"] if part.shortcut else lines


def _dot(text: str) -> str:
    """A quoted text of DOT."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _mermaid(text: str) -> str:
    """A quoted text of Mermaid, whose labels are HTML, with entities of its own."""
    for sign, entity in (("#", "#35;"), ("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(sign, entity)
    return '"' + text.replace("\n", "<br/>") + '"'
