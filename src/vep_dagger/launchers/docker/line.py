"""The command lines of containers: ``docker run`` for servers, ``docker exec`` for clients.

The values of variables never stand in them, since anybody can read arguments: they come from a file in memory.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vep_dagger.errors import LaunchError
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.launchers.environment import LENT, OURS, ContainerEnvironment

HF_CACHE = "/root/.cache/huggingface"
"""Where a container sees this machine's Hugging Face cache: the default place for root."""

LABEL = "dev.vep."

CLIENT = "VEP_CLIENT"
"""Marks the processes of a client, which live in its server's container."""

LONGEST_LINE = 32 << 10
"""Docker reads an environment file by lines of 64 KiB at most (docker/cli, ``opts/file.go``: bufio.Scanner)."""

KILL_CLIENT = """
while :; do
    left=
    for each in /proc/[0-9]*/environ; do
        if grep -qs "$1" "$each"; then
            pid=${each#/proc/}
            kill -9 "${pid%/environ}" 2>/dev/null && left=yes
        fi
    done
    [ -n "$left" ] || exit 0
    sleep 0.05
done
"""
"""Ends all processes that have ``$1`` in their environment, with what every image's shell has."""


@dataclass(frozen=True)
class Container:
    """A server's container before it is started."""

    program: str
    image: str
    spec: ServerSpec
    port: int
    network: str | None
    volume: str
    """The volume of what it compiles, and where it sees it, as ``NAME:PATH``."""
    environment: ContainerEnvironment
    hf_cache: Mapping[str, Path]
    """Directories of the Hugging Face cache, by the paths under which it sees them."""
    name: str = field(default="")

    @property
    def published(self) -> bool:
        """Whether it has a network of its own, so that its port is handed on to this machine's."""
        return self.network != "host"

    @property
    def host(self) -> str:
        """What its server listens on: all addresses of a network of its own."""
        return "0.0.0.0" if self.published else self.spec.host  # noqa: S104 - the container's, of which one port is seen

    @property
    def loopback(self) -> str:
        """Where its clients, which are in it too, find its server."""
        return "127.0.0.1" if self.published else self.spec.host

    def resolve(self, argv: Sequence[str], host: str) -> tuple[str, ...]:
        """A command with host and port filled in."""
        return tuple(word.replace("{host}", host).replace("{port}", str(self.port)) for word in argv)

    def command(self, variables: Sequence[str]) -> tuple[str, ...]:
        """The whole line, with ``variables`` as the words that set the environment. Raises LaunchError for a path that
        cannot be mounted."""
        spec = self.spec
        # What is shown here as it comes need not be kept by the daemon too.
        words = ["run", "--pull=never", "--name", self.name, "--init", "--ipc=host", "--log-driver=none"]
        words += self._reach()
        for place, path in self.hf_cache.items():
            words += ["--volume", mount(path, place)]
        words += ["--volume", self.volume]
        shared = spec.shared or spec.directory
        for path in {
            shared.absolute(),
            *([] if spec.directory.is_relative_to(shared) else [spec.directory.absolute()]),
        }:
            words += ["--volume", mount(path, str(path))]
        for path in spec.mounts:
            words += ["--volume", mount(path.absolute(), str(path.absolute()), ":ro")]
        for place, path in self.environment.files.items():
            words += ["--volume", mount(path, place, ":ro")]
        for key, value in {"run": str(shared.absolute()), "server": spec.name, "key": spec.key}.items():
            words += ["--label", f"{LABEL}{key}={value}"]
        words += ["--workdir", str(spec.directory.absolute()), *variables]
        # An image's entry point is for people who type less; ours is whole.
        return (self.program, *words, "--entrypoint=", self.image, *self.resolve(spec.argv, self.host))

    def _reach(self) -> list[str]:
        """The words for its GPUs and its network."""
        words = ["--gpus", "all"] if self.spec.gpus else []
        words += ["--network", self.network] if self.network else []
        # Without a network of its own there is nothing to hand on.
        words += ["--publish", f"{_address(self.spec.host)}:{self.port}:{self.port}"] if self.published else []
        return words

    def pasted(self, image_env: Mapping[str, str]) -> tuple[str, ...]:
        """The line as a person starts the same server by hand: with the values of the cell's own variables, the names
        of what comes from the surroundings, and no place of a run. Nothing needs to be there yet.

        ``image_env`` are the image's variables: by hand, those that the server must not see are taken away inside.
        """
        spec, environment = self.spec, self.environment
        words = ["run", "--rm", "--init", "--ipc=host", *self._reach()]
        volumes = [(path, place, "") for place, path in self.hf_cache.items()]
        volumes += [(path.absolute(), str(path.absolute()), ":ro") for path in spec.mounts]
        volumes += [(path, place, ":ro") for place, path in environment.files.items()]
        for path, place, suffix in volumes:
            words += ["--volume", f"{path}:{place}{suffix}"]
        shown = {**OURS, **spec.env}
        # A model of the hub may be one that not everybody may read.
        for name in dict.fromkeys((*environment.env, *(() if spec.mounts else ("HF_TOKEN",)))):
            value = environment.env.get(name, "")
            told = name in shown or value == f"{LENT}/{name}"
            words += ["--env", f"{name}={value}" if told else name]
        taken = [word for name in environment.unset if name in image_env for word in ("-u", name)]
        inside = ["env", *taken] if taken else []
        return (self.program, *words, "--entrypoint=", self.image, *inside, *self.resolve(spec.argv, self.host))

    def recorded(self) -> tuple[str, ...]:
        """The line as a record shows it: with the names of the variables."""
        names = (*self.environment.env, *self.environment.unset)
        return self.command([word for name in names for word in ("--env", name)])


