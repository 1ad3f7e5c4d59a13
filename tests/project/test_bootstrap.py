"""The set-up from inside: every way in which making an environment can end, with commands that only pretend."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bootstrap import SetupError, pip_config, pythons
from bootstrap.environment import LOG, STAMP, Environment
from bootstrap.pythons import Python

PYTHON = Python("/usr/bin/python3.12", (3, 12, 1), True)


class Tools:
    """Stands for venv, pip and uv: writes down what it is asked, makes what they would, and fails on request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.environ: Mapping[str, str] = {}
        self.fails: str | None = None
        self.raises: type[BaseException] | None = None

    def __call__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
        line = " ".join(command)
        self.asked.append(line)
        self.environ = environ
        if "-m venv" in line:
            program = Path(command[-1], "bin", "python")
            program.parent.mkdir()
            program.write_text("#!/bin/sh\necho \"global.timeout='77'\"\n")  # what pip would list
            program.chmod(0o755)
        with log.open("a") as file:
            file.write(f"$ {line}\nsaid by {command[-1]}\n")
        if self.fails and self.fails in line:
            if self.raises:
                raise self.raises
            return 1
        return 0

    @property
    def steps(self) -> list[str]:
        """What was asked, by its kind."""
        kinds = {"-m venv": "venv", "-m pip install": "pip", "--offline": "offline", "uv pip install": "uv"}
        return [next(kind for words, kind in kinds.items() if words in line) for line in self.asked]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
def prepare(project: Path, tools: Tools) -> Callable[..., None]:
    def call(*groups: str, environ: Mapping[str, str] | None = None) -> None:
        tools.asked.clear()
        Environment(project, project / ".venv", environ or {}, tools).prepare(groups, lambda: PYTHON)

    return call


Prepare = Callable[..., None]


