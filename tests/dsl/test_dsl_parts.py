"""Installations in parts that have names."""

from __future__ import annotations

import pytest

from vep_dagger.dsl import PLAIN, Build, Image
from vep_dagger.dsl.step import Install, Part

PATTERNS = (("nvidia-*",), ("torch", "triton"))


def parts_of(build: Build) -> list[Part]:
    return [step.part for step in build.steps if isinstance(step, Install) and step.part]


def key_of(build: Build) -> str:
    return Image("probe", "probe1", "1", PLAIN, build).key


def test_names_of_parts_change_neither_keys_nor_what_is_equal() -> None:
    plain = Build().install("x", parts=PATTERNS)
    named = Build().install("x", parts=dict(zip(("libraries", "torch"), PATTERNS, strict=True)))
    all_named = Build().install("x", parts={"libraries": PATTERNS[0], "torch": PATTERNS[1], "the rest": ("*",)})
    assert {key_of(plain)} == {key_of(named), key_of(all_named)}
    assert plain == named == all_named
    assert [part.title for part in parts_of(plain)] == ["nvidia-*", "torch, triton", "other packages"]
    assert [part.title for part in parts_of(named)] == ["libraries", "torch", "other packages"]
    assert [part.title for part in parts_of(all_named)] == ["libraries", "torch", "the rest"]


def test_a_part_of_everything_is_the_last_one() -> None:
    with pytest.raises(ValueError, match="it can only be last"):
        Build().install("x", parts={"all": ("*",), "torch": ("torch",)})
