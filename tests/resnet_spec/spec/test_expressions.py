"""Arithmetic agrees with Python's where it is allowed, and nothing else gets through."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_spec.spec.expressions import LIMIT, MAX_LENGTH, UNKNOWN, ExpressionError, evaluate, variables

NAMES: dict[str, Any] = {"width": 64, "channels": 256, "stride": 2, "in_channels": 128, "rate": 0.25, "wide": True}


def refusal(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, NAMES)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("width", 64),
        ("width * 4", 256),
        (" 2 + 3 * 4 ", 14),
        ("(2 + 3) * 4", 20),
        ("7 // 2", 3),
        ("7 / 2", 3.5),
        ("7 % 4", 3),
        ("-width + 1", -63),
        ("channels // 4 - 1", 63),
        ("width * rate", 16.0),
        ("1 < 2 < 3", True),
        ("1 < 3 < 2", False),
        ("stride != 1 or channels != in_channels", True),
        ("stride == 1 and channels > in_channels", False),
        ("not stride", False),
        ("width if stride == 2 else channels", 64),
        ("width if stride >= 3 else channels", 256),
        ("wide", True),
        ("1e-5", 1e-5),
        ("True", True),
        ("min(width, 3)", 3),
        ("max(1, rate, stride)", 2),
        ("round(2.5) + round(3.5)", 6),
        ("round(width * 0.3)", 19),
        ("sqrt(2.25)", 1.5),
        ("sqrt(0)", 0.0),
        ("make_divisible(62, 8)", 64),
        ("make_divisible(3, 8)", 8),
        ("make_divisible(19.2, 8)", 24),
        ("make_divisible(9, 8)", 16),
        ("make_divisible(9, 8, 0)", 8),
        ("max(1, min(stride, 8) * 3)", 6),
    ],
)
def test_arithmetic_over_names_has_its_value(text: str, value: object) -> None:
    result = evaluate(text, NAMES)

    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text", ["7 if width else 1 // 0", "7 - (stride == 1 and 1 // 0)", "8 - (stride == 2 or 1 // 0)"]
)
def test_what_is_not_asked_for_is_not_computed(text: str) -> None:
    assert evaluate(text, NAMES) == 7


@pytest.mark.parametrize(
    "text",
    [
        "abs(width)",
        "min(*width)",
        "round(width, ndigits=1)",
        "width.channels()",
        "min.channels.real",
        "__import__('os').system('true')",
        "width.real",
        "width[0]",
        "width ** 2",
        "lambda: width",
        "(lambda: width)()",
        "[width]",
        "(width, stride)",
        "{width}",
        "{1: 2}",
        "[w for w in width]",
        "'width'",
        "f'{width}'",
        "b'1'",
        "(w := 1)",
        "1 << 3",
        "width | 1",
        "~width",
        "width @ width",
        "1 is 1",
        "1 in width",
        "None",
        "...",
        "1j",
        "width if [] else stride",
    ],
)
def test_whatever_could_call_look_up_or_blow_up_is_refused(text: str) -> None:
    said = "is not allowed in an expression, which is arithmetic over names"
    assert refusal(text).removesuffix(" (functions: min, max, round, sqrt, make_divisible)").endswith(said)


@pytest.mark.parametrize(
    "text", ["", "  ", "width *", "1 2", "w = 1", "1; 2", "import os", "return 1", "(1", "1)", "a\0b"]
)
def test_what_python_cannot_parse_is_reported(text: str) -> None:
    assert refusal(text) == f"{text!r} is neither a known word nor an arithmetic expression"


def test_what_python_would_warn_of_is_refused_without_a_warning() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert refusal("1if width else 2") == "'1if width else 2' is neither a known word nor an arithmetic expression"
    assert not warned


def test_an_unknown_name_gets_a_suggestion_and_the_known_ones() -> None:
    known = "channels, in_channels, rate, stride, wide, width"
    assert refusal("chanels * 4") == f"unknown name 'chanels'; did you mean 'channels'? (known: {known})"


@pytest.mark.parametrize("text", ["1 / 0", "1 // 0", "width % (stride - 2)"])
def test_a_division_by_zero_is_reported_where(text: str) -> None:
    assert refusal(f"2 * ({text})") == f"division by zero in {text!r}"


@pytest.mark.parametrize(
    "text",
    [f"{LIMIT + 1}", f"{LIMIT} + 1", f"-{LIMIT} - 1", f"{LIMIT} * {LIMIT}", "1e400", "1e300 * 1e300", "1 / 1e-300"],
)
def test_numbers_beyond_any_network_are_refused(text: str) -> None:
    assert refusal(text) == f"a value is larger than {LIMIT}"


def test_the_largest_number_is_allowed() -> None:
    assert evaluate(f"{LIMIT}", {}) == LIMIT
    assert evaluate(f"-{LIMIT}", {}) == -LIMIT


STEPS: dict[str, Any] = {
    "conv1": {"channels": 8, "height": 3, "width": 5},
    "downsample.0": {"features": 7},
    "broken": UNKNOWN,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("conv1.channels", 8),
        ("2*conv1.channels-0.5*conv1.width", 13.5),
        ("downsample.0.features // 2", 3),
        ("max(conv1.height, width)", 64),
        ("broken.height", UNKNOWN),
        ("min(broken.height, 1)", UNKNOWN),
    ],
)
def test_the_sizes_of_earlier_steps_have_names(text: str, value: object) -> None:
    assert evaluate(text, NAMES, STEPS) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "conv.channels",
            "'conv.channels': no earlier step here is named 'conv'; did you mean 'conv1'? "
            "(known: conv1, downsample.0, broken)",
        ),
        ("conv1.length", "'conv1.length': the value of 'conv1' has channels and height and width, no length"),
        ("1 + downsample.0.width", "'downsample.0.width': the value of 'downsample.0' has features, no width"),
        ("min(width)", "min takes two values or more, not 1 (in 'min(width)')"),
        ("sqrt(-1)", "the square root of -1 is not a number"),
        ("sqrt(1, 2)", "sqrt takes one value, not 2 (in 'sqrt(1, 2)')"),
        ("round(1, 2)", "round takes one value, not 2 (in 'round(1, 2)')"),
        (
            "make_divisible(1)",
            "make_divisible takes a value, a divisor and an optional limit, not 1 (in 'make_divisible(1)')",
        ),
        ("make_divisible(1, 0)", "division by zero in 'make_divisible(1, 0)'"),
    ],
)
def test_a_wrong_size_or_function_is_reported(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, NAMES, STEPS)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "divisor", "limit", "expected"),
    [
        (1, 8, 0.9, 8),
        (9, 8, 0.9, 16),
        (17, 8, 0.9, 16),
        (61, 8, 0.9, 64),
        (100, 30, 0.9, 90),
        (33, 30, 0.9, 30),
        (33.5, 16, 0.5, 32),
        (23.9, 16, 0.5, 16),
        (23.9, 16, 0.9, 32),
        (399, 1, 0.9, 399),
    ],
)
def test_make_divisible_rounds_as_timm_does(value: float, divisor: int, limit: float, expected: int) -> None:
    """Expected: ``timm.layers.helpers.make_divisible(value, divisor, round_limit=limit)`` of timm 1.0.31."""
    assert evaluate(f"make_divisible({value}, {divisor}, {limit})", {}) == expected


def test_a_very_long_expression_is_refused_before_it_is_parsed() -> None:
    assert evaluate("1" + "+1" * ((MAX_LENGTH - 1) // 2), {}) == MAX_LENGTH // 2
    assert refusal("1" + "+1" * 1_000_000) == f"an expression has at most {MAX_LENGTH} characters"


@pytest.mark.parametrize(
    ("left", "right"), [("(", ")"), ("-", ""), ("not ", ""), ("[", "]"), ("(1,", ")"), ("1+(", ")")]
)
def test_deep_nesting_ends_in_a_value_or_a_refusal(left: str, right: str) -> None:
    depth = (MAX_LENGTH - 1) // len(left + right)
    with suppress(ExpressionError):
        assert abs(evaluate(left * depth + "1" + right * depth, {})) <= depth + 1


_EXPRESSIONS = st.recursive(
    st.sampled_from([*NAMES, "0", "1", "7", "0.5"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "=="]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts)),
        inner.map(lambda text: f"(-{text})"),
        inner.map(lambda text: f"round({text})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda parts: "{}({}, {})".format(*parts)),
        # Of truth values only, since Python's own `and` gives an operand.
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"(not {p[0]} {p[1]} not {p[2]})"),
    ),
    max_leaves=6,
)


@given(_EXPRESSIONS)
@settings(deadline=None, max_examples=200)
def test_every_allowed_expression_means_what_it_means_in_python(text: str) -> None:
    try:
        expected = eval(text, {}, NAMES)
    except ZeroDivisionError:
        assert "division by zero" in refusal(text)
    else:
        assert evaluate(text, NAMES) == expected


@given(st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=40))
@settings(deadline=None, max_examples=300)
def test_any_text_ends_in_a_number_or_a_refusal(text: str) -> None:
    with suppress(ExpressionError):
        assert isinstance(evaluate(text, NAMES), int | float)


def test_the_names_of_an_expression_are_found() -> None:
    assert variables("width * 4 if stride > 1 else width") == {"width", "stride"}
    assert variables("min(3, conv1.channels) + x") == {"conv1.channels", "x"}
    assert variables("3") == frozenset()
    with pytest.raises(ExpressionError):
        variables("3 *")
