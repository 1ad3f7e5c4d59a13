"""A file that grows, read line by line."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.processes.tail import CHUNK, LONGEST_LINE, Tail


def test_a_line_is_given_once_and_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() is None
    path.write_text("one\ntw")
    assert tail.read() == ["one"]
    assert tail.read() is None
    with path.open("a") as file:
        file.write("o\r\nthree\n\nrest")
    assert tail.read() == ["two\r", "three", ""]
    assert tail.rest() == ["rest"]
    assert tail.rest() == []


def test_characters_that_a_chunk_cuts_are_whole_and_broken_ones_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (CHUNK - 1) + "ü\n".encode() + b"\xff\n")
    tail = Tail(path, CHUNK - 3)
    assert (tail.read() or []) + (tail.read() or []) == ["xxü", "\N{REPLACEMENT CHARACTER}"]


def test_a_line_without_end_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * (LONGEST_LINE + 1))
    tail = Tail(path)
    assert tail.read() == ["x" * (LONGEST_LINE + 1)]
    assert tail.rest() == []


def test_the_end_of_a_file_is_where_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert Tail.end_of(path).offset == 0
    path.write_text("before\n")
    tail = Tail.end_of(path)
    with path.open("a") as file:
        file.write("after\n")
    assert tail.read() == ["after"]
