"""What decides a key, and what does not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dsl.dsl_sample import COMMIT, CollectivesPins, SamplePins, collectives, devel, sample_image
from vep_dagger.dsl import PLAIN, Alternative, Build, Check, Image, Layer, Stack, canonical, git, http, image, key_of
from vep_dagger.dsl.step import CacheMount, Copy, Env, Install, MakePython, Mount, Run, Secret, Step, Workdir, Write

steadily = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""Figures of time say nothing on a machine that others use too."""

SHA = "0123456789abcdef" * 4
text = st.text(max_size=8)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
paths = st.from_regex(r"/[a-z]{1,6}", fullmatch=True)
texts = st.lists(text, max_size=3).map(tuple)
hexadecimal = "0123456789abcdef"
digests = st.text(hexadecimal, min_size=64, max_size=64)
sources = st.one_of(
    st.builds(
        git,
        st.just("https://example.org/x.git"),
        st.text(hexadecimal, min_size=40, max_size=40),
        submodules=st.booleans(),
    ),
    st.builds(
        http, st.just("https://example.org/x"), st.text(hexadecimal, min_size=64, max_size=64), unpack=st.booleans()
    ),
    st.builds(image, st.just("x:1"), st.text(hexadecimal, min_size=64, max_size=64)),
)
by_kind: dict[str, st.SearchStrategy[Step]] = {
    "run": st.builds(Run, texts),
    "write": st.builds(Write, paths, text, st.integers(0, 0o777)),
    "copy": st.builds(Copy, sources, paths),
    "mount": st.builds(Mount, sources, paths),
    "python": st.builds(MakePython, paths, text),
    "install": st.builds(
        Install,
        paths,
        st.lists(st.builds(Alternative, texts, texts), min_size=1, max_size=2).map(tuple),
        texts,
        st.none() | text,
    ),
    "env": st.builds(Env, st.lists(st.tuples(names, text), max_size=2).map(tuple), st.booleans()),
    "workdir": st.builds(Workdir, paths),
}
content_steps = st.one_of(*by_kind.values())
ways_to_build: st.SearchStrategy[Step] = st.one_of(st.builds(CacheMount, names, paths), st.builds(Secret, names))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def built(*steps: Step, **changes: Any) -> Layer:
    made = Layer("x", "/opt/x", PLAIN, (), Build(steps))
    return replace(made, **changes)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        order = draw(st.permutations(list(value)))
        return {name: shuffled(value[name], draw) for name in order}
    if isinstance(value, list):
        return [shuffled(item, draw) for item in value]
    return value


@steadily
@given(json_values, st.data())
def test_the_order_of_names_does_not_change_a_key(value: Any, data: st.DataObject) -> None:
    assert key_of("x", shuffled(value, data.draw)) == key_of("x", value)


@steadily
@given(json_values, json_values)
def test_different_values_have_different_canonical_texts(one: Any, other: Any) -> None:
    # Python holds 1 and True for equal, and a key must not.
    assert (canonical(one) == canonical(other)) == (repr_of(one) == repr_of(other))


def repr_of(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{repr_of(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(repr_of, value)) + "]"
    return repr(value)


@steadily
@given(content_steps, content_steps)
def test_different_content_steps_give_different_layer_keys(one: Step, other: Step) -> None:
    assert (built(one).key == built(other).key) == (one == other)


@pytest.mark.parametrize("kind", by_kind)
@steadily
@given(st.data())
def test_changing_any_field_of_a_content_step_changes_the_key(kind: str, data: st.DataObject) -> None:
    step, donor = data.draw(by_kind[kind]), data.draw(by_kind[kind])
    for field in fields(step):
        changed = replace(step, **{field.name: getattr(donor, field.name)})
        assert (built(changed).key == built(step).key) == (changed == step), field.name


@steadily
@given(st.lists(content_steps, min_size=2, max_size=4, unique=True), st.data())
def test_the_order_of_content_steps_changes_the_key(steps: list[Step], data: st.DataObject) -> None:
    other = data.draw(st.permutations(steps))
    assert (built(*other).key == built(*steps).key) == (other == steps)


@steadily
@given(st.lists(content_steps, max_size=3), ways_to_build, st.integers(0, 3))
def test_a_way_to_build_does_not_change_the_key_wherever_it_stands(steps: list[Step], way: Step, at: int) -> None:
    assert built(*steps[:at], way, *steps[at:]).key == built(*steps).key


def test_a_check_and_its_words_do_not_change_a_layers_key_but_the_images_that_runs_it() -> None:
    layer = built(Run(("make",)))
    checked = replace(layer, build=layer.build.check("one", "true"))
    worded = replace(layer, build=layer.build.check("another", "true", expect="ok"))
    assert layer.key == checked.key == worded.key
    images = [Image("r", "t", "1", PLAIN, Build(), (each,)) for each in (layer, checked, worded)]
    assert len({each.key for each in images}) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix", "/opt/y"),
        ("base", image("debian:13", SHA)),
        ("needs", (built(Run(("other",))),)),
        ("platform", "linux/arm64"),
        ("build", Build((Run(("make",)),), libraries=("/opt/x/lib",))),
    ],
)
def test_whatever_else_a_layer_is_made_of_changes_its_key(field: str, value: object) -> None:
    layer = built(Run(("make",)))
    assert replace(layer, **{field: value}).key != layer.key  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value"), [("name", "y"), ("pins", CollectivesPins())])
