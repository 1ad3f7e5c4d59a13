"""The environment of a server is declared, never inherited: a measurement must not depend on somebody's shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from vep_dagger.builders.base import BuiltImage
from vep_dagger.errors import LaunchError

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


def passes(name: str) -> bool:
    """Whether a variable of the surroundings reaches a server."""
    return any(fnmatchcase(name, pattern) for pattern in PASSED)


def declared_environment(
    surroundings: Mapping[str, str], image: BuiltImage, env: Mapping[str, str], unset: Sequence[str] = ()
) -> dict[str, str]:
    """The environment of a command in an image: of the surroundings what :data:`PASSED` names, then the image's, then
    ``env``.

    ``unset`` takes from the surroundings and from the image; LaunchError if ``env`` sets one of its names. ``env`` is
    as inside the image, and translated to this machine's paths; the image's own already is. A directory that stands for
    a prefix of the image is taken for a Python environment, and activated: its ``bin`` comes first on PATH, and
    VIRTUAL_ENV names it.
    """
    for name in unset:
        if name in env:
            raise LaunchError(
                f"{name} is both set and unset for this server",
                hint=f"take {name} out of its env, or choose a cell that does not unset it",
            )
    inherited = {name: value for name, value in surroundings.items() if passes(name) and name not in unset}
    imaged = {name: value for name, value in image.env.items() if name not in unset}
    merged = OURS | inherited | imaged | {name: image.translate(value) for name, value in env.items()}
    prefixes = list(image.paths.values())
    if prefixes:
        merged["VIRTUAL_ENV"] = prefixes[0]
        merged["PATH"] = ":".join(
            [*(f"{prefix}/bin" for prefix in prefixes), *([merged["PATH"]] if merged.get("PATH") else [])]
        )
    return merged
