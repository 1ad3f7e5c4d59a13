from __future__ import annotations

import dataclasses

import pydantic
import pytest

from tests.dsl.dsl_sample import COMMIT, CollectivesPins, SamplePins, collectives, devel, kernels, sample_image
from vep_dagger.dsl import (
    JOBS,
    PLAIN,
    Alternative,
    Build,
    Image,
    ImageSource,
    Layer,
    Pins,
    Stack,
    Version,
    git,
    http,
    image,
    layer,
    recipe,
    with_jobs,
)
from vep_dagger.dsl.step import Env, Install, Run


class From(Pins):
    version: Version = "13.0"


def start(pins: From) -> ImageSource:
    return image(f"cuda:{pins.version}")


@layer(prefix="/", source=start)
def started(build: Build, pins: From) -> Build:
    return build


class TestBuild:
    def test_a_method_gives_a_new_chain_and_leaves_the_old_one_as_it_was(self) -> None:
        first = Build().run("a")
        second = first.run("b")
        assert first.steps == (Run(("a",)),)
        assert second.steps == (Run(("a",)), Run(("b",)))
        with pytest.raises(dataclasses.FrozenInstanceError):
            first.steps = ()  # type: ignore[misc]

    def test_variables_may_have_names_that_python_keeps_for_itself(self) -> None:
        build = Build().env({"from": "a", "class": "b"}, self="c", variables="d", lambda_="e")
        assert build.steps == (
            Env((("class", "b"), ("from", "a"), ("lambda_", "e"), ("self", "c"), ("variables", "d"))),
        )

    def test_variables_are_kept_in_one_order_however_they_are_given(self) -> None:
        assert Build().env(A="1", B="2") == Build().env({"B": "2", "A": "1"}) == Build().env({"B": "2"}, A="1")

    @pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "A B", "Ä", "A\n"])
    def test_a_name_that_is_none_for_a_variable_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="variable"):
            Build().env({name: "x"})
        with pytest.raises(ValueError, match="variable"):
            Build().secret(name)

    def test_a_value_that_is_not_text_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"JOBS: .* int 4"):
            Build().env({"JOBS": 4})  # type: ignore[dict-item]

    def test_exports_are_those_that_leave_the_build_with_later_ones_winning(self) -> None:
        assert Build().env(A="1").export(B="2", C="3").export(B="4").exports == {"B": "4", "C": "3"}

    def test_directories_of_programs_and_libraries_are_kept_in_order_and_absolute(self) -> None:
        build = Build().program("/b").library("/x").program("/a").library("/y")
        assert (build.programs, build.libraries) == (("/b", "/a"), ("/x", "/y"))
        for refused in (Build().program, Build().library):
            with pytest.raises(ValueError, match="bin"):
                refused("bin")

    def test_a_check_is_told_by_its_name(self) -> None:
        (check,) = Build().check("agrees", "true").checks
        assert check.describe() == "check 'agrees'"

    def test_the_number_of_jobs_may_not_leave_the_build(self) -> None:
        assert Build().env(MAX_JOBS=JOBS).steps
        with pytest.raises(ValueError, match="MAX_JOBS"):
            Build().export(MAX_JOBS=JOBS)
        assert with_jobs(f"-j{JOBS}", 7) == "-j7"

    @pytest.mark.parametrize("path", ["relative", "", "./x", "/opt/../etc/x"])
    def test_a_path_that_is_not_absolute_or_goes_up_is_refused(self, path: str) -> None:
        for use in (Build().workdir, Build().library, lambda p: Build().write(p, ""), lambda p: Build().cache("c", p)):
            with pytest.raises(ValueError):
                use(path)

    def test_a_command_or_a_check_without_words_is_refused(self) -> None:
        with pytest.raises(ValueError, match="command"):
            Build().run()
        with pytest.raises(ValueError, match="'empty' needs a command"):
            Build().check("empty")

    def test_install_takes_requirements_or_alternatives_and_not_both(self) -> None:
        plain = Build().install("a", "b").steps[0]
        assert isinstance(plain, Install)
        assert plain.alternatives == (Alternative(("a", "b")),)
        for wrong in ((), ("a", Alternative(("b",)))):
            with pytest.raises(ValueError):
                Build().install(*wrong)

    def test_sources_are_those_in_order_of_use(self) -> None:
        one, two = git("https://example.org/x.git", COMMIT), http("https://example.org/y", None)
        assert Build().mount(one, "/a").run("x").copy(two, "/b").sources == (one, two)


class TestSource:
    def test_a_tag_is_no_commit(self) -> None:
        with pytest.raises(ValueError, match="ref="):
            git("https://example.org/x.git", "v1.0")
        with pytest.raises(ValueError, match="needs a commit"):
            git("https://example.org/x.git", None)

    @pytest.mark.parametrize("wrong", ["", "abc", "G" * 64, "0" * 63])
    def test_a_hash_that_is_none_is_refused(self, wrong: str) -> None:
        with pytest.raises(ValueError):
            http("https://example.org/x", wrong)
        with pytest.raises(ValueError):
            image("x:1", wrong)

    def test_only_what_has_been_seen_is_resolved(self) -> None:
        assert git("u", COMMIT).resolved
        assert not git("u", None, ref="main").resolved
        assert not http("u", None).resolved
        assert not image("x:1").resolved
        assert PLAIN.resolved


