"""A run as it could have been: six cells, two of which passed, and each other verdict once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vep_dagger.evidence.record import (
    Answer,
    BenchRecord,
    BuildRecord,
    FailedStep,
    LayerRecord,
    LineSeen,
    PhaseSpan,
    Repeat,
    ServerFacts,
    SmokeRecord,
    Witness,
)
from vep_dagger.plan.document import (
    CellDoc,
    DeploymentDoc,
    ImageDoc,
    JobDoc,
    PickDoc,
    PlanDoc,
    WorkloadDoc,
)
from vep_dagger.report.summary import RunFacts, Summary, summarise

STARTED = "2026-11-24T10:00:00Z"
SCALE = {"0.10.1.1": 1.0, "0.11.0": 1.09, "0.12.0": 1.2}


@dataclass
class Run:
    """What ``summarise`` takes; tests change it and look at what comes of it."""

    plan: PlanDoc
    records: dict[str, BuildRecord | SmokeRecord | BenchRecord] = field(default_factory=dict)
    facts: RunFacts = field(default_factory=lambda: run_facts({}))

    def summary(self) -> Summary:
        return summarise(self.plan, self.records, self.facts)

    def cell(self, slug: str, /, **changes: object) -> None:
        """Change a cell of the plan."""
        cells = [cell.model_copy(update=changes) if cell.slug == slug else cell for cell in self.plan.cells]
        self.plan = self.plan.model_copy(update={"cells": cells})

    def warm(self, slug: str, warm: bool | None) -> None:
        """Say of a server whether its start was warm."""
        record = self.records[f"smoke:{slug}"]
        assert isinstance(record, SmokeRecord)
        self.change(record.job, server=record.server.model_copy(update={"warm": warm}))

    def change(self, job: str, /, **changes: object) -> None:
        """Change a record."""
        self.records[job] = self.records[job].model_copy(update=changes)


def run_facts(records: Mapping[str, str]) -> RunFacts:
    return RunFacts(
        run="20261124-100000-7f3a",
        started="2026-11-24 10:00:00 UTC",
        vep_version="0.1.0",
        machine={"host": "node-1", "CPU": "2 × Xeon, 96 cores", "GPU": "8 × H100 80GB HBM3", "memory": "2.0 TB"},
        matrix="examples/ep/matrix.toml",
        directory="20261124-100000-7f3a",
        builder="venv",
        launcher="process",
        records=records,
    )


def plan_of(
    axes: dict[str, list[str]], cells: list[CellDoc], workloads: tuple[str, ...] = ("short", "long")
) -> PlanDoc:
    """A plan in which every possible cell is a server of its own."""
    images = list(dict.fromkeys(cell.image for cell in cells if cell.image))
    served = [cell for cell in cells if cell.deployment and cell.image]
    jobs = [JobDoc(id=f"build:{image}", kind="build", key=f"k-{image}", needs=[], image=image) for image in images]
    for cell in served:
        assert cell.image
        smoke = f"smoke:{cell.slug}"
        jobs.append(
            JobDoc(
                id=smoke,
                kind="smoke",
                key=f"k-{smoke}",
                needs=[f"build:{cell.image}"],
                image=cell.image,
                deployment=cell.deployment,
            )
        )
        for name in workloads:
            bench = f"bench:{cell.slug}:{name}"
            jobs.append(
                JobDoc(
                    id=bench,
                    kind="bench",
                    key=f"k-{bench}",
                    needs=[smoke],
                    image=cell.image,
                    deployment=cell.deployment,
                    workload=name,
                )
            )
    return PlanDoc(
        matrix="matrix.toml",
        recipe="vllm-ep",
        only=None,
        axes=axes,
        cells=cells,
        layers=[],
        images=[
            ImageDoc(
                key=image,
                recipe="vllm-ep",
                tag=f"vep/{image}",
                release=image.removeprefix("img-"),
                device="cuda",
                layers=[],
                env={},
                unresolved=[],
            )
            for image in images
        ],
        deployments=[
            DeploymentDoc(
                key=cell.deployment or "",
                slug=cell.slug,
                cells=[cell.slug],
                image=cell.image or "",
                release="0.11.0",
                device="cuda",
                model="deepseek-ai/DeepSeek-R1-0528",
                model_digest=None,
                served_model_name="deepseek-ai/DeepSeek-R1-0528",
                nodes=1,
                args=[],
                env={},
                unset=[],
                demanded=[],
                forbidden=[],
            )
            for cell in served
        ],
        workloads=[
            WorkloadDoc(name=name, num_prompts=1000, repeats=3, options={"input_len": length, "output_len": 128})
            for name, length in zip(workloads, (128, 2048), strict=False)
        ],
        jobs=jobs,
        gates={"p99_ttft_ms": 4000.0},
        pick=PickDoc(
            metric="output_throughput",
            better="higher",
            workload=workloads[0] if workloads else None,
            baseline={"all2all": "naive"} if "all2all" in axes else {},
        ),
        warnings=["vLLM 0.12.0 is newer than the newest known release; the data of 0.11.2 is used"],
    )


def cell_doc(choices: dict[str, str], image: str, **changes: object) -> CellDoc:
    slug = "-".join(f"{axis}{label}" if axis == "vllm" else label for axis, label in choices.items())
    values: dict[str, object] = {
        "slug": slug,
        "choices": choices,
        "image": image,
        "deployment": f"d-{slug}",
        "impossible": None,
        "warnings": [],
    }
    return CellDoc.model_validate({**values, **changes})


ENVIRONMENT = LayerRecord(
    name="environment",
    key="l3",
    state="built",
    seconds=1102.3,
    size_bytes=8_600_000_000,
    parts={"NVIDIA's <libraries>": 5_100_000_000, "torch": 3_400_000_000, "files of no package": 100_000_000},
)


def build(image: str, *, cached: bool = False) -> BuildRecord:
    return BuildRecord(
        job=f"build:{image}",
        key=f"k-{image}",
        verdict="passed",
        started=STARTED,
        seconds=0.31 if cached else 1412.7,
        image=image,
        builder="venv",
        cached=cached,
        location=f"/cache/vep/{image}",
        layers=[
            LayerRecord(name="nccl", key="l1", state="cached", seconds=0.0, size_bytes=158_000_000),
            LayerRecord(
                name="nvshmem", key="l2", state="taken" if cached else "built", seconds=4.0 if cached else 310.0
            ),
            *([] if cached else [ENVIRONMENT]),
        ],
        notes=["torch 2.8.0 from the index that the environment names"],
        size_bytes=14_200_000_000,
        log=f"images/{image}/build.log",
    )


def smoke(slug: str) -> SmokeRecord:
    log = f"cells/{slug}/server-1.log"
    spans = [("launch", 9.2), ("weights", 41.6), ("compile", 63.0), ("warmup", 88.4), ("capture", 22.7), ("ready", 1.9)]
    begins = [sum(seconds for _, seconds in spans[:number]) for number in range(len(spans))]
    return SmokeRecord(
        job=f"smoke:{slug}",
        key=f"k-smoke:{slug}",
        verdict="passed",
        started=STARTED,
        seconds=238.0,
        deployment=f"d-{slug}",
        server=ServerFacts(
            number=1,
            launcher="process",
            log=log,
            command=["vllm", "serve", "deepseek-ai/DeepSeek-R1-0528", "--port", "40123"],
            phases=[
                PhaseSpan(phase=phase, begin=begin, seconds=seconds)
                for (phase, seconds), begin in zip(spans, begins, strict=True)
            ],
            ready_seconds=226.8,
            version=slug.split("-")[0].removeprefix("vllm"),
            peak_memory_bytes=612_000_000_000,
        ),
        answers=[Answer(prompt="The capital of France is", text=" Paris.", tokens=3, seconds=0.21)],
        demanded=[
            LineSeen(
                name="PPLX all2all manager",
                pattern="PPLX all2all",
                seen=Witness(file=log, line=212, text="Using PPLX all2all manager."),
            )
        ],
        forbidden=[LineSeen(name="falling back", pattern="[Ff]alling back")],
    )


def bench(slug: str, workload: str, throughputs: tuple[float, ...]) -> BenchRecord:
    return BenchRecord(
        job=f"bench:{slug}:{workload}",
        key=f"k-bench:{slug}:{workload}",
        verdict="passed",
        started=STARTED,
        seconds=61.5,
        deployment=f"d-{slug}",
        workload=workload,
        server=1,
        command=["vllm", "bench", "serve"],
        repeats=[repeat(slug, workload, number, value) for number, value in enumerate(throughputs, start=1)],
    )


def repeat(slug: str, workload: str, number: int, throughput: float) -> Repeat:
    tpot = 580_000 / throughput
    return Repeat(
        file=f"cells/{slug}/{workload}-{number}.json",
        completed=1000,
        num_prompts=1000,
        duration_s=round(128_000 / throughput, 4),
        metrics={
            "request_throughput": round(throughput / 128, 3),
            "output_throughput": throughput,
            "total_token_throughput": round(throughput * 2.001, 2),
            "mean_ttft_ms": round(48.8e6 / throughput, 2),
            "median_ttft_ms": round(49.6e6 / throughput, 2),
            "p99_ttft_ms": round(58.9e6 / throughput, 2),
            "mean_tpot_ms": round(tpot * 0.99, 3),
            "median_tpot_ms": round(tpot, 3),
            "p99_tpot_ms": round(tpot * 1.38, 3),
            "mean_itl_ms": round(tpot * 1.02, 3),
            "median_itl_ms": round(tpot * 0.98, 3),
            "p99_itl_ms": round(tpot * 2.4, 3),
        },
    )


FAILURE: dict[str, object] = {
    "verdict": "failed",
    "reason": "layer nvshmem: make -j4 install: exited with 2",
    "location": None,
    "layers": [
        LayerRecord(name="nccl", key="l1", state="cached", seconds=0.0),
        LayerRecord(name="nvshmem", key="l2", state="failed", seconds=61.0),
    ],
    "failed_step": FailedStep(
        layer="nvshmem",
        command="make -j4 install",
        code=2,
        output=["src/init.cu:12: error: no such thing", "\x1b[31mmake: *** [install] Error 1\x1b[0m"],
    ),
}
"""What a build record says when a step of it failed."""

PPLX_10, NAIVE_10 = "vllm0.10.1.1-pplx", "vllm0.10.1.1-naive"
PPLX_11, NAIVE_11 = "vllm0.11.0-pplx", "vllm0.11.0-naive"
PPLX_12, NAIVE_12 = "vllm0.12.0-pplx", "vllm0.12.0-naive"


def example() -> Run:
    """0.10.1.1: both passed. 0.11.0: pplx fell back, naive is void. 0.12.0: pplx is impossible, naive not reached."""
    cells = [
        cell_doc({"vllm": release, "all2all": backend}, f"img-{release}")
        for release in SCALE
        for backend in ("pplx", "naive")
    ]
    made = Run(plan_of({"vllm": list(SCALE), "all2all": ["pplx", "naive"]}, cells))
    made.cell(
        PPLX_12,
        image=None,
        deployment=None,
        impossible="vLLM 0.12.0 has no pplx backend: its code was removed in 0.11.1",
    )
    made.plan = made.plan.model_copy(
        update={
            "jobs": [job for job in made.plan.jobs if PPLX_12 not in job.id],
            "deployments": [one for one in made.plan.deployments if one.slug != PPLX_12],
        }
    )
    made.records = {
        record.job: record
        for record in (
            build("img-0.10.1.1"),
            build("img-0.11.0", cached=True),
            smoke(PPLX_10),
            bench(PPLX_10, "short", (19636.13, 19902.4, 19588.77)),
            bench(PPLX_10, "long", (15211.0, 15344.9, 15102.6)),
            smoke(NAIVE_10),
            bench(NAIVE_10, "short", (17120.5, 17333.08, 16904.22)),
            bench(NAIVE_10, "long", (15920.3, 15899.7, 16010.4)),
            smoke(PPLX_11),
            smoke(NAIVE_11),
            bench(NAIVE_11, "short", (18210.0, 18150.0, 18333.0)),
            bench(NAIVE_11, "long", (15011.0, 14950.0, 15100.0)),
        )
    }
    fallback = Witness(
        file=f"cells/{PPLX_11}/server-1.log",
        line=187,
        text="WARNING [config.py:412] pplx kernels not found | falling back to naive all2all",
    )
    made.change(
        f"smoke:{PPLX_11}",
        verdict="fell-back",
        reason="pplx was asked for, and the server uses naive",
        witness=fallback,
        demanded=[LineSeen(name="PPLX all2all manager", pattern="PPLX all2all")],
        forbidden=[LineSeen(name="falling back", pattern="[Ff]alling back", seen=fallback)],
    )
    broken = bench(NAIVE_11, "long", (15011.0, 14950.0, 15100.0))
    repeats = [broken.repeats[0], broken.repeats[1].model_copy(update={"completed": 988}), broken.repeats[2]]
    made.change(
        f"bench:{NAIVE_11}:long",
        verdict="failed",
        reason="repeat 2 completed 988 of 1000 requests",
        repeats=repeats,
        witness=Witness(
            file=f"cells/{NAIVE_11}/server-1.log", line=901, text="ERROR EngineCore encountered a fatal error."
        ),
    )
    paths = {job: f"cells/{job.split(':')[1]}/{job.replace(':', '-')}.json" for job in made.records}
    made.facts = run_facts(paths)
    return made


def hostile() -> Run:
    """The same run, in which everything that a user or a server may name is an attack."""
    run = example()
    attack = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    run.facts = replace(run.facts, matrix=f"{attack}.toml", run=attack, machine={attack: attack})
    run.change(
        f"smoke:{PPLX_11}",
        reason=f"\x1b[31m{attack}\x1b[0m\x00 `|` *bold*",
        witness=Witness(file=f"javascript:{attack}", line=1, text=attack),
    )
    run.change("build:img-0.10.1.1", notes=[attack])
    cells = [
        cell.model_copy(
            update={
                "slug": f"{cell.slug}{attack}",
                "choices": {axis: f"{label}{attack}" for axis, label in cell.choices.items()},
                "warnings": [attack],
            }
        )
        for cell in run.plan.cells
    ]
    axes = {axis: [f"{label}{attack}" for label in labels] for axis, labels in run.plan.axes.items()}
    run.plan = run.plan.model_copy(update={"cells": cells, "axes": axes, "warnings": [attack]})
    return run