def container_name(slug: str) -> str:
    """A name that people recognise and that nobody else has."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", slug.lower()).strip("-.")[:60]
    return f"vep-{plain or 'server'}-{uuid.uuid4().hex[:8]}"


def mount(path: Path, place: str, suffix: str = "") -> str:
    """The value of ``--volume``. Raises LaunchError for a path that cannot be written in it, or that is not there:
    Docker would make it."""
    if ":" in str(path):
        raise LaunchError(
            "docker cannot mount a path with a colon in it",
            where=str(path),
            hint="name another directory: --out for the run's",
        )
    if not path.exists():
        raise LaunchError("a directory that a container needs does not exist", where=str(path))
    return f"{path}:{place}{suffix}"


def hf_places(environ: Mapping[str, str]) -> dict[str, Path]:
    """The Hugging Face cache of this machine, whether it is there or not, by its places in containers."""
    home = Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()
    places = {HF_CACHE: home}
    if hub := environ.get("HF_HUB_CACHE"):
        places[f"{HF_CACHE}/hub"] = Path(hub).expanduser().absolute()
    return places


def hf_cache(environ: Mapping[str, str]) -> dict[str, Path]:
    """The same, made if there is none. Raises LaunchError."""
    places = hf_places(environ)
    for path in places.values():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(
                f"the Hugging Face cache cannot be made: {error.strerror or error}",
                where=str(path),
                hint="name another directory in HF_HOME",
            ) from error
    return places


@dataclass(frozen=True)
class Variables:
    """Variables on their way to docker: words for its command line, and what its own environment has to have."""

    words: tuple[str, ...]
    environ: Mapping[str, str]


@contextmanager
def variables(env: Mapping[str, str], unset: Sequence[str], environ: Mapping[str, str]) -> Iterator[Variables]:
    """Hand over an environment: in a file that exists in this process' memory alone, and only until the context is
    left.

    What does not go into a file of lines goes through docker's own environment, and so does what is to be unset: docker
    takes away what it is told to hand on and does not have.
    """
    plain = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
    odd = {
        name: value
        for name, value in env.items()
        if not plain.fullmatch(name) or "\n" in value or len(value) > LONGEST_LINE
    }
    lines = "".join(f"{name}={value}\n" for name, value in env.items() if name not in odd)
    own = {name: value for name, value in environ.items() if name not in unset} | odd
    words = [word for name in (*odd, *unset) for word in ("--env", name)]
    file = os.memfd_create("vep-environment")
    try:
        os.write(file, lines.encode())
        yield Variables(("--env-file", f"/proc/{os.getpid()}/fd/{file}", *words), own)
    finally:
        os.close(file)


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host else host or "127.0.0.1"
