from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.builder_labs import VenvLab
from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.cache import Places, cache_root, entries, prune, shelf_sizes, size_of
from vep_dagger.builders.locks import Lock
from vep_dagger.builders.shelves import lock_of, used
from vep_dagger.dsl import PLAIN, Build, Image


@pytest.fixture
def venv(tmp_path: Path, surroundings: dict[str, str]) -> VenvLab:
    return VenvLab(tmp_path, surroundings)


def build(venv: VenvLab, tag: str) -> BuiltImage:
    chain = Build().python(">=3.11").write("/venv/etc/tag", tag * 5000)
    return venv.build(Image("probe", tag, "1", PLAIN, chain, device="cpu"))


def aged(built: BuiltImage, days: float) -> None:
    then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(Path(built.location) / "vep-last-used", (then, then))


def test_the_cache_is_where_the_variable_says(tmp_path: Path) -> None:
    assert cache_root({"VEP_CACHE_DIR": str(tmp_path)}) == tmp_path
    assert cache_root({}).name == "vep"


def test_entries_tell_tag_key_size_and_place_with_the_last_used_first(venv: VenvLab) -> None:
    first, second = build(venv, "a1"), build(venv, "b2")
    aged(second, days=3)
    found = entries(venv.cache)
    assert [entry.tag for entry in found] == ["a1", "b2"]
    assert [str(entry.path) for entry in found] == [first.location, second.location]
    assert all(entry.path.name == entry.key for entry in found)
    assert all(entry.size_bytes > 10000 for entry in found)
    assert found[0].last_used - found[1].last_used > timedelta(days=2)


def test_finding_an_environment_is_a_use_of_it(venv: VenvLab) -> None:
    built = build(venv, "a1")
    aged(built, days=30)
    build(venv, "a1")
    assert datetime.now(UTC) - entries(venv.cache)[0].last_used < timedelta(minutes=1)


