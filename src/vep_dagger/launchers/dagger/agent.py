"""The agent: what runs inside a place that this machine reaches by one connection only, and carries out what ``vep``
(:mod:`.bridge`) says there.

Run as a script by the image's own Python (3.9 or later, the standard library alone)::

    python3 -I -S agent.py HOST PORT

    vep ◀──control──  agent ──▶ guard ──▶ server ──▶ its workers
        ◀──channel──    │  ╰──▶ guard ──▶ client
        ◀──channel──    ╰────── watches the trees of files that both sides share

The agent makes all connections, since nothing reaches it from outside. Each begins with a line of JSON: ``token``, and
``channel``, the number of what it is for, or 0 for the control connection. On the control connection both sides send
messages: a line of JSON, and ``size`` bytes after it if it says so.

From ``vep`` (``do``):

- ``watch``: ``roots``, the trees to share, and ``skip``, what in them is not ours. What is there already stays unsaid.
- ``write``: bytes of a file, ``path``, ``offset``; ``mode`` with the last of them.
- ``run``: start a guard (:mod:`vep_dagger.processes.guard`), its output in ``log``; the ``channel`` leads to it. The
  guard's first line, the ``request``, goes through the agent, which adds ``secrets``: variables of its own.
- ``connect``: the ``channel`` leads to ``port`` of ``host`` in here.
- ``flush``: answer ``flushed`` when everything is said that was written before it.
- ``settled``: leave a marker where the next start finds it.
- ``ping``: now and then, so that each side knows of the other; answered by ``pong``.
- ``end``: there is nothing more to do.

To ``vep`` (``event``): ``hello`` (``env``, ``python``, ``warm``), ``data`` (bytes of a file: ``path``, ``offset``;
``fresh`` at the beginning of a new file, ``mode`` at its end), ``gone`` (``path``), ``memory`` (``channel``,
``bytes``), ``failed`` (``channel``, ``why``), ``flushed`` (``number``), ``pong``.

Without the control connection everything is killed, and the agent ends: nothing here outlives ``vep``.

Files whose name ends in ``.jsonl`` are journals: their lines tell of other files that are complete. Such a file is said
last, and only as long as it was before the others were looked at, so that whoever reads a line finds what it tells of.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The script is run by an isolated interpreter (-I -S), which knows of no packages. Ours comes last: it hides nothing.
if not __package__:
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from vep_dagger.processes.procfs import descendants

TOKEN, SECRETS, MARKER = "VEP_AGENT_TOKEN", "VEP_AGENT_SECRETS", "VEP_AGENT_MARKER"
GUARD = Path(__file__).resolve().parents[2] / "processes" / "guard.py"
PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.2
"""Between looks at the shared files."""
SILENCE_S = 120.0
"""Without a word from vep for so long, it is gone: a connection can end without anybody being told."""
DIAL_S = 30.0
FRAME = 256 * 1024
TAIL = 4096
"""Bytes before the end of what was said of a file that are looked at again, to tell growth from a new content."""
MEMORY_S = (0.2, 5.0)
"""Between looks at what a command holds: at first, and at most."""


class Link:
    """The control connection: whole messages, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_S)
        self.connection = connection
        self.reader = connection.makefile("rb")
        self.lock = threading.Lock()

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Raises OSError when vep is gone."""
        line = json.dumps({**header, "size": len(payload)} if payload else header).encode() + b"\n"
        with self.lock:
            self.connection.sendall(line + payload)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message. Raises OSError or EOFError when vep is gone."""
        line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        header = json.loads(line)
        payload = self.reader.read(header.get("size", 0))
        if len(payload) < header.get("size", 0):
            raise EOFError
        return header, payload


class Said:
    """What vep knows of a file: its identity, how much of it, and the last bytes of that."""

    def __init__(self, status: os.stat_result, length: int, tail: bytes, ours: bool) -> None:
        self.inode, self.changed = status.st_ino, status.st_mtime_ns
        self.length, self.tail, self.ours = length, tail, ours


