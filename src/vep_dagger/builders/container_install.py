"""Installs Python packages inside a container, as the builder ``venv`` does on this machine: by the first of several
ways that the indexes can satisfy.

A script of its own: it is put into containers as ``install.py``, beside ``uv`` and :mod:`.uv_words`, and run by the
Python of the environment that it installs into. Only the standard library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple  # noqa: UP035 - for old Pythons in containers

RECORD = ".vep-install.jsonl"
"""A file of the environment: one line an installation, with the requirements that were taken and the notes."""

Order = Dict[str, Any]  # noqa: UP006 - as above


def main(text: str) -> int:
    """Carry out an order: JSON with ``prefix``, ``excluded``, ``before`` and ``ways``, each with ``requirements``,
    ``overrides``, ``indexes`` and ``note``. Gives the exit code.
    """
    order: Order = json.loads(text)
    with tempfile.TemporaryDirectory() as work:
        return _Installation(order, Path(work)).run()


class _Installation:
    def __init__(self, order: Order, work: Path) -> None:
        self._order = order
        self._work = work
        self._notes: List[str] = []  # noqa: UP006 - as above

    def run(self) -> int:
        from vep_dagger.builders.uv_words import unavailable

        ways = self._order["ways"]
        taken = ways[-1]
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
        # What runs in a container cannot keep bytecode for the next one: without this, each start would compile again
        # all that it imports, which is half a minute for a large server.
        code = subprocess.run(
            self._command(taken, "--compile-bytecode"), env=self._environment(taken), check=False
        ).returncode
        if code == 0:
            self._record(taken)
        return code if code >= 0 else 128 - code

    def _ask(self, way: Order) -> Tuple[int, List[str]]:  # noqa: UP006 - as above
        """The exit code of a question to uv and what it said; -1 if it did not answer."""
        from vep_dagger.builders.uv_words import QUESTION_TIMEOUT_S, QUICK

        try:
            done = subprocess.run(
                self._command(way, "--dry-run", "--no-deps"),
                env={**self._environment(way), **QUICK},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=QUESTION_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, [f"uv did not answer within {QUESTION_TIMEOUT_S} s"]
        return abs(done.returncode), done.stdout.decode("utf-8", "replace").splitlines()

    def _command(self, way: Order, *options: str) -> List[str]:  # noqa: UP006 - as above
        from vep_dagger.builders.uv_words import pip_install

        order = self._order
        words = pip_install(
            f"{order['prefix']}/bin/python",
            way["requirements"],
            way["overrides"],
            order["excluded"],
            order["before"],
            self._work,
            *options,
        )
        return [str(Path(__file__).with_name("uv")), *words]

    def _environment(self, way: Order) -> Dict[str, str]:  # noqa: UP006 - as above
        from vep_dagger.builders.uv_words import PLAIN_OUTPUT, with_links

        environment = {**os.environ, **PLAIN_OUTPUT}
        links = with_links(environment.get("UV_FIND_LINKS", ""), way["indexes"])
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
