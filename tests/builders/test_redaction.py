from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.builders.redaction import hidden_values, redacted
from vep_dagger.builders.surroundings import container_surroundings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path), "SSL_CERT_FILE": "/certs.pem"}


def shown(text: str, environ: dict[str, str], *names: str) -> str:
    return redacted(text, hidden_values(names, environ, container_surroundings(environ)))


def test_credentials_of_named_indexes_are_not_seen(home: dict[str, str]) -> None:
    environ = home | {"UV_INDEX_MINE_USERNAME": "__token__", "UV_INDEX_MINE_PASSWORD": "p w'd$"}
    assert shown("as __token__ with p w'd$", environ) == "as <UV_INDEX_MINE_USERNAME> with <UV_INDEX_MINE_PASSWORD>"


def test_credentials_of_mirrors_are_not_seen(home: dict[str, str]) -> None:
    mirrors = {"https://whl/": "https://me:password@mirror.example.org/whl/"}
    hidden = hidden_values((), home, container_surroundings(home, mirrors))
    assert redacted(mirrors["https://whl/"], hidden) == "https://<credentials>@mirror.example.org/whl/"


def test_credentials_in_addresses_are_not_seen_together_alone_or_decoded(home: dict[str, str]) -> None:
    environ = home | {"UV_DEFAULT_INDEX": "https://me:pass%21word@example.org/simple"}
    assert shown("https://me:pass%21word@example.org/simple", environ) == "https://<credentials>@example.org/simple"
    assert shown("pass%21word, pass!word, and me", environ) == "<credentials>, <credentials>, and me"


@pytest.mark.parametrize("name", ["PIP_EXTRA_INDEX_URL", "UV_INDEX", "HTTPS_PROXY"])
def test_a_token_in_an_address_is_not_seen_wherever_it_is_from(name: str, home: dict[str, str]) -> None:
    environ = home | {name: "https://t0ken@example.org/"}
    assert "t0ken" not in shown("got t0ken", environ)


def test_secrets_of_the_recipe_go_by_their_names_line_by_line_and_the_longest_first(home: dict[str, str]) -> None:
    environ = home | {"KEY": "first line\nsecond line", "SHORT": "line"}
    assert shown("first line|second line|line", environ, "KEY", "SHORT") == "<KEY>|<KEY>|<SHORT>"


def test_what_is_too_short_for_a_secret_stays(home: dict[str, str]) -> None:
    assert shown("a me", home | {"UV_INDEX_MINE_USERNAME": "me"}) == "a me"
