from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vep_dagger.errors import Location, MatrixError
from vep_dagger.matrix.document import Document

TEXT = """\
recipe = "vllm-ep"
serve.args."max seqs" = 8

[axes]
vllm = ["0.10", [1, 22], { 'a.b' = true, c.d = [3] }]
\tnccl\t=\t"é日本"\t# ü

[axes.transport]
"ibg\\u0064a" = { env = { A = "1" } }

[[bench]]
name = "short"

[[bench]]
name = '''long
lines'''

[bench.args]
x = -1.5

[[bench.more]]
y = 2020-01-01
"""


def marked(location: Location) -> str:
    return location.excerpt[location.column - 1 : location.column - 1 + location.width]


@pytest.mark.parametrize(
    ("path", "line", "value", "key"),
    [
        (("recipe",), 1, '"vllm-ep"', "recipe"),
        (("serve",), 2, "serve", "serve"),
        (("serve", "args"), 2, "args", "args"),
        (("serve", "args", "max seqs"), 2, "8", '"max seqs"'),
        (("axes",), 4, "axes", "axes"),
        (("axes", "vllm"), 5, "[\"0.10\", [1, 22], { 'a.b' = true, c.d = [3] }]", "vllm"),
        (("axes", "vllm", 0), 5, '"0.10"', '"0.10"'),
        (("axes", "vllm", 1, 1), 5, "22", "22"),
        (("axes", "vllm", 2, "a.b"), 5, "true", "'a.b'"),
        (("axes", "vllm", 2, "c", "d", 0), 5, "3", "3"),
        (("axes", "vllm", 2, "c"), 5, "c", "c"),
        (("axes", "nccl"), 6, '"é日本"', "nccl"),
        (("axes", "transport"), 8, "axes.transport", "transport"),
        (("axes", "transport", "ibgda"), 9, '{ env = { A = "1" } }', '"ibg\\u0064a"'),
        (("axes", "transport", "ibgda", "env", "A"), 9, '"1"', "A"),
        (("bench",), 11, "bench", "bench"),
        (("bench", 0), 11, "bench", "bench"),
        (("bench", 0, "name"), 12, '"short"', "name"),
        (("bench", 1), 14, "bench", "bench"),
        (("bench", 1, "name"), 15, "'''long", "name"),
        (("bench", 1, "args", "x"), 19, "-1.5", "x"),
        (("bench", 1, "more", 0), 21, "bench.more", "more"),
        (("bench", 1, "more", 0, "y"), 22, "2020-01-01", "y"),
    ],
)
def test_every_key_and_value_is_found_where_it_stands(
    path: tuple[str | int, ...], line: int, value: str, key: str
) -> None:
    document = Document.from_bytes(TEXT.encode())
    found = document.locate(path)
    assert (found.line, marked(found)) == (line, value)
    assert marked(document.locate(path, key=True)) == key


def test_columns_count_characters_and_the_marker_stands_under_the_text() -> None:
    document = Document.from_bytes('"é日" = { "ü" = 1, x = "y" }\n\ta = 1'.encode())
    assert document.locate(("é日", "x")).column == 23
    assert document.locate(("a",)).render() == "  --> matrix.toml:2:6\n   |\n 2 | \ta = 1\n   | \t    ^"


def test_of_what_is_not_there_the_nearest_thing_around_it_is_found() -> None:
    document = Document.from_bytes(TEXT.encode())
    assert document.locate(("bench", 1, "num_prompts", 3)) == document.locate(("bench", 1))
    assert document.locate(("nothing",)) == Location("matrix.toml", 1, 1)


def test_lines_that_end_with_carriage_returns_are_shown_without_them() -> None:
    found = Document.from_bytes(b'a = """x\r\ny"""\r\nb = 1\r\n')
    assert (found.locate(("a",)).excerpt, marked(found.locate(("a",)))) == ('a = """x', '"""x')
    assert found.locate(("b",)).line == 3


def test_places_name_the_file_as_the_user_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text("a = 1\n")
    assert str(Document.parse("./m.toml").locate(("a",))) == "./m.toml:1:5"
    assert str(Document.parse(tmp_path / "m.toml").locate(("a",))) == f"{tmp_path}/m.toml:1:5"


def test_a_missing_file_is_said_to_be_missing() -> None:
    with pytest.raises(MatrixError, match=r"there is no file 'nowhere/matrix\.toml'"):
        Document.parse("nowhere/matrix.toml")


def test_a_directory_is_no_matrix_file(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="is a directory") as caught:
        Document.parse(tmp_path)
    assert caught.value.hint is not None
    assert "matrix.toml" in caught.value.hint


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have_is_said_to_be_so(name: str) -> None:
    with pytest.raises(MatrixError, match="cannot be read"):
        Document.parse(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"\xef\xbb\xbfa = 1", "byte order mark"),
        ("a = 1".encode("utf-16"), "byte order mark"),
        (b'a = 1\nb = "\xc3\xa9\xff"', "not UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "too long"),
        (b"a = {\n b = 1 }", "not TOML 1.0"),
        (b'a = "\\e"', "not TOML 1.0"),
    ],
)
def test_what_is_no_utf_8_or_no_toml_1_0_is_refused(source: bytes, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        Document.from_bytes(source)


def test_the_byte_that_is_not_utf_8_is_marked() -> None:
    with pytest.raises(MatrixError) as caught:
        Document.from_bytes(b'a = 1\nb = "\xc3\xa9\xff" # x')
    assert str(caught.value.where) == "matrix.toml:2:7"


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("a = 1\nb = 2\na = 3", "matrix.toml:3:1", "'a' is set twice"),
        ("[a]\nx = 1\n[b]\n[a]", "matrix.toml:4:2", "'a' is set twice"),
        ("a = { b.c = 1, b.c = 2 }", "matrix.toml:1:18", "'a.b.c' is set twice"),
        ("a.b = 1\n[a]", "matrix.toml:2:2", "'a' is set twice"),
        ("a = [{ b = 1 }, { b = 1, b = 2 }]", "matrix.toml:1:26", "'a.b' is set twice"),
    ],
)
def test_a_key_that_is_set_twice_is_shown_where_it_is_set_again(text: str, place: str, word: str) -> None:
    with pytest.raises(MatrixError) as caught:
        Document.from_bytes(text.encode())
    assert (str(caught.value.where), caught.value.what) == (place, word)


def test_what_would_act_on_a_terminal_is_not_shown() -> None:
    with pytest.raises(MatrixError) as caught:
        Document.from_bytes(b'a = "\x1b[31m"')
    assert "\x1b" not in caught.value.render()


def test_a_tree_knows_no_other_data_than_tomli() -> None:
    document = Document.from_bytes(TEXT.encode())
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), document.data)]
    paths = set()
    while pending:
        path, value = pending.pop()
        paths.add(path)
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        pending.extend(((*path, part), item) for part, item in items)
    assert set(document._marks) == paths - {()}
