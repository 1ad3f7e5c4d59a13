"""Git trees at one commit, by the program ``git`` of this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import anyio.to_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.failures import last_lines
from vep_dagger.builders.mirrors import rewrite, shown
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.surroundings import for_commands
from vep_dagger.dsl import GitSource, short
from vep_dagger.dsl.source import COMMIT_FILE
from vep_dagger.errors import BuildError, LaunchError, MachineError
from vep_dagger.processes.run import run_logged

FETCH_TIMEOUT_S = 1800.0
QUESTION_TIMEOUT_S = 120.0

_ALL = "2147483647"
"""The depth that git calls infinite (git-fetch, ``--unshallow``)."""

NOBODY_ANSWERS = re.compile(
    "Could not resolve host|Failed to connect|Could not connect|Connection refused|Connection timed out|"
    "Authentication failed|could not read Username|does not appear to be a git repository|Operation too slow"
)
"""Where asking for something else would not help."""

_KEPT = frozenset(
    """
    SSH_AUTH_SOCK GIT_SSH GIT_SSH_COMMAND GIT_SSL_CAINFO GIT_SSL_CAPATH GIT_SSL_NO_VERIFY
    GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_NOSYSTEM
    """.split()  # noqa: SIM905 - shorter than a list of literals
)
"""How the user reaches servers; nothing else of git's variables, which name repositories, hooks and programs."""

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "init.templateDir": "",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    # Less than a kilobyte a second for a minute is a server that does not answer any more.
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "advice.detachedHead": "false",
    # The same content on every machine, whatever its user likes.
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.symlinks": "true",
    "core.fileMode": "true",
}


