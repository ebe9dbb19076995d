"""Documents are judged by their exact messages and places, with libyaml and without it."""

from __future__ import annotations

import errno
import io
import math
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnet_spec.document import parser as documents
from resnet_spec.document.dump import to_yaml
from resnet_spec.document.files import STDIN, read
from resnet_spec.document.parser import dotted, parse
from resnet_spec.errors import Position, SpecError
from tests.resnet_spec.document.support import assert_placed, lines

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(documents, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")


def refused(text: str) -> list[str]:
    return lines(lambda: parse(text, "f"))


def places(positions: dict[tuple[str | int, ...], Position]) -> dict[str, tuple[int, int]]:
    return {dotted(path): (place.line, place.column) for path, place in positions.items()}


@pytest.mark.usefixtures("loader")
class TestScalars:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            *[(text, None) for text in ("~", "null", "Null", "NULL")],
            *[(text, True) for text in ("true", "True", "TRUE")],
            *[(text, False) for text in ("false", "False", "FALSE")],
            ("0", 0),
            ("-12", -12),
            ("+12", 12),
            ("0777", 777),
            ("0o17", 15),
            ("0x1F", 31),
            ("9" * 30, int("9" * 30)),
            ("1e-5", 1e-5),
            ("1E5", 1e5),
            ("-1.", -1.0),
            (".5", 0.5),
            ("+12.5e+3", 12500.0),
            (".inf", math.inf),
            ("-.INF", -math.inf),
        ],
    )
    def test_core_schema(self, text: str, value: object) -> None:
        found = parse(f"a: {text}", "f").data["a"]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            *["no", "yes", "on", "off", "y", "n", "tRUE", "nULL", "1_000", "12:30", "0b1", "-0x1", "1.2.3", ".", "e5"],
            *["2001-12-14", "=", "width * 4", "1e", "+", "-.nan", "0o8", "inf", "nan", "\u0661", "é"],
        ],
    )
    def test_texts(self, text: str) -> None:
        assert parse(f"a: {text}", "f").data == {"a": text}

    @pytest.mark.parametrize("text", ["'1'", '"1"', "|-\n  1", ">-\n  1"])
    def test_quoted_and_block_scalars_are_text(self, text: str) -> None:
        assert parse(f"a: {text}", "f").data == {"a": "1"}

    def test_empty_values_are_null(self) -> None:
        assert parse("a:\nb: {c: }\nd:\n  -\n", "f").data == {"a": None, "b": {"c": None}, "d": [None]}

    @pytest.mark.parametrize("key", ["0", "1.0", "0x1F", "downsample.0", "null", "true", "no", "~", "1e-5"])
    def test_keys_stay_text(self, key: str) -> None:
        assert parse(f"{key}: 1", "f").data == {key: 1}

    def test_numbers_refused(self) -> None:
        text = "a: .nan\nb: [1e999]\nc: -" + "1" * 31 + "\nd: 0x" + "1" * 30
        assert refused(text) == [
            "f:1:4: a: not-a-number is not allowed",
            "f:2:5: b.0: number 1e999 is out of range",
            "f:3:4: c: an integer of more than 30 digits",
            "f:4:4: d: an integer of more than 30 digits",
        ]

    def test_absurd_integer_is_not_converted(self) -> None:
        assert refused("1" * 1_000_000) == ["f:1:1: an integer of more than 30 digits"]


