"""Layers of an archive as one tree, in enroot's form."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.squash.squash_lab import CREATED_S, TIME_S, Layer, archive, directory, entry, file
from vep_dagger.errors import BuildError
from vep_dagger.squash.flatten import read_image, read_tree, write_tree


def stream(path: Path, own: dict[str, str] | None = None) -> bytes:
    image = read_image(path)
    sink = io.BytesIO()
    write_tree(path, image, read_tree(path, image, own or {}), own or {}, sink)
    return sink.getvalue()


def members(path: Path, own: dict[str, str] | None = None) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(stream(path, own))) as opened:
        return {member.name: member for member in opened}


def texts(path: Path, own: dict[str, str] | None = None) -> dict[str, str]:
    """The content of every file, through its links too."""
    with tarfile.open(fileobj=io.BytesIO(stream(path, own))) as opened:
        return {m.name: opened.extractfile(m).read().decode() for m in opened if m.isreg() or m.islnk()}  # type: ignore[union-attr]


@pytest.mark.parametrize("compressed", [False, True])
def test_later_layers_win_and_whiteouts_take_away_what_is_below(tmp_path: Path, compressed: bool) -> None:
    layers: list[Layer] = [
        [directory("a"), file("a/kept", "1"), file("a/changed", "old"), file("a/gone", "x"), file("d/e/f", "deep")],
        [file("a/changed", "new"), file("a/.wh.gone"), file(".wh.d")],
    ]
    path = archive(tmp_path / "image.tar", *layers, compressed=compressed)
    assert texts(path) == {"a/kept": "1", "a/changed": "new"}
    assert "d/e" not in members(path)


@pytest.mark.parametrize("opaque_first", [True, False])
def test_an_opaque_directory_has_only_what_its_own_layer_has(tmp_path: Path, opaque_first: bool) -> None:
    upper = [file("a/.wh..wh..opq"), file("a/b/new", "2")]
    lower = [file("a/old", "1"), file("a/b/old", "1"), file("c", "3")]
    path = archive(tmp_path / "image.tar", lower, upper if opaque_first else upper[::-1])
    assert texts(path) == {"a/b/new": "2", "c": "3"}


def test_a_file_replaces_a_directory_with_all_in_it_and_the_other_way_round(tmp_path: Path) -> None:
    lower = [file("a/x", "1"), file("b", "2"), entry("l", tarfile.SYMTYPE, "a")]
    path = archive(tmp_path / "image.tar", lower, [file("a", "now a file"), file("b/x", "3"), file("l/y", "4")])
    assert texts(path) == {"a": "now a file", "b/x": "3", "l/y": "4"}


def test_a_hard_link_keeps_the_content_of_a_name_that_is_gone(tmp_path: Path) -> None:
    lower = [file("z", "same"), entry("m", tarfile.LNKTYPE, "z"), entry("n", tarfile.LNKTYPE, "./z")]
    path = archive(tmp_path / "image.tar", lower, [file(".wh.z"), file("q", "other")])
    assert texts(path) == {"m": "same", "n": "same", "q": "other"}
    found = members(path)
    assert (found["n"].islnk(), found["n"].linkname) == (True, "m")


def test_a_link_to_nothing_is_an_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar", [entry("m", tarfile.LNKTYPE, "nowhere")])
    with pytest.raises(BuildError, match="links m to nowhere"):
        stream(path)


def test_owners_go_modes_and_times_stay_and_the_owner_can_read_everything(tmp_path: Path) -> None:
    layer = [file("su", mode=0o4755), file("shadow", mode=0), file("run", mode=0o011), directory("locked", 0o500)]
    found = members(archive(tmp_path / "image.tar", layer))
    assert {name: oct(member.mode) for name, member in found.items()} == {
        "su": "0o4755",
        "shadow": "0o400",
        "run": "0o511",
        "locked": "0o700",
    }
    assert {(member.uid, member.uname, member.mtime) for member in found.values()} == {(0, "", TIME_S)}


def test_devices_of_the_image_and_dockers_mark_are_left_out_and_no_name_leaves_the_root(tmp_path: Path) -> None:
    layer = [directory("dev"), file("dev/null"), file(".dockerenv"), file("../../x", "1"), file("devices", "2")]
    assert set(members(archive(tmp_path / "image.tar", layer))) == {"dev", "x", "devices"}


def test_own_files_are_on_top_and_the_working_directory_is_made(tmp_path: Path) -> None:
    layer = [file("etc/rc", "the image's"), file("etc/other", "1")]
    path = archive(tmp_path / "image.tar", layer, config={"WorkingDir": "/srv/app"})
    assert texts(path, {"etc/rc": "ours"}) == {"etc/rc": "ours", "etc/other": "1"}
    found = members(path, {"etc/rc": "ours"})
    assert found["srv/app"].isdir()
    assert (found["srv/app"].mtime, found["etc/rc"].mtime) == (CREATED_S, CREATED_S)


def test_directories_come_before_what_is_in_them_and_links_after_what_they_lead_to(tmp_path: Path) -> None:
    layer = [entry("a/l", tarfile.SYMTYPE, "f"), file("a/f", "1"), entry("a/h", tarfile.LNKTYPE, "a/f")]
    assert list(members(archive(tmp_path / "image.tar", layer))) == ["a", "a/f", "a/l", "a/h"]


def test_a_layer_in_zstd_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar", [file("a")])
    packed = b"\x28\xb5\x2f\xfd rest"
    with tarfile.open(path, "a") as made:
        for name in read_image(path).layers:
            header = tarfile.TarInfo(name)
            header.size = len(packed)
            made.addfile(header, io.BytesIO(packed))
    with pytest.raises(BuildError, match="zstd"):
        stream(path)


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_text("nothing")
    with pytest.raises(BuildError, match="cannot be read"):
        read_image(tmp_path / "image.tar")
