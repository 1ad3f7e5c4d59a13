"""``make run``, ``make test``, ``make setup``: make the environment if need be, then run something in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Sequence

from bootstrap import SetupError, pythons, say
from bootstrap.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "examples/cpu/matrix.toml"
TEST_GROUPS = ("test", "lint")
LINTERS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))


def check(environment: Environment, arguments: Sequence[str]) -> int:
    """The tests: ruff, mypy, then pytest, whatever the ones before said. With arguments for pytest, pytest alone."""
    failed = []
    if arguments:
        say("with arguments for pytest, pytest alone: no ruff, no mypy")
    for command in () if arguments else LINTERS:
        started = time.monotonic()
        say("{} … ".format(" ".join(command)), end="")
        program = [environment.program(command[0]), *command[1:]]
        done = subprocess.run(program, env=environment.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(f"{'failed' if done.returncode else 'ok'}, {time.monotonic() - started:.1f} s", flush=True)
        if done.returncode:
            print(done.stdout.decode(errors="replace"), flush=True)
            failed.append(" ".join(command))
    say(" ".join(["pytest", *arguments]))
    tests = subprocess.run([environment.program("python"), "-m", "pytest", *arguments], env=environment.environ)
    if failed:
        say(f"failed, see above: {', '.join(failed)}")
    return tests.returncode or (1 if failed else 0)


def main(arguments: Sequence[str]) -> int:
    """``setup.py run|test|setup [ARGUMENT...]``: the exit code; 3 when the environment cannot be made."""
    command, rest = arguments[0], arguments[1:]
    os.chdir(str(ROOT))
    directory = Path(os.path.realpath(os.environ.get("VEP_VENV") or ".venv"))
    environment = Environment(ROOT, directory, os.environ)
    lock = os.open(str(ROOT), os.O_RDONLY)
    try:
        # Two calls at once make it once. The project's directory is the lock, so that no file is left behind; some
        # network file systems cannot lock directories.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        groups = () if command == "run" else TEST_GROUPS
        environment.prepare(groups, lambda: pythons.choose(pythons.candidates(Path.home())))
    except (SetupError, OSError) as error:
        print(f"make: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print(f"\nmake: interrupted; a half-made {environment.name} is never used, make starts over", file=sys.stderr)
        return 130
    finally:
        os.close(lock)
    if command == "test":
        return check(environment, rest)
    if command == "run":
        vep = [environment.program("vep"), "run", EXAMPLE, *rest]
        say(" ".join(["vep", *vep[1:]]))
        os.execve(vep[0], vep, environment.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