@pytest.mark.usefixtures("loader")
class TestPositions:
    def test_each_key_and_value(self) -> None:
        document = parse("a: 1\nb:\n  c: [x, {d: 'y'}]\n  é: z\n? e\n: - 2\n", "f")
        assert document.data == {"a": 1, "b": {"c": ["x", {"d": "y"}], "é": "z"}, "e": [2]}
        assert places(document.keys) == {
            "a": (1, 1),
            "b": (2, 1),
            "b.c": (3, 3),
            "b.c.1.d": (3, 11),
            "b.é": (4, 3),
            "e": (5, 3),
        }
        assert places(document.values) == {
            "": (1, 1),
            "a": (1, 4),
            "b": (3, 3),
            "b.c": (3, 6),
            "b.c.0": (3, 7),
            "b.c.1": (3, 10),
            "b.c.1.d": (3, 14),
            "b.é": (4, 6),
            "e": (6, 3),
            "e.0": (6, 5),
        }

    def test_byte_order_mark_takes_no_column(self) -> None:
        assert places(parse("\ufeffa: 1\r\nb: 2\r\n", "f").values) == {"": (1, 1), "a": (1, 4), "b": (2, 4)}

    def test_aliases_are_copies_placed_where_their_text_stands(self) -> None:
        document = parse("a: &x\n  b: [1]\nc: *x\nd: [*x]\n", "f")
        assert document.data == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}]}
        assert document.data["a"] is not document.data["c"]
        assert places(document.values)["c"] == (3, 4)
        assert places(document.values)["d.0.b"] == places(document.values)["a.b"] == (2, 6)
        assert places(document.keys)["c"] == (3, 1)
        assert places(document.keys)["c.b"] == (2, 3)
        assert_placed(document)

    def test_an_anchor_may_be_used_again(self) -> None:
        assert parse("[&x 1, *x, &x 2, *x]", "f").data == [1, 1, 2, 2]

    def test_position_falls_back_to_the_enclosing_value(self) -> None:
        document = parse("a:\n  b: 1\n", "f")
        assert document.position(("a", "b")) == Position("f", 2, 6)
        assert document.position(("a", "missing", 3)) == Position("f", 2, 3)
        assert document.position(("x",)) == Position("f", 1, 1)


@pytest.mark.usefixtures("loader")
class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "1:1: the file is empty"),
            ("# comment\n", "1:1: the file is empty"),
            ("---\n", "1:1: the file is empty"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document starts here; a file contains only one"),
            ("%YAML 1.1\n---\na: no\n", "1:1: the file declares YAML 1.1 but is read as YAML 1.2; remove this line"),
            ("a: 1\nb: {<<: 2}\n", "2:5: b: merge keys ('<<') are not supported; inherit with 'extends'"),
            ("a:\n  b: 1\n  b: 2\n", "3:3: a.b: duplicate key 'b', first on line 2"),
            ("'0': 1\n0: 2\n", "2:1: 0: duplicate key '0', first on line 1"),
            ("a:\n  ? [b]\n  : 1\n", "2:5: a: a key must be plain text, without anchor, alias or structure"),
            ("a: {{b}}\n", "1:5: a: a key must be plain text, without anchor, alias or structure"),
            ("a: &x b\n*x : 1\n", "2:1: a key must be plain text, without anchor, alias or structure"),
            ("&x a: 1\n", "1:1: a key must be plain text, without anchor, alias or structure"),
            ("? \n: 1\n", "1:2: a key is missing before ':'"),
            ("a: !!python/name:os.system x", "1:4: a: tag !!python/name:os.system is not allowed"),
            ("a: [!foo {b: 1}]", "1:5: a.0: tag !foo is not allowed"),
            ("!!str a: 1", "1:1: tag !!str is not allowed"),
            ("a: ! 1", "1:4: a: tag ! is not allowed"),
            ("a: [*x]", "1:5: a.0: unknown alias *x"),
            ("a: &bottleneck 1\nb: *bottlneck", "2:4: b: unknown alias *bottlneck; did you mean 'bottleneck'?"),
            ("a: &x [1, *x]", "1:11: a.1: alias *x is inside the value that it names"),
            ("a: &x 1\nb: &x [*x]", "2:8: b.0: alias *x is inside the value that it names"),
            ("a: 1\nb: \x00", "2:4: character U+0000 is not allowed in YAML"),
            ("\ufeffa: \x07", "1:4: character U+0007 is not allowed in YAML"),
            ("a:\r\n- \ud800", "2:3: character U+D800 is not allowed in YAML"),
        ],
    )
    def test_structure(self, text: str, message: str) -> None:
        [line] = refused(text)
        assert line.removesuffix("; quote the value to make it text") == f"f:{message}"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a:\n\tb: 1\n", "2:1: not valid YAML: a tab where YAML expects spaces"),
            ("a:\n  b: 1\n\tc: 2\n", "3:1: not valid YAML: a tab where YAML expects spaces"),
            ("a: @x", "1:4: not valid YAML: a value cannot start with '@'; quote it"),
            ("a: b: c", "1:5: not valid YAML: no ':' is expected here; check the indentation, or quote the text"),
            ("a: - 1", "1:4: not valid YAML: no '-' is expected here; start the list on a line of its own"),
            ("a: 1\nb: 'c\n\n", "2:4: not valid YAML: this quote is never closed"),
            ('a: "b\n--- c', "1:4: not valid YAML: this quote is never closed"),
            ("a: 1\nb\nc: 2\n", "2:1: not valid YAML: this key has no ':'"),
            (
                "a:\n  - b\n c: 1",
                "3:2: not valid YAML: neither a key nor the mapping's end; check indentation and quotes",
            ),
            ("- a\nb: c", "2:1: not valid YAML: neither a '-' nor the list's end; check the indentation"),
            ("a: [1,\n2\nb: 3", "3:2: not valid YAML: ',' or ']' is missing in the list that opens on line 1"),
            ("a: {b: 1\nc: 2", "2:2: not valid YAML: ',' or '}' is missing in the mapping that opens on line 1"),
            ("a: ]", "1:4: not valid YAML: a value is missing here, or a bracket or comma too many"),
            ("a: 1\n...\nb", "3:1: not valid YAML: nothing may follow the document's end"),
        ],
    )
    def test_syntax(self, text: str, message: str) -> None:
        assert refused(text) == [f"f:{message}"]

    def test_other_syntax_errors_keep_the_parsers_words(self) -> None:
        [line] = refused('a: "\\q"')
        assert line.startswith("f:1:")
        assert "not valid YAML: while" in line
        assert "unknown escape character" in line

    def test_problems_are_collected(self) -> None:
        assert refused("a: 1\na: !x 2\n<<: 3\nb: [.nan, *y]\nc: 'd") == [
            "f:2:1: a: duplicate key 'a', first on line 1",
            "f:2:4: a: tag !x is not allowed; quote the value to make it text",
            "f:3:1: merge keys ('<<') are not supported; inherit with 'extends'",
            "f:4:5: b.0: not-a-number is not allowed",
            "f:4:11: b.1: unknown alias *y",
            "f:5:4: not valid YAML: this quote is never closed",
        ]

    def test_not_without_end(self) -> None:
        with pytest.raises(SpecError) as caught:
            parse("a: 1\n" * 500, "f")
        found = [str(problem) for problem in caught.value.problems]
        assert found[0] == "f:2:1: a: duplicate key 'a', first on line 1"
        assert found[-1] == "f:101:1: too many problems; the rest of the file is not checked"
        assert len(found) == 101

    def test_odd_keys_leave_one_short_line(self) -> None:
        [newline] = refused('"a\\nb": 1\n"a\\nb": 2\n')
        assert newline == r"f:2:1: 'a\nb': duplicate key 'a\nb', first on line 1"
        [long] = refused(f"? {'a' * 5000}\n: 1\n? {'a' * 5000}\n: 2\n")
        assert len(long) < 250

    def test_quoted_merge_key_is_a_key(self) -> None:
        assert parse("'<<': 1", "f").data == {"<<": 1}


