"""Servers inside Dagger: one exec holds a server and its clients, and looks from here like any other.

An exec has no address that could be reached, and gives its output and its files when it has ended: too late to prove a
server by. So what the exec runs is an agent (:mod:`.agent`), which connects back to this machine through a host service
and is told over that connection what to start (:mod:`.bridge`). Seen in Dagger v0.21.8: ``/dev/shm`` of an exec is 64
MiB, unless a temporary mount without a size takes its place.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import anyio

from vep_dagger.builders.base import BuiltImage
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.errors import LaunchError, MachineError, VepError
from vep_dagger.launchers import compiled, ports
from vep_dagger.launchers.base import ServerSpec, refuse_nodes
from vep_dagger.launchers.dagger.bridge import Bridge, Hello, open_bridge
from vep_dagger.launchers.dagger.remote import Remote
from vep_dagger.launchers.dagger.server import SECRETS, DaggerServer, filled, merged
from vep_dagger.launchers.dagger.streams import background
from vep_dagger.launchers.environment import OURS, ContainerEnvironment, container_environment

if TYPE_CHECKING:
    import dagger

    from vep_dagger.engines.dagger import DaggerSession

CONNECT_S = 120.0
"""For the agent to come after the exec was asked for: the engine may have the image to fetch and to unpack."""
END_S = 30.0
"""For the exec to end after its agent was told to."""
FAREWELL_S = 20.0
"""For the engine to say why an exec ended, after its connection has broken."""
AGENT = "/run/vep/agent"
AGENT_FILES = ("launchers/dagger/agent.py", "processes/guard.py", "processes/procfs.py", "processes/last.py")
"""What the agent is made of, below this package."""
TOKEN, SECRETS_VARIABLE, MARKER = "VEP_AGENT_TOKEN", "VEP_AGENT_SECRETS", "VEP_AGENT_MARKER"
"""What an agent is told beforehand (:mod:`.agent`)."""
HUGGING_FACE = "/root/.cache/huggingface"
NOT_THE_IMAGES = ("OTEL_", "TRACEPARENT", "TRACESTATE", "BAGGAGE", "DAGGER_", "_EXPERIMENTAL_DAGGER_", "VEP_AGENT_")
"""How variables begin that an exec has besides the image's: of the engine, and of ours."""


