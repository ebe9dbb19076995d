"""Names of tensors are read by their parts."""

from __future__ import annotations

import pytest

from resnet_spec.weights.tensor_names import (
    dotted,
    is_averaged,
    is_below,
    is_optimizers,
    is_training_state,
    is_word,
    last_two,
    split,
)  # fmt: skip


def test_a_name_has_parts_whatever_separates_them() -> None:
    assert dotted("a/b.c:0") == "a.b.c"
    assert split("a/b.c:0") == ["a", "b", "c"]


@pytest.mark.parametrize(("name", "end"), [("a.b.c.d", "c.d"), ("a.b", "a.b"), ("a", "a"), ("", ""), (".a", ".a")])
def test_the_last_two_parts_are_all_of_a_short_name(name: str, end: str) -> None:
    assert last_two(name) == end


def test_averages_and_states_are_known_by_words() -> None:
    assert all(map(is_averaged, ("ema.a", "model_ema/a", "callbacks.EMA.x")))
    assert not any(map(is_averaged, ("schema.a", "emma.b", "a")))
    assert is_optimizers("x.Optimizer.state.")
    assert not is_optimizers("optimizers2.a")
    assert all(map(is_training_state, ("bn.num_batches_tracked", "a.n_averaged", "optim/a")))


def test_a_path_is_found_at_the_borders_of_parts_only() -> None:
    assert is_below("a.b.c", "b")
    assert is_below("a/b/c", "a.b")
    assert is_below("a", ".")
    assert not is_below("ab.c", "b")


def test_text_that_a_message_would_garble_is_no_word() -> None:
    assert is_word("encoder_q")
    assert not any(map(is_word, ("a\n", " a", "x" * 99)))