class Files:
    """The shared trees: says what is new in them, and writes what vep sends."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.roots: list[str] = []
        self.skip: set[str] = set()
        self.said: dict[str, Said] = {}
        self.lock = threading.Lock()

    def watch(self, roots: list[str], skip: list[str]) -> None:
        """Share these trees too, from now on."""
        with self.lock:
            self.skip.update(skip)
            for root in roots:
                Path(root).mkdir(parents=True, exist_ok=True)
                for path, status in self.walk(root):
                    self.note(path, status, status.st_size, ours=False)
            self.roots += roots

    def walk(self, root: str) -> Iterator[tuple[str, os.stat_result]]:
        """Every regular file below ``root``."""
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if f"{folder}/{name}" not in self.skip]
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        yield path, status

    def note(self, path: str, status: os.stat_result, length: int, *, ours: bool) -> None:
        """Remember what vep knows of a file now."""
        tail = b""
        with contextlib.suppress(OSError), Path(path).open("rb") as file:
            file.seek(max(0, length - TAIL))
            tail = file.read(min(length, TAIL))
        self.said[path] = Said(status, length, tail, ours)

    def write(self, header: dict[str, Any], payload: bytes) -> None:
        """Write what vep sends of a file."""
        path, offset = Path(header["path"]), header["offset"]
        with self.lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(payload)
            if "mode" in header:
                path.chmod(header["mode"])
            self.note(str(path), path.stat(), offset + len(payload), ours=False)

    def look(self) -> None:
        """Say what is new."""
        with self.lock:
            journals = {}
            for path in self.said:
                if path.endswith(".jsonl"):
                    with contextlib.suppress(OSError):
                        journals[path] = Path(path).stat().st_size
            found = {path: status for root in self.roots for path, status in self.walk(root)}
            for path, status in sorted(found.items(), key=lambda item: item[0].endswith(".jsonl")):
                length = status.st_size
                if path.endswith(".jsonl"):
                    # One that was not known yet has its lines said at the next look.
                    length = min(length, journals.get(path, 0))
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    self.say(path, status, length)
            for path in [path for path in self.said if path not in found]:
                if self.said.pop(path).ours:
                    self.link.send({"event": "gone", "path": path})

    def say(self, path: str, status: os.stat_result, length: int) -> None:
        """Say what vep does not know of a file's first ``length`` bytes."""
        said = self.said.get(path)
        same = said is not None and said.inode == status.st_ino and said.length == length
        if same and said and (said.changed == status.st_mtime_ns or path.endswith(".jsonl")):
            return
        with Path(path).open("rb") as file:
            begin = 0
            if said and said.inode == status.st_ino and said.length < length:
                file.seek(said.length - len(said.tail))
                if file.read(len(said.tail)) == said.tail:
                    begin = said.length
            file.seek(begin)
            offset, fresh = begin, begin == 0
            while fresh or offset < length:
                payload = file.read(min(FRAME, length - offset))
                header = {"event": "data", "path": path, "offset": offset, "fresh": fresh}
                offset, fresh = offset + len(payload), False
                if offset >= length or not payload:
                    header["mode"] = stat.S_IMODE(status.st_mode)
                self.link.send(header, payload)
                if not payload:
                    break
        self.note(path, status, offset, ours=said.ours if said else True)


