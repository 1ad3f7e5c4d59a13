"""Pins of ``vllm-ep`` that cannot be: refused in a plan, at the pin's place, with the reason and what works instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from vep_dagger.dsl import Pins
from vep_dagger.errors import MatrixError
from vep_dagger.plan import load_plan
from vep_dagger.recipes.vllm_ep_pins import VllmEpPins

SHORT = "12cecfd"
WHEEL = "https://x/nvidia_nvshmem_cu12-3.3.9-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"


def refused(directory: Path, vllm: str, pins: str) -> str:
    file = directory / "matrix.toml"
    file.write_text(f'recipe = "vllm-ep"\n[pins]\n{pins}\n[axes]\nvllm = ["{vllm}"]\n', encoding="utf-8")
    with pytest.raises(MatrixError) as error:
        load_plan(file)
    return error.value.render()


def impossible(directory: Path, vllm: str, pins: str) -> str | None:
    file = directory / "matrix.toml"
    file.write_text(f'recipe = "vllm-ep"\n[pins]\n{pins}\n[axes]\nvllm = ["{vllm}"]\n', encoding="utf-8")
    (cell,) = load_plan(file).cells
    return cell.impossible


@pytest.mark.parametrize(
    ("vllm", "pins", "said", "marked"),
    [
        ("0.10.1.1", 'deepep = { comit = "x" }', "the pin deepep has no key 'comit'.*did you mean 'commit'", "deepep"),
        ("0.10.1.1", 'nvshmen = "3.3.9"', "recipe 'vllm-ep' has no pin 'nvshmen'.*did you mean 'nvshmem'", "nvshmen"),
        (
            "0.10.1.1",
            f'pplx = "{SHORT}"',
            f"pin pplx.commit: '{SHORT}' is a short commit.*write all 40 characters.*`git rev-parse {SHORT}`",
            f'"{SHORT}"',
        ),
        ("0.10.1.1", 'deepep = "main"', "'main' is no commit: write all 40 characters", '"main"'),
        (
            "0.10.1.1",
            'cuda = "12.9.1"',
            r"torch 2.7.1 has no build for CUDA 12.9.*for CUDA 11.8, 12.6, 12.8: .*torch = \{ build = \"cu128\" \}",
            '"12.9.1"',
        ),
        ("0.10.1.1", 'cuda = "13.0.2"', "vLLM 0.10.1.1 is made for CUDA 12.8, and the pin cuda is 13.0.2", '"13.0.2"'),
        (
            "0.10.1.1",
            'cuda = "12.6.3"',
            r"CUDA 12.6 does not compile for 100 \(12.8 is the first that does\): pin a CUDA that does, or write "
            r'nccl = \{ gencode = \["80", "86", "89", "90"\] \} '
            r'nccl_tests = \{ gencode = \["80", "86", "89", "90"\] \} '
            r'nvshmem = \{ architectures = \["90a"\] \} pplx = \{ architectures = \["9.0a\+PTX"\] \} '
            r'deepep = \{ architectures = \["9.0a\+PTX"\] \} -->',
            '"12.6.3"',
        ),
        (
            "0.10.1.1",
            'flash_attn = { version = "v2.8.3", architectures = ["90", "120f"] }',
            r"CUDA 12.8 does not compile for 120f \(12.9 is the first that does\): .* or write "
            r'flash_attn = \{ version = "v2.8.3", architectures = \["90", "120"\] \} -->',
            "{ version",
        ),
        (
            "0.20.0",
            'cuda = "13.0.2"\nnvshmem = "v3.4.5-0"\nnccl = { gencode = ["60"] }',
            r"CUDA 13.0 does not compile for 60 \(12.9 was the last that did\): "
            r'.* write nccl = \{ gencode = \["75"\] \} -->',
            "{ gencode",
        ),
        (
            "0.10.1.1",
            'cuda = "12.6.3"\nnvshmem = { architectures = ["100"] }',
            r'nvshmem = \{ architectures = \["90a"\] \} pplx',
            '"12.6.3"',
        ),
        (
            "0.10.1.1",
            "nccl = { gencode = [] }",
            "pin nccl.gencode: an empty list makes a library without code",
            "{ gen",
        ),
        ("0.10.1.1", "nvshmem = { architectures = [] }", "pin nvshmem.architectures: an empty list makes", "{ arch"),
        ("0.10.1.1", "deepep = { architectures = [] }", "leave the key out, and the usual ones are taken", "{ arch"),
        ("0.10.1.1", "flash_attn = { architectures = [] }", "pin flash_attn.architectures: an empty list", "{ arch"),
        (
            "0.10.1.1",
            'nccl = { gencode = ["999"] }',
            "there is no architecture '999': write '121', the nearest",
            "{ gen",
        ),
        ("0.10.1.1", 'pplx = { architectures = ["9.1"] }', "there is no architecture '9.1': write '9.0a'", "{ arch"),
        ("0.10.1.1", 'pplx = { architectures = ["10.0f"] }', "torch knows no suffix 'f': write '10.0a'", "{ arch"),
        ("0.10.1.1", 'nvshmem = { architectures = ["91"] }', "write '90a' and not '91': only sm_90a has", "{ arch"),
        ("0.10.1.1", 'nccl = { gencode = ["80a"] }', "there is no architecture '80a': write '80'", "{ gen"),
        (
            "0.10.1.1",
            'nvshmem = { architectures = ["90"] }',
            "pin nvshmem.architectures.0: write '90a' and not '90': only sm_90a has the instructions",
            "{ architectures",
        ),
        (
            "0.10.1.1",
            'deepep = { architectures = ["9.0+PTX"] }',
            r"write '9.0a\+PTX' and not '9.0\+PTX': only sm_90a",
            "{ architectures",
        ),
        (
            "0.10.1.1",
            'nccl = { gencode = ["sm_90"] }',
            "'sm_90' is no architecture as nvcc writes it.*write '90'",
            "{ ge",
        ),
        (
            "0.10.1.1",
            'pplx = { architectures = ["90a"] }',
            "'90a' is no architecture as torch writes it.*write '9.0a'",
            "{ arch",
        ),
        (
            "0.10.1.1",
            'platform = "linux/arm64"',
            "vLLM 0.10.1.1 has no wheel for arm64 on PyPI; 0.10.2 is the first release that has one",
            '"linux/arm64"',
        ),
        (
            "0.11.0",
            'platform = "linux/arm64"\ntorch = { build = "pypi" }',
            "torch 2.8.0 on PyPI has no CUDA on arm64: leave the build out",
            "{ build",
        ),
        (
            "0.11.0",
            'platform = "linux/arm64"\n'
            'nvshmem = { wheel = "https://x/nvidia_nvshmem_cu12-3.3.9-py3-none-manylinux2014_x86_64.whl" }',
            "the wheel is not for linux/arm64: its name must have aarch64",
            "{ wheel",
        ),
        (
            "0.20.0",
            f'cuda = "13.0.2"\nnvshmem = {{ wheel = "{WHEEL}" }}',
            "the wheel is for CUDA 12, and the pin cuda is 13.0.2: take that of nvidia_nvshmem_cu13",
            "{ wheel",
        ),
        (
            "0.10.1.1",
            f'nvshmem = {{ version = "3.3.24", wheel = "{WHEEL}" }}',
            "the wheel is of NVSHMEM 3.3.9, and version says 3.3.24: leave the version out",
            "{ version",
        ),
        (
            "0.10.1.1",
            'nvshmem = { wheel = "https://x/nvshmem.whl" }',
            "pin nvshmem.wheel: 'https://x/nvshmem.whl' is no address of NVIDIA's wheel: write all of it",
            "{ wheel",
        ),
        (
            "0.10.1.1",
            f'nvshmem = {{ version = "3.3.9", sha256 = "{"0" * 64}", commit = "{"0" * 40}" }}',
            "a tag or a commit has none: leave sha256 out, or the commit, and the archive 3.3.9 is taken",
            "{ version",
        ),
        (
            "0.10.1.1",
            f'nvshmem = {{ version = "v3.4.5-0", sha256 = "{"0" * 64}" }}',
            "sha256 is that of an archive or a wheel, .* leave sha256 out",
            "{ version",
        ),
        (
            "0.10.1.1",
            f'nvshmem = {{ wheel = "{WHEEL}", commit = "{"0" * 40}" }}',
            "a commit is built, and a wheel is not: write one of the two",
            "{ wheel",
        ),
        (
            "0.10.1.1",
            'torch = "2.8.0"',
            "wheel is built for torch 2.7.1, and the pin is 2.8.0: leave the version",
            '"2.8.0"',
        ),
        ("0.20.0", 'cuda = "13.0.2"\ntorch = { build = "cu128" }', "build cu128 is for CUDA 12.8, and", "{ build"),
        (
            "0.10.1.1",
            'torch = { build = "cu124" }',
            'torch 2.7.1 has no build cu124 that is known here, but cu118, cu126, cu128: write build = "cu128"',
            "{ build",
        ),
        ("0.10.1.1", 'torch = { build = "cu118" }', 'cu118 is for CUDA 11.8, and .* write build = "cu128"', "{ build"),
        ("0.10.1.1", 'torch = { build = "12.8" }', "'12.8' is no build of torch: write 'cu128'", "{ build"),
        ("0.10.1.1", 'torch = { build = "cpu" }', "'cpu' is no build of torch: write 'cu128' for CUDA 12.8", "{ build"),
        ("0.11.1", 'flashinfer = "0.5.3"', "requires flashinfer-python==0.5.2, and the pin is 0.5.3: leave", '"0.5.3"'),
        (
            "0.10.1.1",
            'python = "3.13.1"',
            "vLLM 0.10.1.1 runs on Python >=3.9,<3.13, and the pin is 3.13.1: leave .* 3.12.11 is taken",
            '"3.13.1"',
        ),
        ("0.10.1.1", 'python = "3.12"', "'3.12' is no release of Python such as 3.12.11", '"3.12"'),
        ("0.10.1.1", 'before = "2025-09-01"', "no instant in UTC: write 2025-09-01T00:00:00Z", '"2025-09-01"'),
        (
            "0.10.1.1",
            'before = "2025-13-41T00:00:00Z"',
            "'2025-13-41T00:00:00Z' is no instant in UTC: write 2025-12-31T00:00:00Z",
            '"2025-13-41',
        ),
        ("0.10.1.1", 'before = "2025-02-29T25:00:00Z"', "no instant in UTC: write 2025-02-28T23:00:00Z", '"2025-02'),
        ("0.10.1.1", 'before = "soon"', "'soon' is no instant in UTC, such as 2025-09-01T00:00:00Z", '"soon"'),
        (
            "0.10.1.1",
            'nccl = "master"',
            "pin nccl.version: 'master' is no release: a branch moves, so write a release or its tag, .* "
            r'help: leave it out, and v2.27.7-1 is taken; .*: nccl = \{ version = "…", commit = "…" \}',
            '"master"',
        ),
        (
            "0.10.1.1",
            'nvshmem = { version = "main", architectures = ["90a"] }',
            "pin nvshmem.version: 'main' is no release: .* help: leave it out, and 3.3.9 is taken",
            "{ version",
        ),
        (
            "0.10.1.1",
            'pplx = "main"',
            "'main' is no commit: .* help: leave it out, and 12cecfda252e4e646417ac263d96e994d476ee5d is taken",
            '"main"',
        ),
        ("main", "", "'main' is not a vLLM release; a release is written like 0.33.0, the newest known", '"main"'),
        ("0.10.1.2", "", "vLLM 0.10.1.2 is not a release .*nearest are 0.10.1.1 and 0.10.2", '"0.10.1.2"'),
        (
            "0.10.1.1",
            'cuda = "12.8"',
            "pin cuda.version: '12.8' is no release of CUDA .* write a full one, such as 12.8.1",
            '"12.8"',
        ),
        ("0.20.0", 'cuda = "13.0"', "write a full one, such as 13.0.3", '"13.0"'),
        ("0.10.1.1", 'cuda = "cu126"', "write a full one, such as 12.6.3", '"cu126"'),
        ("0.10.1.1", "efa = { version = 2 }", "pin efa.version: expected text, .* write it in quotes", "{ version"),
        ("0.10.1.1", 'cuda = { devel = "" }', "pin cuda.devel: '' is no name of an image", "{ devel"),
        (
            "0.10.1.1",
            'cuda = { devel_digest = "latest" }',
            "'latest' is no digest: write sha256: and its 64",
            "{ devel",
        ),
        (
            "0.10.1.1",
            'efa = { sha256 = "abc" }',
            "pin efa.sha256: 'abc' is no sha256: write its 64 characters",
            "{ sha",
        ),
        ("0.10.1.1", 'python = { build = "today" }', "'today' is no day of upstream's builds, such as", "{ build"),
        ("0.10.1.1", f'deepep = "{"A" * 40}"', f"no commit as git writes it: write '{'a' * 40}'", '"AAAA'),
        ("0.10.1.1", 'nccl = { gencode = "90" }', "pin nccl.gencode: expected a list, got text", "{ gencode"),
        ("0.10.1.1", 'platform = "linux/arm"', "unknown word 'linux/arm' .* did you mean 'linux/arm64'", '"linux/arm"'),
        ("0.10.1.1", 'all2all = "pplx"', "recipe 'vllm-ep' has no pin 'all2all'", "all2all"),
    ],
)
def test_a_pin_that_cannot_be_is_refused_at_its_place(
    tmp_path: Path, vllm: str, pins: str, said: str, marked: str
) -> None:
    message = refused(tmp_path, vllm, pins)

    assert re.search(said, " ".join(message.split())), message
    excerpt, marker = message.partition("  --> ")[2].splitlines()[2:4]
    assert excerpt[marker.index("^") :].startswith(marked), message


@pytest.mark.parametrize(
    ("vllm", "pins", "reason"),
    [
        (
            "0.11.0",
            f'pplx = "2bd6e30{"0" * 33}"',
            "pplx-kernels 2bd6e30 dropped nvshmem_alloc_empty_unique_id.*pin 12cecfda252e4e646417ac263d96e994d476ee5d",
        ),
        ("0.11.0", 'nvshmem = "v3.5.19-1"', r"DeepEP's first interface can fault on NVSHMEM 3.5.19 .*below 3.5.19"),
        ("0.20.0", 'nvshmem = "3.3.9"', 'NVSHMEM 3.3.9 is an archive for CUDA 12, .*nvshmem = "v3.4.5-0"'),
        (
            "0.20.2",
            'cuda = "13.0.2"\nnvshmem = "v3.4.5-0"\npython = "3.13.1"',
            "the DeepGEMM in vLLM 0.20.2's wheel is compiled for Python 3.12 alone",
        ),
    ],
)
def test_pins_that_are_known_to_fail_together_make_a_cell_impossible_and_no_error(
    tmp_path: Path, vllm: str, pins: str, reason: str
) -> None:
    said = impossible(tmp_path, vllm, pins)

    assert said is not None
    assert re.search(reason, said)


@pytest.mark.parametrize(
    ("vllm", "pins"),
    [
        ("0.20.0", 'cuda = "13.0.2"\nnvshmem = "v3.4.5-0"'),
        ("0.17.0", 'nvshmem = "v3.4.5-0"'),
        ("0.11.0", 'platform = "linux/arm64"'),
        ("0.10.1.1", 'cuda = "12.4.1"\ntorch = { build = "pypi" }\n'
         'nccl = { gencode = ["90"] }\nnccl_tests = { gencode = ["90"] }\nnvshmem = { architectures = ["90a"] }\n'
         'pplx = { architectures = ["9.0a"] }\ndeepep = { architectures = ["9.0a"] }'),
    ],
)  # fmt: skip
def test_what_the_messages_recommend_works(tmp_path: Path, vllm: str, pins: str) -> None:
    assert impossible(tmp_path, vllm, pins) is None


@pytest.mark.parametrize(
    ("vllm", "pins"),
    [
        ("0.10.1.1", {"cuda": '"12.6.3"', "nccl": '"v2.28.9-1"'}),
        ("0.11.0", {"cuda": '"12.6.3"', "flash_attn": '{ architectures = ["90", "100"] }'}),
        ("0.20.0", {"cuda": '"13.0.2"', "nvshmem": '"v3.4.5-0"', "nccl_tests": '{ gencode = ["70"] }'}),
    ],
)
def test_the_lines_to_write_for_a_cuda_are_all_that_it_takes(tmp_path: Path, vllm: str, pins: dict[str, str]) -> None:
    def written() -> str:
        return "\n".join(f"{name} = {value}" for name, value in pins.items())

    before = written()
    lines = dict(re.findall(r"^    (\w+) = (\{.*\})$", refused(tmp_path, vllm, before), flags=re.M))
    pins = pins | lines

    assert impossible(tmp_path, vllm, written()) is None
    assert all(version in written() for version in re.findall(r'"v[0-9.-]+"', before)), "what was written stays"


def test_a_wheel_says_its_release(tmp_path: Path) -> None:
    file = tmp_path / "matrix.toml"
    wheel = WHEEL.replace("3.3.9", "3.3.24")
    file.write_text(f'recipe = "vllm-ep"\n[pins]\nvllm = "0.11.0"\nnvshmem = {{ wheel = "{wheel}" }}\n')

    (image,) = load_plan(file).images
    (nvshmem,) = (layer for layer in image.layers if layer.name == "nvshmem")

    assert image.tag.endswith("-nvshmem3.3.24")
    assert [check.expect for check in nvshmem.build.checks] == ["NVSHMEM v3.3.24"]


def test_the_documentation_has_every_pin_and_its_keys() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vllm-ep.md").read_text(encoding="utf-8").split("## Pins")[1]
    rows = {name: row for row in page.splitlines() for name in re.findall(r"`(\w+)`", row.partition("|")[2][:40])}

    for name, field in VllmEpPins.model_fields.items():
        assert name in rows
        tables = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        for table in tables:
            if issubclass(table, Pins):
                assert not [key for key in table.model_fields if f"`{key}`" not in rows[name]], rows[name]
