"""A small stack to explain: a recipe, a matrix file and its lock, as a person has them in a directory."""

from __future__ import annotations

from pathlib import Path

RECIPE = """
from vep_dagger.dsl import Build, Image, LayerPins, Pins, Stack, Version, git, image, layer, recipe


class NcclPins(LayerPins):
    version: Version = "v1"
    arch: str = "sm_90"


class PlainPins(LayerPins):
    pass


@layer(prefix="/", source=image("base:1"))
def devel(build: Build, pins: PlainPins) -> Build:
    return build


@layer(prefix="/opt/gdrcopy", needs=[devel])
def gdrcopy(build: Build, pins: PlainPins) -> Build:
    return build.run("make")


@layer(prefix="/opt/nccl", needs=[devel])
def nccl(build: Build, pins: NcclPins) -> Build:
    source = git("https://example.org/nccl.git", None, ref=pins.version)
    return build.cache("ccache", "/c").mount(source, "/src").run("make", "src.build", f"NVCC_GENCODE={pins.arch}")


@layer(prefix="/opt/ofi", needs=[devel, nccl])
def ofi(build: Build, pins: PlainPins) -> Build:
    return build.run("make", "-C", "/ofi")


@layer(prefix="/opt/tests", needs=[devel, ofi])
def tests(build: Build, pins: PlainPins) -> Build:
    return build.run("make", "-C", "/tests")


class OwnPins(Pins):
    vllm: Version = "0.32.0"
    nccl: NcclPins = NcclPins()


@recipe("own")
def own(pins: OwnPins) -> Image:
    stack = Stack(pins)
    chain = Build().python("3.12", "/venv").install(f"vllm=={pins.vllm}").export(VLLM=pins.vllm)
    layers = tuple(map(stack, (gdrcopy, nccl, ofi, tests)))
    return Image("own", f"own-{pins.vllm}", pins.vllm, stack(devel), chain, layers, device="cpu")
"""

MATRIX = """
recipe = "recipe.py:own"
[pins]
vllm = "0.32.0"
[axes.nccl]
old = {}
new = { pins = { nccl = { version = "v2" } } }
hopper = { pins = { nccl = { arch = "sm_100" } } }
batch = { args = { max-num-seqs = 8 }, env = { X = "1" } }
[serve]
model = "./model"
"""

COMMITS = {"v1": "1" * 40, "v2": "2" * 40, "moved": "3" * 40}


def lock(*, v1: str = COMMITS["v1"], v2: str = COMMITS["v2"], base: str = "a") -> str:
    """The text of a lock file that knows all of the stack's sources, but for the requirements of Python."""
    git = "".join(
        f'[[git]]\nurl = "https://example.org/nccl.git"\nref = "{ref}"\ncommit = "{commit}"\n'
        for ref, commit in (("v1", v1), ("v2", v2))
    )
    return f'format = 1\n{git}[[image]]\nref = "base:1"\ndigest = "sha256:{base * 64}"\n'


def write_stack(folder: Path) -> Path:
    """The files in ``folder``; the path of the matrix file."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "recipe.py").write_text(RECIPE)
    (folder / "matrix.lock").write_text(lock())
    matrix = folder / "matrix.toml"
    matrix.write_text(MATRIX)
    return matrix
