"""Two images of different keys have at least one input that is named, and two of one key have none."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from vep_dagger.console.explain_table import pair_in_short
from vep_dagger.dsl import (
    PLAIN,
    Alternative,
    Build,
    Check,
    GitSource,
    HttpSource,
    Image,
    ImageSource,
    Layer,
    LockedPackage,
    Source,
)
from vep_dagger.dsl.step import (
    CacheMount,
    Copy,
    Env,
    Install,
    MakePython,
    Mount,
    Part,
    Run,
    Secret,
    Step,
    Workdir,
    Write,
)
from vep_dagger.explain import Explanation, Side, explain
from vep_dagger.explain.document import Difference

# Few values of everything, so that two images often agree in most of what they hold.
WORDS = st.sampled_from(["make", "x", "y z", "y", "z", "", "-j2"])
PATHS = st.sampled_from(["/src", "/src /lib", "/lib"])
GIT = st.builds(
    GitSource,
    st.sampled_from(["https://a/x.git", "https://b/x.git"]),
    st.sampled_from([None, "a" * 40, "b" * 40]),
    st.sampled_from(["v1", "v2"]),
    st.booleans(),
)
HTTP = st.builds(
    HttpSource, st.sampled_from(["https://a/x", "https://b/x"]), st.sampled_from([None, "c" * 64]), st.booleans()
)
IMAGES = st.one_of(
    st.just(PLAIN),
    st.builds(
        ImageSource,
        st.sampled_from(["i:1", "i:2"]),
        st.sampled_from([None, "sha256:" + "d" * 64, "sha256:" + "e" * 64]),
    ),
)
SOURCES: st.SearchStrategy[Source] = st.one_of(GIT, HTTP, IMAGES)
PACKAGES = st.builds(
    LockedPackage,
    st.sampled_from(["p", "q"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from([("sha256:1",), ("sha256:2",)]),
)
WAYS = st.builds(
    Alternative,
    st.lists(WORDS, min_size=1, max_size=2).map(tuple),
    st.lists(WORDS, max_size=1).map(tuple),
    st.sampled_from([(), ("https://links",)]),
)
INSTALLS = st.builds(
    Install,
    PATHS,
    st.lists(WAYS, min_size=1, max_size=2).map(tuple),
    st.sampled_from([(), ("vision",)]),
    st.sampled_from([None, "2026-01-01T00:00:00Z"]),
    st.sampled_from([None, Part(("p",)), Part(("*",), but=("p",))]),
    st.none() | st.lists(PACKAGES, max_size=2).map(tuple),
)
VARIABLES = st.dictionaries(st.sampled_from(["A", "B", "where"]), WORDS, min_size=1, max_size=2)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Run, st.lists(WORDS, min_size=1, max_size=4).map(tuple)),
    st.builds(Write, PATHS, st.sampled_from(["1\n", "2\n", "2 \n"]), st.sampled_from([0o644, 0o755])),
    st.builds(Copy, SOURCES, PATHS),
    st.builds(Mount, SOURCES, PATHS),
    st.builds(MakePython, PATHS, st.sampled_from(["3.11", "3.12"])),
    INSTALLS,
    st.builds(Env, VARIABLES.map(lambda found: tuple(sorted(found.items()))), st.booleans()),
    st.builds(Workdir, PATHS),
    st.builds(CacheMount, WORDS, PATHS),
    st.builds(Secret, st.sampled_from(["TOKEN", "OTHER"])),
)
CHECKS = st.builds(
    Check, st.sampled_from(["c", "d"]), st.sampled_from([("true",), ("t", "r")]), st.sampled_from([None, "ok", "ko"])
)
BUILDS = st.builds(
    Build,
    st.lists(STEPS, max_size=3).map(tuple),
    st.lists(CHECKS, max_size=2).map(tuple),
    st.lists(PATHS, max_size=2).map(tuple),
    st.lists(PATHS, max_size=1).map(tuple),
)
PLATFORMS = st.sampled_from(["linux/amd64", "linux/arm64"])


@st.composite
def images(draw: st.DrawFn) -> Image:
    """An image with up to three layers, each of which may stand on those before it, whatever they are called."""
    made: list[Layer] = []
    for _ in range(draw(st.integers(0, 3))):
        below = draw(st.lists(st.sampled_from(made), max_size=2)) if made else []
        base = draw(IMAGES | st.sampled_from(made)) if made else draw(IMAGES)
        name, prefix = draw(st.sampled_from(["l", "m", "n"])), draw(st.sampled_from(["/", "/opt"]))
        made.append(Layer(name, prefix, base, tuple(below), draw(BUILDS), draw(PLATFORMS)))
    held = draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
    base = draw(IMAGES | st.sampled_from(made)) if made else draw(IMAGES)
    return Image("r", "t", "1", base, draw(BUILDS), tuple(held), platform=draw(PLATFORMS))


def explained(a: Image, b: Image) -> Explanation:
    return explain(Side("a", "a", "c", a), Side("b", "b", "c", b))


def parts(found: Explanation) -> list[Difference]:
    assert found.environment
    assert found.image
    return [*found.layers, found.environment, found.image]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), images())
def test_different_keys_have_a_named_input(a: Image, b: Image) -> None:
    found = explained(a, b)
    changes = [change for part in parts(found) for change in part.changes]
    assert bool(changes) == (a.key != b.key)
    assert [change for change in changes if change.a == change.b] == []
    for change in changes:
        if change.a is not None and change.b is not None:
            assert len(set(pair_in_short(change.a, change.b))) == 2
    for part in parts(found):
        assert (part.state == "same") == (part.a == part.b)
        assert part.state != "inputs" or part.changes
        assert part.state != "needs" or (part.because and not part.changes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), BUILDS, st.integers(0, 2))
def test_one_layer_that_is_changed_is_the_only_reason(image: Image, build: Build, number: int) -> None:
    """What differs in one layer is named there, and what stands on it is rebuilt because of that layer alone."""
    names = ["zero", "one", "two", "three"]
    whole = [Layer("zero", "/zero", PLAIN, (), image.build)]
    for name in names[1:]:
        whole.append(Layer(name, f"/{name}", PLAIN, (whole[-1],), image.build))
    changed = [*whole[:number], Layer(names[number], f"/{names[number]}", PLAIN, whole[number].needs, build)]
    for name in names[number + 1 :]:
        changed.append(Layer(name, f"/{name}", PLAIN, (changed[-1],), image.build))
    a, b = (Image("r", "t", "1", PLAIN, Build(), tuple(layers)) for layers in (whole, changed))
    found = explained(a, b)
    if whole[number].key == changed[number].key:
        assert found.rebuilt == []
        return
    assert found.rebuilt == names[number:]
    assert found.shared == names[:number]
    first, *rest = found.layers[number:]
    assert first.state == "inputs"
    assert {(part.state, *part.because) for part in rest} == {("needs", names[number])}


LONG = st.text(st.sampled_from("ab \n"), min_size=60, max_size=200)


@settings(max_examples=300, deadline=None)
@given(LONG, LONG)
@example("a" * 100, "a" * 101)
@example("a" * 100 + "b" + "a" * 100, "a" * 200)
@example("x" * 80 + "a" * 300 + "y", "x" * 80 + "a" * 300 + "z")
def test_long_values_are_cut_to_what_differs(a: str, b: str) -> None:
    assume(a != b)
    assert len(set(pair_in_short(a, b))) == 2
    assert max(map(len, pair_in_short(a, b))) < 250
