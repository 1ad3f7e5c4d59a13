from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.doctor.lab import Lab
from vep_dagger.doctor.probes import network


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/simple/pip/" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"])
def test_the_index_that_would_be_used_is_asked_and_its_password_is_not_shown(
    lab: Lab, index: str, variable: str
) -> None:
    lab.environ[variable] = f"http://user:pass@{index}/simple/"
    finding = lab.find(network.probe_package_index)
    assert (finding.state, finding.what) == ("ok", "127.0.0.1 answers")


def test_an_address_that_answers_with_an_error_is_limited(lab: Lab, index: str) -> None:
    lab.environ["HF_ENDPOINT"] = f"http://{index}"
    finding = lab.find(network.probe_model_hub)
    assert (finding.state, finding.what) == ("limited", "127.0.0.1 answers with status 503")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://[bad", "no address"])
def test_an_address_that_nobody_answers_at_is_missing(lab: Lab, address: str) -> None:
    lab.environ["HF_ENDPOINT"] = address
    assert lab.find(network.probe_model_hub).state == "missing"
