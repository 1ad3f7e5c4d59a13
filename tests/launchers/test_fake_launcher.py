"""The fake launcher keeps to its script, in the shapes of vLLM."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.fake import FakeLauncher, FakeServer, Script

pytestmark = pytest.mark.anyio
MakeImage = Callable[..., BuiltImage]


def get(server: FakeServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, verify=False)


def complete(server: FakeServer) -> httpx.Response:
    body = {"model": "tiny", "prompt": "The capital of France is", "max_tokens": 4}
    return httpx.post(f"{server.url}/v1/completions", json=body, trust_env=False, verify=False)


async def test_its_answers_have_the_shapes_of_vllm(spec: ServerSpec, make_image: MakeImage) -> None:
    async with FakeLauncher(Script(version="0.26.0", answer=" Rome.")).start(make_image(), spec) as server:
        assert get(server, "/version").json() == {"version": "0.26.0"}
        assert get(server, "/v1/models").json()["data"][0]["id"] == "tiny"
        answer = complete(server).json()
        assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", " Rome.")
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        metrics = get(server, "/metrics").text.splitlines()
        assert 'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 1.0' in metrics
        assert 'vllm:generation_tokens_total{engine="0",model_name="tiny"} 4.0' in metrics
        assert get(server, "/nowhere").status_code == 404


async def test_health_and_lines_come_when_the_script_says(spec: ServerSpec, make_image: MakeImage) -> None:
    script = Script(lines=((1.0, "late"), "early"), healthy_after_s=1.0)
    async with FakeLauncher(script).start(make_image(), spec) as server:
        assert get(server, "/health").status_code == 503
        assert complete(server).status_code == 503
        assert spec.log.read_text() == "early\n"
        await anyio.sleep(1.1)
        assert get(server, "/health").status_code == 200
        assert spec.log.read_text() == "early\nlate\n"


async def test_it_dies_at_the_request_of_the_script_with_its_last_lines(
    spec: ServerSpec, make_image: MakeImage
) -> None:
    script = Script(die_at_request=2, exit_code=5, last_lines=("NotImplementedError: all_gatherv",))
    async with FakeLauncher(script).start(make_image(), spec) as server:
        assert complete(server).status_code == 200
        with pytest.raises(httpx.TransportError):
            complete(server)
        assert server.exited() == 5
        with anyio.fail_after(2):
            assert await server.wait() == 5
        assert (await server.stop(1)).exit_code == 5
    assert spec.log.read_text() == "NotImplementedError: all_gatherv\n"


BENCH = ("vllm", "bench", "serve", "--num-prompts", "20", "--result-filename", "short-1.json", "--result-dir")


async def test_a_client_writes_a_result_where_it_was_asked_to(
    spec: ServerSpec, make_image: MakeImage, tmp_path: Path
) -> None:
    script = Script(bench={"output_throughput": 99.0})
    async with FakeLauncher(script).start(make_image(), spec) as server:
        assert await server.run((*BENCH, str(tmp_path / "raw")), tmp_path / "client.log", {}) == 0
        assert server.clients == [(*BENCH, str(tmp_path / "raw"))]
        assert "success" in get(server, "/metrics").text
        assert server.requests == 20
    result = json.loads((tmp_path / "raw" / "short-1.json").read_text())
    assert (result["num_prompts"], result["completed"], result["failed"]) == (20, 20, 0)
    assert (result["output_throughput"], result["p99_ttft_ms"]) == (99.0, 40.0)
    assert "Serving Benchmark Result" in (tmp_path / "client.log").read_text()


async def test_a_death_under_a_client_makes_completed_smaller_and_not_the_exit_code(
    spec: ServerSpec, make_image: MakeImage, tmp_path: Path
) -> None:
    async with FakeLauncher(Script(die_at_request=8)).start(make_image(), spec) as server:
        assert await server.run((*BENCH, str(tmp_path)), tmp_path / "client.log", {}) == 0
        assert server.exited() == 1
    assert json.loads((tmp_path / "short-1.json").read_text())["completed"] == 7


async def test_a_failed_client_writes_no_result(spec: ServerSpec, make_image: MakeImage, tmp_path: Path) -> None:
    async with FakeLauncher(Script(bench_exit_code=2)).start(make_image(), spec) as server:
        assert await server.run((*BENCH, str(tmp_path)), tmp_path / "client.log", {}) == 2
    assert not (tmp_path / "short-1.json").exists()


async def test_a_script_can_depend_on_the_cell_and_servers_are_kept(spec: ServerSpec, make_image: MakeImage) -> None:
    launcher = FakeLauncher(lambda asked: Script(version="bad" if asked.name == "cell-2" else "good"))
    for name in ("cell-1", "cell-2"):
        async with launcher.start(make_image(), replace(spec, name=name)) as server:
            assert get(server, "/version").json()["version"] == ("good" if name == "cell-1" else "bad")
    assert [server.spec.name for server in launcher.servers] == ["cell-1", "cell-2"]
    assert [server.exited() for server in launcher.servers] == [0, 0]


def test_no_code_of_the_package_uses_the_fake() -> None:
    source = Path(__file__).parents[2] / "src" / "vep_dagger"
    users = [path.name for path in source.rglob("*.py") if "launchers.fake" in path.read_text()]
    assert users == ["fake.py"]


async def test_a_start_is_as_warm_as_the_script_says_and_counts_how_often_it_was_settled(
    spec: ServerSpec, make_image: MakeImage
) -> None:
    async with FakeLauncher(Script(warm=True)).start(make_image(), spec) as server:
        assert server.warm is True
        assert server.settled_times == 0
        await server.settled()
        assert server.settled_times == 1
    async with FakeLauncher().start(make_image(), spec) as server:
        assert server.warm is None