@dataclass(frozen=True)
class DaggerLauncher:
    """Runs a server inside Dagger, reached through a tunnel on a port of this machine; on one node.

    ``grace_s`` is what a server gets to end by itself when its context is left.
    """

    settings: BuildSettings
    session: DaggerSession | None = None
    grace_s: float = 30.0
    name: str = "dagger"

    def refuse(self, nodes: int, host: str, port: int | None) -> None:
        """Raise UsageError for more than one node, PortError for a fixed port that is taken on this machine."""
        refuse_nodes(self.name, nodes, "Dagger passes neither EFA devices nor the host's network into an exec")
        ports.refuse_taken(host, port)

    @asynccontextmanager
    async def start(self, image: BuiltImage, spec: ServerSpec) -> AsyncIterator[DaggerServer]:
        """Start a server; leaving the context stops it, also when cancelled. Raises LaunchError, PortError or
        MachineError."""
        environment = container_environment(
            self.settings.environ, image, spec.env, spec.unset, {**compiled.variables(), **OURS}
        )
        spec = replace(spec, directory=spec.directory.absolute(), log=spec.log.absolute())
        with ports.reserved(spec.host, spec.port) as port:
            async with open_bridge(FAREWELL_S) as bridge, self._exec(image, spec, environment, bridge) as hello:
                roots = [spec.directory, spec.log.parent, *([spec.shared] if spec.shared else [])]
                await bridge.watch(roots, spec.mounts)
                await bridge.push(spec.directory)
                await bridge.push(spec.log)
                imaged = {name: value for name, value in hello.env.items() if not name.startswith(NOT_THE_IMAGES)}
                inside = _inside(spec.host)
                command, marker = filled(spec.argv, inside, port), secrets.token_hex(16)
                # In a group of its own: what follows the server outlives whoever asks it to stop.
                async with background() as group:
                    remote = await Remote.start(
                        bridge,
                        group,
                        command,
                        env=merged(imaged, environment.env, spec.unset),
                        secrets=[name for name in SECRETS if name in environment.env],
                        cwd=spec.directory,
                        log=spec.log,
                        label=spec.name,
                        image=image.location,
                        marker=marker,
                    )
                    near = ports.ANY_HOST.get(inside, inside)
                    await bridge.tunnel(spec.host, port, near, port, remote.gone)
                    server = DaggerServer(
                        url=ports.url(spec.host, port),
                        command=command,
                        warm=hello.warm,
                        spec=spec,
                        marker=marker,
                        image_env=imaged,
                        image=image,
                        surroundings=self.settings.environ,
                        bridge=bridge,
                        remote=remote,
                        group=group,
                        inside=near,
                    )
                    try:
                        yield server
                    finally:
                        await remote.stop(self.grace_s)

    @asynccontextmanager
    async def _exec(
        self, image: BuiltImage, spec: ServerSpec, environment: ContainerEnvironment, bridge: Bridge
    ) -> AsyncIterator[Hello]:
        """Run the agent in the image, until the context is left; what it says when it has come. Raises LaunchError and
        MachineError."""
        session, base = self._open(image, spec)
        container = await self._container(session, base, image, spec, environment, bridge)
        over, ending, reason = anyio.Event(), anyio.Event(), ""
        # Whoever is cancelled stops the server first, which needs the exec.
        running = anyio.CancelScope(shield=True)

        async def carry_out() -> None:
            nonlocal reason
            with running:
                try:
                    await session.ask(container.sync)
                    reason = "it ended by itself"
                except Exception as error:
                    # Whatever the engine or the client library says is the reason of what is lost by it.
                    reason = _reason(error)
            if not ending.is_set():
                # Before anybody learns that the server is gone.
                _note(spec.log, f"the exec in Dagger ended: {reason}")
            over.set()
            bridge.lose(f"the exec in Dagger ended: {reason}")

        async with background() as group:
            group.start_soon(carry_out)
            try:
                with anyio.move_on_after(CONNECT_S):
                    await bridge.greeted()
                if bridge.hello is None:
                    raise _not_there(spec, reason, over.is_set())
                yield bridge.hello
            finally:
                ending.set()
                with anyio.CancelScope(shield=True):
                    await bridge.say({"do": "end"})
                    with anyio.move_on_after(END_S if bridge.hello is not None else 0):
                        await over.wait()
                running.cancel()

    def _open(self, image: BuiltImage, spec: ServerSpec) -> tuple[DaggerSession, dagger.Container]:
        """The session, and the image in it. Raises MachineError."""
        import dagger

        if self.session is None or not isinstance(image.handle, dagger.Container):
            raise MachineError(
                f"no Dagger engine is open for {spec.name}",
                hint="images of the builder dagger run there: --builder dagger",
            )
        return self.session, image.handle

    async def _container(
        self,
        session: DaggerSession,
        base: dagger.Container,
        image: BuiltImage,
        spec: ServerSpec,
        environment: ContainerEnvironment,
        bridge: Bridge,
    ) -> dagger.Container:
        """The exec of the agent, with all that the server may need around it."""
        import dagger

        client = session.client
        service = client.host().service([dagger.PortForward(backend=bridge.port, frontend=bridge.port)])
        gpu = await compiled.gpu_kind(spec.gpus, self.settings.environ)
        container = (
            base.with_mounted_temp("/dev/shm")  # noqa: S108 (the server's shared memory)
            .with_mounted_cache(HUGGING_FACE, client.cache_volume("vep-huggingface"))
            .with_mounted_cache(compiled.MOUNT, client.cache_volume(compiled.volume_name(image, gpu)))
            .with_mounted_directory(AGENT, _agent(client), read_only=True)
            .with_service_binding("vep", service)
            .with_secret_variable(TOKEN, client.set_secret(f"vep-agent-{bridge.port}", bridge.token))
            .with_env_variable(SECRETS_VARIABLE, " ".join(SECRETS))
            # No start of a server is another's: nothing of it may come from a cache.
            .with_env_variable("VEP_AGENT_START", f"{secrets.token_hex(16)} {spec.name} {spec.directory}")
        )
        if spec.key:
            container = container.with_env_variable(MARKER, f"{compiled.MOUNT}/{compiled.note(spec.key)}")
        for mount in spec.mounts:
            container = container.with_mounted_directory(
                str(mount), client.host().directory(str(mount)), read_only=True
            )
        for place, file in environment.files.items():
            container = container.with_mounted_file(place, client.host().file(str(file)))
        for name in SECRETS:
            if value := environment.env.get(name):
                container = container.with_secret_variable(name, client.set_secret(f"vep-{name}", value))
        if spec.gpus:
            container = container.experimental_with_all_gp_us()
        return container.with_exec(
            ["python3", "-I", "-S", f"{AGENT}/vep_dagger/launchers/dagger/agent.py", "vep", str(bridge.port)]
        )


