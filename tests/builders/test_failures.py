from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.builders.failures import push_refused
from vep_dagger.builders.uv_words import unavailable

MISSING = "Because there is no version of app==2 and you require app==2"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "error: No solution found when resolving dependencies\n"
            f"  cause: {MISSING}, we can conclude that your requirements are unsatisfiable.",
            MISSING,
        ),
        (
            f"  × No solution found when resolving dependencies:\n  ╰─▶ {MISSING}, we can conclude that it is not.",
            MISSING,
        ),
        (
            "error: Request failed after 1 retry in 1.3s\n  cause: Connection refused (os error 111)",
            "Connection refused (os error 111)",
        ),
        (
            "No solution found, in words that nobody has seen yet\n",
            "No solution found, in words that nobody has seen yet",
        ),
        ("error: Failed to parse: `app ==== 2`", None),
        ("", None),
    ],
)
def test_only_missing_packages_and_silent_indexes_make_an_alternative_unavailable(
    output: str, reason: str | None
) -> None:
    assert unavailable(output.splitlines()) == reason


def test_a_long_reason_is_cut() -> None:
    reason = unavailable([f"error: No solution found {'x' * 500}"])
    assert reason is not None
    assert len(reason) == 200


@pytest.mark.parametrize(
    ("ref", "registry"),
    [("127.0.0.1:5000/team/app:1", "127.0.0.1:5000"), ("team/app:1", "docker.io"), ("localhost/app:1", "localhost")],
)
def test_who_is_refused_by_a_registry_is_told_where_to_log_in(ref: str, registry: str) -> None:
    said = [f"line {number}" for number in range(30)]
    error = push_refused(ref, "denied", said, log=Path("build.log"), code=1, known_from="of docker's")
    assert str(error.what) == f"the registry refused {ref}: denied"
    assert (error.hint or "").startswith(f"`docker login {registry}` if it asks who you are (of docker's); ")
    assert error.output[-1] == "line 29"
    assert len(error.output) < len(said)
