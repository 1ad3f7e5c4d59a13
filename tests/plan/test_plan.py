"""What a matrix comes to: cells, servers, images, jobs; and what is refused with its place in the file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Matrix
from vep_dagger.plan import Plan, make_plan

ROOT = Path(__file__).parents[2]
CPU = ROOT / "examples" / "cpu"

HEAD = 'recipe = "vllm-cpu"\n[pins]\nvllm = "0.32.0"\n'
SERVE = '[serve]\nmodel = "./model"\n'
GPU = """
recipe = "vllm-ep"
[axes]
vllm = ["0.16.0", "0.18.0"]
all2all = ["pplx", "naive"]
[serve]
model = "deepseek-ai/DeepSeek-R1-0528"
data_parallel = 8
expert_parallel = true
"""

OWN_RECIPE = """
from vep_dagger.dsl import Build, Image, Pins, Version, image, recipe

class OwnPins(Pins):
    nccl: Version

@recipe("own")
def own(pins: OwnPins) -> Image:
    return Image("own", "own", "0.32.0", image("debian"), Build())
"""


class PlanOf(Protocol):
    """Writes a matrix file and plans it."""

    def __call__(self, text: str, only: str | None = None) -> Plan: ...


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    def make(text: str, only: str | None = None) -> Plan:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "config.json").write_text("{}")
        (tmp_path / "matrix.toml").write_text(text)
        return make_plan(Matrix.load(tmp_path / "matrix.toml"), only=only)

    return make


def test_cells_that_differ_only_in_their_server_share_an_image(plan_of: PlanOf) -> None:
    plan = plan_of(
        HEAD
        + "[axes.batching]\none = { args = { max-num-seqs = 1 } }\nmany = { args = { max-num-seqs = 8 } }\n"
        + SERVE
    )
    assert [cell.cell.slug for cell in plan.cells] == ["one", "many"]
    assert (len(plan.images), len(plan.deployments)) == (1, 2)


def test_cells_that_differ_in_nothing_share_a_server(plan_of: PlanOf) -> None:
    text = HEAD + '[axes.note]\na = { env = { X = "1" } }\nb = { env = { X = "1" } }\n' + SERVE
    plan = plan_of(text + '[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts=1\n')
    assert len(plan.deployments) == 1
    assert [job.id for job in plan.jobs][1:] == ["smoke:a", "bench:a:s"]
    assert plan.document().deployments[0].cells == ["a", "b"]


def test_an_expression_does_not_change_whose_name_a_shared_server_bears(plan_of: PlanOf) -> None:
    text = HEAD + '[axes.note]\na = { env = { X = "1" } }\nb = { env = { X = "1" } }\n' + SERVE
    plan = plan_of(text, only="b")
    assert [cell.cell.slug for cell in plan.cells] == ["b"]
    assert plan.deployments[0].slug == "a"


def test_a_backend_that_a_release_lost_makes_its_cells_impossible_with_the_reason(plan_of: PlanOf) -> None:
    plan = plan_of(GPU)
    reasons = {cell.cell.slug: cell.impossible for cell in plan.cells}
    assert reasons["vllm0.16.0-pplx"] is None
    assert reasons["vllm0.18.0-naive"] is None
    assert "0.16" in (reasons["vllm0.18.0-pplx"] or "")
    assert plan.possible == 3


def test_the_seed_is_planned_in_eight_cells_two_images_and_no_layer_twice() -> None:
    plan = make_plan(Matrix.load(ROOT / "matrix.toml"))
    assert (len(plan.cells), plan.possible, len(plan.images), len(plan.deployments)) == (8, 8, 2, 8)
    assert len(plan.layers) == len({layer.key for layer in plan.layers})
    assert plan.layer_builds_alone > 4 * len(plan.layers)


def test_a_directory_model_is_known_by_what_it_holds_and_not_by_where_it_is(plan_of: PlanOf, tmp_path: Path) -> None:
    before = plan_of(HEAD + SERVE).deployments[0]
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("elsewhere"))
    assert make_plan(Matrix.load(moved / "matrix.toml")).deployments[0].key == before.key
    (tmp_path / "model" / "config.json").write_text('{"hidden_size": 2}')
    assert make_plan(Matrix.load(tmp_path / "matrix.toml")).deployments[0].key != before.key


def test_a_directory_model_is_served_without_the_hub(plan_of: PlanOf) -> None:
    assert dict(plan_of(HEAD + SERVE).deployments[0].env)["HF_HUB_OFFLINE"] == "1"


def test_patience_is_not_part_of_a_key_and_prompts_are(plan_of: PlanOf) -> None:
    keys = [
        {job.kind: job.key for job in plan_of(HEAD + SERVE + smoke).jobs}["smoke"]
        for smoke in ("", "[smoke.deadlines]\nlaunch = 1\n", '[smoke]\nprompts = ["x"]\n')
    ]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_a_bench_job_is_known_by_its_workload(plan_of: PlanOf) -> None:
    def keys(prompts: int) -> dict[str, str]:
        load = f'[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts={prompts}\n'
        return {job.kind: job.key for job in plan_of(HEAD + SERVE + load).jobs}

    one, other = keys(10), keys(20)
    assert one["smoke"] == other["smoke"]
    assert one["bench"] != other["bench"]


@pytest.mark.parametrize("number", ["1", "1.0", "1e0"])
def test_a_number_has_one_key_however_it_is_written(plan_of: PlanOf, number: str) -> None:
    def key(rate: str) -> str:
        load = f'[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts=1\nrequest_rate={rate}\n'
        return {job.kind: job.key for job in plan_of(HEAD + SERVE + load).jobs}["bench"]

    assert key(number) == key("1.00")


def test_the_document_is_the_same_in_every_process_and_directory(tmp_path: Path) -> None:
    shutil.copytree(CPU, tmp_path / "copy", ignore=shutil.ignore_patterns("runs"))
    texts = set()
    for seed, folder in (("0", CPU), ("1", CPU), ("2", tmp_path / "copy")):
        run = subprocess.run(
            [sys.executable, "-m", "vep_dagger.cli", "plan", str(folder / "matrix.toml"), "--json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(run.stdout)
    assert len(texts) == 1
    document = json.loads(texts.pop())
    assert next(cell["slug"] for cell in document["cells"]) == "vllm0.27.0-seqs1"


def refusal(plan_of: PlanOf, text: str) -> str:
    with pytest.raises(MatrixError) as caught:
        plan_of(text)
    assert caught.value.exit_code == 2
    return caught.value.render()


def test_a_release_that_does_not_exist_is_refused_at_its_place(plan_of: PlanOf) -> None:
    message = refusal(plan_of, 'recipe = "vllm-cpu"\n[axes]\nvllm = ["0.32.0", "0.31.9"]\n' + SERVE)
    assert "0.31.9" in message
    assert "matrix.toml:3:19" in message


def test_an_unknown_pin_is_refused_with_the_nearest_right_one(plan_of: PlanOf) -> None:
    message = refusal(plan_of, HEAD.replace("vllm =", "vlm =") + SERVE)
    assert "vlm" in message
    assert "did you mean 'vllm'?" in message


def test_a_pin_that_a_recipe_needs_is_asked_for(plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_RECIPE)
    assert "needs the pin 'nccl'" in refusal(plan_of, 'recipe = "own.py:own"\n' + SERVE)


def test_an_unknown_recipe_is_refused_with_the_nearest_right_one(plan_of: PlanOf) -> None:
    assert "vllm-cpu" in refusal(plan_of, HEAD.replace("vllm-cpu", "vllm-cpi") + SERVE)


def test_a_model_directory_that_is_not_there_is_refused_at_its_place(plan_of: PlanOf) -> None:
    message = refusal(plan_of, HEAD + SERVE.replace("./model", "./modell"))
    assert "./modell does not exist" in message
    assert "matrix.toml:5:9" in message


def test_a_flag_that_vep_gives_itself_is_refused(plan_of: PlanOf) -> None:
    message = refusal(plan_of, HEAD + SERVE + "[serve.args]\ntensor-parallel-size = 2\n")
    assert "--tensor-parallel-size is given by vep itself" in message


def test_a_variable_that_contradicts_the_chosen_backend_is_refused(plan_of: PlanOf) -> None:
    text = GPU.replace('["0.16.0", "0.18.0"]', '["0.16.0"]') + '[serve.env]\nVLLM_ALL2ALL_BACKEND = "pplx"\n'
    assert "VLLM_ALL2ALL_BACKEND=pplx contradicts" in refusal(plan_of, text)


def test_a_newer_release_than_the_data_knows_is_a_warning(plan_of: PlanOf) -> None:
    text = GPU.replace('["0.16.0", "0.18.0"]', '["0.99.0"]').replace('["pplx", "naive"]', '["allgather_reducescatter"]')
    plan = plan_of(text + '[pins]\ncuda = "13.0.2"\nnvshmem = "v3.4.5-0"\n')
    assert any("0.99.0 is not known" in warning for warning in plan.all_warnings)


def test_a_file_without_serve_comes_to_images_alone_whatever_their_release(plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_RECIPE.replace("Build()", "Build().export(NCCL=pins.nccl)"))
    axes = '[axes]\nnccl = ["1.0", "2.0"]\n'
    plan = plan_of('recipe = "own.py:own"\n' + axes)
    assert [cell.impossible for cell in plan.cells] == [None, None]
    assert (plan.possible, len(plan.images), plan.deployments) == (2, 2, ())
    assert [job.kind for job in plan.jobs] == ["build", "build"]
    cells = plan.document().cells
    assert [cell.image for cell in cells] == [image.key for image in plan.images]
    assert {cell.deployment for cell in cells} == {None}


@pytest.mark.parametrize(
    "setting",
    [
        '[serve.args]\napi_key = "k"\n',
        '[serve.args]\nhf-token = "k"\n',
        '[serve.env]\nVLLM_API_KEY = "k"\n',
    ],
)
def test_a_secret_in_the_matrix_file_is_refused(plan_of: PlanOf, setting: str) -> None:
    message = refusal(plan_of, HEAD + SERVE + setting)
    assert "is a secret and cannot stand in a matrix file" in message
    assert "matrix.toml:7:" in message


def test_the_revision_of_a_model_is_given_once(plan_of: PlanOf) -> None:
    assert "--revision is given by vep itself" in refusal(plan_of, HEAD + SERVE + '[serve.args]\nrevision = "main"\n')


def test_a_backend_that_nobody_knows_is_refused_where_a_named_choice_has_it(plan_of: PlanOf) -> None:
    text = GPU.replace('all2all = ["pplx", "naive"]\n', '[axes.kernels]\none = { all2all = "no-such" }\n')
    message = refusal(plan_of, text)
    assert "no-such" in message
    assert "matrix.toml:6:" in message


@pytest.mark.parametrize("flag", ["num_prompts = 7", "header = 'Authorization=Bearer x'"])
def test_a_flag_of_the_client_that_vep_gives_itself_is_refused(plan_of: PlanOf, flag: str) -> None:
    load = f'[[bench]]\nname="s"\ninput_len=1\noutput_len=1\nnum_prompts=1\n[bench.args]\n{flag}\n'
    assert "is given by vep itself" in refusal(plan_of, HEAD + SERVE + load)


def test_a_flag_that_takes_back_what_a_key_says_is_refused(plan_of: PlanOf) -> None:
    text = HEAD + SERVE + "[serve.args]\nno-enable-expert-parallel = true\n"
    assert "--no-enable-expert-parallel is given by vep itself" in refusal(plan_of, text)