def test_what_a_layer_is_called_and_the_pins_behind_it_do_not_change_its_key(field: str, value: object) -> None:
    layer = built(Run(("make",)))
    assert replace(layer, **{field: value}).key == layer.key  # type: ignore[arg-type]


def test_the_address_of_a_pinned_source_is_a_place_and_no_content() -> None:
    there, mirrored = git("https://example.org/x.git", COMMIT, ref="v1"), git("file:///mirror/x", COMMIT)
    assert built(Mount(there, "/s")).key == built(Mount(mirrored, "/s")).key
    assert built(Copy(http("https://example.org/x", SHA), "/s")).key == built(Copy(http("file:///x", SHA), "/s")).key
    assert built(Copy(image("a:1", SHA), "/s")).key == built(Copy(image("mirror/a:1", SHA), "/s")).key


def test_whether_submodules_are_in_a_tree_is_content_and_those_that_are_change_no_older_key() -> None:
    with_them, without = git("https://x", COMMIT), git("https://x", COMMIT, submodules=False)
    assert with_them.canonical() == {"git": COMMIT}
    assert without.canonical() == {"git": COMMIT, "submodules": False}
    assert (
        git("https://x", None, ref="v1", submodules=False).canonical() != git("https://x", None, ref="v1").canonical()
    )


def test_directories_of_programs_are_content_and_none_change_no_older_key() -> None:
    assert Build().canonical() == {"steps": [], "libraries": ()}
    one, other = built(build=Build().program("/a")), built(build=Build().program("/b"))
    assert len({built().key, one.key, other.key}) == 3


def test_a_source_that_nobody_has_resolved_is_told_apart_by_its_address() -> None:
    one, other = (built(Mount(git(f"https://example.org/{name}.git", None, ref="v1"), "/s")) for name in "xy")
    assert one.key != other.key


def test_a_place_to_find_packages_and_a_note_are_no_content() -> None:
    plain = Install("/venv", (Alternative(("app==1",)),))
    placed = Install("/venv", (Alternative(("app==1",), indexes=("https://example.org/links/",), note="better"),))
    assert built(placed).key == built(plain).key


def test_gpu_architectures_change_a_key_and_that_of_all_that_needs_the_layer() -> None:
    usual = sample_image()
    other = sample_image(SamplePins(collectives=CollectivesPins(architectures=("90a",))))
    assert [one.key != two.key for one, two in zip(usual.layers, other.layers, strict=True)] == [True, True]
    assert usual.base == other.base


def test_equal_content_of_different_kinds_has_different_keys() -> None:
    assert key_of("layer", []) != key_of("image", [])


@pytest.mark.parametrize("unstable", [1.5, {1: "x"}, {"x"}, Path("/x"), b"x", object()])
def test_what_has_no_single_spelling_cannot_be_part_of_a_key(unstable: Any) -> None:
    with pytest.raises(TypeError):
        key_of("x", {"deep": [unstable]})


def test_the_key_is_of_the_canonical_form() -> None:
    layer = Stack(SamplePins())(collectives)
    assert layer.key == key_of("layer", layer.canonical())
    whole = sample_image()
    assert whole.key == key_of("image", whole.canonical())
    assert Stack(SamplePins())(devel).key in canonical(layer.canonical())


def test_a_check_is_part_of_its_images_canonical_form() -> None:
    form = Image("r", "t", "1", PLAIN, Build(checks=(Check("it runs", ("true",)),))).canonical()
    assert "it runs" in canonical(form)
