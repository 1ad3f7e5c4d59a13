"""``enroot import`` of an image that is in a Docker daemon.

Facts of NVIDIA/enroot v4.1.2, ``src/docker.sh``, ``docker::daemon::import``: it makes a container named as its
temporary directory (``enroot.XXXXXXXXXX`` below ``ENROOT_TEMP_PATH``, which is ``TMPDIR`` unless the environment or
``enroot.conf`` has it) by the program ``docker``, unpacks what that exports, and removes both when its subshell ends.
``/etc/rc`` gets the image's labels as comments, and nothing else that tells one image from another; therefore enroot is
handed the image under a name of its own and with one label more: the id that the image has in the daemon.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import anyio
import anyio.to_thread

from vep_dagger.builders.docker.bases import TRANSFER_S
from vep_dagger.builders.docker.look import text_of
from vep_dagger.builders.failures import last_lines, out_of_space
from vep_dagger.dsl import Image
from vep_dagger.engines.docker import Docker
from vep_dagger.errors import LaunchError, MachineError
from vep_dagger.processes.guarded import Guarded
from vep_dagger.processes.last import Last, carry_out
from vep_dagger.processes.run import run_logged
from vep_dagger.squash.enroot_form import ID_LABEL, ImageConfig
from vep_dagger.squash.workplace import sweep, workplace

TEMP_VARIABLE = "ENROOT_TEMP_PATH"
IMPORT_S = TRANSFER_S
"""For enroot to unpack an image and make the file."""
GRACE_S = 30.0
"""For enroot to remove what it has unpacked, once it is told to end."""
_LABEL_S = 600.0

_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|KEY)(_|$)", re.IGNORECASE)
_SETS_PATH = re.compile(r"^\s*(?:export\s+)?PATH=", re.MULTILINE)
_ARCHITECTURES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_CLEAN = """\
"$0" ps --all --no-trunc --format '{{.Image}} {{.ID}}' | while read -r image container; do
    if [ "$image" = "$1" ]; then "$0" rm --force --volumes "$container"; fi
done
exec "$0" rmi "$1"
"""
_GONE = "No such image"


def enroot_environment(docker: Docker, directory: Path) -> dict[str, str]:
    """The variables of enroot: all, since the site's ``enroot.conf`` may use any, but for secrets. In ``directory`` it
    finds the program ``docker`` that works.
    """
    programs = directory / "bin"
    programs.mkdir()
    (programs / "docker").symlink_to(os.path.abspath(docker.program))  # noqa: PTH100 - a link's own name stays
    kept = {name: value for name, value in docker.environ.items() if not _SECRET.search(name)}
    path = os.pathsep.join((str(programs), kept.get("PATH", os.defpath)))
    return kept | {"PATH": path}


async def import_image(program: str, docker: Docker, image: Image, image_id: str, directory: Path, log: Path) -> Path:
    """The SquashFS that enroot makes, in ``directory``, of the image that the daemon has by ``image_id``. Cancelling it
    ends enroot, and nothing of it stays in the daemon.

    Raises MachineError where enroot fails or takes too long.
    """
    name = f"vep/squash:{_tag(image.tag)}-{directory.name.rpartition('-')[2]}"
    environ = enroot_environment(docker, directory)
    last = Last(("/bin/sh", "-c", _CLEAN, docker.program, name), environ, _GONE, str(directory / "named"))
    try:
        await _label(docker, image_id, name, directory, log)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(carry_out, last)
        raise
    target = directory / "image.sqsh"
    words = [program, "import", "--output", str(target)]
    if architecture := _ARCHITECTURES.get(image.platform):
        words += ["--arch", architecture]
    # The log has the build before.
    begin = await anyio.to_thread.run_sync(_size, log)
    with await anyio.to_thread.run_sync(_unpacked_in, docker.environ, directory) as place:
        environ |= {"TMPDIR": str(directory)} if place == directory else {TEMP_VARIABLE: str(place)}
        code = await _run([*words, f"dockerd://{name}"], environ, directory, log, last)
    if code != 0 or not target.exists():
        raise _failed(code, directory, log, begin)
    return target


async def path_note(docker: Docker, image_id: str, config: ImageConfig) -> tuple[str, ...]:
    """What is to be said where a login shell, in which enroot runs ``/etc/rc``, sets another PATH than the image."""
    first = config.variables.get("PATH", "").partition(":")[0]
    profile = await text_of(docker, image_id, "/etc/profile") if first else None
    if not profile or first in profile or not _SETS_PATH.search(profile):
        return ()
    return (
        f"enroot starts it in a login shell, whose /etc/profile sets a PATH without {first}: "
        "start it with ENROOT_LOGIN_SHELL=no, or make the file with --with mksquashfs",
    )


def _unpacked_in(environ: Mapping[str, str], directory: Path) -> AbstractContextManager[Path]:
    """Where enroot unpacks: a place of its own where a person has set one, else ``directory``, unless ``enroot.conf``
    has one. Blocks.
    """
    named = environ.get(TEMP_VARIABLE)
    if not named:
        return nullcontext(directory)
    sweep(Path(named))
    return workplace(Path(named).absolute())


async def _label(docker: Docker, image_id: str, name: str, directory: Path, log: Path) -> None:
    """Give the image its other name, and the label with it. Nothing is copied."""
    tagged = await docker.ask("tag", image_id, name)
    if tagged.code != 0:
        raise MachineError(f"docker cannot name the image for enroot: {tagged.complaint}", where=docker.program)
    context = directory / "context"
    context.mkdir()
    # BuildKit takes images of its daemon by their names alone.
    (context / "Containerfile").write_text(f"FROM {name}\n")
    words = [docker.program, "build", "--file", str(context / "Containerfile"), "--tag", name]
    code = await run_logged(
        [*words, "--label", f"{ID_LABEL}={image_id}", str(context)],
        env=docker.build_environment,
        cwd=Path("/"),
        log=log,
        timeout_s=_LABEL_S,
        label="docker build",
    )
    if code != 0:
        raise MachineError(f"docker cannot label the image for enroot: it ended with {code}", where=str(log))


async def _run(words: list[str], environ: Mapping[str, str], directory: Path, log: Path, last: Last) -> int:
    try:
        async with await Guarded.start(
            words,
            env=environ,
            cwd=directory,
            log=log,
            label="enroot import",
            marks=directory,
            last=last,
        ) as guarded:
            try:
                with anyio.fail_after(IMPORT_S):
                    return await guarded.wait()
            finally:
                await _ask_to_end(guarded)
    except TimeoutError:
        raise MachineError(f"enroot did not end within {IMPORT_S:g} s; it was ended", where=str(log)) from None
    except LaunchError as error:
        raise MachineError(error.what, where=error.where or str(log), hint=error.hint) from error


async def _ask_to_end(guarded: Guarded) -> None:
    """Give enroot the time to clean up, if it still runs. Its subshell is what does that, and the main process would
    not tell it.
    """
    below = [pid for pid in guarded.pids() if pid != guarded.pid]
    if guarded.exited() is not None or not below:
        return
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with anyio.move_on_after(GRACE_S, shield=True):
        await guarded.wait()


def _failed(code: int, directory: Path, log: Path, begin: int) -> MachineError:
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    hint = "--with mksquashfs makes the file without enroot"
    if out_of_space(lines):
        place = f"where {TEMP_VARIABLE} is, or, without it, in"
        hint = f"free some space {place} {directory.parent}; or name a file elsewhere with -o"
    return MachineError(f"enroot import ended with {code}:{last_lines(lines)}", where=str(log), hint=hint)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(tag: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", tag).lstrip(".-")[:100] or "image"
