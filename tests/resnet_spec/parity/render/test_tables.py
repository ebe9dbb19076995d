"""The terminal's tables are whole at 80 columns, and no wider than they need where they are piped."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from rich.console import Console

from resnet_spec.parity.render.tables import parts
from resnet_spec.parity.report import Finding


def shown(*reports: Any, width: int = 80) -> str:
    screen = Console(width=width)
    with screen.capture() as captured:
        for part in parts(reports):
            screen.print(part, highlight=False)
    return captured.get()


@pytest.fixture
def long(handmade: Any) -> Any:
    """A report of long names and little room."""
    name = "resnet_v2_152.block1.unit_1.bottleneck_v2.shortcut"
    nodes = tuple(handmade.node(f"{name}.{index}", 2e9, operation="global_avg_pool") for index in range(30))
    training = handmade.difference(quantity="statistics", subject=f"{name}.running_var, exact")
    own = handmade.difference(nan, dtype="float32", reference="tensorflow float64")
    finding = Finding("tensorflow", nodes[0].name, "node", nodes[0].differences[0], ("epsilon 0.001",), 3)
    return handmade.report(differences=(handmade.difference(inf), own, training), nodes=nodes, findings=(finding,) * 9)


def test_nothing_is_cut_off_at_80_columns(long: Any) -> None:
    text = shown(long)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for figure in ("inf", "nan", "3.0e-15", "1.0e-09", "2.0e-05", "tensorflow float64"):
        assert figure in text
    assert "0 of 30 nodes within their bounds" in text
    assert text.count("2.0e-05") == 10
    assert "confirmed cause: epsilon 0.001" in text


def test_a_piped_table_has_no_wide_lines(handmade: Any) -> None:
    text = shown(handmade.report(nodes=(handmade.node("conv1", 0.5),)), width=1000)
    assert max(map(len, text.splitlines())) < 100


def test_the_first_wrong_nodes_are_shown_or_else_the_nearest_to_their_bounds(handmade: Any) -> None:
    nodes = [handmade.node(f"n{index}", (index + 1) / 100) for index in range(30)]
    text = shown(handmade.report(nodes=tuple(nodes)))
    assert "30 of 30 nodes within their bounds; the nearest to them:" in text
    assert [name for name in text.split() if name[0] == "n" and name[1:].isdigit()] == [f"n{i}" for i in range(20, 30)]
    nodes[4] = handmade.node("n4", 7.0)
    text = shown(handmade.report(nodes=tuple(nodes)))
    assert "29 of 30 nodes within their bounds; the first that exceed them:" in text
    assert [name for name in text.split() if name[0] == "n" and name[1:].isdigit()] == ["n4"]


def test_findings_alike_are_reported_once(handmade: Any) -> None:
    wrong = handmade.difference(quantity="node")
    findings = [Finding("tensorflow", name, "node", wrong, ("epsilon 0.001",), 3) for name in ("bn1", "bn2", "bn3")]
    findings += [Finding("tensorflow", "pool", "node", wrong, (), 4), Finding("onnx", "fc", "node", wrong, (), 0)]
    findings += [Finding("onnx", "add", "assembly", wrong, ("its input is a instead of b",), 4)]
    lines = shown(handmade.report(findings=tuple(findings))).splitlines()
    assert [line for line in lines[lines.index("") + 1 :] if line] == [
        "tensorflow computes bn1 differently, and 2 more in the same way: bn2, bn3",
        "  confirmed cause: epsilon 0.001",
        "tensorflow computes pool differently",
        "  no cause found: none of the 4 known ones explains the difference",
        "onnx computes fc differently",
        "  no cause was looked for",
        "onnx connects add to different inputs",
        "  confirmed cause: its input is a instead of b",
    ]


def test_several_specs_are_counted_at_the_end(handmade: Any) -> None:
    text = shown(handmade.report(), handmade.report(spec="a[b]/c", differences=(handmade.difference(1.0),)))
    assert text.splitlines()[-1] == "1 of 2 specs agree"
    assert "a[b]/c  2×64×48  DIFFERS" in text
