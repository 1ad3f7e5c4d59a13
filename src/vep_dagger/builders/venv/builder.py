"""Builds an image of Python packages as an environment of this machine, in a cache by content: no engine, no container.

An environment is made aside and moved into place when everything in it has passed, checks included, so that what is in
its place is whole. The directory is named by the image's key with the interpreter and the platform, which decide the
content as well here. See :mod:`vep_dagger.builders.cache` for the layout, and ``docs/layers.md`` for what can be
lowered.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from vep_dagger.builders.base import BuiltImage, BuiltLayer, OnLayer, Say, ignore_layer
from vep_dagger.builders.cache import Places, cache_root, touch
from vep_dagger.builders.failures import no_space
from vep_dagger.builders.locks import Lock, Mode
from vep_dagger.builders.manifest import Interpreter, Manifest, read_manifest
from vep_dagger.builders.surroundings import for_uv
from vep_dagger.builders.venv.commands import Commands
from vep_dagger.builders.venv.interpreter import choose, platform_tag
from vep_dagger.builders.venv.refusal import refusal
from vep_dagger.builders.venv.steps import Lowering
from vep_dagger.dsl import Image, key_of
from vep_dagger.dsl.step import MakePython
from vep_dagger.errors import MachineError

MIN_FREE_BYTES = 1_000_000_000
"""Less free space than this, and a build is not begun."""


class VenvBuilder:
    """Lowers images of Python packages onto environments under ``cache`` (by default :func:`.cache.cache_root`).

    What it has built or found is held for use, so that nobody prunes it, until :meth:`close` or the end of the process.
    """

    name = "venv"

    def __init__(
        self,
        cache: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        mirrors: Mapping[str, str] | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._places = Places(cache_root(self._environ) if cache is None else cache.absolute())
        self._mirrors = dict(mirrors or {})
        self._min_free_bytes = min_free_bytes
        self._held: dict[str, Lock] = {}

    def refuse(self, image: Image) -> None:
        """Raise BuildError for an image with anything that is not Python; the message names it. Touches nothing."""
        error = refusal(image)
        if error is not None:
            raise error

    async def ready(self, image: Image) -> None:
        """Raise MachineError if the cache cannot be written, no interpreter will do, or there is no space for an
        environment that is not there."""
        key = environment_key(image, await self._interpreter(image))
        if _present(self._places.environment(key), key) is None:
            self._require_space()

    def close(self) -> None:
        """Let others prune what was built or found here."""
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    async def build(self, image: Image, log: Path, say: Say, on_layer: OnLayer = ignore_layer) -> BuiltImage:
        """The environment of ``image``: found, or built once however many processes ask for it at the same time.

        Raises BuildError (what cannot be lowered, or the step that failed with its last lines) and MachineError (no
        interpreter, no space, an unwritable cache, an index that cannot be reached).
        """
        self.refuse(image)
        begin = time.monotonic()
        interpreter = await self._interpreter(image)
        key = environment_key(image, interpreter)
        lock = self._places.lock(key)
        built = False
        try:
            while True:
                await _wait(lock, "shared", image, say)
                manifest = _present(self._places.environment(key), key)
                if manifest is not None:
                    touch(self._places.environment(key))
                    break
                # What is held for a damaged environment must not keep this builder itself from repairing it.
                self._drop(key)
                await _wait(lock, "exclusive", image, say)
                if _present(self._places.environment(key), key) is None:
                    await self._make(image, key, interpreter, log, say, on_layer)
                    built = True
        except BaseException:
            lock.release()
            raise
        self._hold(key, lock)
        result = _result(image, manifest, self._places.environment(key), built, time.monotonic() - begin)
        if not built:
            say(f"{image.tag}: found in the cache")
            for layer in result.layers:
                on_layer(layer)
        return result

    async def _interpreter(self, image: Image) -> Interpreter:
        """The interpreter for an image, and a cache to put it in."""
        await anyio.to_thread.run_sync(self._places.prepare)
        python = next(step.version for step in image.build.steps if isinstance(step, MakePython))
        return await anyio.to_thread.run_sync(choose, python, _uv(), for_uv(self._environ))

    async def _make(
        self, image: Image, key: str, interpreter: Interpreter, log: Path, say: Say, on_layer: OnLayer
    ) -> None:
        """Make the environment and put it in its place. The key's lock is held: all else with this key is dead."""
        place = self._places.environment(key)
        self._require_space()
        await anyio.to_thread.run_sync(self._places.clear, key)
        work = self._places.building / f"{key}-{uuid.uuid4().hex}"
        environment = work / "env"
        commands = Commands(
            _uv(), environment / "bin", work, self._environ, self._places, log, image.tag, say, self._mirrors
        )
        try:
            await anyio.Path(work).mkdir()
            await Lowering(image, key, interpreter, environment, place, commands, on_layer).run()
            # The last step: before it nothing is there, after it all is.
            environment.rename(place)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise no_space(self._places.root) from error
            raise MachineError(f"building {image.tag}: {error.strerror or error}", where=error.filename) from error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._places.discard, work)

    def _require_space(self) -> None:
        free = shutil.disk_usage(self._places.environments).free
        if free < self._min_free_bytes:
            raise no_space(self._places.root, self._min_free_bytes)

    def _drop(self, key: str) -> None:
        if key in self._held:
            self._held.pop(key).release()

    def _hold(self, key: str, lock: Lock) -> None:
        if key in self._held:
            lock.release()
        else:
            self._held[key] = lock


