"""Pins of ``vllm-ep`` that do nothing: told in a plan, and no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from vep_dagger.plan import Plan, load_plan

COMMIT = "c18eabdebf1381978ff884d278f6083a6153be3f"
OTHER = "e3908bf5bd0cc6265bcb225d15cd8c996d4759ef"
WHEEL = "https://x/nvidia_nvshmem_cu12-3.3.9-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
RELEASES = """
[axes.release]
old = { pins = { vllm = "0.10.1.1" } }
new = { pins = { vllm = "0.20.0", cuda = "13.0.2", nvshmem = "v3.4.5-0" } }
"""


def planned(directory: Path, text: str) -> Plan:
    file = directory / "matrix.toml"
    file.write_text(f'recipe = "vllm-ep"\n{text}', encoding="utf-8")
    return load_plan(file)


def test_a_matrix_over_releases_that_use_a_component_and_that_do_not_is_told_of_it(tmp_path: Path) -> None:
    pplx = "12cecfda252e4e646417ac263d96e994d476ee5d"
    plan = planned(tmp_path, f'[pins]\npplx = "{pplx}"\ndeepep = "{COMMIT}"\n{RELEASES}')
    old, new = plan.document().cells

    assert plan.possible == 2
    assert old.warnings == []
    assert new.warnings == plan.all_warnings
    (note,) = plan.all_warnings
    assert note.startswith("the pin pplx has no effect with vLLM 0.20.0, which has no backend that uses pplx")


def test_a_release_that_holds_deepgemm_takes_no_other(tmp_path: Path) -> None:
    deepgemm = "ea9c5d9270226c5dd7a577c212e9ea385f6ef048"
    plan = planned(tmp_path, f'[pins]\ndeepgemm = "{deepgemm}"\n{RELEASES}')

    assert [note.partition(";")[0] for note in plan.all_warnings] == [
        "the pin deepgemm has no effect with vLLM 0.20.0, which holds DeepGEMM itself"
    ]


def test_an_axis_over_a_pin_without_effect_makes_one_image_and_says_so_once(tmp_path: Path) -> None:
    axis = f'[axes]\npplx = ["{COMMIT}", "{OTHER}"]\n'
    plan = planned(tmp_path, f'[pins]\nvllm = "0.20.0"\ncuda = "13.0.2"\nnvshmem = "v3.4.5-0"\n{axis}')

    assert len(plan.cells) == 2
    assert len(plan.images) == 1
    (note,) = plan.all_warnings
    assert note.endswith("cells that differ in it alone share one image")


def test_what_nobody_wrote_is_not_told(tmp_path: Path) -> None:
    assert planned(tmp_path, RELEASES).all_warnings == []


@pytest.mark.parametrize(
    ("pins", "name"),
    [
        (f'nvshmem = {{ wheel = "{WHEEL}", architectures = ["90a"] }}', "nvshmem.architectures"),
        (
            'cuda = { devel = "own/devel:1", runtime = "own/runtime:1", distribution = "ubuntu24.04" }',
            "cuda.distribution",
        ),
    ],
)
def test_a_key_beside_one_that_overrules_it_is_told(tmp_path: Path, pins: str, name: str) -> None:
    (note,) = planned(tmp_path, f'[pins]\nvllm = "0.11.0"\n{pins}\n').all_warnings

    assert note.startswith(f"the pin {name} has no effect")
