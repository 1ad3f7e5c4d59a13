"""The programs of pipelines/, run as people run them: on a stand-in vLLM in environments of this machine, and with
containers where an engine is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.e2e.site import Site
from tests.e2e.test_end_to_end import SLOW, wait_until
from tests.jobs.bed import Bed
from vep_dagger.errors import VepError
from vep_dagger.evidence import BenchRecord, BuildRecord, SmokeRecord
from vep_dagger.jobs.events import Event
from vep_dagger.pipeline import carried_out, layers_of
from vep_dagger.workflow import Options

ROOT = Path(__file__).parent.parent.parent
PIPELINES = sorted((ROOT / "pipelines").glob("*.py"))
ASKED = {"--matrix", "-k", "--builder", "--publish", "--export", "--out", "--keep", "--resume", "--network"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share, so that the environment is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def site(tmp_path: Path, cache: Path) -> Iterator[Site]:
    """A folder with all that a run needs."""
    made = Site(tmp_path, cache)
    yield made
    made.close()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A matrix in a folder of its own, run on fakes."""
    return Bed(tmp_path, monkeypatch)


def argv(name: str, *args: str, builder: str = "venv") -> list[str]:
    return [sys.executable, str(ROOT / "pipelines" / f"{name}.py"), "--builder", builder, *args]


