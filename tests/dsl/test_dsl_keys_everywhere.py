"""The same value has the same key on every machine, in every process and under every Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dsl import dsl_sample

SAMPLE = Path(dsl_sample.__file__)
GOLDEN = Path(__file__).with_name("golden_keys.json")
"""Written once, by ``python tests/dsl/dsl_sample.py > tests/dsl/golden_keys.json``. A change of it makes everybody
build everything again: it is right only where the meaning of keys is meant to change, and then ``vep:{kind}:1`` in
``dsl/key.py`` changes as well.
"""


def golden() -> dict[str, str]:
    keys: dict[str, str] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return keys


def printed_by(python: str, cwd: Path, **environ: str) -> dict[str, str]:
    source = SAMPLE.parent.parent.parent / "src"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", **environ}
    done = subprocess.run([python, str(SAMPLE)], cwd=cwd, env=env, capture_output=True, text=True, check=True)
    keys: dict[str, str] = json.loads(done.stdout)
    return keys


def test_keys_are_those_of_the_golden_file() -> None:
    assert dsl_sample.keys() == golden()


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_keys_do_not_depend_on_the_hash_seed_of_a_process(seed: str, tmp_path: Path) -> None:
    assert printed_by(sys.executable, tmp_path, PYTHONHASHSEED=seed) == golden()


def test_keys_do_not_depend_on_locale_time_zone_or_directory(tmp_path: Path) -> None:
    assert printed_by(sys.executable, tmp_path, LC_ALL="C", TZ="Pacific/Auckland", PYTHONUTF8="0") == golden()
    assert printed_by(sys.executable, Path("/"), LC_ALL="C.UTF-8", TZ="UTC") == golden()


def other_pythons() -> dict[str, str]:
    """Interpreters of other releases that can import the language's dependencies, or can be given them: by release."""
    command = [sys.executable, "-m", "uv", "python", "list", "--only-installed", "--no-python-downloads"]
    command += ["--output-format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    candidates = [each["path"] for each in json.loads(listed.stdout or "[]")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in root.glob("versions/3.*/bin/python")]
    found: dict[str, str] = {}
    for candidate in candidates:
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        release = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if release and tuple(map(int, release.split("."))) >= (3, 11):
            found.setdefault(release, candidate)
    found.pop(f"{sys.version_info[0]}.{sys.version_info[1]}", None)
    return found


def test_keys_do_not_depend_on_the_version_of_python(tmp_path: Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("needs another Python >= 3.11: pyenv install 3.13, or the system's packages")
    for release, python in sorted(pythons.items()):
        environment = tmp_path / release
        make = ["venv", "-q", "-p", python, str(environment)]
        install = ["pip", "install", "-q", "-p", str(environment), "pydantic"]
        for command in (make, install):
            done = subprocess.run([sys.executable, "-m", "uv", *command], capture_output=True, text=True, check=False)
            if done.returncode:
                why = done.stderr.strip().splitlines()[-1]
                pytest.skip(f"needs a package index with pydantic for Python {release}: {why}")
        assert printed_by(str(environment / "bin" / "python"), tmp_path) == golden(), f"Python {release}"
