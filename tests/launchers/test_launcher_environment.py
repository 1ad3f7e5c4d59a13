"""The declared environment, as a function of surroundings, image and server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import LaunchError
from vep_dagger.launchers.environment import container_environment, declared_environment, passes

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


def test_of_the_surroundings_a_container_gets_what_means_the_same_in_it(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    surroundings = {
        "PATH": "/host/bin",
        "HOME": "/home/me",
        "HF_HOME": "/models",
        "HF_TOKEN": "hf_secret",
        "https_proxy": "http://proxy:3128",
        "no_proxy": "intranet",
        "VLLM_USE_V1": "0",
        "SSL_CERT_FILE": str(authority),
        "CURL_CA_BUNDLE": str(authority),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "gone.pem"),
    }
    image = BuiltImage("k", "docker", "here", (), 0.0, True, {"PYTHONUNBUFFERED": "x"})
    made = container_environment(surroundings, image, {"A": "1"}, ("CURL_CA_BUNDLE", "OF_IMAGE"))
    assert made.env == {
        "A": "1",
        "HF_TOKEN": "hf_secret",
        "https_proxy": "http://proxy:3128",
        "no_proxy": "intranet,127.0.0.1,localhost,::1",
        "NO_PROXY": "intranet,127.0.0.1,localhost,::1",
        "SSL_CERT_FILE": "/run/vep/lent/SSL_CERT_FILE",
    }
    assert made.files == {"/run/vep/lent/SSL_CERT_FILE": authority}
    assert made.unset == ("CURL_CA_BUNDLE", "OF_IMAGE")
    assert "hf_secret" not in repr(made)


def test_a_containers_variable_is_not_both_set_and_unset() -> None:
    image = BuiltImage("k", "docker", "here", (), 0.0, True, {})
    with pytest.raises(LaunchError, match="A is both set and unset"):
        container_environment({}, image, {"A": "1"}, ("A",))
