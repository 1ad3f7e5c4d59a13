"""Flags that a matrix file may not give: as vLLM's parser reads them, whole or begun."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Document, Matrix
from vep_dagger.plan import Plan, make_plan
from vep_dagger.plan.deployment import OWN_BENCH_FLAGS, OWN_FLAGS
from vep_dagger.plan.nodes import LAYOUT_FLAGS, RANK_FLAGS
from vep_dagger.plan.own_flags import read_as

FLAGS = Path(__file__).parent / "vllm-flags"
"""Every flag with two dashes of a release's ``vllm serve`` or ``vllm bench serve``, as its parser has them."""

SERVE = ["serve-0.27.0", "serve-0.32.0"]

TEXT = """
recipe = "vllm-ep"
[pins]
vllm = "0.11.0"
[serve]
model = "deepseek-ai/DeepSeek-R1-0528"
data_parallel = 16
expert_parallel = true
all2all = "naive"
"""
NODES = TEXT + "nodes = 2\n"


def plan_of(text: str, *args: str) -> Plan:
    text = text + "[serve.args]\n" + "".join(f"{arg}\n" for arg in args)
    return make_plan(Matrix.from_document(Document.from_bytes(text.encode())))


def refusal(text: str, *args: str) -> MatrixError:
    with pytest.raises(MatrixError) as refused:
        plan_of(text, *args)
    return refused.value


def known(name: str) -> list[str]:
    return (FLAGS / f"{name}.txt").read_text().split()


def argparse_reads(flags: list[str], given: str) -> str | None:
    """The flag that Python's own parser takes ``given`` for; None where it refuses it."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for flag in flags:
        parser.add_argument(flag, dest=flag, action="store_const", const=flag)
    try:
        found, rest = parser.parse_known_args([given])
    except (argparse.ArgumentError, SystemExit):
        return None
    return None if rest else next(value for value in vars(found).values() if value)


@pytest.mark.parametrize(
    ("release", "own"),
    [*((release, OWN_FLAGS | LAYOUT_FLAGS | set(RANK_FLAGS)) for release in SERVE), ("bench-0.32.0", OWN_BENCH_FLAGS)],
)
def test_whatever_vllms_parser_takes_for_a_flag_of_ours_is_told_as_one(release: str, own: frozenset[str]) -> None:
    flags = known(release)
    for flag in flags:
        plain = flag.removeprefix("--").removeprefix("no-")
        begun = [flag[:end] for end in range(3, len(flag) + 1)] if plain in own else [flag]
        for given in begun:
            read = argparse_reads(flags, given)
            if read is not None and read.removeprefix("--").removeprefix("no-") in own:
                assert read_as(given.removeprefix("--"), own), given
            elif read == given:
                assert read_as(given.removeprefix("--"), own) is None, f"{given} is another flag"


@pytest.mark.parametrize(
    ("arg", "flag"),
    [
        ("data-parallel-start = 8", "--data-parallel-start-rank"),
        ("data-parallel-siz = 4", "--data-parallel-size"),
        ("tensor-parallel = 4", "--tensor-parallel-size"),
        ("headles = true", "--headless"),
        ("data_parallel_addr = '10.0.0.1'", "--data-parallel-address"),
        ("enable-expert = false", "--enable-expert-parallel"),
        ("no-enable-expert = true", "--enable-expert-parallel"),
    ],
)
def test_a_flag_that_is_begun_is_refused_like_the_whole_one_which_is_named(arg: str, flag: str) -> None:
    error = refusal(NODES, arg)
    assert f"is short for {flag}, which" in error.what
    assert "vep" in error.what
    assert error.where.excerpt == arg  # type: ignore[union-attr]


def test_what_lays_nodes_out_may_be_told_to_a_server_of_one() -> None:
    (deployment,) = plan_of(TEXT, "data-parallel-backend = 'mp'").deployments
    assert deployment.args[-2:] == ("--data-parallel-backend", "mp")


@pytest.mark.parametrize("arg", ["api-key = 'k'", "'api_key.x' = 'k'", "no-api-key = true"])
def test_a_secret_is_one_however_it_is_written(arg: str) -> None:
    assert "is a secret and cannot stand in a matrix file" in refusal(TEXT, arg).what


@pytest.mark.parametrize(("arg", "short"), [("api-ke = 'k'", "api-key"), ("hf_tok = 'k'", "hf-token")])
def test_a_secret_is_none_the_less_one_for_being_begun(arg: str, short: str) -> None:
    assert f"short for {short}, is a secret" in refusal(TEXT, arg).what


def test_a_flag_that_the_cells_backend_sets_is_its_own_by_its_beginning_too() -> None:
    text = TEXT.replace("0.11.0", "0.16.0").replace('"naive"', '"allgather_reducescatter"')
    assert "--all2all is short for --all2all-backend, which is given by vep" in refusal(text, "all2all = 'pplx'").what


def test_flags_of_the_client_are_its_own_by_their_beginnings_too() -> None:
    load = '[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts=1\n[bench.args]\n'
    with pytest.raises(MatrixError, match="short for --num-prompts, which is given by vep itself"):
        make_plan(Matrix.from_document(Document.from_bytes((TEXT + load + "num-prom = 7\n").encode())))


@pytest.mark.parametrize("value", ["'--headless'", "['a', '--headless']", "'-pp'"])
def test_a_flag_cannot_come_in_as_a_value(value: str) -> None:
    assert "vLLM takes it for a flag" in refusal(NODES, f"lora-modules = {value}").what
    load = '[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts=1\n[bench.args]\n'
    with pytest.raises(MatrixError, match="vLLM takes it for a flag"):
        make_plan(Matrix.from_document(Document.from_bytes(f"{TEXT}{load}goodput = {value}\n".encode())))


@pytest.mark.parametrize("value", ["-1", "'-1'", "'-0.5'", "'a-b'", "'-'"])
def test_negative_numbers_are_values(value: str) -> None:
    assert plan_of(NODES, f"seed = {value}").deployments
