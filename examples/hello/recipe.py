"""A small stack with real compilers, and a first look at the build language: two libraries and a program that is linked
to both, each a layer of its own.

What a layer is, and what its key is made of, is in ``docs/layers.md``.
"""

from __future__ import annotations

from pydantic import Field

from vep_dagger.dsl import JOBS, PLAIN, Build, Image, LayerPins, Pins, Stack, layer, recipe

MAKEFILE = """\
lib%.so: %.c
	$(CC) $(CFLAGS) -shared -fPIC -o $@ $< $(LDLIBS)
"""


class GreetPins(LayerPins):
    """What may be chosen of the library ``greet``."""

    word: str = "Hello"


class ShoutPins(LayerPins):
    """What may be chosen of the library ``shout``."""

    marks: int = Field(default=1, ge=0, le=9)


# A layer starts from its base (here the plain one: a Debian with a compiler), runs its steps there, and leaves its
# prefix alone: sources and whatever else a step writes are gone from the image, and need no cleaning up.
@layer(prefix="/opt/greet", source=PLAIN)
def greet(build: Build, pins: GreetPins) -> Build:
    """A library that says a word."""
    header = "const char *greet(void);\n"
    code = f'const char *greet(void) {{ return "{pins.word}"; }}\n'
    return (
        build.write("/src/Makefile", MAKEFILE)
        .write("/src/greet.c", code)
        .write("/opt/greet/include/greet.h", header)
        .workdir("/src")
        # Variables of the steps that follow. They do not leave the build, and the number of jobs is no part of a key.
        .env(CFLAGS="-O2 -Wall", MAKEFLAGS=f"-j{JOBS}")
        .run("make", "libgreet.so")
        .run("install", "-D", "libgreet.so", "/opt/greet/lib/libgreet.so")
        # Where the loader of the finished image has to look, and of every build that needs this layer.
        .library("/opt/greet/lib")
        # This one leaves the build: whoever needs the layer has it, and whoever runs the image.
        .export(GREETING=pins.word)
    )


# ``needs`` names the layers whose prefixes, variables and libraries the steps see: theirs, and those that they need.
@layer(prefix="/opt/shout", source=PLAIN, needs=[greet])
def shout(build: Build, pins: ShoutPins) -> Build:
    """A library that says it louder. With other ``marks`` it is built again, and ``greet`` is not."""
    code = f"""\
#include <ctype.h>
#include <greet.h>
#include <shout.h>

const char *shout(char *text, unsigned size) {{
  unsigned at = 0;
  for (const char *from = greet(); *from && at + 1 < size; from++) text[at++] = toupper(*from);
  for (int mark = 0; mark < {pins.marks} && at + 1 < size; mark++) text[at++] = '!';
  text[at] = 0;
  return text;
}}
"""
    return (
        build.write("/src/Makefile", MAKEFILE)
        .write("/src/shout.c", code)
        .write("/opt/shout/include/shout.h", "const char *shout(char *text, unsigned size);\n")
        .workdir("/src")
        .env(
            CFLAGS="-O2 -Wall -I/opt/greet/include -I/opt/shout/include",
            LDLIBS="-L/opt/greet/lib -lgreet",
            MAKEFLAGS=f"-j{JOBS}",
        )
        .run("make", "libshout.so")
        .run("install", "-D", "libshout.so", "/opt/shout/lib/libshout.so")
        .library("/opt/shout/lib")
    )


@layer(prefix="/opt/hello", source=PLAIN, needs=[shout])
def hello(build: Build, pins: LayerPins) -> Build:
    """The program. It needs ``shout`` alone, and sees ``greet`` all the same, since ``shout`` needs that."""
    code = """\
#include <greet.h>
#include <shout.h>
#include <stdio.h>

int main(void) {
  char text[64];
  printf("%s, %s\\n", greet(), shout(text, sizeof text));
  return 0;
}
"""
    places = [f"-I/opt/{each}/include -L/opt/{each}/lib -l{each}" for each in ("shout", "greet")]
    return (
        build.write("/src/hello.c", code)
        .write("/opt/hello/share/README", "Made by layers.\n", mode=0o640)
        .run("mkdir", "-p", "/opt/hello/bin")
        .run("sh", "-c", f"cc -O2 -Wall -o /opt/hello/bin/hello /src/hello.c {' '.join(places)}")
        .run("ln", "-s", "hello", "/opt/hello/bin/hi")
        # In front of PATH, as library() is for the loader.
        .program("/opt/hello/bin")
        # Proofs about the finished image, run at each build; what they print is in the image's manifest.
        .check("the program greets", "hi", expect=", ")
        .check(
            "the loader finds both libraries", "sh", "-c", "ldconfig -p | grep -c -e libgreet -e libshout", expect="2"
        )
    )


class HelloPins(Pins):
    """What a matrix file may pin: a layer's pins stand in the field of its name."""

    greet: GreetPins = GreetPins()
    shout: ShoutPins = ShoutPins()


@recipe("hello")
def hello_image(pins: HelloPins) -> Image:
    """The prefixes of three layers, merged into the plain base."""
    stack = Stack(pins)
    return Image(
        recipe="hello",
        tag=f"{pins.greet.word.lower()}{pins.shout.marks}",
        release="",
        base=PLAIN,
        build=Build(),
        layers=(stack(greet), stack(shout), stack(hello)),
        device="cpu",
        pins=pins,
    )
