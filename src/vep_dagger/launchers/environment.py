"""The environment of a server is declared, never inherited: a measurement must not depend on somebody's shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import LaunchError

PROXIES = (
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)
"""How the network is reached, here and in containers."""

PASSED = (
    # Who and where: programs, caches and temporary files are found by these; torch names its cache after the user.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    # How text and time are written. A log is read by us, and by people.
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    # How the network is reached.
    *PROXIES,
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    # Where models come from, and who may read them: the same model, from wherever it is.
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    # Which devices are ours: a scheduler's or a container's decision, which nobody can declare beforehand. The rest of
    # CUDA_* and NVIDIA_* is not here: CUDA_LAUNCH_BLOCKING or NVIDIA_TF32_OVERRIDE change what is measured.
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
"""Variables of the surroundings that reach a server (shell patterns). Left out on purpose: VLLM_*, NCCL_*, TORCH*,
PYTHON*, OMP_* and the like, which change behaviour; LD_LIBRARY_PATH and LD_PRELOAD, which can exchange CUDA and NCCL
for others than the image's. What a server needs of these stands in the image or in the matrix file, where a report can
show it."""


OURS = {"PYTHONUNBUFFERED": "1"}
"""What every command gets unless image or cell says otherwise: a log that shows a line when it is written, and not when
a buffer is full or never, should the process be killed."""


INTO_CONTAINERS = (
    *PROXIES,
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
)
"""Of :data:`PASSED` what means the same in a container. Paths of this machine do not, and how text is written is the
image's own."""

FILES_INTO_CONTAINERS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HF_TOKEN_PATH")
"""Of :data:`PASSED` what names a file of this machine that a container can be lent."""

LENT = "/run/vep/lent"
"""Where a container sees the files that it is lent, each under its variable's name."""

LOOPBACK = "127.0.0.1,localhost,::1"
"""What a client beside its server never asks a proxy for."""


def passes(name: str) -> bool:
    """Whether a variable of the surroundings reaches a server."""
    return any(fnmatchcase(name, pattern) for pattern in PASSED)


def declared_environment(
    surroundings: Mapping[str, str],
    image: BuiltImage,
    env: Mapping[str, str],
    unset: Sequence[str] = (),
    ours: Mapping[str, str] = OURS,
) -> dict[str, str]:
    """The environment of a command in an image: ``ours``, then of the surroundings what :data:`PASSED` names, then the
    image's, then ``env``.

    ``unset`` takes from the surroundings and from the image; LaunchError if ``env`` sets one of its names. ``env`` is
    as inside the image, and translated to this machine's paths; the image's own already is. A directory that stands for
    a prefix of the image is taken for a Python environment, and activated: its ``bin`` comes first on PATH, and
    VIRTUAL_ENV names it.
    """
    refuse_contradiction(env, unset)
    inherited = {name: value for name, value in surroundings.items() if passes(name) and name not in unset}
    imaged = {name: value for name, value in image.env.items() if name not in unset}
    imposed = {name: value for name, value in ours.items() if name not in unset}
    merged = imposed | inherited | imaged | {name: image.translate(value) for name, value in env.items()}
    prefixes = list(image.paths.values())
    if prefixes:
        merged["VIRTUAL_ENV"] = prefixes[0]
        merged["PATH"] = ":".join(
            [*(f"{prefix}/bin" for prefix in prefixes), *([merged["PATH"]] if merged.get("PATH") else [])]
        )
    return merged


@dataclass(frozen=True)
class ContainerEnvironment:
    """What a container's environment has besides the image's own."""

    env: Mapping[str, str] = field(repr=False)
    """What is set, secrets among it; it stands before what the image has."""
    unset: tuple[str, ...]
    """What of the image's is taken away."""
    files: Mapping[str, Path]
    """Files of this machine that it is lent, to be read, by the paths under which it sees them."""


def container_environment(
    surroundings: Mapping[str, str],
    image: BuiltImage,
    env: Mapping[str, str],
    unset: Sequence[str] = (),
    ours: Mapping[str, str] = OURS,
) -> ContainerEnvironment:
    """The environment of a command in a container: of the surroundings what :data:`INTO_CONTAINERS` and
    :data:`FILES_INTO_CONTAINERS` name, ``ours`` where the image has nothing else, and ``env``.

    Raises LaunchError if ``env`` sets a name that is in ``unset``.
    """
    refuse_contradiction(env, unset)
    taken = {name: value for name, value in surroundings.items() if name not in unset and name not in image.env}
    lent = {
        name: Path(taken[name]) for name in FILES_INTO_CONTAINERS if taken.get(name) and Path(taken[name]).is_file()
    }
    passed = {name: taken[name] for name in INTO_CONTAINERS if name in taken}
    if any(name.lower().endswith("_proxy") for name in passed):
        for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
            direct = taken.get(name) or taken.get(other)
            passed |= {} if name in unset else {name: ",".join(filter(None, (direct, LOOPBACK)))}
    imposed = {name: value for name, value in ours.items() if name not in image.env and name not in unset}
    places = {name: f"{LENT}/{name}" for name in lent}
    return ContainerEnvironment(
        env=imposed | passed | places | dict(env),
        unset=tuple(unset),
        files={place: lent[name].absolute() for name, place in places.items() if name not in env},
    )


def refuse_contradiction(env: Mapping[str, str], unset: Sequence[str]) -> None:
    """Raise LaunchError for a variable that is both set and unset."""
    for name in unset:
        if name in env:
            raise LaunchError(
                f"{name} is both set and unset for this server",
                hint=f"take {name} out of its env, or choose a cell that does not unset it",
            )
