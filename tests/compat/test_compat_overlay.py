from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.compat import Compat
from vep_dagger.errors import CompatError


def load(tmp_path: Path, text: str) -> Compat:
    path = tmp_path / "overlay.toml"
    path.write_text(text)
    return Compat.load(path)


NEWER = """
releases = ["0.40.0"]
unverified = ["0.10.3", "0.40.1"]

[[stack]]
since = "0.40.0"
torch = "2.20.0"
cuda = "14.0"
python = ">=3.12,<3.16"

[[backend]]
name = "warp"
since = "0.40.0"
state = "real"
line = "Using WarpAll2AllManager all2all manager."
ranks = "zero"

[[backend]]
name = "deepep_low_latency"
since = "0.40.0"
state = "fallback"
instead = "warp"
"""

STACK = '[[stack]]\nsince = "0.40.0"\ntorch = "2"\ncuda = "13"\npython = ">=3"\n'
BACKEND = '[[backend]]\nname = "x"\nsince = "0.40.0"\n'
LINE = '[[line]]\nabout = "always"\nname = "a"\nsince = "0.9.0"\n'
PHASE = '[[phase]]\nphase = "warmup"\nsince = "0.9.0"\npatterns = []\n'


def test_an_overlay_adds_a_release_that_is_not_known_yet(tmp_path: Path) -> None:
    compat = load(tmp_path, NEWER)
    assert compat.releases[-1] == "0.40.0"
    release = compat.release("0.40.0")
    assert (release.torch, release.cuda, release.flashinfer, release.known_as) == ("2.20.0", "14.0", None, None)
    assert compat.release("0.40.1").known_as == "0.40.0"
    assert compat.release("0.41.0").known_as == "0.40.0"
    assert compat.release("0.10.3").known_as == "0.10.2"
    warp = compat.select("0.40.0", all2all="warp", data_parallel=2)
    assert warp.args == ("--all2all-backend", "warp")
    assert warp.demanded[0].pattern == r"Using WarpAll2AllManager all2all manager\."
    lost = compat.select("0.40.0", all2all="deepep_low_latency", data_parallel=2).impossible
    assert "0.33.0 was the last release" in (lost or "")
    assert compat.select("0.33.0", all2all="deepep_low_latency", data_parallel=2).impossible is None


def test_a_cpu_wheel_of_one_release_says_nothing_of_the_next(tmp_path: Path) -> None:
    compat = load(tmp_path, '[[cpu]]\nsince = "0.33.0"\nbefore = "0.34.0"\ntorch = "2.14.0+cpu"\nruns = true\n')
    assert compat.cpu_wheel("0.33.0") is not None
    assert compat.release("0.34.0").known_as == "0.33.0"
    assert compat.cpu_wheel("0.34.0") is None


def test_an_overlay_corrects_a_line_for_the_releases_that_it_names(tmp_path: Path) -> None:
    compat = load(
        tmp_path,
        """
        [[line]]
        about = "expert_parallel"
        name = "expert parallelism"
        since = "0.26.0"
        before = "0.27.0"
        pattern = 'experts everywhere'
        demanded = ["on"]
        """,
    )

    def demanded(version: str) -> list[str]:
        return [rule.pattern for rule in compat.select(version, expert_parallel=True, data_parallel=2).demanded]

    assert demanded("0.26.0") == ["experts everywhere"]
    assert len(demanded("0.25.0")) == len(demanded("0.27.0")) == 1
    assert "experts everywhere" not in demanded("0.25.0") + demanded("0.27.0")


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("a = ", "is not TOML", None),
        ('[[stak]]\nsince = "0.40.0"', "unknown table 'stak'", "did you mean 'stack'?"),
        ('[[stack]]\nsince = "0.40.0"\ntorhc = "2"', "unknown key 'torhc'", "did you mean 'torch'?"),
        ('[[stack]]\nsince = "0.40.0"\ntorch = "2"\ncuda = "13"', "needs the key 'python'", None),
        (STACK.replace('"2"', "2"), "torch is a text", None),
        (STACK.replace("0.40.0", "forty"), "since = 'forty' is not a version", "0.26.0"),
        ('[stack]\nsince = "0.40.0"', "written as [[stack]]", None),
        ("stack = [1]", "written as [[stack]]", None),
        ('[[cpu]]\nsince = "0.40.0"\ntorch = "2"\nruns = "yes"', "runs is true or false", None),
        ("releases = [1]", "releases is a list of texts", None),
        ('releases = ["latest"]', "'latest' in releases is not a version", "0.26.0"),
        ('unverified = ["0.1.0"]', "older than 0.9.0", None),
        ('[bench_result]\nkeyz = []', "unknown key 'keyz'", "did you mean 'keys'?"),
        ('bench_result = ["a"]', "bench_result is a table", None),
        (BACKEND + 'state = "reel"', "state cannot be 'reel'", "did you mean 'real'?"),
        (BACKEND + 'state = "real"', "no line that proves it", None),
        (BACKEND + 'state = "alias"', "does not say of what", None),
        (BACKEND + 'state = "alias"\ninstead = "naiv"', "points at 'naiv'", "did you mean 'naive'?"),
        (BACKEND + 'state = "alias"\ninstead = "x"', "points at 'x'", None),
        (LINE.replace("always", "deepgemm") + 'pattern = "a"', "is about 'deepgemm'", "did you mean 'deep_gemm'?"),
        (LINE + 'pattern = "("', "pattern is not a regular expression", None),
        (LINE + 'pattern = "a"\nforbidden = ["no"]', "forbidden cannot be 'no'", "on"),
        (PHASE + "order = true", "order is a whole number", None),
        (PHASE + 'order = 3\nprogress = "a"', "no group named percent", "percent"),
        (PHASE.replace("warmup", "warm") + "order = 3", "phase cannot be 'warm'", "warmup"),
    ],
)  # fmt: skip
def test_a_wrong_overlay_is_refused_with_its_file_and_the_nearest_right_word(
    tmp_path: Path, text: str, what: str, hint: str | None
) -> None:
    with pytest.raises(CompatError) as caught:
        load(tmp_path, text)
    assert what in caught.value.what
    assert hint is None or hint in (caught.value.hint or "")


def test_an_error_in_a_row_names_the_file_and_the_row(tmp_path: Path) -> None:
    with pytest.raises(CompatError) as caught:
        load(tmp_path, '[[flag]]\nsince = "0.9.0"\nflags = []\n[[flag]]\nsince = "0.9.0"\nflag = ["--a"]')
    assert caught.value.where == f"{tmp_path / 'overlay.toml'}: [[flag]] number 2"


def test_an_overlay_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompatError, match="cannot be read: No such file"):
        Compat.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CompatError, match="not UTF-8"):
        Compat.load(tmp_path / "binary.toml")


def test_a_ring_of_old_names_is_refused(tmp_path: Path) -> None:
    ring = "".join(
        f'[[backend]]\nname = "{name}"\nsince = "0.40.0"\nstate = "alias"\ninstead = "{other}"\n'
        for name, other in ("ab", "ba")
    )
    with pytest.raises(CompatError, match="alias"):
        load(tmp_path, ring)


def test_a_release_whose_row_is_missing_says_which_table(tmp_path: Path) -> None:
    compat = load(tmp_path, 'releases = ["0.8.0"]')
    with pytest.raises(CompatError, match=r"no stack for vLLM 0\.8\.0") as caught:
        compat.release("0.8.0")
    assert "[[stack]]" in (caught.value.hint or "")
    with pytest.raises(CompatError, match="no mode"):
        compat.select("0.8.0")