def pipeline(site: Site, name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run one to its end."""
    return subprocess.run(
        argv(name, *args), cwd=site.folder, env=site.environ, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("page", PIPELINES, ids=lambda page: page.name)
def test_each_is_a_page_with_the_options_that_people_need(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 60
    said = subprocess.run([sys.executable, page, "--help"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"(?<!\S)--?[a-z]+", said)) >= ASKED
    assert "[default: dagger]" in said
    assert "[default: matrix.toml]" in said


def test_an_image_is_told_with_what_became_of_its_layers(site: Site) -> None:
    site.environ["VEP_CACHE_DIR"] = str(site.folder / "cache")
    first = pipeline(site, "build", "--out", "one")
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(r"own0\.32\.0 /\S+ 2 built, 0 cached, 0 taken, \d+ s \none\n", first.stdout)
    again = pipeline(site, "build", "--out", "two")
    assert "0 built, 2 cached, 0 taken" in again.stdout
    resumed = pipeline(site, "build", "--out", "one", "--resume")
    assert "0 built, 2 cached, 0 taken" in resumed.stdout, "what an earlier run built is not built now"


def test_smoke_and_bench_go_on_in_the_run_of_the_build(site: Site) -> None:
    site.matrix.write_text(re.sub(r'\[\[bench\]\]\nname = "long"[^[]*', "", site.matrix.read_text()))
    assert pipeline(site, "build", "--out", "run").returncode == 0
    smoke = pipeline(site, "smoke", "--out", "run", "--resume")
    assert smoke.returncode == 0, smoke.stderr
    assert re.fullmatch(r"small passed ready in \d+ s\nlarge passed ready in \d+ s\nrun\n", smoke.stdout)
    bench = pipeline(site, "bench", "--out", "run", "--resume", "-k", "small")
    assert bench.returncode == 0, bench.stderr
    assert re.match(r"small short passed output_throughput [\d.]+, median_ttft_ms [\d.]+", bench.stdout)
    assert bench.stdout.endswith("run/report/index.html\n")
    assert "smoke:small: kept" in bench.stderr
    whole = pipeline(site, "all", "--out", "run", "--resume")
    assert whole.returncode == 0, whole.stderr
    assert re.match(r"small passed \nlarge passed \npick: (small|large)", whole.stdout)
    assert set(site.records().values()) == {"passed"}
    assert site.alive() == []


def test_a_cell_that_fails_fails_the_program_with_its_evidence(site: Site) -> None:
    site.matrix.write_text(
        site.matrix.read_text().replace("[smoke.deadlines]", "[serve.env]\nSTANDIN_DIES = '1'\n[smoke.deadlines]")
    )
    done = pipeline(site, "smoke", "--out", "run", "-k", "small")
    assert done.returncode == 1
    assert done.stdout.startswith("small failed ")
    assert re.search(r"^  cells/small/servers/1/server.log:\d+ NotImplementedError", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", [page.stem for page in PIPELINES])
@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--matrix", "nowhere.toml"], "there is no file 'nowhere.toml'"),
        (["-k", "no and"], "error: "),
        (["--builder", "bazel"], "there is no builder 'bazel'"),
        (["--no-such"], "No such option"),
        (["--resume"], "there is no run of matrix.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_users_mistake_is_told_and_nothing_is_touched(site: Site, name: str, args: list[str], what: str) -> None:
    before = sorted(site.folder.iterdir())
    done = pipeline(site, name, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert what.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert sorted(site.folder.iterdir()) == before


def test_ctrl_c_stops_servers_and_says_how_to_go_on(site: Site) -> None:
    site.matrix.write_text(site.matrix.read_text().replace("[smoke.deadlines]", SLOW))
    with (site.folder / "said").open("wb") as said:
        process = subprocess.Popen(
            argv("smoke", "--out", "run"), cwd=site.folder, env=site.environ, stderr=said, start_new_session=True
        )
    wait_until(lambda: list(site.folder.glob("run/cells/small/servers/1/server.log")) and len(site.alive()) >= 3)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    text = (site.folder / "said").read_text()
    assert "Traceback" not in text
    (command,) = re.findall(r"^to go on: (.*)$", text, re.MULTILINE)
    assert command.endswith("--builder venv --out run --out run --resume")
    assert site.alive() == []


def test_events_are_lines_of_json_and_results_stay_apart(site: Site) -> None:
    done = pipeline(site, "build", "--out", "run", "--json")
    kinds = [json.loads(line)["kind"] for line in done.stderr.splitlines()]
    assert (kinds[0], kinds[-1]) == ("run-started", "run-finished")
    assert done.stdout.startswith("own0.32.0 ")


def test_results_are_heard_as_they_come_and_typed_by_their_records(bed: Bed) -> None:
    async def look(options: Options) -> list[str]:
        async with carried_out(options, bed.events.append) as run:
            with pytest.raises(RuntimeError, match="leave its context"):
                _ = run.outcome
            heard = [f"{image.name}: {layers_of(image)}" async for image in run.ended(BuildRecord)]
        assert run.outcome.passed
        return heard

    heard = anyio.run(look, Options(bed.matrix, "build", out=bed.folder / "run"))
    assert [line.split(":")[0] for line in heard] == ["vllm-cpu0.27.0", "vllm-cpu0.32.0"]
    assert all(re.search(r": [1-9]\d* built, 0 cached, 0 taken$", line) for line in heard)
    assert bed.told("run-finished"), "the whole run's events are heard too"


@pytest.mark.parametrize(("kind", "count"), [(SmokeRecord, 4), (BenchRecord, 8)])
def test_what_is_kept_from_an_earlier_run_is_heard_too(bed: Bed, kind: type[SmokeRecord], count: int) -> None:
    bed.run()

    async def look(options: Options) -> list[bool]:
        async with carried_out(options) as run:
            return [cell.found async for cell in run.ended(kind)]

    assert anyio.run(look, Options(bed.matrix, out=bed.folder / "run", resume=True)) == [True] * count


def test_whoever_fails_while_hearing_stops_the_run(bed: Bed) -> None:
    events: list[Event] = []

    async def look(options: Options) -> None:
        async with carried_out(options, events.append) as run:
            async for image in run.ended(BuildRecord):
                raise LookupError(image.name)

    with pytest.raises(LookupError, match="vllm-cpu"):
        anyio.run(look, Options(bed.matrix, out=bed.folder / "run"))
    assert "run-finished" not in {event.kind for event in events}


def test_whoever_stops_hearing_waits_for_the_end_all_the_same(bed: Bed) -> None:
    async def look(options: Options) -> bool:
        async with carried_out(options) as run:
            async for _ in run.ended(BuildRecord):
                break
        return run.outcome.passed

    assert anyio.run(look, Options(bed.matrix, "build", out=bed.folder / "run"))


def test_what_a_run_raises_is_raised_as_it_is(bed: Bed) -> None:
    async def look(options: Options) -> None:
        async with carried_out(options) as run:
            assert [image async for image in run.ended(BuildRecord)] == []

    with pytest.raises(VepError, match="there is no file"):
        anyio.run(look, Options(bed.folder / "nowhere", out=bed.folder / "run"))


@pytest.mark.engine
@pytest.mark.parametrize(("builder", "engine"), [("docker", "docker"), ("dagger", "dagger_session")])
def test_images_are_built_and_then_found_on_a_real_engine(
    request: pytest.FixtureRequest, tmp_path: Path, plain_base: str, builder: str, engine: str
) -> None:
    request.getfixturevalue(engine)
    matrix = ROOT / "examples" / "hello" / "matrix.toml"
    environ = {**os.environ, "VEP_PLAIN_BASE": plain_base}

    def build(out: str) -> str:
        args = ["--matrix", str(matrix), "-k", "calm", "--network", "host", "--out", out]
        done = subprocess.run(
            argv("build", *args, builder=builder),
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert re.match(r"hello1 \S+ \d built, \d cached, 0 taken, \d+ s", build("one"))
    assert re.match(r"hello1 \S+ 0 built, [1-9] cached, 0 taken, \d+ s", build("two"))
