"""Kinds of pins say what a value of theirs looks like."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import ValidationError

from vep_dagger.dsl import Commit, Instant, Pins, Sha256, SpellingError, Version, spelled


class Everything(Pins):
    version: Version = "v1"
    commit: Commit | None = None
    sha256: Sha256 | None = None
    at: Instant | None = None
    colour: Annotated[str, spelled(r"red|blue", "is no colour: write red or blue")] = "red"


def refused(**written: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(written)
    (problem,) = caught.value.errors()
    assert isinstance(problem["ctx"]["error"], SpellingError)
    return str(problem["ctx"]["error"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version", "master", "'master' is no release: a branch moves, so write a release or its tag"),
        ("version", "v1 ", "'v1 ' is no release"),
        ("version", "1.0\n", "is no release"),
        ("commit", "HEAD", "'HEAD' is no commit: write all 40 characters"),
        ("commit", "F" * 40, f"write '{'f' * 40}'"),
        ("sha256", "sha256:" + "0" * 64, "is no sha256: write its 64 characters"),
        ("at", "2025-04-31T00:00:00Z", "write 2025-04-30T00:00:00Z"),
        ("at", "2025-09-01 12:30:00", "write 2025-09-01T12:30:00Z"),
        ("at", "0000-00-00T99:99:99Z", "write 0001-01-01T23:59:59Z"),
        ("at", "2025-09-01T00:00:00+02:00", "'2025-09-01T00:00:00+02:00' is no instant in UTC, such as"),
        ("colour", "green", "'green' is no colour: write red or blue"),
    ],
)
def test_another_text_is_told_what_one_looks_like(name: str, value: str, said: str) -> None:
    assert said in refused(**{name: value})


def test_what_a_message_says_to_write_is_taken() -> None:
    for value in ("2025-02-29T00:00:00Z", "2025-13-41T24:00:60Z", "2025-09-01"):
        written = refused(at=value).rpartition("write ")[2]

        assert Everything(at=written).at == written