class TestLayer:
    def test_what_a_layer_needs_is_made_once_with_the_same_pins(self) -> None:
        stack = Stack(SamplePins())
        made = stack(kernels)
        assert made.needs == (stack(collectives),)
        assert made.base is stack(collectives).base is stack(devel)

    def test_a_check_can_be_added_to_a_layer_and_the_layer_stays_as_it_was(self) -> None:
        checked = collectives.check("header and library agree again", "/opt/agree", expect="ok")
        names = [check.name for check in Stack(SamplePins())(checked).build.checks]
        assert names == ["header and library agree", "header and library agree again"]
        assert len(Stack(SamplePins())(collectives).build.checks) == 1
        assert Stack(SamplePins())(checked).key == Stack(SamplePins())(collectives).key
        with pytest.raises(ValueError, match="needs a command"):
            collectives.check("empty")

    def test_a_layer_finds_its_pins_by_its_name_as_a_table_or_as_text(self) -> None:
        class Loose(Pins):
            collectives: str = "v2.28.3-1"

        assert Stack(SamplePins())(collectives).pins == CollectivesPins()
        assert Stack(Loose())(collectives).pins == CollectivesPins(version="v2.28.3-1")
        assert Stack(Pins())(collectives).pins == CollectivesPins()

    def test_pins_of_another_kind_are_no_reason_to_take_the_defaults(self) -> None:
        class Wrong(Pins):
            collectives: SamplePins = SamplePins()

        with pytest.raises(TypeError, match=r"Wrong\.collectives is SamplePins.*CollectivesPins"):
            Stack(Wrong())(collectives)

    def test_two_layers_of_one_name_do_not_meet_in_an_image(self) -> None:
        stack = Stack(SamplePins())
        stack(collectives)
        with pytest.raises(ValueError, match=r"two different layers .* 'collectives'"):
            stack(collectives.check("more", "true"))

    def test_a_layer_needs_exactly_one_base(self) -> None:
        with pytest.raises(ValueError, match="needs one base"):

            @layer(prefix="/opt/x")
            def floating(build: Build, pins: Pins) -> Build:
                return build

        with pytest.raises(ValueError, match="needs one base"):

            @layer(prefix="/opt/x", needs=[devel], source=image("x:1"))
            def torn(build: Build, pins: Pins) -> Build:
                return build

    def test_it_sees_what_it_needs_and_what_that_needs_each_once_and_in_order(self) -> None:
        low = Layer("low", "/low", image("x"), (), Build())
        left, right = (Layer(name, f"/{name}", image("x"), (low,), Build()) for name in ("left", "right"))
        top = Layer("top", "/top", image("x"), (left, right), Build())
        assert top.visible == (low, left, right)
        assert low.visible == ()

    def test_its_lineage_is_of_the_bases_it_stands_on_and_itself_if_it_is_one(self) -> None:
        system = Layer("system", "/", image("x"), (), Build())
        devel = Layer("devel", "/", system, (), Build())
        assert devel.lineage == (system, devel)
        assert Layer("top", "/top", devel, (), Build()).lineage == (system, devel)
        assert Layer("other", "/other", image("x"), (), Build()).lineage == ()

    def test_the_image_to_start_from_can_depend_on_pins(self) -> None:
        assert Stack(Pins())(started).base == image("cuda:13.0")


class TestImage:
    def test_the_chains_variables_win_over_the_layers_and_theirs_over_the_bases(self) -> None:
        made = sample_image()
        assert made.env == {"CUDA_HOME": "/usr/local/cuda", "QUIET": "1"}
        own = Build().export(QUIET="0", X="1", CUDA_HOME="/mine")
        named = dataclasses.replace(made, layers=(dataclasses.replace(made.layers[0], build=own),))
        assert named.env == {"QUIET": "1", "X": "1", "CUDA_HOME": "/mine"}

    def test_what_its_bases_declare_is_the_images_too(self) -> None:
        def part(name: str, prefix: str, base: Layer | ImageSource) -> Layer:
            build = Build().export({"LAST": name, name.upper(): "1"}).library(f"/{name}/lib").program(f"/{name}/bin")
            return Layer(name, prefix, base, (), build.check(name, "true"))

        system = part("system", "/", image("x"))
        runtime = part("runtime", "/", system)
        chain = Build().program("/venv/bin").library("/system/lib").check("chain", "true")
        made = Image("r", "t", "1", runtime, chain, (part("a", "/a", image("x")),))
        assert made.env == {"SYSTEM": "1", "RUNTIME": "1", "A": "1", "LAST": "a"}
        assert [check.name for check in made.checks] == ["system", "runtime", "a", "chain"]
        assert made.libraries == ("/system/lib", "/runtime/lib", "/a/lib")
        assert made.programs == ("/venv/bin", "/a/bin", "/runtime/bin", "/system/bin")

    def test_it_knows_where_its_python_is(self) -> None:
        assert sample_image().python_prefix == "/venv"
        assert Image("r", "t", "1", PLAIN, Build()).python_prefix is None

    def test_a_recipe_takes_text_and_tables_and_refuses_what_it_does_not_know(self) -> None:
        @recipe("mine")
        def mine(pins: SamplePins) -> Image:
            """Says what it makes."""
            return sample_image(pins)

        assert (mine.name, mine.doc, mine.pins_type) == ("mine", "Says what it makes.", SamplePins)
        written = mine.image({"collectives": {"architectures": ["90a"]}})
        assert written == sample_image(SamplePins(collectives=CollectivesPins(architectures=("90a",))))
        assert mine.image({"collectives": "v2.27.7-1"}) == sample_image()
        unknown: list[dict[str, object]] = [{"nccl": "v1"}, {"collectives": {"arch": "90a"}}]
        mistyped: list[dict[str, object]] = [{"collectives": {"version": 2}}, {"collectives": 2}]
        for wrong in unknown + mistyped:
            with pytest.raises(pydantic.ValidationError):
                mine.image(wrong)
