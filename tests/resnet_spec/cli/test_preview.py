"""``resnet-spec preview`` before it serves anything; tests/resnet_spec/preview has what it serves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.resnet_spec.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.yaml"], "gone.yaml: No such file or directory"),
        (["resnet5"], "did you mean"),
        (["resnet18", "--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        ([], "Missing argument 'SPEC...'"),
    ],
)
def test_what_cannot_be_shown_is_an_error(command: Run, arguments: list[str], message: str) -> None:
    outcome = command("resnet-spec", "preview", *arguments)
    assert outcome.status == 2
    assert message in outcome.err
    assert not outcome.out


def test_a_port_in_use_is_an_error(command: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = command("resnet-spec", "preview", "cifar/resnet20", "--port", str(other.getsockname()[1]))
    assert outcome.status == 2
    assert outcome.err.endswith(": Address already in use; choose another one, or none for any free port\n")


def test_a_folder_is_an_error(command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert command("resnet-spec", "preview", str(folder)).status == 2