def environment_place(image: Image, environ: Mapping[str, str]) -> Path:
    """Where the environment of an image is on this machine, or will be once it is built. Raises MachineError without an
    interpreter for it."""
    python = next(step.version for step in image.build.steps if isinstance(step, MakePython))
    key = environment_key(image, choose(python, _uv(), for_uv(environ)))
    return Places(cache_root(environ)).environment(key)


def environment_key(image: Image, interpreter: Interpreter) -> str:
    """The key of an environment: the image's, the interpreter (implementation, full version) and the platform.

    The platform is the machine's kind, the C library and its version. Where the interpreter lies does not matter.
    """
    python = [interpreter.implementation, interpreter.version]
    return key_of("venv", {"image": image.key, "python": python, "platform": platform_tag()})


def _present(environment: Path, key: str) -> Manifest | None:
    """The manifest of a whole environment whose interpreter is still on the machine."""
    manifest = read_manifest(environment)
    if manifest is None or manifest.key != key or not (environment / "bin" / "python").exists():
        return None
    return manifest


async def _wait(lock: Lock, mode: Mode, image: Image, say: Say) -> None:
    if lock.try_acquire(mode):
        return
    holder = lock.holder()
    whom = f"process {holder}, which builds the same environment" if holder else "who uses the same environment"
    say(f"{image.tag}: waiting for {whom}")
    await lock.acquire(mode)


def _uv() -> Path:
    import uv

    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise MachineError(
            f"the program uv is missing from this installation: {error}", hint="reinstall the package uv"
        ) from None


def _result(image: Image, manifest: Manifest, place: Path, built: bool, seconds: float) -> BuiltImage:
    layers = tuple(
        BuiltLayer(step.name, step.key, "built" if built else "cached", step.seconds if built else 0.0)
        for step in manifest.steps
    )
    result = BuiltImage(
        key=image.key,
        builder=VenvBuilder.name,
        location=str(place),
        layers=layers,
        seconds=seconds,
        cached=not built,
        env={},
        paths={manifest.prefix: str(place)},
        notes=tuple(manifest.notes),
        packages=manifest.packages,
        size_bytes=manifest.size_bytes,
    )
    return replace(result, env={name: result.translate(value) for name, value in image.env.items()})
