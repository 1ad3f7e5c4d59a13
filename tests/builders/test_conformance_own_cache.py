"""What builders do that keep their results in a directory of ours: nothing is ever half there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.builders.builder_labs import OwnCacheLab
from vep_dagger.dsl import PLAIN, Build, Image, git
from vep_dagger.errors import BuildError

PYTHON = "/venv/bin/python"


def image_of(build: Build, tag: str = "probe1") -> Image:
    return Image(recipe="probe", tag=tag, release="1", base=PLAIN, build=build, device="cpu")


def environment() -> Build:
    return Build().python(">=3.11")


def slow_once(started: Path) -> tuple[str, ...]:
    """A command that takes a minute when it runs for the first time."""
    script = (
        f"import os, time; first = not os.path.exists({str(started)!r}); "
        f"open({str(started)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(60 if first else 0)"
    )
    return (PYTHON, "-c", script)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{file} did not come"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_failing_step_leaves_nothing(own_lab: OwnCacheLab) -> None:
    with pytest.raises(BuildError):
        own_lab.build(image_of(environment().run(PYTHON, "-c", "import sys; sys.exit(7)")))
    assert (own_lab.in_place(), own_lab.half_made()) == (0, 0)


def test_a_failing_check_leaves_nothing(own_lab: OwnCacheLab) -> None:
    with pytest.raises(BuildError):
        own_lab.build(image_of(environment().check("whole", PYTHON, "-c", "print('torn')", expect="whole")))
    assert (own_lab.in_place(), own_lab.half_made()) == (0, 0)


def test_a_refusal_names_the_step_and_touches_nothing(own_lab: OwnCacheLab) -> None:
    source = git("https://example.org/x.git", "a" * 40)
    image = image_of(environment().mount(source, "/src").run("make", "-C", "/src"))
    with pytest.raises(BuildError) as refused:
        own_lab.builder().refuse(image)
    assert "step 2, `mount /src`" in refused.value.what
    assert refused.value.hint is not None
    assert "builder" in refused.value.hint
    with pytest.raises(BuildError, match="mount /src"):
        own_lab.build(image)
    assert own_lab.in_place() == 0
    assert not own_lab.log.exists()


def test_two_processes_that_want_the_same_image_build_it_once(own_lab: OwnCacheLab) -> None:
    ran, go = own_lab.outside / "ran", own_lab.outside / "go"
    script = (
        f"import os, time; open({str(ran)!r}, 'a').write('x\\n'); end = time.monotonic() + 60\n"
        f"while not os.path.exists({str(go)!r}) and time.monotonic() < end: time.sleep(0.05)"
    )
    image = image_of(environment().run(PYTHON, "-c", script))
    first = own_lab.process(image, own_lab.log.with_name("first.log"))
    wait_for(ran)
    second = own_lab.process(image, own_lab.log.with_name("second.log"))
    assert second.stdout is not None
    # Only once the second has found the first at work may the first go on.
    assert f"waiting for process {first.pid}" in second.stdout.readline()
    go.touch()
    said_first, said_second = first.communicate()[0], second.communicate()[0]
    assert (said_first.split()[-1], said_second.split()[-1]) == ("built", "cached")
    assert ran.read_text() == "x\n"


def test_kill_minus_nine_leaves_nothing_in_place_and_the_next_build_succeeds(own_lab: OwnCacheLab) -> None:
    started = own_lab.outside / "started"
    image = image_of(environment().run(*slow_once(started)).write("/venv/etc/x", "whole"))
    process = own_lab.process(image, own_lab.log.with_name("killed.log"))
    wait_for(started)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert own_lab.in_place() == 0
    assert own_lab.half_made() == 1
    assert ended(int(started.read_text())), "the command outlived the builder"
    built = own_lab.build(image)
    assert not built.cached
    assert own_lab.run(built, PYTHON, "-c", "print(open(__import__('sys').prefix + '/etc/x').read())") == "whole"
    assert own_lab.half_made() == 0


def test_cancelling_kills_the_command_and_leaves_nothing(own_lab: OwnCacheLab) -> None:
    started = own_lab.outside / "started"
    image = image_of(environment().run(*slow_once(started)))

    async def build_and_cancel() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(own_lab.builder().build, image, own_lab.log, own_lab.said.append)
            await anyio.to_thread.run_sync(wait_for, started)
            group.cancel_scope.cancel()

    anyio.run(build_and_cancel)
    assert ended(int(started.read_text()))
    assert (own_lab.in_place(), own_lab.half_made()) == (0, 0)
    assert not own_lab.build(image).cached
