from __future__ import annotations

import pytest

from vep_dagger.builders.mirrors import full_name, rewrite, rewrite_image, shown

MIRRORS = {
    "https://github.com/": "https://mirror.example/github/",
    "https://github.com/NVIDIA/": "file:///srv/nvidia/",
    "docker.io/": "registry.example:5000/hub/",
    "docker.io/library/": "registry.example:5000/official/",
    "quay.io/one@": "registry.example:5000/one@",
}


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("https://github.com/a/b.git", "https://mirror.example/github/a/b.git"),
        ("https://github.com/NVIDIA/nccl.git", "file:///srv/nvidia/nccl.git"),
        ("https://github.community/a", "https://github.community/a"),
        ("https://elsewhere.example/https://github.com/", "https://elsewhere.example/https://github.com/"),
    ],
)
def test_the_longest_prefix_that_fits_is_replaced_once(url: str, becomes: str) -> None:
    assert rewrite(url, MIRRORS) == becomes
    assert rewrite(url, {}) == url


@pytest.mark.parametrize(
    ("ref", "full"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("debian@sha256:00", "docker.io/library/debian@sha256:00"),
        ("nvidia/cuda:12.8.1", "docker.io/nvidia/cuda:12.8.1"),
        ("localhost/a", "localhost/a"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a"),
        ("nvcr.io/nvidia/cuda:12", "nvcr.io/nvidia/cuda:12"),
    ],
)
def test_an_image_has_a_full_name(ref: str, full: str) -> None:
    assert full_name(ref) == full == full_name(full)


@pytest.mark.parametrize(
    ("ref", "becomes"),
    [
        ("debian:12", "registry.example:5000/official/debian:12"),
        ("nvidia/cuda:12.8.1@sha256:00", "registry.example:5000/hub/nvidia/cuda:12.8.1@sha256:00"),
        ("docker.io/nvidia/cuda:12", "registry.example:5000/hub/nvidia/cuda:12"),
        ("quay.io/one@sha256:00", "registry.example:5000/one@sha256:00"),
        ("quay.io/other", "quay.io/other"),
        ("oci-archive:base.tar", "oci-archive:base.tar"),
    ],
)
def test_an_image_comes_from_its_mirror_by_its_full_name(ref: str, becomes: str) -> None:
    assert rewrite_image(ref, MIRRORS) == becomes
    assert rewrite_image(ref, {}) == ref


def test_a_password_in_an_address_is_not_shown() -> None:
    assert (
        shown("fatal: unable to access 'https://me:s3cr3t@host/x': no")
        == "fatal: unable to access 'https://host/x': no"
    )
    assert shown("https://host/a@b") == "https://host/a@b"
