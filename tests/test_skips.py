from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parent / "conftest.py"


def run(pytester: pytest.Pytester, test: str) -> list[str]:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(test)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    return result.outlines


def test_what_is_missing_and_how_to_get_it_stands_at_the_end(pytester: pytest.Pytester) -> None:
    lines = run(
        pytester,
        """
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        def test_browser(needs, n):
            needs("no-such-browser", "apt-get install no-such-browser")
            assert False

        def test_other():
            pytest.skip("only on Tuesdays")
        """,
    )
    start = next(number for number, line in enumerate(lines) if "not tested here" in line)
    assert "2 tests skipped for want of no-such-browser. To run them: apt-get install no-such-browser" in lines[start:]
    assert "1 test skipped: only on Tuesdays" in lines[start:]


def test_a_program_that_is_there_is_given_and_nothing_is_said(pytester: pytest.Pytester) -> None:
    name = Path(sys.executable).name
    lines = run(pytester, f"def test_it(needs):\n    assert needs({name!r}, '').endswith({name!r})\n")
    assert any("1 passed" in line for line in lines)
    assert not any("not tested here" in line for line in lines)


def test_engines_that_are_not_here_are_told_with_how_to_get_them(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CONFTEST.parent.parent / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("VEP_DOCKER", str(tmp_path / "docker"))
    monkeypatch.delenv("VEP_PLAIN_BASE", raising=False)
    lines = run(
        pytester,
        """
        def test_docker(docker): assert False
        def test_registry(loopback_registry): assert False
        def test_base(plain_base): assert False
        """,
    )
    text = "\n".join(lines[next(number for number, line in enumerate(lines) if "not tested here" in line) :])
    assert "1 test skipped for want of Docker. To run them: apt-get install docker.io" in text
    assert "1 test skipped for want of docker-registry. To run them: apt-get install docker-registry" in text
    assert (
        "1 test skipped for want of a plain base (there is no mmdebstrap). To run them: apt-get install mmdeb" in text
    )


def test_tests_of_engines_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile("def test_docker(docker): assert False\n\ndef test_other(): pass\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-m", "not engine", "--strict-markers")
    result.assert_outcomes(passed=1, deselected=1)
