"""A stack of ten layers that compile for a few seconds each: what the benchmark of builds builds.

The layers need each other as the components of a GPU stack do: a few stand alone, others stand on one or two, and the
last one on most. ``NEEDS`` is that graph; a linear Dockerfile has the same commands in the order of the letters.
"""

from __future__ import annotations

from typing import Any

from vep_dagger.dsl import PLAIN, Build, Image, LayerDef, LayerPins, Pins, Stack, layer, recipe

FUNCTIONS = 600
"""In each layer's source: some three seconds of a compiler."""

NEEDS: dict[str, tuple[str, ...]] = {
    "a": (),
    "b": (),
    "c": (),
    "d": ("a",),
    "e": ("b",),
    "f": ("c",),
    "g": ("d", "e"),
    "h": ("f",),
    "i": ("g",),
    "j": ("g", "h"),
}


class Part(LayerPins):
    """The version of one layer; it is compiled into it."""

    version: str = "1"


class StackPins(Pins):
    """A version for each layer."""

    a: str = "1"
    b: str = "1"
    c: str = "1"
    d: str = "1"
    e: str = "1"
    f: str = "1"
    g: str = "1"
    h: str = "1"
    i: str = "1"
    j: str = "1"


def source(name: str, version: str) -> str:
    """The C source of one layer, with its version in it."""
    functions = "".join(
        f"double {name}{n}(double x) {{ double y = {n}; for (int i = 0; i < 64; i++) "
        f"{{ y += x * i; x = y / (x + {n + 1}); if (y > 1e9) y = -y; }} return x + y; }}\n"
        for n in range(FUNCTIONS)
    )
    return f'const char *{name}_version = "{version}";\n{functions}'


def commands(name: str) -> list[list[str]]:
    """What compiles one layer, after its source has been written."""
    needed = [word for need in NEEDS[name] for word in (f"-L/opt/{need}", f"-l{need}")]
    library = f"/opt/{name}/lib{name}.so"
    return [["gcc", "-O2", "-shared", "-fPIC", "-o", library, f"/opt/{name}/{name}.c", "-Wl,--no-as-needed", *needed]]


def part(name: str) -> LayerDef[Any]:
    """The layer called ``name``."""

    @layer(prefix=f"/opt/{name}", source=PLAIN, needs=[PARTS[need] for need in NEEDS[name]], name=name)
    def made(build: Build, pins: Part) -> Build:
        build = build.write(f"/opt/{name}/{name}.c", source(name, pins.version))
        for argv in commands(name):
            build = build.run(*argv)
        return build.library(f"/opt/{name}")

    return made


PARTS: dict[str, LayerDef[Any]] = {}
for letter in NEEDS:
    PARTS[letter] = part(letter)


@recipe("stack")
def stack(pins: StackPins) -> Image:
    """All ten layers on the plain base."""
    layers = Stack(pins)
    return Image(
        recipe="stack",
        tag="stack-" + "-".join(f"{name}{getattr(pins, name)}" for name in NEEDS),
        release="0.32.0",
        base=PLAIN,
        build=Build().check("the top of the stack loads", "python3", "-c", "import ctypes; ctypes.CDLL('libj.so')"),
        layers=tuple(layers(PARTS[name]) for name in NEEDS),
        device="cpu",
        pins=pins,
    )