def _agent(client: dagger.Client) -> dagger.Directory:
    """The agent and what it imports: of this package, without a package index."""
    directory = client.directory()
    package = resources.files("vep_dagger")
    for file in AGENT_FILES:
        text = package.joinpath(file).read_text(encoding="utf-8")
        directory = directory.with_new_file(f"vep_dagger/{file}", text)
    # Packages without a text: their names are all that is wanted of them.
    packages = {str(parent) for file in AGENT_FILES for parent in PurePosixPath("vep_dagger", file).parents}
    for name in sorted(packages - {"."}):
        directory = directory.with_new_file(f"{name}/__init__.py", "")
    return directory


def _inside(host: str) -> str:
    """Where a server listens that is to be reached at ``host`` of this machine: an exec has addresses of its own."""
    return host if host in ("localhost", *ports.ANY_HOST) or host.startswith("127.") or host == "::1" else "0.0.0.0"  # noqa: S104


def _reason(error: Exception) -> str:
    """What an engine says, in one line; of an exec that failed, the last line of its output."""
    said = [line.strip() for line in str(getattr(error, "stderr", "")).splitlines() if line.strip()]
    message = (str(error).split(" [traceparent:")[0].strip() or type(error).__name__).splitlines()[0]
    return f"{message}: {said[-1]}" if said else message


def _not_there(spec: ServerSpec, reason: str, over: bool) -> VepError:
    """Why an agent did not come."""
    if not over:
        return MachineError(
            f"the exec in Dagger did not connect back within {CONNECT_S:g} s",
            where=spec.name,
            hint="the engine must reach this session's host services: see the engine's log",
        )
    if spec.gpus and any(word in reason.lower() for word in ("gpu", "nvidia", "cdi")):
        return MachineError(
            f"the Dagger engine gives no GPU: {reason}",
            where=spec.name,
            hint="GPUs need the engine image with -gpu in its tag, NVIDIA's container toolkit on its machine, and "
            "_EXPERIMENTAL_DAGGER_GPU_SUPPORT=1 for the engine and for the CLI",
        )
    hint = "servers in Dagger need a python3 (3.9 or later) on the image's PATH" if "python3" in reason else None
    return LaunchError(f"the exec in Dagger ended before the server was started: {reason}", where=spec.name, hint=hint)


def _note(log: Path, text: str) -> None:
    """Add a line of ours to a log, where whoever asks why the server is gone will look."""
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"\nvep: {text}\n")
