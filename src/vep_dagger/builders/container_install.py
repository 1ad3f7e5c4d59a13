"""Installs Python packages inside a container, as the builder ``venv`` does on this machine: by the first of several
ways that the indexes can satisfy.

A script of its own: it is put into containers as ``install.py``, beside ``uv``, :mod:`.uv_words` and
:mod:`.mirrors`, and run by the Python of the environment that it installs into. Only the standard library, and nothing
newer than Python 3.8.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035 - for old Pythons in containers

RECORD = ".vep-install.jsonl"
"""A file of the environment: one line an installation, with the requirements that were taken and the notes."""

Order = Dict[str, Any]  # noqa: UP006 - as above

_UV = str(Path(__file__).with_name("uv"))
_BYTECODE = "--compile-bytecode"
"""What runs in a container cannot keep bytecode for the next one: without this, each start would compile again all that
it imports, which is half a minute for a large server."""


RESOLVED = ".vep-resolved"
"""A directory of the environment: what installations in parts were resolved to, so that all parts install the same."""


def main(text: str) -> int:
    """Carry out an order: JSON with ``prefix``, and either ``locked`` (a requirements file with hashes, or nothing)
    with ``indexes`` and perhaps ``built`` (two such files for each source distribution: itself, and what it is built
    with), or ``excluded``, ``before`` and ``ways``, each with ``requirements``, ``overrides``, ``indexes`` and
    ``note``; of these perhaps a ``part`` alone, with ``names`` and ``but``. Gives the exit code.
    """
    order: Order = json.loads(text)
    with tempfile.TemporaryDirectory() as work:
        code = _Installation(order, Path(work)).run()
    return code if code >= 0 else 128 - code


class _Installation:
    def __init__(self, order: Order, work: Path) -> None:
        self._order = order
        self._work = work
        self._notes: List[str] = []  # noqa: UP006 - as above

    def run(self) -> int:
        order = self._order
        if "locked" in order:
            return self._locked()
        if "part" in order:
            return self._part(order["part"])
        taken = self._way()
        if isinstance(taken, int):
            return taken
        code = self._call(self._command(taken, _BYTECODE), taken["indexes"])
        if code == 0:
            self._record(taken)
        return code

    def _locked(self) -> int:
        from vep_dagger.builders.uv_words import REQUIRE_HASHES, built_exactly

        order = self._order
        code = self._exactly(Path(order["locked"]), order["indexes"], REQUIRE_HASHES) if order["locked"] else 0
        for file, tools in order.get("built", ()):
            code = code or self._exactly(Path(file), order["indexes"], REQUIRE_HASHES, *built_exactly(tools))
        return code

    def _way(self) -> "Union[Order, int]":  # noqa: UP007, UP037 - as above
        """The first way that the indexes can satisfy, the last one unasked; or the exit code of a question that failed
        for another reason.
        """
        from vep_dagger.builders.uv_words import unavailable

        ways = self._order["ways"]
        taken: Order = ways[-1]
        for way in ways[:-1]:
            code, said = self._ask(way)
            if code == 0:
                taken = way
                break
            why = said[0] if code < 0 else unavailable(said)
            if why is None:
                # Not for want of packages: taking another way would hide a mistake.
                print("\n".join(said), file=sys.stderr)
                return code
            self._note(f"passed over {way['note'] or ' '.join(way['requirements'])}: {why}")
        if taken["note"]:
            self._note(taken["note"])
        return taken

    def _part(self, part: Order) -> int:
        """Install the packages of a part of what the first part has resolved."""
        from vep_dagger.builders.uv_words import of_part, write_lines

        whole = json.dumps({name: self._order[name] for name in ("ways", "excluded", "before")}, sort_keys=True)
        kept = Path(self._order["prefix"], RESOLVED, f"{sha256(whole.encode()).hexdigest()[:12]}.json")
        if not kept.exists():
            code = self._resolve(kept)
            if code:
                return code
        resolved = json.loads(kept.read_text(encoding="utf-8"))
        lines = of_part(resolved["packages"], part["names"], part["but"])
        if not lines:
            print("no package belongs to this part", flush=True)
            return 0
        file = self._work / "part.txt"
        write_lines(file, lines)
        return self._exactly(file, resolved["indexes"])

    def _resolve(self, kept: Path) -> int:
        from vep_dagger.builders.uv_words import resolved_in

        taken = self._way()
        if isinstance(taken, int):
            return taken
        file = self._work / "resolved.txt"
        code = self._call(self._command(taken, result=file), taken["indexes"])
        if code == 0:
            packages = resolved_in(file.read_text(encoding="utf-8"))
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps({"packages": packages, "indexes": taken["indexes"]}), encoding="utf-8")
            self._record(taken)
        return code

    def _exactly(self, file: Path, indexes: List[str], *options: str) -> int:  # noqa: UP006 - as above
        from vep_dagger.builders.uv_words import install_exactly

        words = install_exactly(f"{self._order['prefix']}/bin/python", file, _BYTECODE, *options)
        return self._call([_UV, *words], indexes)

    def _ask(self, way: Order) -> Tuple[int, List[str]]:  # noqa: UP006 - as above
        """The exit code of a question to uv and what it said; -1 if it did not answer."""
        from vep_dagger.builders.uv_words import QUESTION_TIMEOUT_S, QUICK

        try:
            done = subprocess.run(
                self._command(way, "--dry-run", "--no-deps"),
                env={**self._environment(way["indexes"]), **QUICK},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=QUESTION_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, [f"uv did not answer within {QUESTION_TIMEOUT_S} s"]
        return abs(done.returncode), done.stdout.decode("utf-8", "replace").splitlines()

    def _call(self, command: List[str], indexes: List[str]) -> int:  # noqa: UP006 - as above
        return subprocess.run(command, env=self._environment(indexes), check=False).returncode

    def _command(self, way: Order, *options: str, result: "Optional[Path]" = None) -> List[str]:  # noqa: UP006, UP037, UP045 - as above
        """What resolves a way into the file ``result``, or, without one, installs it."""
        from vep_dagger.builders.uv_words import pip_compile, pip_install

        order = self._order
        python = f"{order['prefix']}/bin/python"
        asked = (python, way["requirements"], way["overrides"], order["excluded"], order["before"], self._work)
        return [_UV, *(pip_compile(*asked, result, *options) if result else pip_install(*asked, *options))]

    def _environment(self, indexes: List[str]) -> Dict[str, str]:  # noqa: UP006 - as above
        from vep_dagger.builders.mirrors import VARIABLE, rewrite
        from vep_dagger.builders.uv_words import PLAIN_OUTPUT, with_links

        environment = {**os.environ, **PLAIN_OUTPUT}
        # Here and not in the order, which is part of the command and so of an engine's cache key.
        mirrors = json.loads(environment.pop(VARIABLE, "{}"))
        places = [rewrite(place, mirrors) for place in indexes]
        links = with_links(environment.get("UV_FIND_LINKS", ""), places)
        if links:
            environment["UV_FIND_LINKS"] = links
        else:
            environment.pop("UV_FIND_LINKS", None)
        return environment

    def _note(self, text: str) -> None:
        self._notes.append(text)
        print(text, flush=True)

    def _record(self, taken: Order) -> None:
        line = json.dumps({"requirements": taken["requirements"], "notes": self._notes})
        with (Path(self._order["prefix"]) / RECORD).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


if __name__ == "__main__":
    # The directory of tools is mounted: nothing is to be left in it.
    sys.dont_write_bytecode = True
    sys.exit(main(sys.argv[1]))
