"""What steps of Python find in a container: ``uv`` and ``install.py``, in a directory to be mounted."""

from __future__ import annotations

import hashlib
import platform as machine
import shutil
import sys
import uuid
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.cache import cache_root
from vep_dagger.builders.shelves import lock_of, used
from vep_dagger.errors import MachineError

_IMPORTED = ("mirrors.py", "uv_words.py")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


async def tools_directory(platform: str, environ: Mapping[str, str] | None = None) -> Path:
    """A directory with ``uv`` and ``install.py`` (and what that imports) for containers of ``platform``, in the cache,
    by content.

    ``uv`` is the one that this project was installed with: a program of Linux and of this machine's architecture, that
    runs wherever there is a glibc. Raises MachineError for a platform that this machine is not of.
    """
    here = f"{sys.platform}/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"
    if platform != here:
        raise MachineError(
            f"Python packages cannot be installed into an image for {platform} from here: the uv of this machine is "
            f"for {here}",
            hint=f"run vep on a machine of {platform}",
        )
    return await anyio.to_thread.run_sync(_place, cache_root(environ) / "tools")


def _place(directory: Path) -> Path:
    import uv

    program = Path(uv.find_uv_bin())
    here = files("vep_dagger.builders")
    texts = {
        "install.py": here.joinpath("container_install.py").read_text(encoding="utf-8"),
        # The script imports them by their full names, in the package and in a container alike.
        **{f"vep_dagger/builders/{name}": here.joinpath(name).read_text(encoding="utf-8") for name in _IMPORTED},
        "vep_dagger/builders/__init__.py": "",
        "vep_dagger/__init__.py": "",
    }
    place = directory / _digest(program, texts)
    used(lock_of(directory, place.name))
    if place.is_dir():
        return place
    aside = directory / f".{place.name}-{uuid.uuid4().hex}"
    try:
        for name, text in texts.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            file.chmod(0o644)
        shutil.copy(program, aside / "uv")
        (aside / "uv").chmod(0o755)
        for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        try:
            aside.rename(place)
        except OSError:
            # Another process was quicker, with the same content.
            if not place.is_dir():
                raise
    except OSError as error:
        raise MachineError(
            f"the tools of builds cannot be put into the cache: {error.strerror or error}",
            where=str(error.filename or directory),
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


def _digest(program: Path, texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    with program.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    for name, text in sorted(texts.items()):
        digest.update(f"\n{name}\n{text}".encode())
    return digest.hexdigest()
