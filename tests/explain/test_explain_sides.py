"""What A and B may be, what is said of each pair, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, Said
from tests.explain.explain_lab import COMMITS, MATRIX, lock, write_stack
from vep_dagger.builders.checks import Proven
from vep_dagger.builders.lowering import lower
from vep_dagger.builders.manifest import container_manifest
from vep_dagger.explain import Explanation
from vep_dagger.plan import load_plan


@pytest.fixture
def folder(vep: CommandLine) -> Path:
    """The working directory of ``vep``, with the stack in it."""
    write_stack(vep.folder)
    return vep.folder


def explained(vep: CommandLine, *words: str) -> Explanation:
    said = vep("explain", *words, "--json")
    assert (said.code, said.err) == (0, "")
    return Explanation.model_validate_json(said.out)


def states(found: Explanation) -> dict[str, str]:
    return {layer.name: layer.state for layer in found.layers}


def changes(found: Explanation, layer: str) -> list[tuple[str, str, str | None, str | None]]:
    (part,) = (each for each in found.layers if each.name == layer)
    return [(change.where, change.what, change.a, change.b) for change in part.changes]


def test_a_pin_is_named_in_its_layer_and_what_needs_that_is_rebuilt(vep: CommandLine, folder: Path) -> None:
    found = explained(vep, "old", "new")
    assert states(found) == {"devel": "same", "gdrcopy": "same", "nccl": "inputs", "ofi": "needs", "tests": "needs"}
    before, after = f"{COMMITS['v1']} (v1)", f"{COMMITS['v2']} (v2)"
    assert changes(found, "nccl") == [("step 2 mount /src", "commit of https://example.org/nccl.git", before, after)]
    assert [layer.because for layer in found.layers] == [[], [], [], ["nccl"], ["nccl"]]
    assert (found.rebuilt, found.shared) == (["nccl", "ofi", "tests"], ["devel", "gdrcopy"])
    assert found.environment
    assert found.environment.state == "same"
    assert not found.same


def test_an_argument_is_named_with_its_step(vep: CommandLine, folder: Path) -> None:
    step = "step 3 run make src.build NVCC_GENCODE=sm_100"
    expected = [(step, "argument", "NVCC_GENCODE=sm_90", "NVCC_GENCODE=sm_100")]
    assert changes(explained(vep, "old", "hopper"), "nccl") == expected


def test_cells_of_one_image_differ_in_their_servers_alone(vep: CommandLine, folder: Path) -> None:
    found = explained(vep, "old", "batch")
    assert found.image
    assert (found.image.state, found.rebuilt, found.same) == ("same", [], False)
    assert found.server
    told = [(change.what, change.a, change.b) for change in found.server.changes]
    assert told == [("argument --max-num-seqs", None, "8"), ("variable X", None, "1")]


def test_a_cell_is_as_itself(vep: CommandLine, folder: Path) -> None:
    found = explained(vep, "old", "old")
    assert found.same
    assert set(states(found).values()) == {"same"}


@pytest.mark.parametrize(
    "words", [("old.lock", "old"), ("old.lock:old", "matrix.lock"), ("old.lock", "matrix.toml:old")]
)
def test_a_lock_stands_for_the_cell_of_the_other_side(vep: CommandLine, folder: Path, words: tuple[str, str]) -> None:
    (folder / "old.lock").write_text(lock(v1=COMMITS["moved"]))
    found = explained(vep, *words)
    assert changes(found, "nccl")[0][2:] == (f"{COMMITS['moved']} (v1)", f"{COMMITS['v1']} (v1)")
    assert found.a.cell == found.b.cell == "old"
    assert explained(vep, "matrix.lock", "old").same


def test_a_base_that_moved_rebuilds_all_and_is_the_reason_of_all(vep: CommandLine, folder: Path) -> None:
    (folder / "old.lock").write_text(lock(base="b"))
    found = explained(vep, "old.lock", "old")
    assert states(found) == {"devel": "inputs", "gdrcopy": "needs", "nccl": "needs", "ofi": "needs", "tests": "needs"}
    assert {tuple(layer.because) for layer in found.layers[1:]} == {("devel",)}
    assert found.environment
    assert found.environment.because == ["devel"]


def test_a_cell_of_another_file_is_compared_with_its_own_lock(vep: CommandLine, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    write_stack(other)
    (other / "matrix.lock").write_text(lock(v1=COMMITS["moved"]))
    assert explained(vep, "old", "other/matrix.toml").rebuilt == ["nccl", "ofi", "tests"]
    assert explained(vep, "new", "other/matrix.toml:old").rebuilt == ["nccl", "ofi", "tests"]
    assert explained(vep, "new", "other/matrix.toml:new").same


def test_a_matrix_file_that_is_not_there_is_not_needed_for_others(vep: CommandLine, folder: Path) -> None:
    other = folder / "matrix.toml"
    other.rename(folder / "away.toml")
    (folder / "matrix.lock").rename(folder / "away.lock")
    assert explained(vep, "away.toml:old", "away.toml:new").rebuilt == ["nccl", "ofi", "tests"]


def test_the_chain_of_an_image_is_told_apart_from_its_layers(vep: CommandLine, folder: Path) -> None:
    (folder / "newer.toml").write_text(MATRIX.replace("0.32.0", "0.33.0"))
    (folder / "newer.lock").write_text(lock())
    found = explained(vep, "old", "newer.toml")
    assert found.rebuilt == []
    assert found.environment
    told = [(change.what, change.a, change.b) for change in found.environment.changes]
    assert told == [("requirement", "vllm==0.32.0", "vllm==0.33.0"), ("variable VLLM", "0.32.0", "0.33.0")]
    assert [(change.what, change.b) for change in found.variables] == [("variable VLLM", "0.33.0")]


def test_a_recorded_plan_has_keys_and_no_inputs(vep: CommandLine, folder: Path) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "plan.json").write_text(vep("plan", "--json").out)
    for record in ("runs/plan.json", "runs"):
        assert explained(vep, "old", record).image == explained(vep, record, "old").image
        assert explained(vep, "old", record).shared == ["devel", "gdrcopy", "nccl", "ofi", "tests"]
    found = explained(vep, "runs:old", "new")
    expected = {"devel": "same", "gdrcopy": "same", "nccl": "unknown", "ofi": "unknown", "tests": "unknown"}
    assert states(found) == expected
    assert found.server is None


def test_a_manifest_is_compared_by_the_keys_of_its_layers(vep: CommandLine, folder: Path) -> None:
    image = load_plan(folder / "matrix.toml").images[0]
    manifest = container_manifest(lower(image, "sha256:" + "0" * 64), None, Proven(), "docker")
    (folder / "manifest.json").write_text(manifest)
    assert explained(vep, "manifest.json", "new").rebuilt == ["nccl", "ofi", "tests"]
    found = explained(vep, "manifest.json", "old")
    assert found.image
    assert found.image.state == "same"


def write_manifest(folder: Path, name: str, cell: int = 0, **system: str) -> None:
    image = load_plan(folder / "matrix.toml").images[cell]
    proven = Proven(system=system)
    text = container_manifest(lower(image, "sha256:" + "0" * 64), None, proven, "docker")
    (folder / name).write_text(text)


def test_two_images_of_one_key_are_told_apart_by_the_distributions_packages(vep: CommandLine, folder: Path) -> None:
    write_manifest(folder, "monday.json", cmake="3.22", git="2.34", gone="1")
    write_manifest(folder, "friday.json", cmake="3.22", git="2.35", more="2")
    found = explained(vep, "monday.json", "friday.json")
    assert found.image
    assert found.image.state == "same"
    assert [(each.what, each.a, each.b) for each in found.system] == [
        ("git", "2.34", "2.35"),
        ("gone", "1", None),
        ("more", None, "2"),
    ]
    lines = told(vep, "monday.json", "friday.json").out.splitlines()
    assert "packages of the distribution, which no key holds" in lines
    assert "  git: 2.34 → 2.35" in lines
    assert lines[-1] == "one key for both: nothing is rebuilt; other in B: 3 packages"
    assert explained(vep, "monday.json", "monday.json").system == []


def test_a_record_without_the_distributions_packages_says_nothing_of_them(vep: CommandLine, folder: Path) -> None:
    write_manifest(folder, "with.json", git="2.34")
    write_manifest(folder, "without.json")
    for other in ("without.json", "old"):
        assert explained(vep, "with.json", other).system == []
    assert told(vep, "with.json", "without.json").out.splitlines()[-1].startswith("one image does for both")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("odl", "new"), "did you mean 'old'?"),
        (("old", "matrix.toml:nwe"), "did you mean 'new'?"),
        (("old", "gone.lock"), "there is no file gone.lock"),
        (("old", "gone.toml:new"), "there is no file gone.toml"),
        (("matrix.lock", "matrix.lock"), "name one: matrix.lock:old"),
        (("old", "model/config.json"), "neither plan.json of a run nor the manifest"),
        (("old", "recipe.json"), "cannot be read"),
        (("old", "plan.json:odl"), "did you mean 'old'?"),
        (("zzz", "new"), "what can be compared"),
        (("old", "model"), "cannot be read"),
    ],
)
def test_what_is_neither_a_cell_nor_a_file_is_refused(
    vep: CommandLine, folder: Path, words: tuple[str, str], message: str
) -> None:
    (folder / "plan.json").write_text(vep("plan", "--json").out)
    (folder / "recipe.json").write_text("not json")
    said = vep("explain", *words)
    assert said.code == 2
    assert message in said.err
    assert said.err.startswith("error: ")


@pytest.mark.parametrize(("name", "text"), [("README.md", "# A page\n"), ("notes", "format = 7\n"), ("odd.lock", "x")])
def test_nobody_is_told_to_delete_a_file_that_was_named_and_is_no_lock(
    vep: CommandLine, folder: Path, name: str, text: str
) -> None:
    (folder / name).write_text(text)
    for words in ((name, "old"), ("old", name), (f"{name}:old", "new")):
        said = vep("explain", *words)
        assert said.code == 2
        assert f"{name} is read as a lock, and cannot be: " in said.err
        assert "delete" not in said.err
        assert "help: what can be compared: a cell's name, FILE.toml:CELL" in said.err


def test_a_cell_that_cannot_be_has_its_reason(vep: CommandLine, folder: Path) -> None:
    recipe = folder / "recipe.py"
    text = recipe.read_text().replace(
        "    stack = Stack(pins)",
        '    if pins.nccl.version == "v2":\n        raise Impossible("v2 is broken")\n    stack = Stack(pins)',
    )
    other = folder / "broken"
    other.mkdir()
    write_stack(other)
    (other / "recipe.py").write_text(text.replace("import Build,", "import Impossible, Build,"))
    found = explained(vep, "old", "broken/matrix.toml:new")
    assert (found.b.impossible, found.image, found.rebuilt) == ("v2 is broken", None, [])
    assert "impossible: v2 is broken" in told(vep, "old", "broken/matrix.toml:new").out


def told(vep: CommandLine, *words: str) -> Said:
    said = vep("explain", *words)
    assert (said.code, said.err) == (0, "")
    return said


def test_people_read_the_reason_and_the_work(vep: CommandLine, folder: Path) -> None:
    lines = told(vep, "old", "new").out.splitlines()
    assert "    commit of https://example.org/nccl.git: 111111111111 (v1) → 222222222222 (v2)" in lines
    assert any(line.startswith("tests: rebuilt because nccl changed") for line in lines)
    assert "from A to B: 3 layer builds (nccl, ofi, tests)" in lines
    assert "the Python environment is shared; the image is put together anew" in lines
    assert lines[-1] == "2 layers shared: devel, gdrcopy"
    assert [line for line in lines if line != line.rstrip()] == []


def test_people_read_that_nothing_is_rebuilt(vep: CommandLine, folder: Path) -> None:
    assert told(vep, "old", "batch").out.splitlines()[-1] == (
        "one image does for both: nothing is rebuilt; the servers differ"
    )
    assert told(vep, "old", "old").out.splitlines()[-1] == (
        "one image does for both: nothing is rebuilt, and one server too"
    )


def test_a_tag_that_moved_to_the_same_commit_is_no_change(vep: CommandLine, folder: Path) -> None:
    (folder / "same.lock").write_text(lock(v2=COMMITS["v1"]))
    found = explained(vep, "same.lock:old", "same.lock:new")
    assert found.rebuilt == []
    (nccl,) = (layer for layer in found.layers if layer.name == "nccl")
    assert nccl.notes == [
        "https://example.org/nccl.git v1 in A and https://example.org/nccl.git v2 in B are the same: "
        f"{COMMITS['v1']} (v1)"
    ]