@pytest.mark.usefixtures("loader")
class TestLimits:
    def test_depth(self) -> None:
        assert parse("[" * 64 + "]" * 64, "f").data
        assert refused("[" * 65 + "]" * 65) == ["f:1:65: 0.0.0...: nested deeper than 64 levels"]

    def test_depth_counts_through_aliases(self) -> None:
        assert parse("a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 23 + "*a" + "]" * 23, "f").data
        text = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 24 + "*a" + "]" * 24
        assert refused(text) == ["f:1:46: b.0.0...: nested deeper than 64 levels"]

    @pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "a:\n" + "  - " * 1000])
    def test_deep_nesting_ends_at_once(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """At the level that is too deep: no event behind it is asked for."""
        seen = 0

        def counted(*args: Any, **options: Any) -> Iterator[yaml.Event]:
            nonlocal seen
            for event in events(*args, **options):
                seen += 1
                yield event

        events = yaml.parse
        monkeypatch.setattr(yaml, "parse", counted)
        assert refused(text)[0].endswith("nested deeper than 64 levels")
        # A mapping's level is two events, and so are the stream and the document around them.
        assert seen <= 2 * 64 + 4

    def test_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "MAX_VALUES", 1000)
        assert len(parse("[" + "1," * 999 + "]", "f").data) == 999
        [line] = refused("[" + "1," * 1000 + "]")
        assert line == "f:1:2000: more than 1000 values, counting aliases each time that they are used"

    def test_alias_bomb(self) -> None:
        rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
        tracemalloc.start()
        found = refused("\n".join(rows))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == ["f:5:45: more than 100000 values, counting aliases each time that they are used"]
        assert peak < 64 << 20

    @pytest.mark.parametrize("anchor", ["&x " + "y" * 500_000, "&x {? " + "y" * 500_000 + " : 1}"])
    def test_long_texts_weigh_more_in_aliases(self, anchor: str) -> None:
        [line] = refused(f"a: {anchor}\nb: [{'*x, ' * 1000}]")
        assert line.endswith("more than 100000 values, counting aliases each time that they are used")

    def test_size(self) -> None:
        assert refused("#" * ((1 << 20) + 1)) == ["f: larger than 1 MiB"]


