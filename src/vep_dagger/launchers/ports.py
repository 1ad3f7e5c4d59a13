"""Ports of this machine for servers that are about to start."""

from __future__ import annotations

import errno
import random
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vep_dagger.errors import LaunchError, MachineError

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""The first port that everybody may listen on: ``ip(7)``, 1024 unless somebody set it."""
ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (a user's choice, not ours)
ATTEMPTS = 200


class PortError(LaunchError):
    """A port that was asked for cannot be had; nothing has been touched."""

    exit_code = 2


def url(host: str, port: int) -> str:
    """How to reach a server that listens on ``host``: on this machine where that means every address."""
    host = ANY_HOST.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listens(host: str, port: int) -> bool:
    """Whether somebody holds the port, as a server that is about to listen would find out. Raises LaunchError for an
    unknown host."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PortError(
            f"the host {host!r} is unknown: {error.strerror}", hint="name an address of this machine"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        # Connections that are only waiting for their end (TIME_WAIT) do not hinder a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except PermissionError as error:
            raise _forbidden(host, port, error) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise PortError(f"{host} is no address of this machine") from error
            return True
    return False


def _forbidden(host: str, port: int, error: PermissionError) -> PortError:
    hint = "name another port ([serve] port, or --port of vep serve), or take a free one (leave port out; --port 0)"
    try:
        first = int(UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        first = 1024
    if port < first:
        return PortError(
            f"a port below {first} needs root or CAP_NET_BIND_SERVICE, and {port} was asked for", hint=hint
        )
    return PortError(f"nobody may listen on port {port} of {host} here: {error.strerror}", hint=hint)


def holder(port: int) -> str | None:
    """Who listens on the port (pid and name), or None if the system does not tell us."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return None


def candidates() -> list[int]:
    """Ports to try, in random order: below those that the kernel gives to outgoing connections, which could take one
    meanwhile."""
    try:
        low, high = (int(word) for word in EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        low, high = 32768, 60999
    span = range(max(1024, low - 16384), low) if low >= 2048 else range(min(high + 1, 65000), 65536)
    return random.sample(span, min(ATTEMPTS, len(span)))


def lock_folder() -> Path:
    """Where ports are locked: of this machine alone (a home may be shared by many) and of this user. Raises
    MachineError."""
    from platformdirs import user_runtime_path

    try:
        with warnings.catch_warnings():
            # It says where it falls back to when XDG_RUNTIME_DIR is not as it should be: any folder of this machine
            # will do.
            warnings.simplefilter("ignore")
            folder = user_runtime_path("vep-dagger") / "ports"
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(Path(error.filename or "/run/user"), error) from error
    return folder


@contextmanager
def reserved(host: str, port: int | None) -> Iterator[int]:
    """A port that nobody listens on, held against every other ``vep`` of this user until the context is left: ``port``,
    or a free one.

    The lock is a file in the user's runtime directory, which the kernel lets go when ``vep`` ends. Raises PortError if
    ``port`` is taken, and MachineError if no port can be had.
    """
    from filelock import FileLock, Timeout

    folder = lock_folder()
    for number in candidates() if port is None else [port]:
        lock = FileLock(folder / f"{number}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            if port is not None:
                raise PortError(
                    f"port {port} is kept by another server of vep",
                    hint="wait for it, or take a free one (leave port out; vep serve: --port 0)",
                ) from None
            continue
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            if not listens(host, number):
                yield number
                return
        finally:
            lock.release()
        if port is not None:
            who = holder(port)
            raise PortError(
                f"port {port} of {host} is in use" + (f" by {who}" if who else ""),
                hint="end that process, choose another port, or take a free one (leave port out; vep serve: --port 0)",
            )
    raise MachineError("no free port was found", hint=f"{ATTEMPTS} were tried: see `ss -tln`")


def refuse_taken(host: str, port: int | None) -> None:
    """Raise PortError for a fixed port that cannot be had now, and MachineError as :func:`reserved` does."""
    if port is not None:
        with reserved(host, port):
            pass


def _unusable(folder: Path, error: OSError) -> MachineError:
    return MachineError(
        f"the runtime directory cannot be used: {error.strerror}",
        where=str(folder),
        hint="make it writable, or set XDG_RUNTIME_DIR to a directory that is",
    )
