"""Keys of installations: in parts, and with the packages that a lock has."""

from __future__ import annotations

from dataclasses import replace

from vep_dagger.dsl import PLAIN, Alternative, Build, Image, LockedPackage
from vep_dagger.dsl.step import Install, Part

SIX = LockedPackage("six", "1.17.0", (f"sha256:{'a' * 64}",))


def key(*steps: Install) -> str:
    return Image("probe", "probe1", "1", PLAIN, Build(tuple(steps)), device="cpu").key


def install(*requirements: str, **more: object) -> Install:
    return Install("/venv", (Alternative(requirements),), **more)  # type: ignore[arg-type]


def test_the_same_locked_packages_have_the_same_key_whatever_was_asked_for() -> None:
    asked = [
        install("six"),
        install("six>=1", before="2026-01-01T00:00:00Z"),
        install("six", "idna", excluded=("x",), part=Part(("six",))),
    ]
    assert len({key(replace(step, locked=(SIX,))) for step in asked}) == 1
    assert len({key(step) for step in asked}) == 3


def test_another_hash_version_or_prefix_of_a_locked_package_is_another_key() -> None:
    one = install("six", locked=(SIX,))
    others = [
        replace(one, locked=(replace(SIX, hashes=(f"sha256:{'b' * 64}",)),)),
        replace(one, locked=(replace(SIX, version="1.16.0"),)),
        replace(one, locked=()),
        replace(one, prefix="/other"),
    ]
    assert len({key(one), *map(key, others)}) == 5


def test_without_a_lock_the_part_is_in_the_key() -> None:
    whole = install("six", "idna")
    parts = [replace(whole, part=part) for part in (Part(("six",)), Part(("*",)), Part(("*",), but=("six",)))]
    assert len({key(whole), *map(key, parts)}) == 4


def test_parts_of_an_installation_share_one_request_and_leave_nothing_out_or_double() -> None:
    steps = [
        step for step in Build().install("x", parts=(("torch",), ("nvidia-*",))).steps if isinstance(step, Install)
    ]
    assert {str(step.request()) for step in steps} == {str(install("x").request())}
    for name in ("torch", "nvidia_nccl.cu12", "Torch", "six"):
        assert sum(step.part is not None and step.part.fits(name) for step in steps) == 1


def test_what_builds_a_locked_source_distribution_is_in_the_key() -> None:
    tool = replace(SIX, name="setuptools")
    ways = (None, (), (tool,), (replace(tool, version="80"),), (replace(tool, hashes=(f"sha256:{'b' * 64}",)),))
    assert len({key(install("six", locked=(replace(SIX, build=way),))) for way in ways}) == len(ways)


def test_a_wheel_has_the_canonical_form_that_it_had_before_builds_were_locked() -> None:
    assert SIX.canonical() == ["six", "1.17.0", [f"sha256:{'a' * 64}"]]