def test_the_first_call_makes_it_and_the_second_does_nothing(
    prepare: Prepare, tools: Tools, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    assert tools.steps == ["venv", "pip", "uv"]
    told = capsys.readouterr().out
    assert "making .venv with Python 3.12.1 (/usr/bin/python3.12) …" in told
    prepare()
    assert tools.steps == []
    assert capsys.readouterr().out == "make: .venv is up to date (Python 3.12.1)\n"


def test_the_tests_add_their_groups_and_a_run_needs_none(prepare: Prepare, tools: Tools, project: Path) -> None:
    prepare()
    prepare("test", "lint")
    assert tools.steps == ["uv"]
    assert tools.asked[0].endswith(f"--group {project}/pyproject.toml:lint --group {project}/pyproject.toml:test")
    prepare()
    assert tools.steps == []


def test_a_changed_project_is_installed_again_with_the_groups_it_had(
    prepare: Prepare, tools: Tools, project: Path
) -> None:
    prepare("test")
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    prepare()
    assert tools.steps == ["uv"]
    assert tools.asked[0].endswith("pyproject.toml:test")


@pytest.mark.parametrize("step", ["-m venv", "-m pip install", "uv pip install"])
@pytest.mark.parametrize("raises", [None, KeyboardInterrupt])
def test_what_failed_or_was_killed_is_made_again_from_nothing(
    prepare: Prepare, tools: Tools, project: Path, step: str, raises: type[BaseException] | None
) -> None:
    tools.fails, tools.raises = step, raises
    with pytest.raises(raises or SetupError):
        prepare()
    rubbish = project / ".venv" / "half-made"
    rubbish.touch()
    tools.fails = None
    prepare()
    assert tools.steps == ["venv", "pip", "uv"]
    assert not rubbish.exists()


def test_an_update_that_failed_is_not_trusted_either(prepare: Prepare, tools: Tools) -> None:
    prepare()
    tools.fails = "uv pip install"
    with pytest.raises(SetupError):
        prepare("test")
    tools.fails = None
    prepare()
    assert tools.steps == ["venv", "pip", "uv"]


def test_an_environment_whose_python_is_gone_is_made_again(prepare: Prepare, tools: Tools, project: Path) -> None:
    prepare()
    program = project / ".venv" / "bin" / "python"
    program.unlink()
    program.symlink_to("/nonexistent/python")
    prepare()
    assert tools.steps == ["venv", "pip", "uv"]


def test_an_environment_of_a_tree_that_was_moved_is_made_again(tools: Tools, project: Path) -> None:
    one, other = project / "one", project / "other"
    one.mkdir()
    (one / "pyproject.toml").write_text("")
    Environment(one, one / ".venv", {}, tools).prepare((), lambda: PYTHON)
    one.rename(other)
    tools.asked.clear()
    Environment(other, other / ".venv", {}, tools).prepare((), lambda: PYTHON)
    assert tools.steps == ["venv", "pip", "uv"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"inputs": {}}'])
def test_a_damaged_stamp_is_no_stamp(prepare: Prepare, tools: Tools, project: Path, text: str) -> None:
    prepare()
    (project / ".venv" / STAMP).write_text(text)
    prepare()
    assert tools.steps == ["venv", "pip", "uv"]


def test_somebody_elses_environment_is_left_alone(prepare: Prepare, tools: Tools, project: Path) -> None:
    theirs = project / ".venv" / "pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.write_text("home = /usr/bin\n")
    with pytest.raises(SetupError, match="was not made by make"):
        prepare()
    assert theirs.exists()
    assert tools.asked == []


def test_a_failure_shows_the_end_of_the_output_and_what_to_do(prepare: Prepare, tools: Tools) -> None:
    tools.fails = "-m pip install"
    with pytest.raises(SetupError) as error:
        prepare()
    assert "  | said by uv" in str(error.value)
    assert f".venv/{LOG}" in str(error.value)
    assert "PIP_INDEX_URL=" in str(error.value)


def test_without_network_uvs_cache_is_tried(prepare: Prepare, tools: Tools) -> None:
    prepare()

    def only_offline(command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
        tools(command, environ, log)
        return 0 if "--offline" in command else 1

    root = Path(tools.asked[-1].split("--editable ")[1].split()[0])
    tools.asked.clear()
    Environment(root, root / ".venv", {}, only_offline).prepare(("test",), lambda: PYTHON)
    assert tools.steps == ["uv", "offline"]


def test_variables_that_mislead_pip_and_python_do_not_reach_them(prepare: Prepare, tools: Tools) -> None:
    prepare(environ={"PIP_USER": "1", "PYTHONPATH": "/x", "PYTHONHOME": "/y", "HOME": "/home/me"})
    assert tools.environ["HOME"] == "/home/me"
    assert not {"PIP_USER", "PYTHONPATH", "PYTHONHOME"} & set(tools.environ)


def test_uv_hears_what_pip_is_told(prepare: Prepare, tools: Tools) -> None:
    prepare()
    assert tools.environ["UV_HTTP_TIMEOUT"] == "77"


def test_two_calls_at_once_make_it_once(tmp_path: Path) -> None:
    # setup.py with a Python that takes its time over `-m venv`, then fails: the second call must wait for the first.
    root = tmp_path / "project"
    source = Path(__file__).parent.parent.parent / "scripts"
    (root / "scripts" / "bootstrap").mkdir(parents=True)
    for name in ("setup.py", "bootstrap/__init__.py", "bootstrap/environment.py", "bootstrap/pip_config.py"):
        (root / "scripts" / name).write_text((source / name).read_text())
    (root / "pyproject.toml").write_text("")
    slow = root / "slow"
    slow.write_text("#!/bin/sh\necho begin >> order; sleep 0.5; echo end >> order; exit 1\n")
    slow.chmod(0o755)
    (root / "scripts" / "bootstrap" / "pythons.py").write_text(
        "from typing import NamedTuple\n"
        "class Python(NamedTuple):\n    path: str\n    number: str\n"
        "def candidates(home):\n    return []\n"
        f"def choose(programs):\n    return Python({str(slow)!r}, '3.12')\n"
    )
    command = [sys.executable, "scripts/setup.py", "setup"]
    calls = [
        threading.Thread(target=subprocess.run, args=(command,), kwargs={"cwd": root, "capture_output": True})
        for _ in range(2)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert (root / "order").read_text().split() == ["begin", "end", "begin", "end"]


def look(known: dict[str, Python]) -> Callable[[str], Python | None]:
    return known.get


def test_the_first_python_that_is_new_enough_and_has_venv_is_taken() -> None:
    old, bare, good = (
        Python("old", (3, 9, 1), True),
        Python("bare", (3, 12, 0), False),
        Python("good", (3, 11, 0), True),
    )
    known = {"old": old, "bare": bare, "good": good}
    assert pythons.choose(["no", "old", "bare", "good"], look(known)) == good


def test_without_venv_the_package_to_install_is_named() -> None:
    with pytest.raises(SetupError, match=r"apt install python3-venv \(or python3\.12-venv\)"):
        pythons.choose(["bare"], look({"bare": Python("bare", (3, 12, 0), False)}))


def test_without_a_new_enough_python_those_that_were_found_are_named() -> None:
    with pytest.raises(SetupError) as error:
        pythons.choose(["a", "b"], look({"a": Python("/a", (3, 9, 1), True), "b": Python("/a", (3, 9, 1), True)}))
    assert "Python 3.11 or newer is needed; found: Python 3.9.1 (/a).\n" in str(error.value)


def test_pyenvs_pythons_are_found_though_they_are_not_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert pythons.candidates(tmp_path) == [sys.executable, str(program)]


def test_a_real_python_is_seen_as_what_it_is(tmp_path: Path) -> None:
    assert pythons.probe(sys.executable) == Python(sys.executable, sys.version_info[:3], True)
    shim = tmp_path / "python"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert pythons.probe(str(shim)) is None
    assert pythons.probe(str(tmp_path / "none")) is None


def test_uv_is_told_what_pip_is_configured_to_use(tmp_path: Path) -> None:
    settings = {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "https://a.example\nhttps://b.example",
        "find-links": f"{tmp_path} https://wheels.example {tmp_path}/missing",
        "cert": "/etc/ca.pem",
        "trusted-host": "mirror.example",
        "timeout": "60",
        "no-color": "true",
    }
    assert pip_config.translate(settings, {}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://wheels.example",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_INSECURE_HOST": "mirror.example",
        "UV_HTTP_TIMEOUT": "60",
    }


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_uv_was_told_itself_stays(name: str) -> None:
    assert pip_config.translate({"index-url": "https://pip.example"}, {name: "https://uv.example"}) == {}


def test_pips_environment_overrules_its_files_and_install_overrules_global() -> None:
    listing = (
        "WARNING: something = odd\n"
        ":env:.index-url='https://env.example'\n"
        "global.cert='/global'\n"
        "global.index-url='https://global.example'\n"
        "install.cert='/install'\n"
        "list.format='columns'\n"
    )
    assert pip_config.parse(listing) == {"index-url": "https://env.example", "cert": "/install"}


def test_the_real_pips_listing_is_read(tmp_path: Path) -> None:
    environ = {**os.environ, "PIP_INDEX_URL": "https://user:it's@env.example", "PIP_CONFIG_FILE": os.devnull}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], env=environ, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs pip: python -m ensurepip")
    assert pip_config.parse(listed.stdout)["index-url"] == "https://user:it's@env.example"
