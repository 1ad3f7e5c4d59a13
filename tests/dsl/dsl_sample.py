"""A sample of everything that the build language can say, and its keys; run as a script it prints them as JSON.

Only the standard library and the language are imported, so that any Python with the language's dependencies can run it.
"""

from __future__ import annotations

import json

from vep_dagger.dsl import (
    JOBS,
    PLAIN,
    Alternative,
    Build,
    Image,
    LayerPins,
    Pins,
    Stack,
    Version,
    canonical,
    git,
    http,
    image,
    key_of,
    layer,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "0f" * 32


class CollectivesPins(LayerPins):
    version: Version = "v2.27.7-1"
    architectures: tuple[str, ...] = ("90a", "100")


@layer(prefix="/", source=image("example.org/devel:13.0", DIGEST))
def devel(build: Build, pins: Pins) -> Build:
    return build.run("apt-get", "install", "--yes", "g++").export(CUDA_HOME="/usr/local/cuda")


@layer(prefix="/opt/collectives", needs=[devel])
def collectives(build: Build, pins: CollectivesPins) -> Build:
    return (
        build.cache("ccache", "/root/.ccache")
        .secret("TOKEN")
        .env({"CXX": "g++", "MAX_JOBS": JOBS})
        .workdir("/src")
        .mount(git("https://example.org/collectives.git", COMMIT, ref=pins.version), "/src")
        .mount(http("https://example.org/data.tar.gz", "ab" * 32, unpack=True), "/data")
        .copy(http("https://example.org/licence", "cd" * 32), "/opt/collectives/LICENCE")
        .run("make", f"-j{JOBS}", *(f"arch={each}" for each in pins.architectures))
        .write("/opt/collectives/etc/größe.conf", "limit = 1\n", 0o600)
        .library("/opt/collectives/lib")
        .check("header and library agree", "/opt/collectives/bin/agree", expect="ok")
    )


@layer(prefix="/opt/kernels", needs=[devel, collectives])
def kernels(build: Build, pins: Pins) -> Build:
    return build.mount(git("https://example.org/kernels.git", None, ref="main"), "/k").run("make", "-C", "/k")


class SamplePins(Pins):
    collectives: CollectivesPins = CollectivesPins()


def sample_image(pins: SamplePins | None = None) -> Image:
    stack = Stack(pins or SamplePins())
    chain = (
        Build()
        .python(">=3.11,<3.14")
        .install(
            Alternative(("app==1.0", "lib==2.0+cpu"), indexes=("https://example.org/links/",), note="better"),
            Alternative(("app==1.0",), overrides=("lib==2.0",)),
            excluded=("vision",),
            before="2026-01-01T00:00:00Z",
        )
        .export(QUIET="1")
    )
    return Image("sample", "sample1", "1", stack(devel), chain, (stack(collectives), stack(kernels)))


def keys() -> dict[str, str]:
    whole = sample_image()
    plain = Image("sample", "plain", "1", PLAIN, whole.build, device="cpu")
    return {
        "layer devel": Stack(SamplePins())(devel).key,
        "layer collectives": whole.layers[0].key,
        "layer kernels": whole.layers[1].key,
        "image sample": whole.key,
        "image plain": plain.key,
        "text": key_of("text", {"b": ["ü", 1, True, None], "a": canonical({"nested": []})}),
    }


if __name__ == "__main__":
    print(json.dumps(keys(), indent=2))
