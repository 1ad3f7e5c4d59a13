"""How Python packages come into one environment of this machine: by a lock, in parts of one resolution, or as the first
alternative says that can be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vep_dagger.builders.base import translate
from vep_dagger.builders.failures import failed, installation_failed
from vep_dagger.builders.locked import ListFile, calls, locked_ways, taken
from vep_dagger.builders.uv_words import (
    REQUIRE_HASHES,
    built_exactly,
    install_exactly,
    of_part,
    pip_compile,
    pip_install,
    resolved_in,
    unavailable,
    write_lines,
)
from vep_dagger.builders.venv.commands import Commands
from vep_dagger.dsl import Alternative, Image, LockedPackage
from vep_dagger.dsl.step import Install, Part
from vep_dagger.errors import BuildError


class Installation:
    """Installs into the environment at ``environment``; ``taken`` and ``notes`` are for its manifest."""

    def __init__(self, image: Image, environment: Path, commands: Commands) -> None:
        self._image = image
        self._commands = commands
        self._python = str(environment / "bin" / "python")
        self._resolved: dict[Install, tuple[Alternative, list[str]]] = {}
        locked = tuple(locked_ways(image.build))
        self.taken = [" ".join(way.requirements) for way in locked]
        self.notes = [way.note for way in locked if way.note]

    async def install(self, step: Install, where: str) -> None:
        """Carry out a step. Raises BuildError (uv gave it up) or MachineError (no index answered)."""
        if step.locked is not None:
            await self._install_locked(step, step.locked, where)
            return
        if step.part is not None:
            await self._install_part(step, step.part, where)
            return
        way = await self._take(step, where)
        self._say(f"installing {' '.join(way.requirements)}")
        code, lines = await self._commands.run_uv(*self._pip_install(step, way), links=way.indexes)
        if code:
            raise installation_failed(where, code, lines, self._commands.log, step.before)

    async def _install_locked(self, step: Install, packages: tuple[LockedPackage, ...], where: str) -> None:
        if not packages:
            self._commands.write_log("no package belongs to this part\n")
            return
        self._say(f"installing {len(packages)} locked packages")
        links = taken(step).indexes
        for call in calls(step):
            packages_file, *tools = [self._written(file) for file in call.files]
            options = built_exactly(str(tools[0])) if tools else ()
            await self._install_exactly(step, packages_file, links, where, REQUIRE_HASHES, *options)

    def _written(self, file: ListFile) -> Path:
        path = Path(translate(file.path, self._commands.paths))
        path.parent.mkdir(exist_ok=True)
        write_lines(path, file.text.splitlines())
        return path

    async def _install_part(self, step: Install, part: Part, where: str) -> None:
        """All parts of one request install of one resolution: the one that the first of them makes."""
        whole = replace(step, part=None)
        if whole not in self._resolved:
            self._resolved[whole] = await self._resolve(step, where)
        way, packages = self._resolved[whole]
        lines = of_part(packages, part.names, part.but)
        self._say(f"installing {len(lines)} of {len(packages)} packages")
        if lines:
            file = self._commands.work / "part.txt"
            write_lines(file, lines)
            await self._install_exactly(step, file, way.indexes, where)

    async def _resolve(self, step: Install, where: str) -> tuple[Alternative, list[str]]:
        way = await self._take(step, where)
        self._say(f"resolving {' '.join(way.requirements)}")
        work, result = self._commands.work, self._commands.work / "resolved.txt"
        result.unlink(missing_ok=True)
        asked = (self._python, way.requirements, way.overrides, step.excluded, step.before)
        words = pip_compile(*asked, work, result)
        code, lines = await self._commands.run_uv(*words, links=way.indexes)
        if code:
            raise installation_failed(where, code, lines, self._commands.log, step.before)
        return way, resolved_in(result.read_text(encoding="utf-8"))

    async def _install_exactly(
        self, step: Install, file: Path, links: Sequence[str], where: str, *options: str
    ) -> None:
        code, lines = await self._commands.run_uv(*install_exactly(self._python, file, *options), links=links)
        if code:
            raise installation_failed(where, code, lines, self._commands.log, step.before)

    async def _take(self, step: Install, where: str) -> Alternative:
        way = await self._first_that_resolves(step, where)
        self.taken.append(" ".join(way.requirements))
        if way.note:
            self._note(way.note)
        return way

    async def _first_that_resolves(self, step: Install, where: str) -> Alternative:
        """The first alternative whose requirements the machine's indexes have; the last one, unasked, if none has.

        Their dependencies are left to the installation: alternatives differ in what they ask for, and resolving all of
        it for each takes as long as half a build.
        """
        for way in step.alternatives[:-1]:
            why: str | None
            try:
                code, lines = await self._ask(step, way)
            except BuildError as error:
                why = error.what
            else:
                if code == 0:
                    return way
                why = unavailable(lines)
                if why is None:
                    # Not for want of packages: taking another way would hide a mistake.
                    raise failed(where, code, lines, self._commands.log)
            self._note(f"passed over {way.note or ' '.join(way.requirements)}: {why}")
        return step.alternatives[-1]

    async def _ask(self, step: Install, way: Alternative) -> tuple[int, list[str]]:
        return await self._commands.ask_uv(*self._pip_install(step, way, "--dry-run", "--no-deps"), links=way.indexes)

    def _pip_install(self, step: Install, way: Alternative, *options: str) -> list[str]:
        work = self._commands.work
        return pip_install(self._python, way.requirements, way.overrides, step.excluded, step.before, work, *options)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self._say(text)
        self._commands.write_log(f"{text}\n")

    def _say(self, text: str) -> None:
        self._commands.say(f"{self._image.tag}: {text}")