class Agent:
    """Does what vep says, until it says that it is enough or is gone."""

    def __init__(self, address: tuple[str, int], token: str) -> None:
        self.address, self.token = address, token
        self.secrets = {name: os.environ[name] for name in os.environ.pop(SECRETS, "").split() if name in os.environ}
        self.marker = os.environ.pop(MARKER, None)
        self.link = Link(self.dial(0))
        self.files = Files(self.link)
        self.guards: dict[int, tuple[int, float, float]] = {}
        self.flushes: list[int] = []
        self.wake = threading.Event()

    def dial(self, channel: int) -> socket.socket:
        """A new connection to vep. Raises OSError."""
        connection = socket.create_connection(self.address, DIAL_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        connection.sendall(json.dumps({"token": self.token, "channel": channel}).encode() + b"\n")
        return connection

    def work(self) -> None:
        """Say hello, then obey. Raises OSError or EOFError when vep is gone."""
        env = {name: value for name, value in os.environ.items() if name not in self.secrets}
        warm = Path(self.marker).exists() if self.marker else None
        self.link.send({"event": "hello", "env": env, "python": sys.version.split()[0], "warm": warm})
        threading.Thread(target=self.look, daemon=True).start()
        while True:
            header, payload = self.link.receive()
            do = header["do"]
            if do == "end":
                return
            if do == "watch":
                self.files.watch(header["roots"], header["skip"])
            elif do == "write":
                self.files.write(header, payload)
            elif do in ("run", "connect"):
                threading.Thread(target=self.lead, args=(header,), daemon=True).start()
            elif do == "flush":
                self.flushes.append(header["number"])
                self.wake.set()
            elif do == "settled" and self.marker:
                Path(self.marker).mkdir(parents=True, exist_ok=True)
            elif do == "ping":
                self.link.send({"event": "pong"})

    def look(self) -> None:
        """Look at files and memory until the connection ends; and end it, should a look fail."""
        try:
            while True:
                self.wake.wait(LOOK_S)
                self.wake.clear()
                asked, self.flushes = self.flushes, []
                self.files.look()
                if asked:
                    # A second time: journals come after what they tell of.
                    self.files.look()
                self.weigh()
                for number in asked:
                    self.link.send({"event": "flushed", "number": number})
        finally:
            with contextlib.suppress(OSError):
                self.link.connection.shutdown(socket.SHUT_RDWR)

    def weigh(self) -> None:
        """Say what commands hold, of those whose turn it is."""
        now = time.monotonic()
        for channel, (pid, due, pause) in list(self.guards.items()):
            if now >= due:
                held = memory_bytes(pid)
                if held:
                    self.guards[channel] = (pid, now + pause, min(2 * pause, MEMORY_S[1]))
                    self.link.send({"event": "memory", "channel": channel, "bytes": held})

    def lead(self, header: dict[str, Any]) -> None:
        """Lead a channel to a guard or to a port, until both ends have had enough."""
        channel = header["channel"]
        guard = None
        try:
            try:
                if header["do"] == "run":
                    inner, guard = self.start(header)
                    self.guards[channel] = (guard.pid, 0.0, MEMORY_S[0])
                    self.wake.set()
                else:
                    inner = socket.create_connection((header["host"], header["port"]), DIAL_S)
                    inner.settimeout(None)
                    inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                splice(self.dial(channel), inner)
            except OSError as error:
                why = error.strerror or str(error)
                self.link.send({"event": "failed", "channel": channel, "why": why, "errno": error.errno})
        except OSError:
            pass  # vep is gone, which the thread that listens to it finds out too.
        finally:
            if guard:
                guard.wait()
                self.guards.pop(channel, None)

    def start(self, header: dict[str, Any]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Start a guard, and give it its request. Raises OSError."""
        request = header["request"]
        request["env"].update({name: self.secrets[name] for name in header["secrets"] if name in self.secrets})
        program = request["argv"][0]
        found = shutil.which(program, path=request["env"].get("PATH", os.defpath))
        if "/" not in program:
            if found is None:
                raise FileNotFoundError(errno.ENOENT, f"it was looked for in {request['env'].get('PATH')}")
            request["argv"][0] = found
        else:
            request["argv"][0] = str(Path(request["cwd"], program))
        Path(request["cwd"]).mkdir(parents=True, exist_ok=True)
        Path(header["log"]).parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        # Some interpreters find their own library by this variable.
        env = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
        with theirs, Path(header["log"]).open("ab") as log:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", str(GUARD), header["label"]],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=log,
                start_new_session=True,
                env={**env, **header["mark"]},
                cwd="/",
            )
        ours.sendall(json.dumps(request).encode() + b"\n")
        return ours, guard


def splice(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both are at their end, or one of them breaks; closes both."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        try:
            while True:
                heard = source.recv(FRAME)
                if not heard:
                    break
                target.sendall(heard)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    with one, other:
        back = threading.Thread(target=carry, args=(other, one), daemon=True)
        back.start()
        carry(one, other)
        back.join()


def memory_bytes(root: int) -> int:
    """What the processes below ``root`` hold: shared pages counted once (PSS) where that can be read, resident ones
    elsewhere."""
    total = 0
    for each in descendants(root):
        with contextlib.suppress(OSError, ValueError, StopIteration, IndexError):
            try:
                with Path(f"/proc/{each.pid}/smaps_rollup").open(encoding="ascii") as file:
                    total += next(1024 * int(line.split()[1]) for line in file if line.startswith("Pss:"))
            except OSError:
                statm = Path(f"/proc/{each.pid}/statm").read_text(encoding="ascii")
                total += int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def kill_all() -> None:
    """SIGKILL to everything below, until nothing is left; not for ever, since a driver can hold a process."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        left = descendants(os.getpid())
        if not left:
            return
        for each in left:
            with contextlib.suppress(OSError):
                os.kill(each.pid, signal.SIGKILL)
        time.sleep(0.02)


def main() -> int:
    """Serve vep at the address of the command line."""
    if sys.version_info < (3, 9):  # noqa: UP036 (an image's Python is not ours)
        print(f"vep: the image's python3 is {sys.version.split()[0]}, and 3.9 is needed", file=sys.stderr)
        return 3
    # What loses its parent becomes the agent's child, so that nothing slips away.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        Agent((sys.argv[1], int(sys.argv[2])), os.environ.pop(TOKEN)).work()
    except (OSError, EOFError) as error:
        print(f"vep: the connection to vep is lost: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        kill_all()
    return 0


if __name__ == "__main__":
    # Threads that wait for a connection are not waited for.
    code = main()
    sys.stderr.flush()
    os._exit(code)