def _hash(kind: str, content: bytes) -> str:
    """As git hashes an object."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


async def checkout(source: GitSource, place: Path, settings: BuildSettings, say: Say) -> None:
    """The tree of ``source.commit`` at ``place``, with its submodules, and with the commit object instead of ``.git``;
    modes are 0755 and 0644, and times those of the commit. Raises BuildError and MachineError.
    """
    await _Checkout(source, place, settings, say).run()


class _Checkout:
    def __init__(self, source: GitSource, place: Path, settings: BuildSettings, say: Say) -> None:
        self._source = source
        self._commit = source.commit or ""
        self._place = place
        self._settings = settings
        self._say = say
        self._log = place.with_name("git.log")
        self._environ = environment(source.url, settings)
        self._program = program(self._environ)
        self._from = shown(rewrite(source.url, settings.mirrors))

    async def run(self) -> None:
        url, commit = self._source.url, self._commit
        self._say(f"fetching {shown(url)} at {self._source.ref or short(commit)}")
        self._place.mkdir()
        await self._git("init", "--quiet")
        # As the recipe has it: relative addresses of submodules start from it, before mirrors are looked at.
        await self._git("remote", "add", "origin", url)
        await self._fetch()
        await self._git("checkout", "--quiet", "--detach", commit)
        if self._source.submodules and (self._place / ".gitmodules").exists():
            await self._submodules()
        await self._keep_commit()
        _, said = await self._run("log", "-1", "--format=%ct", commit)
        await anyio.to_thread.run_sync(_settle, self._place, int(said[-1]))

    async def _keep_commit(self) -> None:
        code, said = await self._run("cat-file", "commit", self._commit)
        content = self._log.read_bytes()
        if code or _hash("commit", content) != self._commit:
            raise MachineError(f"git cat-file does not give the commit:{last_lines(said)}", where=self._from)
        (self._place / COMMIT_FILE).write_bytes(content)

    async def _fetch(self) -> None:
        commit = self._commit
        wanted: list[tuple[str, ...]] = [("--depth", "1", "origin", commit)]
        if self._source.ref:
            wanted.append(("--depth", "1", "origin", self._source.ref))
        # All of it: also what a shallow fetch before has cut off.
        wanted.append(("--depth", _ALL, "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"))
        said: list[str] = []
        for words in wanted:
            code, said = await self._run("fetch", "--quiet", "--no-tags", *words, timeout_s=FETCH_TIMEOUT_S)
            if code == 0 and await self._has_commit():
                return
            if code and NOBODY_ANSWERS.search("\n".join(said)):
                break
        if code:
            raise self._unreachable("cannot be fetched", said)
        raise BuildError(
            f"{shown(self._source.url)} has no commit {commit}",
            where=self._from,
            hint="look whether the commit is this repository's, and was not rewritten there",
        )

    async def _has_commit(self) -> bool:
        code, said = await self._run("rev-parse", "--verify", "--quiet", f"{self._commit}^{{commit}}")
        return code == 0 and said[-1:] == [self._commit]

    async def _submodules(self) -> None:
        words = ("submodule", "update", "--init", "--recursive", "--quiet")
        code, said = await self._run(*words, "--depth", "1", timeout_s=FETCH_TIMEOUT_S)
        if code:
            # Some servers refuse a commit that no branch or tag names.
            code, said = await self._run(*words, timeout_s=FETCH_TIMEOUT_S)
        if code:
            raise self._unreachable("has submodules that cannot be fetched", said)
        # As of the tree itself; whoever holds the tree against its commit hashes them.
        await self._git("submodule", "--quiet", "foreach", "--recursive", f"git cat-file commit HEAD >{COMMIT_FILE}")

    def _unreachable(self, what: str, said: list[str]) -> MachineError:
        return unreachable(self._source.url, what, said, self._settings)

    async def _git(self, *words: str) -> None:
        code, said = await self._run(*words)
        if code:
            raise MachineError(f"git {words[0]} failed:{last_lines([shown(line) for line in said])}", where=self._from)

    async def _run(self, *words: str, timeout_s: float = QUESTION_TIMEOUT_S) -> tuple[int, list[str]]:
        self._log.unlink(missing_ok=True)
        command = [self._program, *words]
        try:
            code = await run_logged(command, env=self._environ, cwd=self._place, log=self._log, timeout_s=timeout_s)
        except LaunchError as error:
            raise MachineError(f"git {words[0]}: {error.what}", where=self._from) from None
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        return code, lines


def program(environ: Mapping[str, str]) -> str:
    """The program git. Raises MachineError where there is none."""
    found = shutil.which("git", path=environ.get("PATH", os.defpath))
    if found is None:
        raise MachineError("there is no program git on PATH", hint="install it (Debian: apt-get install git)")
    return found


def unreachable(url: str, what: str, said: list[str], settings: BuildSettings) -> MachineError:
    """A repository that does not give what it was asked for: ``what`` of it, and what git ``said``."""
    said = [shown(line) for line in said]
    return MachineError(
        f"{shown(url)} {what}:{last_lines(said)}",
        where=shown(rewrite(url, settings.mirrors)),
        hint="check the network, HTTPS_PROXY and your access; [mirrors] in the matrix file names other places",
    )


def environment(url: str, settings: BuildSettings) -> dict[str, str]:
    """The variables of git, for the repository at ``url``. Settings go through them and not through arguments, which
    other users can see and in which a mirror's password would stand.
    """
    environ = settings.environ
    made = for_commands(environ) | {name: environ[name] for name in _KEPT if name in environ}
    made |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C"}
    # Large files stay pointers everywhere, rather than only where git-lfs is not installed.
    made |= {"GIT_LFS_SKIP_SMUDGE": "1"}
    made.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    pairs = [(name, value) for name, value in _users_pairs(environ) if name not in _SETTINGS] + [*_SETTINGS.items()]
    pairs += [(f"url.{instead}.insteadOf", prefix) for prefix, instead in settings.mirrors.items()]
    if any(place.startswith(("file://", "/")) for place in (url, *settings.mirrors.values())):
        # git itself refuses submodules from directories, unless whoever calls it says that they are meant.
        pairs.append(("protocol.file.allow", "always"))
    made["GIT_CONFIG_COUNT"] = str(len(pairs))
    for number, (name, value) in enumerate(pairs):
        made |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return made


def _users_pairs(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the user has set in the same way: CI systems give credentials like this."""
    count = environ.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count)) if count.isdecimal() else range(0)
    pairs = [(environ.get(f"GIT_CONFIG_KEY_{each}"), environ.get(f"GIT_CONFIG_VALUE_{each}")) for each in numbers]
    return [(name, value) for name, value in pairs if name is not None and value is not None]


def _settle(tree: Path, seconds: int) -> None:
    """Take git's own directories away, and let modes and times be the same on every machine."""
    for directory, folders, files in os.walk(tree, topdown=True):
        here = Path(directory)
        if ".git" in folders:
            folders.remove(".git")
            shutil.rmtree(here / ".git")
        if ".git" in files:
            files.remove(".git")
            (here / ".git").unlink()
        for name in (*files, *(each for each in folders if (here / each).is_symlink())):
            path = here / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (seconds, seconds), follow_symlinks=False)
    for directory, _, _ in os.walk(tree, topdown=False):
        Path(directory).chmod(0o755)
        os.utime(directory, (seconds, seconds))