@pytest.mark.usefixtures("loader")
@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="ab01:-?*&!<>|'\"[]{},#% \n\t.~%@`\\", max_size=40)))
@example("a: {<<: 1, : 2}")
@example("? [a]\n: - b\n  -c")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        document = parse(text, "f")
    except SpecError as error:
        assert all(problem.position for problem in error.problems)  # noqa: PT017
    else:
        assert_placed(document)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml")
def test_libyaml_parses_where_there_is_one() -> None:
    """It takes a tenth of the time that PyYAML's own parser takes."""
    assert documents._LOADER is yaml.CSafeLoader


class TestRead:
    def test_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "é.yaml"
        path.write_bytes("\ufeffa: é\n".encode())
        document = read(path)
        assert document == parse("a: é\n", str(path))
        assert document.values[("a",)] == Position(str(path), 1, 4)

    def test_missing(self, tmp_path: Path) -> None:
        assert lines(lambda: read(tmp_path / "x.yaml")) == [f"{tmp_path}/x.yaml: No such file or directory"]

    def test_directory(self, tmp_path: Path) -> None:
        assert lines(lambda: read(tmp_path)) == [f"{tmp_path}: Is a directory"]

    def test_nul_in_the_name(self, tmp_path: Path) -> None:
        [line] = lines(lambda: read(tmp_path / "a\0b"))
        assert line.endswith("embedded null byte")

    def test_not_readable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "x.yaml"
        path.touch(mode=0)

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        # Root could still read it.
        monkeypatch.setattr(Path, "open", refuse)
        assert lines(lambda: read(path)) == [f"{path}: Permission denied"]

    @pytest.mark.parametrize(
        ("content", "place"),
        [
            (b"\xff\xfea\0", "1:1: not UTF-8: byte 0xff"),
            (b"\xef\xbb\xbfa: \xc3\xa9\r\nb: \xe9\n", "2:4: not UTF-8: byte 0xe9"),
        ],
    )
    def test_not_utf8(self, tmp_path: Path, content: bytes, place: str) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(content)
        assert lines(lambda: read(path)) == [f"{path}:{place}"]

    def test_nul_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(b"a: 1\nb: \0")
        assert lines(lambda: read(path)) == [f"{path}:2:4: character U+0000 is not allowed in YAML"]

    def test_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        with path.open("wb") as file:
            file.truncate(1 << 40)
        assert lines(lambda: read(path)) == [f"{path}: larger than 1 MiB"]

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
    def test_endless_device(self) -> None:
        assert lines(lambda: read(Path("/dev/zero"))) == ["/dev/zero: is not a regular file"]

    def test_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.yaml")
        assert lines(lambda: read(tmp_path / "x.yaml")) == [f"{tmp_path / 'x.yaml'}: is not a regular file"]

    def test_line_break_in_the_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a\nb.yaml"
        assert lines(lambda: read(path)) == [f"{tmp_path}/a\\nb.yaml: No such file or directory"]
        path.write_text("a: 1\na: 2\n", "utf-8")
        assert lines(lambda: read(path)) == [f"{tmp_path}/a\\nb.yaml:2:1: a: duplicate key 'a', first on line 1"]

    def test_standard_input_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: 1"), encoding="utf-8"))
        assert [read(STDIN).data, read(STDIN).data] == [{"a": 1}] * 2
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: ["), encoding="utf-8"))
        assert lines(lambda: read(STDIN))[0].startswith("<stdin>:2:1: not valid YAML")
        monkeypatch.setattr("sys.stdin", None)
        assert lines(lambda: read(STDIN)) == ["<stdin>: there is no standard input"]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**29), max_value=10**29),
    st.floats(allow_nan=False),
    st.text(),
    st.text(alphabet="abynoYN01x.:-+e_~ #'\"\n\t,[]{}&*!|>?%@`=<\x85\u2028\ufeff\r", max_size=12),
)
DATA = st.recursive(
    SCALARS,
    lambda child: st.lists(child, max_size=5) | st.dictionaries(st.text(), child, max_size=5),
    max_leaves=30,
)

