"""The declared environment, as a function of surroundings, image and server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import LaunchError
from vep_dagger.launchers.environment import declared_environment, passes

MakeImage = Callable[..., BuiltImage]


@pytest.mark.parametrize(
    "name",
    [
        "VLLM_USE_V1",
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "NCCL_DEBUG",
        "TORCH_LOGS",
        "TORCHINDUCTOR_CACHE_DIR",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "OMP_NUM_THREADS",
        "CUDA_LAUNCH_BLOCKING",
        "NVIDIA_TF32_OVERRIDE",
        "VIRTUAL_ENV",
        "path",
        "HF_X",
    ],
)
def test_what_changes_a_measurement_does_not(name: str) -> None:
    assert not passes(name)


def test_the_image_wins_over_the_surroundings_and_the_server_over_both(make_image: MakeImage) -> None:
    surroundings = {"HOME": "/home/me", "TZ": "UTC", "LANG": "C"}
    image = make_image(env={"TZ": "CET", "LANG": "en", "A": "image"})
    env = declared_environment(surroundings, image, {"LANG": "de", "A": "server"})
    assert env == {"HOME": "/home/me", "TZ": "CET", "LANG": "de", "A": "server", "PYTHONUNBUFFERED": "1"}


def test_unset_takes_from_surroundings_and_image(make_image: MakeImage) -> None:
    env = declared_environment({"TZ": "UTC", "LANG": "C"}, make_image(env={"A": "1", "B": "2"}), {}, ["TZ", "A", "ZZ"])
    assert env == {"LANG": "C", "B": "2", "PYTHONUNBUFFERED": "1"}


def test_unset_of_what_the_server_sets_is_an_error(make_image: MakeImage) -> None:
    with pytest.raises(LaunchError, match="VLLM_USE_V1 is both set and unset"):
        declared_environment({}, make_image(), {"VLLM_USE_V1": "1"}, ["VLLM_USE_V1"])


def test_a_python_environment_of_the_image_is_activated_and_its_paths_are_this_machines(make_image: MakeImage) -> None:
    image = make_image(paths={"/venv": "/cache/venv/abc"}, env={"B": "/cache/venv/abc/lib"})
    env = declared_environment({"PATH": "/usr/bin", "HOME": "/venvs"}, image, {"A": "/venv/share:/x"})
    assert env["PATH"] == "/cache/venv/abc/bin:/usr/bin"
    assert env["VIRTUAL_ENV"] == "/cache/venv/abc"
    assert env["A"] == "/cache/venv/abc/share:/x"
    # Neither the surroundings' nor the image's, which are right already.
    assert (env["HOME"], env["B"]) == ("/venvs", "/cache/venv/abc/lib")


def test_an_empty_path_does_not_become_the_current_directory(make_image: MakeImage) -> None:
    assert declared_environment({}, make_image(paths={"/venv": "/v"}), {})["PATH"] == "/v/bin"
