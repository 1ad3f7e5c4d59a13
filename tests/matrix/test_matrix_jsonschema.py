from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from vep_dagger.matrix.jsonschema import schema

ROOT = Path(__file__).parents[2]
CHECKER = jsonschema.Draft7Validator(schema())
MINIMAL: dict[str, Any] = {"recipe": "r", "serve": {"model": "m"}}


def test_the_committed_schema_is_up_to_date() -> None:
    committed = json.loads((ROOT / "schema" / "matrix.schema.json").read_text())
    assert committed == schema(), "run: python -m vep_dagger.matrix.jsonschema > schema/matrix.schema.json"


def test_it_is_a_schema_of_its_dialect() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("name", ["matrix.toml", "examples/cpu/matrix.toml", "examples/cpu/broken.toml"])
def test_the_matrix_files_of_this_repository_validate(name: str) -> None:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not there")
    CHECKER.validate(tomli.loads(path.read_text()))


@pytest.mark.parametrize(
    "more",
    [
        {"axes": {"vllm": ["1"], "t": {"a": {"env": {"A": "1"}}}}},
        {"include": [{"vllm": "1", "fast": True, "env": {"A": "1"}, "all2all": "pplx"}]},
        {"pins": {"nccl": {"version": "1", "gencode": ["90"]}}},
        {"gates": {"p99_ttft_ms": 2000}, "pick": {"maximize": "output_throughput"}},
    ],
)
def test_what_is_right_validates(more: dict[str, Any]) -> None:
    CHECKER.validate(MINIMAL | more)


@pytest.mark.parametrize(
    "more",
    [
        {"axs": {}},
        {"axes": {"vllm": []}},
        {"axes": {"t": {}}},
        {"axes": {"vllm": ["1", "1"]}},
        {"axes": {"t": {"a": {"evn": {}}}}},
        {"include": [{"vllm": {"a": 1}}]},
        {"pins": {"a b": "1"}},
        {"gates": {"p99": 1}},
        {"serve": {"model": "m", "nodes": 0}},
    ],
)
def test_what_is_wrong_does_not(more: dict[str, Any]) -> None:
    assert not CHECKER.is_valid(MINIMAL | more)


def test_every_key_has_a_description() -> None:
    bare = []
    for name, model in {**schema()["definitions"], "the file": schema()}.items():
        for key, value in model["properties"].items():
            target = schema()["definitions"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            if "description" not in target:
                bare.append(f"{name}.{key}")
    assert bare == []
