"""Random specs are rejected with a located error or agree in both backends; earlier failures are regression tests."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from resnet_spec.document.dump import to_yaml
from resnet_spec.errors import BackendError, Position, Problem, SpecError
from resnet_spec.graph import Graph
from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.loader import load
from tests.backend_pool import shared_backends
from tests.lab.random_specs import DOCUMENT, RECORD, REGRESSIONS, VALUES, Record, document, generate
from tests.lab.random_specs_judging import Lab, Outcome, inexpressible, refusal
from tests.lab.random_specs_strategy import Data, specs
from tests.third_party import WRONG_BACKENDS, distribution, on_path

EXAMPLES = 300

SMALL = """
input: {channels: 2, height: 6, width: 5}
stem:
  conv: {conv2d: {channels: 3, kernel: 3}}
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: biased}}
"""


@pytest.fixture(scope="module")
def lab() -> Generator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backends that are wrong on purpose, on the path of this process and of its workers."""
    backends = {name: f"wrong_backends:{name.title()}" for name in ("right", "epsilon", "killed", "nan")}
    distribution(tmp_path, "wrong", backends, WRONG_BACKENDS)
    on_path(monkeypatch, tmp_path)
    with shared_backends(*backends):
        yield


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    (tmp_path / "small.yaml").write_text(SMALL)
    return load(tmp_path / "small.yaml").to_graph()


# -- generated specs -----------------------------------------------------------------------------------------------


@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=specs())
def test_a_random_spec_is_rejected_with_a_position_or_agrees(lab: Lab, data: Data) -> None:
    outcome = lab.judge(to_yaml(data))
    assert outcome.kind != "failed", outcome.reason


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_a_fixed_failure_agrees_or_is_rejected(lab: Lab, path: Path) -> None:
    outcome = lab.judge(path.read_text(encoding="utf-8"))
    assert outcome.kind == ("refused" if path.parent.name == "refused" else "agreed"), outcome.reason


def test_each_number_generates_its_own_spec() -> None:
    texts = [generate(number) for number in range(20)]
    assert texts == [generate(number) for number in range(20)]
    assert len(set(texts)) == 20


# -- outcomes ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("wrong")
def test_a_wrong_backend_fails_and_a_correct_one_agrees() -> None:
    with Lab(("torch", "right")) as lab:
        assert lab.judge(SMALL).kind == "agreed"
    with Lab(("torch", "epsilon")) as lab:
        outcome = lab.judge(SMALL)
    assert outcome.kind == "failed"
    assert "output 'norm'" in outcome.reason
    assert "gradient of 'conv.weight'" in outcome.reason


@pytest.mark.usefixtures("wrong")
def test_a_backend_that_dies_fails_each_spec_that_it_is_given() -> None:
    with Lab(("torch", "killed")) as lab:
        outcomes = [lab.judge(SMALL), lab.judge(SMALL)]
    assert [outcome.kind for outcome in outcomes] == ["failed", "failed"]
    assert all("was killed by SIGKILL" in outcome.reason for outcome in outcomes)


@pytest.mark.usefixtures("wrong")
def test_nan_in_one_backend_fails() -> None:
    with Lab(("torch", "nan")) as lab:
        assert lab.judge(SMALL).kind == "failed"


def test_an_error_without_a_position_is_a_failure() -> None:
    placed = Problem("unknown block 'x'", "stages.a.block", Position("spec.yaml", 3, 4))
    assert refusal(SpecError(placed)) == Outcome("refused", "unknown block '…'")
    assert refusal(SpecError([placed, Problem("something is wrong")])).kind == "failed"


def test_an_error_of_a_backend_must_name_a_node(graph: Graph) -> None:
    def outcome(message: str) -> Outcome:
        return inexpressible(BackendError(f"the tensorflow backend failed: {message}"), graph)

    assert outcome("BackendError: conv: no stride of 2") == Outcome("inexpressible", "tensorflow: no stride of #")
    assert outcome("BackendError: elsewhere: no stride of 2").kind == "failed"
    assert outcome("BackendError: no stride of 2").kind == "failed"
    assert outcome("ValueError: conv: no stride of 2").kind == "failed"


def test_the_document_gives_the_record_s_figures() -> None:
    record = Record(seed=3)
    for outcome in (
        Outcome("agreed", "", 2e-13, frozenset({"relu"})),
        *[Outcome("refused", "unknown block '…'")] * 3,
        Outcome("inexpressible", "tensorflow: no | stride"),
    ):
        record.add(outcome)
    text = document(record)
    assert "--count 5 --seed 3" in text
    assert "is 2.0e-13" in text
    assert "| 3 | unknown block '…' |" in text
    assert "| 1 | 1 other reasons |" in text
    assert "| `relu` | 1 |" in text


def test_the_document_matches_the_record_which_has_no_failure() -> None:
    record = Record(**json.loads(RECORD.read_text()))
    assert DOCUMENT.read_text() == document(record)
    assert not record.failures


def test_every_field_of_every_operation_was_drawn() -> None:
    record = Record(**json.loads(RECORD.read_text()))
    fields = [f"{op}.{field}" for op, kind in OPERATIONS.items() for field in kind.model_fields if field != "op"]
    assert [name for name in fields if len(record.values.get(name, ())) < VALUES] == []