MISREAD = [
    *[
        "no",
        "yes",
        "on",
        "off",
        "y",
        "N",
        "true",
        "null",
        "Null",
        "~",
        "",
        "1e-5",
        "1e5",
        "0777",
        "0o17",
        "0x1F",
        "1_000",
    ],
    *[
        "12:30",
        "1.5",
        ".5",
        ".inf",
        ".nan",
        "2001-12-14",
        "<<",
        "=",
        "-",
        "- a",
        "a: b",
        "#",
        "a #b",
        "[a",
        "{a",
        "&a",
        "*a",
    ],
    *[
        "!a",
        "%a",
        "@a",
        "`a",
        "'a",
        '"a',
        "|",
        ">",
        "?",
        "? a",
        " a",
        "a ",
        "\ta",
        "a\n",
        "\n",
        "a\n b",
        "---",
        "...",
        "1" * 40,
    ],
]


class TestWriting:
    @settings(deadline=None, max_examples=300)
    @given(DATA)
    def test_round_trip(self, data: object) -> None:
        found = parse(to_yaml(data), "f").data
        assert found == data
        assert repr(found) == repr(data)

    @settings(deadline=None)
    @given(DATA)
    def test_round_trip_without_libyaml(self, data: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(documents, "_LOADER", yaml.SafeLoader)
            assert parse(to_yaml(data), "f").data == data

    @pytest.mark.parametrize("text", MISREAD)
    def test_texts_that_look_like_something_else(self, text: str) -> None:
        for data in ({"a": text}, {text: "a"}, [text], {"a": {"b": [text, {text: text}]}}, text):
            assert parse(to_yaml(data), "f").data == data
            assert yaml.safe_load(to_yaml(data)) == data

    @pytest.mark.parametrize("text", ["no", "y", "1e-5", "0777", "0o17", "null", "1_000", "12:30"])
    def test_quotes(self, text: str) -> None:
        assert to_yaml({"a": text}) == f"a: '{text}'\n"
        assert to_yaml({text: 1}) == f"'{text}': 1\n"

    def test_reads_well(self) -> None:
        text = (
            "name: resnet50\n"
            "description: 3×3 convolution, width * 4\n"
            "epsilon: 1.0e-05\n"
            "norm: null\n"
            "stem:\n"
            "  conv1: {conv2d: {channels: 64, kernel: 7, padding: [[1, 2], [1, 2]]}}\n"
            "  bn1: norm\n"
            "  downsample.0: {block: basic, name: 'no'}\n"
            "stages:\n"
            "  layer1:\n"
            "    first: {a: 1}\n"
            "    second: {a: []}\n"
            "notes: |\n"
            "  one\n"
            "  two\n"
            "taps:\n"
            "- {name: a}\n"
            "- {name: b}\n"
        )
        assert to_yaml(parse(text, "f").data) == text

    def test_long_mappings_take_lines(self) -> None:
        data = {"a": {f"key{i}": "value" for i in range(10)}}
        assert to_yaml(data).splitlines()[:2] == ["a:", "  key0: value"]

    def test_numbers_fill_lines(self) -> None:
        lines = to_yaml({"a": [1 / n for n in range(3, 24)], "b": ["word" * 5] * 9}).splitlines()
        assert lines[0].startswith("a: [0.3333333333333333, 0.25, 0.2, ")
        assert lines[2].endswith("]")
        assert lines[3:5] == ["b:", f"- {'word' * 5}"]

    def test_shared_values_are_written_out(self) -> None:
        shared = {"a": [1]}
        assert to_yaml({"x": shared, "z": shared}) == "x: {a: [1]}\nz: {a: [1]}\n"