def test_an_empty_or_missing_cache_has_no_entries_and_is_not_created(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == []
    assert prune(tmp_path / "none", everything=True) == 0
    assert not (tmp_path / "none").exists()


def test_what_a_running_process_uses_is_not_pruned(venv: VenvLab) -> None:
    built = build(venv, "a1")
    assert entries(venv.cache)[0].in_use
    assert prune(venv.cache, everything=True) == 0
    assert Path(built.location).is_dir()
    venv.close()
    assert not entries(venv.cache)[0].in_use
    assert prune(venv.cache, everything=True) > 10000
    assert not Path(built.location).exists()
    assert venv.half_made() == 0


def test_pruning_by_age_keeps_what_was_used_since(venv: VenvLab) -> None:
    old, new = build(venv, "old1"), build(venv, "new1")
    aged(old, days=10)
    venv.close()
    assert prune(venv.cache, keep_days=9) > 0
    assert [entry.tag for entry in entries(venv.cache)] == ["new1"]
    assert Path(new.location).is_dir()


def test_pruning_by_key_takes_the_beginning_of_a_key_and_nothing_else(venv: VenvLab) -> None:
    doomed = build(venv, "a1")
    build(venv, "b2")
    venv.close()
    key = Path(doomed.location).name
    prune(venv.cache, keys=[key[:12]])
    assert [entry.tag for entry in entries(venv.cache)] == ["b2"]
    prune(venv.cache, keys=[""])
    assert len(entries(venv.cache)) == 1


def test_pruning_takes_away_what_dead_processes_left_and_spares_the_living(venv: VenvLab) -> None:
    places = Places(venv.cache)
    places.prepare()
    dead, living = "d" * 64, "e" * 64
    for key in (dead, living):
        (places.building / f"{key}-1" / "env").mkdir(parents=True)
    (places.trash / "half").mkdir()
    builder = places.lock(living)
    assert builder.try_acquire("exclusive")
    prune(venv.cache, everything=True)
    assert [path.name for path in places.building.iterdir()] == [f"{living}-1"]
    assert list(places.trash.iterdir()) == []
    builder.release()


def shelved(cache: Path, name: str, age: timedelta) -> Path:
    """Something on a shelf, last asked for so long ago."""
    place = cache / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if "http" in name:
        place.write_bytes(b"x" * 8192)
    else:
        place.mkdir()
        (place / "file").write_bytes(b"x" * 8192)
    shelf = cache / Path(name).parts[0]
    lock = lock_of(shelf, str(place.relative_to(shelf)))
    used(lock)
    then = (datetime.now(UTC) - age).timestamp()
    os.utime(lock.path, (then, then))
    return place


SHELVED = ("sources/git/c0", "sources/http/a1", "sources/tree/b2", "tools/d3")


def test_sources_and_tools_that_no_build_uses_are_pruned_with_all_and_by_age(tmp_path: Path) -> None:
    old = [shelved(tmp_path, f"{name}-old", timedelta(days=3)) for name in SHELVED]
    new = [shelved(tmp_path, f"{name}-new", timedelta(hours=2)) for name in SHELVED]
    now = [shelved(tmp_path, f"{name}-now", timedelta(0)) for name in SHELVED]
    assert shelf_sizes(tmp_path).keys() == {"sources", "tools"}
    assert shelf_sizes(tmp_path)["sources"] == 9 * 8192
    assert prune(tmp_path, keys=["c0", "a1"]) == 0
    assert prune(tmp_path, keep_days=2) == 4 * 8192
    assert [path.exists() for path in [*old, *new, *now]] == [False] * 4 + [True] * 8
    assert prune(tmp_path, everything=True) == 4 * 8192
    assert [path.exists() for path in [*new, *now]] == [False] * 4 + [True] * 4
    assert list(Places(tmp_path).trash.iterdir()) == []


def test_what_is_just_being_fetched_is_not_pruned(tmp_path: Path) -> None:
    place = shelved(tmp_path, "sources/tree/b2", timedelta(days=3))
    fetcher = lock_of(tmp_path / "sources", "tree/b2")
    assert fetcher.try_acquire("exclusive")
    then = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    os.utime(fetcher.path, (then, then))
    assert prune(tmp_path, everything=True) == 0
    fetcher.release()
    assert place.exists()


def test_an_entry_is_out_of_its_place_before_its_files_go(venv: VenvLab, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(venv, "a1")
    venv.close()

    def interrupted(path: Path, **_: object) -> None:
        assert not Path(built.location).exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune(venv.cache, everything=True)
    assert entries(venv.cache) == []
    prune(venv.cache, everything=True)
    assert venv.half_made() == 0


def test_a_file_with_several_names_is_counted_once_and_shared_only_if_a_name_is_elsewhere(tmp_path: Path) -> None:
    one, two, elsewhere = (tmp_path / name for name in ("one", "two", "elsewhere"))
    for folder in (one, two, elsewhere):
        folder.mkdir()
    (one / "inner").write_bytes(b"x" * 8192)
    (two / "inner").hardlink_to(one / "inner")
    (one / "outer").write_bytes(b"y" * 4096)
    (elsewhere / "outer").hardlink_to(one / "outer")
    both, first = size_of(one, two), size_of(one)
    assert (both.total - both.shared, both.shared) == (8192, 4096)
    assert (first.total, first.shared) == (12288, 12288)


class TestLock:
    def test_one_writes_or_many_use(self, tmp_path: Path) -> None:
        one, two, three = (Lock(tmp_path / "x.lock") for _ in range(3))
        assert one.try_acquire("shared")
        assert two.try_acquire("shared")
        assert not three.try_acquire("exclusive")
        one.release()
        two.release()
        assert three.try_acquire("exclusive")
        assert not one.try_acquire("shared")
        assert one.holder() == os.getpid()
        three.release()

    def test_a_holder_can_change_what_it_holds(self, tmp_path: Path) -> None:
        one, two = Lock(tmp_path / "x.lock"), Lock(tmp_path / "x.lock")
        assert one.try_acquire("exclusive")
        assert one.try_acquire("shared")
        assert one.holder() is None
        assert two.try_acquire("shared")
        assert not one.try_acquire("exclusive")
        assert two.try_acquire("exclusive"), "a refused change gives up what was held"
        two.release()
