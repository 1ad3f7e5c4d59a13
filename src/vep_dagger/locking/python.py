"""Python environments for the lock: a request, resolved by uv into packages with the hashes of their files.

No interpreter of the wanted release is needed, and nothing is installed. Wheels are enough wherever there are some, so
that no package's own code runs here; where a release has a source distribution alone, uv may have to run its build
system to learn what it needs. What builds such a distribution is resolved and hashed too, and its build is asked for
what it needs besides.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread

from vep_dagger.builders.base import Say
from vep_dagger.builders.mirrors import rewrite
from vep_dagger.builders.redaction import hidden_values, redacted
from vep_dagger.builders.settings import BuildSettings
from vep_dagger.builders.surroundings import container_surroundings, for_commands, for_uv
from vep_dagger.builders.uv_words import PLAIN_OUTPUT, QUICK, UNREACHABLE, pip_compile, unavailable, with_links
from vep_dagger.dsl import Alternative
from vep_dagger.dsl.step import Install
from vep_dagger.errors import LockError, MachineError
from vep_dagger.locking.hooks import Hook, HookError
from vep_dagger.locking.sdist import BuildSystem, build_system, fetched, unpacked
from vep_dagger.locking.tools import Package, Tools
from vep_dagger.locking.wheels import GLIBC, Pythons, admitted
from vep_dagger.plan.locking import PythonRequest

TIMEOUT_S = 600
"""For one resolution: where there is only a source distribution, uv may have to build it."""

_OFFLINE = re.compile(r"the network was disabled")
"""uv was told to ask nobody (``UV_OFFLINE``): what it has not is then no answer."""
_NO_WHEELS = re.compile(r"no (usable )?wheels|building from source is disabled")
_MISMATCH = re.compile(r"Hash mismatch for `([^`]+)`\s+Expected:\s+sha256:(\w+)\s+Computed:\s+sha256:(\w+)")
_RESULT = "pylock.toml"
"""What uv calls a file of this form (PEP 751)."""
_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


@dataclass(frozen=True)
class Resolved:
    """What a request comes to. Each package is ``name==version sha256:… sha256:…``; all in the order of their names."""

    packages: list[str]
    build: dict[str, list[str]]
    """What each of them is built with that is a source distribution."""


async def resolve_python(request: PythonRequest, settings: BuildSettings, say: Say) -> Resolved:
    """The packages of a request, and what those are built with that have no wheel. The first alternative that resolves
    is taken, and ``say`` hears of those that were passed over.

    It is resolved for the lowest Python that the request admits (``>=3.11,<3.14``: 3.11.0), since whatever runs there
    runs on the later ones, as a rule; of each package those wheels are kept that fit any admitted Python and the
    platform, up to glibc 2.35, and the source distribution only where there is no such wheel, with what it is
    built with, resolved likewise (of the same places, and before the same date). A package that later
    Pythons alone need is not in it: pin one minor release where that matters.

    Further places are rewritten by the mirrors of ``settings``; indexes are those of its ``environ``. Raises LockError
    (no solution, a package that has no hash, a request without a Python) or MachineError (no index answered).
    """
    where = " ".join(request.step.alternatives[0].requirements)
    machine = _MACHINES.get(request.platform)
    if machine is None:
        raise LockError(f"no Python packages can be locked for {request.platform}", where=where)
    pythons = admitted(request.python)
    if pythons is None:
        raise LockError(
            f"{request.python!r} admits no Python that packages could be resolved for",
            where=where,
            hint="name one with build.python() before the installation, such as 3.12 or >=3.11,<3.14",
        )

    def resolve() -> Resolved:
        with tempfile.TemporaryDirectory(prefix="vep-lock-") as work:
            return _Resolution(request, settings, say, machine, pythons, Path(work)).run()

    return await anyio.to_thread.run_sync(resolve, abandon_on_cancel=True)


@dataclass(frozen=True)
class _Resolution:
    request: PythonRequest
    settings: BuildSettings
    say: Say
    machine: str
    pythons: Pythons
    work: Path

    def run(self) -> Resolved:
        way, versions = self._first_that_resolves()
        packages = self._files(way, versions)
        lines, tools = self._lines(packages), self._tools(way)
        return Resolved(lines, {each["name"]: self._built(each, tools) for each in packages if self._is_source(each)})

    def _tools(self, way: Alternative) -> Tools:
        def resolve(wanted: Sequence[str]) -> list[dict[str, Any]]:
            asked = Install("", (Alternative(tuple(wanted), indexes=way.indexes),), before=self.request.step.before)
            within = replace(self, request=replace(self.request, step=asked))
            return within._files(*within._first_that_resolves())

        def running(package: Package, tools: Sequence[Package]) -> Sequence[str]:
            return self._asked_as_it_runs(package, tools, way)

        return Tools(resolve, self._asked_by, running)

    def _built(self, package: Package, tools: Tools) -> list[str]:
        """What builds a source distribution."""
        self.say(f"{package['name']} {package['version']} has no wheel: resolving what builds it")
        try:
            return self._lines(tools.of(package))
        except LockError as error:
            what = f"what builds {package['name']} {package['version']} cannot be locked: {error.what}"
            raise LockError(what, where=error.where, hint=error.hint) from None

    def _asked_by(self, package: Package) -> Sequence[str] | None:
        """What a package says that it is built with; None, of one that has a wheel."""
        return self._system(package)[1].requires if self._is_source(package) else None

    def _asked_as_it_runs(self, package: Package, tools: Sequence[Package], way: Alternative) -> Sequence[str]:
        file, system = self._system(package)
        named = [f"{each['name']}==={each['version']}" for each in tools]
        uv, own = self._environment(way), for_commands(self.settings.environ)
        with tempfile.TemporaryDirectory(dir=self.work) as work:
            try:
                anyio.from_thread.run(unpacked, file, Path(work, "tree"))
                return Hook(Path(work, "tree"), system, named, f"3.{self.pythons.minors[0]}", uv, own).ask(
                    Path(work, "environment")
                )
            except HookError as error:
                name = f"{package['name']} {package['version']}"
                self.say(f"the build of {name} could not be asked what else it needs: {self._hidden(str(error))}")
                return ()

    def _system(self, package: Package) -> tuple[Path, BuildSystem]:
        # One without a hash is refused here.
        self._line(package)
        sdist = package["sdist"]
        if "url" not in sdist:
            sdist = {**sdist, "url": (self.work / sdist["path"]).resolve().as_uri()}
        file = anyio.from_thread.run(fetched, sdist, self.settings, self.say)
        return file, build_system(file, sdist["url"])

    def _is_source(self, package: Package) -> bool:
        return "sdist" in package and not list(self._fitting(package))

    def _first_that_resolves(self) -> tuple[Alternative, dict[str, str]]:
        *ways, last = self.request.step.alternatives
        for way in ways:
            code, lines, packages = self._resolve(way, QUICK)
            if code == 0:
                return way, self._versions(packages)
            why = unavailable(lines)
            if why is None:
                # Not for want of packages: taking another way would hide a mistake.
                raise self._no_solution(way, lines)
            self.say(f"passed over {way.note or ' '.join(way.requirements)}: {self._hidden(why)}")
        code, lines, packages = self._resolve(last, {})
        if code:
            raise self._no_solution(last, lines)
        return last, self._versions(packages)

    def _resolve(self, way: Alternative, patience: Mapping[str, str]) -> _Answer:
        """By wheels alone, and where there are none by source distributions too."""
        options = ("--python-version", self.pythons.lowest, "--python-platform", f"{self.machine}-manylinux_2_{GLIBC}")
        excluded = self.request.step.excluded
        asked = self._words(way.requirements, way.overrides, excluded, *options)
        answer = self._ask([*asked[:2], "--no-build", *asked[2:]], way, patience)
        if answer[0] and _NO_WHEELS.search("\n".join(answer[1])):
            return self._ask(asked, way, patience)
        return answer

    def _files(self, way: Alternative, versions: Mapping[str, str]) -> list[dict[str, Any]]:
        """The same versions with all their files, whatever these are for: of several Pythons, uv tells only so."""
        pins = [f"{name}=={version}" for name, version in versions.items()]
        options = ("--no-deps", "--universal", "--python-version", self.pythons.lowest)
        code, lines, packages = self._ask(self._words(pins, (), (), *options), way, {})
        if code:
            raise self._no_solution(way, lines)
        return packages

    def _words(
        self, requirements: Sequence[str], overrides: Sequence[str], excluded: Sequence[str], *options: str
    ) -> list[str]:
        before, result = self.request.step.before, self.work / _RESULT
        more = ("--format", "pylock.toml", "--quiet", *options)
        return pip_compile(sys.executable, requirements, overrides, excluded, before, self.work, result, *more)

    def _lines(self, packages: Sequence[Package]) -> list[str]:
        return sorted(map(self._line, packages))

    def _line(self, package: Package) -> str:
        hashes = sorted(set(self._hashes(package)))
        if not hashes:
            raise LockError(
                f"{package['name']} {package['version']} has no file with a hash for {self.request.platform} and "
                f"Python {self.request.python}",
                where=self._asked,
                hint="an index or page of links must give the sha256 of each file; pin another release, or exclude it",
            )
        return " ".join((f"{package['name']}=={package['version']}", *hashes))

    def _fitting(self, package: Package) -> Iterator[Mapping[str, Any]]:
        """The wheels that may be installed."""
        return (file for file in package.get("wheels", []) if self.pythons.fit(_name(file), self.machine))

    def _hashes(self, package: Package) -> Iterator[str]:
        sources = [package["sdist"]] if "sdist" in package else []
        for file in list(self._fitting(package)) or sources:
            if digest := file.get("hashes", {}).get("sha256"):
                yield f"sha256:{digest}"

    def _versions(self, packages: list[dict[str, Any]]) -> dict[str, str]:
        for package in packages:
            if not {"archive", "vcs", "directory"}.isdisjoint(package) or "version" not in package:
                raise LockError(
                    f"{package['name']} comes from an address and not from an index, so that it cannot be locked",
                    where=self._asked,
                    hint="ask for a release of it, and name a directory or page that has it as a further place",
                )
        return {package["name"]: package["version"] for package in packages}

    def _ask(self, words: Sequence[str], way: Alternative, patience: Mapping[str, str]) -> _Answer:
        import uv

        result = self.work / _RESULT
        result.unlink(missing_ok=True)
        command = [uv.find_uv_bin(), *words]
        env = {**self._environment(way), **patience}
        try:
            # In the root directory uv finds nobody's project.
            done = subprocess.run(
                command, env=env, cwd="/", capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"uv did not resolve it within {TIMEOUT_S} s", where=self._asked) from None
        lines = f"{done.stdout}{done.stderr}".splitlines()
        found = tomllib.loads(result.read_text(encoding="utf-8")) if done.returncode == 0 else {}
        return done.returncode, lines, found.get("packages", [])

    def _environment(self, way: Alternative) -> dict[str, str]:
        """The variables that uv sees."""
        env = {**for_uv(self.settings.environ), **PLAIN_OUTPUT}
        links = [rewrite(place, self.settings.mirrors) for place in way.indexes]
        env["UV_FIND_LINKS"] = with_links(env.get("UV_FIND_LINKS", ""), links)
        if not env["UV_FIND_LINKS"]:
            del env["UV_FIND_LINKS"]
        return env

    def _no_solution(self, way: Alternative, lines: list[str]) -> LockError | MachineError:
        if found := _MISMATCH.search("\n".join(lines)):
            return LockError(
                f"{found[1]} is not what the index says: its sha256 is {found[3]}, and {found[2]} was expected",
                where=" ".join(way.requirements),
                hint="it was changed there, or something between gives another file: look at it before you believe it",
            )
        what = self._hidden(unavailable(lines) or next((line for line in reversed(lines) if line.strip()), "uv failed"))
        where = " ".join(way.requirements)
        if any(why.search("\n".join(lines)) for why in (UNREACHABLE, _OFFLINE)):
            return MachineError(
                f"the package index cannot be reached: {what}",
                where=where,
                hint="check the network and HTTPS_PROXY, or name an index that can be reached in UV_DEFAULT_INDEX",
            )
        before = self.request.step.before
        hint = f"releases after {before} are not seen, since the pin 'before' says so" if before else None
        return LockError(f"no packages satisfy the request: {what}", where=where, hint=hint)

    def _hidden(self, text: str) -> str:
        environ, mirrors = self.settings.environ, self.settings.mirrors
        return redacted(text, hidden_values((), environ, container_surroundings(environ, mirrors)))

    @property
    def _asked(self) -> str:
        return " ".join(self.request.step.alternatives[0].requirements)


_Answer = tuple[int, list[str], list[dict[str, Any]]]
"""uv's exit code, what it printed, and the packages that it found."""


def _name(file: Mapping[str, Any]) -> str:
    """A file's name: its own, or the end of its address (PEP 751)."""
    from urllib.parse import unquote, urlsplit

    if "name" in file:
        return str(file["name"])
    place = file.get("path") or urlsplit(file["url"]).path
    return unquote(str(place).rpartition("/")[2])
