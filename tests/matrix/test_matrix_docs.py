"""docs/matrix.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vep_dagger.matrix import Document, Matrix, expand
from vep_dagger.matrix.jsonschema import schema
from vep_dagger.matrix.schema import METRICS

TEXT = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text()
EXAMPLES = re.findall(r"```toml\n(recipe = .*?)```\n.*?```cells\n(.*?)```", TEXT, flags=re.DOTALL)


def test_it_has_worked_examples() -> None:
    assert len(EXAMPLES) == TEXT.count("```cells") == 5


@pytest.mark.parametrize(("text", "slugs"), EXAMPLES)
def test_a_worked_example_has_the_cells_that_it_says(text: str, slugs: str) -> None:
    matrix = Matrix.from_document(Document.from_bytes(text.encode()))
    assert [cell.slug for cell in expand(matrix, {"vllm"})] == slugs.split()


def test_every_key_and_metric_is_explained() -> None:
    keys = {key for model in (schema(), *schema()["definitions"].values()) for key in model["properties"]}
    tables = {"axes", "exclude", "gates", "include", "mirrors", "pick", "smoke", "bench"}
    missing = {key for key in keys - tables if f"`{key}`" not in TEXT and f"`[{key}]`" not in TEXT}
    assert missing == set()
    assert all(f"[{table}]" in TEXT for table in tables)
    assert all(f"`{metric}`" in TEXT for metric in METRICS)


def test_every_default_is_the_codes() -> None:
    for model in schema()["definitions"].values():
        for key, value in model["properties"].items():
            default = value.get("default")
            if isinstance(default, int | float) and not isinstance(default, bool):
                row = next(
                    line for line in TEXT.splitlines() if line.startswith(f"| `{key}` |") and f"`{default:g}" in line
                )
                assert f"`{default:g}" in row
