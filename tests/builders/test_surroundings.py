from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.builders.surroundings import for_commands, for_uv, pip_settings
from vep_dagger.builders.uv_words import with_links
from vep_dagger.builders.venv.interpreter import choose, running, specifier


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "no"), "SSL_CERT_FILE": "/certs.pem"}


def pip_conf(home: dict[str, str], text: str) -> None:
    file = Path(home["HOME"], ".config", "pip", "pip.conf")
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_what_would_decide_content_does_not_reach_uv(home: dict[str, str]) -> None:
    wrong = "VIRTUAL_ENV UV_PROJECT_ENVIRONMENT UV_PYTHON UV_SYSTEM_PYTHON UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE_NEWER "
    wrong += "UV_RESOLUTION UV_PRERELEASE UV_TORCH_BACKEND PYTHONPATH PYTHONHOME PIP_TARGET HF_TOKEN"
    assert set(wrong.split()).isdisjoint(for_uv(home | dict.fromkeys(wrong.split(), "x")))


def test_how_packages_are_reached_does(home: dict[str, str]) -> None:
    given = {
        "UV_INDEX": "https://example.org/simple",
        "UV_INDEX_COMPANY_PASSWORD": "x",
        "UV_CACHE_DIR": "/cache",
        "HTTPS_PROXY": "http://proxy:1",
    }
    assert (home | given).items() <= for_uv(home | given).items()


def test_commands_know_nothing_of_uv_or_pip(home: dict[str, str]) -> None:
    assert for_commands(home | {"UV_INDEX": "x", "PIP_INDEX_URL": "y", "HF_TOKEN": "z"}) == home


def test_pips_words_are_given_to_uv_in_uvs_spelling(home: dict[str, str], tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    pip_conf(
        home,
        "[global]\nindex-url = https://mirror.example.org/simple\n"
        "[install]\nextra-index-url =\n    https://one.example.org\n    https://two.example.org\n"
        f"find-links = {wheels} /no/such/place https://example.org/files\n",
    )
    words = for_uv(home)
    assert words["UV_DEFAULT_INDEX"] == "https://mirror.example.org/simple"
    assert words["UV_INDEX"] == "https://one.example.org https://two.example.org"
    assert words["UV_FIND_LINKS"] == f"{wheels},https://example.org/files"
    assert words["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_pips_variables_win_over_its_files_as_in_pip(home: dict[str, str]) -> None:
    pip_conf(home, "[global]\nindex-url = https://file.example.org\n")
    assert (
        pip_settings(home | {"PIP_INDEX_URL": "https://variable.example.org"})["index-url"]
        == "https://variable.example.org"
    )
    assert pip_settings(home | {"PIP_CONFIG_FILE": "/dev/null"}) == {}


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_uvs_own_words_win_over_pips(name: str, home: dict[str, str]) -> None:
    words = for_uv(home | {"PIP_INDEX_URL": "https://pip.example.org", name: "https://uv.example.org"})
    assert words[name] == "https://uv.example.org"
    assert "https://pip.example.org" not in words.values()


def test_indexes_in_the_users_uv_toml_win_over_pips(home: dict[str, str]) -> None:
    file = Path(home["HOME"], ".config", "uv", "uv.toml")
    file.parent.mkdir(parents=True)
    file.write_text('[[index]]\nurl = "https://uv.example.org"\n')
    assert "UV_DEFAULT_INDEX" not in for_uv(home | {"PIP_INDEX_URL": "https://pip.example.org"})


def test_a_damaged_pip_conf_is_no_reason_to_fail(home: dict[str, str]) -> None:
    before = pip_settings(home)
    pip_conf(home, "not a configuration\n")
    assert pip_settings(home) == before


def test_more_places_are_added_without_doubles_and_without_missing_directories(tmp_path: Path) -> None:
    assert with_links("", []) == ""
    assert with_links(str(tmp_path), [str(tmp_path), "/no/such", "https://x/"]) == f"{tmp_path},https://x/"


def test_the_interpreter_of_vep_itself_is_preferred() -> None:
    assert choose(">=3.11", Path("/no/uv"), {}) == running()
    assert Path(running().path).exists()


@pytest.mark.parametrize(
    ("version", "inside", "outside"),
    [("3.12", "3.12.9", "3.13.0"), ("3.12.1", "3.12.1", "3.12.2"), (">=3.11,<3.13", "3.12.0", "3.13.0")],
)
def test_a_release_or_a_specifier_says_which_interpreters_will_do(version: str, inside: str, outside: str) -> None:
    assert inside in specifier(version)
    assert outside not in specifier(version)
